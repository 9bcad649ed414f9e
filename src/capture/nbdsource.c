/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/nbdsource.h"

#include <errno.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/copied.h"
#include "capture/nbdlink.h"
#include "repo/volume.h"

enum {
    REQUEST_BYTES = 1 << 20, /* a read */
    MAX_REQUESTS = 16,       /* under way */
    STALL_MS = 60000,        /* no byte from QEMU for so long: it hangs */
    MAX_EXTENTS = 1 << 20,   /* in one answer; QEMU sends far fewer */
    CONTEXT_MAX = 256
};

/* The extents of one window of the disk are asked for at once. */
#define WINDOW_BYTES (UINT64_C(1) << 30)

struct extent {
    uint64_t offset, len;
};

/* In order, without overlaps. */
struct extents {
    struct extent *p;
    size_t n, room;
};

struct nbdsource {
    struct nbdlink *link;
    struct nbdlink *dirty; /* another connection, for the bitmap; or NULL */
    struct nbdlink_patience patience;
    nbdsource_progress_fn *progress;
    void *cookie;
    char context[CONTEXT_MAX];
    uint64_t size;
    bool has_allocation;
    const struct copied *copied; /* or NULL: holes are believed */

    /* of the window under way */
    struct extents data;    /* to be read */
    struct extents changed; /* with a bitmap only */
    uint64_t window_end;
    uint64_t described; /* its extents are known up to here */
    uint64_t read_bytes, reached;
    uint32_t request_bytes;

    /* of the copy under way */
    struct volume_writer *volume;
    unsigned requests;
    struct err failed; /* the first failure of a request */
};

/* A slot with reads under way; submitted when the last has come. */
struct filling {
    struct nbdsource *source;
    struct slot *slot;
    unsigned reads; /* and one for the issuer, while it issues */
};

struct read_request {
    struct filling *filling;
    uint32_t offset, len;
    bool ended; /* well or badly: an answer has come */
};

static int
tick(void *cookie, struct err *e)
{
    struct nbdsource *s = cookie;

    return s->progress(s->cookie, s->reached, e);
}

static int
connect_dirty(struct nbdsource *s, const char *path, const char *name,
              const char *bitmap, struct err *e)
{
    (void)snprintf(s->context, sizeof(s->context), "qemu:dirty-bitmap:%s",
                   bitmap);
    if (nbdlink_open(path, name, s->context, &s->patience, &s->dirty, e) == -1)
        return -1;
    if (nbd_can_meta_context(nbdlink_handle(s->dirty), s->context) != 1)
        return err_set(e, ERR_QEMU, "QEMU does not export the bitmap %s",
                       bitmap);
    return 0;
}

int
nbdsource_open(const char *path, const char *name, const char *bitmap,
               nbdsource_progress_fn *fn, void *cookie, struct cancel *cancel,
               struct nbdsource **out, struct err *e)
{
    CLEANUP(nbdsource_closep) struct nbdsource *s = xcalloc(1, sizeof(*s));

    s->request_bytes = REQUEST_BYTES;
    s->progress = fn;
    s->cookie = cookie;
    s->patience = (struct nbdlink_patience){tick, s, cancel, STALL_MS};
    if (nbdlink_open(path, name, LIBNBD_CONTEXT_BASE_ALLOCATION, &s->patience,
                     &s->link, e) == -1 ||
        (bitmap && connect_dirty(s, path, name, bitmap, e) == -1))
        return -1;
    int64_t size = nbd_get_size(nbdlink_handle(s->link));
    if (size < 0)
        return nbdlink_failed(e, "cannot get the disk's size");
    s->size = (uint64_t)size;
    s->has_allocation =
        nbd_can_meta_context(nbdlink_handle(s->link),
                             LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    *out = STEAL(s);
    return 0;
}

void
nbdsource_close(struct nbdsource *s)
{
    if (!s)
        return;
    nbdlink_close(s->dirty);
    nbdlink_close(s->link);
    free(s->data.p);
    free(s->changed.p);
    free(s);
}

void
nbdsource_closep(struct nbdsource **s)
{
    nbdsource_close(*s);
}

uint64_t
nbdsource_size_bytes(const struct nbdsource *s)
{
    return s->size;
}

void
nbdsource_read_in_blocks(struct nbdsource *s, uint32_t block_bytes)
{
    s->request_bytes = block_bytes;
}

void
nbdsource_doubt_holes(struct nbdsource *s, const struct copied *c)
{
    s->copied = c;
}

uint64_t
nbdsource_read_bytes(const struct nbdsource *s)
{
    return s->read_bytes;
}

/* ---- what is data ------------------------------------------------------- */

static void
add_extent(struct extents *x, uint64_t offset, uint64_t end)
{
    struct extent *last = x->n ? &x->p[x->n - 1] : NULL;

    if (last && offset <= last->offset + last->len) {
        last->len = u64_max(end, last->offset + last->len) - last->offset;
        return;
    }
    if (x->n == x->room) {
        x->room = x->room ? x->room * 2 : 64;
        x->p = xrealloc(x->p, x->room * sizeof(x->p[0]));
    }
    x->p[x->n++] = (struct extent){offset, end - offset};
}

/* Whole blocks only; a neighbour may have claimed the first already. */
static void
add_blocks(const struct nbdsource *s, struct extents *x, uint64_t offset,
           uint64_t len)
{
    uint64_t end =
        u64_min(s->size, round_up(offset + len, (uint64_t)VOLUME_BLOCK_BYTES));

    if (len > 0)
        add_extent(x, offset - offset % VOLUME_BLOCK_BYTES, end);
}

/* What one reply says. */
struct described {
    struct nbdsource *source;
    const char *context;
    struct extents *out;
    uint64_t end;
    bool (*wanted)(uint32_t flags);
};

static bool
is_data(uint32_t flags)
{
    return !(flags & LIBNBD_STATE_ZERO);
}

static bool
is_dirty(uint32_t flags)
{
    return flags & 1; /* QEMU docs/interop/nbd.txt: NBD_STATE_DIRTY */
}

/* Of a hole, just reported: what was none at the instant. */
static void
add_copied(const struct nbdsource *s, struct extents *x, uint64_t from,
           uint64_t to)
{
    for (uint64_t at = from; (at = copied_next(s->copied, at, to)) < to;) {
        uint64_t end = copied_end(s->copied, at, to);
        add_blocks(s, x, at, end - at);
        at = end;
    }
}

static int
take_extents(void *user_data, const char *context, uint64_t offset,
             uint32_t *entries, size_t n_entries, int *error)
{
    struct described *d = user_data;

    if (strcmp(context, d->context) != 0)
        return 0;
    for (size_t i = 0; i + 1 < n_entries && i < MAX_EXTENTS; i += 2) {
        uint64_t len = u64_min(entries[i], d->end - offset);
        if (d->wanted(entries[i + 1]))
            add_blocks(d->source, d->out, offset, len);
        else if (d->wanted == is_data && d->source->copied)
            add_copied(d->source, d->out, offset, offset + len);
        offset += len;
    }
    d->source->described = offset;
    *error = 0;
    return 0;
}

static int
describe(struct nbdlink *link, struct described *d, uint64_t from,
         struct err *e)
{
    struct nbdsource *s = d->source;

    for (s->described = from; s->described < d->end;) {
        uint64_t at = s->described;
        if (nbdlink_block_status(
                link, at, d->end - at,
                (nbd_extent_callback){.callback = take_extents, .user_data = d},
                e) == -1)
            return -1;
        if (s->described <= at)
            return err_set(e, ERR_QEMU,
                           "the NBD server describes nothing at "
                           "%llu",
                           (unsigned long long)at);
    }
    return 0;
}

/* The data in [from, to), into s->data. */
static int
describe_data(struct nbdsource *s, uint64_t from, uint64_t to, struct err *e)
{
    struct described d = {s, LIBNBD_CONTEXT_BASE_ALLOCATION, &s->data, to,
                          is_data};

    s->data.n = 0;
    if (s->has_allocation)
        return describe(s->link, &d, from, e);
    add_blocks(s, &s->data, from, to - from);
    return 0;
}

/* Leave of s->data only what is in s->changed too. */
static void
cut_to_changed(struct nbdsource *s)
{
    struct extents both = {0};

    for (size_t i = 0, k = 0; i < s->data.n && k < s->changed.n;) {
        const struct extent *a = &s->data.p[i], *b = &s->changed.p[k];
        uint64_t at = u64_max(a->offset, b->offset);
        uint64_t end = u64_min(a->offset + a->len, b->offset + b->len);
        if (at < end)
            add_extent(&both, at, end);
        if (a->offset + a->len < b->offset + b->len)
            i++;
        else
            k++;
    }
    free(s->data.p);
    s->data = both;
}

static int
describe_window(struct nbdsource *s, uint64_t from, struct err *e)
{
    struct described d = {s, s->context, &s->changed, s->window_end, is_dirty};

    if (!s->dirty)
        return describe_data(s, from, s->window_end, e);
    s->changed.n = 0;
    s->data.n = 0;
    if (describe(s->dirty, &d, from, e) == -1)
        return -1;
    if (s->changed.n == 0)
        return 0;
    const struct extent *last = &s->changed.p[s->changed.n - 1];
    if (describe_data(s, s->changed.p[0].offset, last->offset + last->len, e) ==
        -1)
        return -1;
    cut_to_changed(s);
    return 0;
}

int
nbdsource_is_dirty_at(struct nbdsource *s, uint64_t offset, bool *out,
                      struct err *e)
{
    struct described d = {s, s->context, &s->changed, s->size, is_dirty};

    s->changed.n = 0;
    if (describe(s->dirty, &d, offset, e) == -1)
        return -1;
    *out = s->changed.n > 0 && s->changed.p[0].offset <= offset;
    s->changed.n = 0;
    return 0;
}

void
nbdsource_forget_bitmap(struct nbdsource *s)
{
    nbdlink_close(STEAL(s->dirty));
}

/* ---- reading ------------------------------------------------------------ */

static void
filling_put(struct filling *f)
{
    struct nbdsource *s = f->source;

    if (--f->reads > 0)
        return;
    if (s->failed.code == ERR_OK)
        volume_submit(s->volume, f->slot);
    else
        volume_drop(s->volume, f->slot);
    free(f);
}

static int
read_done(void *user_data, int *error)
{
    struct read_request *r = user_data;
    struct filling *f = r->filling;

    r->ended = true;
    if (*error == 0)
        slot_mark(f->slot, r->offset, r->len);
    else if (f->source->failed.code == ERR_OK)
        (void)err_set(&f->source->failed, ERR_IO,
                      "reading %u bytes at %llu: %s", r->len,
                      (unsigned long long)(f->slot->index * VOLUME_SLOT_BYTES +
                                           r->offset),
                      *error == ENOTCONN
                          ? "QEMU has closed the connection, as it does when "
                            "it cannot read the image"
                          : strerrordesc_np(*error));
    return 1; /* retire the command */
}

/* libnbd is done with the request, also one that never got an answer. */
static void
read_free(void *user_data)
{
    struct read_request *r = user_data;
    struct nbdsource *s = r->filling->source;

    if (!r->ended && s->failed.code == ERR_OK)
        (void)err_set(&s->failed, ERR_CANCELED, "reading was given up");
    s->requests--;
    filling_put(r->filling);
    free(r);
}

static int
pump_until(struct nbdsource *s, unsigned requests, struct err *e)
{
    while (s->requests > requests && s->failed.code == ERR_OK)
        if (nbdlink_wait(s->link, e) == -1)
            return -1;
    if (s->failed.code == ERR_OK)
        return 0;
    *e = s->failed;
    return -1;
}

static int
start_read(struct nbdsource *s, struct filling *f, uint32_t offset,
           uint32_t len, struct err *e)
{
    struct read_request *r = xcalloc(1, sizeof(*r));

    *r = (struct read_request){.filling = f, .offset = offset, .len = len};
    f->reads++;
    s->requests++;
    /* From here on the request is libnbd's: it calls read_free in any case. */
    if (nbd_aio_pread(nbdlink_handle(s->link), f->slot->data + offset, len,
                      f->slot->index * VOLUME_SLOT_BYTES + offset,
                      (nbd_completion_callback){.callback = read_done,
                                                .user_data = r,
                                                .free = read_free},
                      0) == -1)
        return nbdlink_failed(e, "cannot start a read");
    return 0;
}

/* Read [at, to) of the disk into the slot. */
static int
fill_part(struct nbdsource *s, struct filling *f, uint64_t at, uint64_t to,
          struct err *e)
{
    uint64_t base = f->slot->index * VOLUME_SLOT_BYTES;

    while (at < to) {
        uint32_t len = (uint32_t)u64_min(to - at, s->request_bytes -
                                                      at % s->request_bytes);
        if (pump_until(s, MAX_REQUESTS - 1, e) == -1 ||
            start_read(s, f, (uint32_t)(at - base), len, e) == -1)
            return -1;
        s->read_bytes += len;
        at += len;
    }
    return 0;
}

/* The part of an extent that lies in the slot, or none of it. */
static bool
inside_slot(const struct slot *slot, const struct extent *x, uint64_t *out_at,
            uint64_t *out_end)
{
    uint64_t base = slot->index * VOLUME_SLOT_BYTES;

    *out_at = u64_max(base, x->offset);
    *out_end = u64_min(base + slot->len, x->offset + x->len);
    return *out_at < *out_end;
}

/* *next: the first extent that goes on behind the slots filled so far. */
static int
fill_slot(struct nbdsource *s, struct filling *f, size_t *next, struct err *e)
{
    uint64_t end = f->slot->index * VOLUME_SLOT_BYTES + f->slot->len;
    uint64_t at = 0, to = 0;

    for (; *next < s->data.n && s->data.p[*next].offset < end; (*next)++) {
        if (inside_slot(f->slot, &s->data.p[*next], &at, &to) &&
            fill_part(s, f, at, to, e) == -1)
            return -1;
        if (s->data.p[*next].offset + s->data.p[*next].len > end)
            return 0; /* it goes on in the next slot */
    }
    return 0;
}

static void
note_changed(struct nbdsource *s, struct filling *f, size_t *next)
{
    uint64_t base = f->slot->index * VOLUME_SLOT_BYTES;
    uint64_t end = base + f->slot->len, at = 0, to = 0;

    for (; *next < s->changed.n && s->changed.p[*next].offset < end;
         (*next)++) {
        if (inside_slot(f->slot, &s->changed.p[*next], &at, &to))
            slot_change(f->slot, (uint32_t)(at - base), (uint32_t)(to - at));
        if (s->changed.p[*next].offset + s->changed.p[*next].len > end)
            return;
    }
}

/* Requests that are under way hold slots: who waited for a slot without taking
 * their answers could wait for ever. */
static int
take_slot(struct nbdsource *s, uint64_t index, struct slot **out, struct err *e)
{
    while (s->requests > 0) {
        int rc = volume_try_slot(s->volume, index, out, e);
        if (rc != 0)
            return rc == 1 ? 0 : -1;
        if (pump_until(s, s->requests - 1, e) == -1)
            return -1;
    }
    return volume_slot(s->volume, index, out, e);
}

/* The slots in which there is something to do: with a bitmap those with
 * changes, else those with data. */
static int
copy_window(struct nbdsource *s, struct err *e)
{
    size_t next_data = 0, next_changed = 0;
    const struct extents *walk = s->dirty ? &s->changed : &s->data;
    const size_t *next = s->dirty ? &next_changed : &next_data;
    uint64_t done = 0;

    while (*next < walk->n) {
        uint64_t at = u64_max(done, walk->p[*next].offset);
        struct filling *f = xcalloc(1, sizeof(*f));

        *f = (struct filling){.source = s, .reads = 1};
        if (take_slot(s, at / VOLUME_SLOT_BYTES, &f->slot, e) == -1) {
            free(f);
            return -1;
        }
        done = f->slot->index * VOLUME_SLOT_BYTES + f->slot->len;
        if (s->dirty)
            note_changed(s, f, &next_changed);
        int rc = fill_slot(s, f, &next_data, e);
        if (rc == -1 && s->failed.code == ERR_OK)
            s->failed = *e;
        filling_put(f);
        if (rc == -1)
            return -1;
        s->reached = done;
        if (s->progress(s->cookie, done, e) == -1)
            return -1;
    }
    return 0;
}

static int
copy(struct nbdsource *s, struct err *e)
{
    for (uint64_t at = 0; at < s->size; at = s->window_end) {
        s->window_end = u64_min(s->size, at + WINDOW_BYTES);
        if (describe_window(s, at, e) == -1 || copy_window(s, e) == -1)
            return -1;
        s->reached = s->window_end;
        if (s->progress(s->cookie, s->window_end, e) == -1)
            return -1;
    }
    return pump_until(s, 0, e);
}

int
nbdsource_copy(struct nbdsource *s, struct volume_writer *v, struct err *e)
{
    s->volume = v;
    if (copy(s, e) == 0)
        return 0;
    nbdlink_cut(s->link); /* ends the requests, which gives their slots back */
    s->link = NULL;
    return -1;
}
