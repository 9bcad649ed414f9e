/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/nbdsource.h"

#include <libnbd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/volume.h"
#include "work/cancel.h"

enum {
    REQUEST_BYTES = 1 << 20, /* a read */
    MAX_REQUESTS = 16,       /* under way */
    STALL_MS = 60000,        /* no byte from QEMU for so long: it hangs */
    MAX_EXTENTS = 1 << 20    /* in one answer; QEMU sends far fewer */
};

/* The extents of one window of the disk are asked for at once. */
#define WINDOW_BYTES (UINT64_C(1) << 30)

struct extent {
    uint64_t offset, len;
};

struct nbdsource {
    struct nbd_handle *nbd;
    uint64_t size;
    bool has_allocation;

    /* of the window under way */
    struct extent *data;
    size_t n_data, room;
    uint64_t window_end;
    uint64_t described; /* its extents are known up to here */

    /* of the copy under way */
    struct volume_writer *volume;
    nbdsource_progress_fn *progress;
    void *cookie;
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
nbd_failed(struct err *e, const char *what)
{
    return err_set(e, ERR_IO, "%s: %s", what, nbd_get_error());
}

int
nbdsource_open(const char *path, const char *name, struct nbdsource **out,
               struct err *e)
{
    CLEANUP(nbdsource_closep) struct nbdsource *s = xcalloc(1, sizeof(*s));

    s->nbd = nbd_create();
    if (!s->nbd)
        return nbd_failed(e, "NBD");
    if (nbd_set_export_name(s->nbd, name) == -1 ||
        nbd_add_meta_context(s->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
        nbd_connect_unix(s->nbd, path) == -1)
        return nbd_failed(e, "cannot connect to QEMU's NBD server");
    int64_t size = nbd_get_size(s->nbd);
    if (size < 0)
        return nbd_failed(e, "cannot get the disk's size");
    s->size = (uint64_t)size;
    s->has_allocation =
        nbd_can_meta_context(s->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    *out = STEAL(s);
    return 0;
}

void
nbdsource_close(struct nbdsource *s)
{
    if (!s)
        return;
    if (s->nbd) {
        (void)nbd_shutdown(s->nbd, 0); /* it may be gone already */
        nbd_close(s->nbd);
    }
    free(s->data);
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

/* ---- what is data ------------------------------------------------------- */

static void
add_data(struct nbdsource *s, uint64_t offset, uint64_t len)
{
    struct extent *last = s->n_data ? &s->data[s->n_data - 1] : NULL;

    /* Whole blocks only; a neighbour may have claimed the first already. */
    uint64_t end =
        u64_min(s->size, round_up(offset + len, (uint64_t)VOLUME_BLOCK_BYTES));
    offset -= offset % VOLUME_BLOCK_BYTES;
    if (last && offset <= last->offset + last->len) {
        last->len = u64_max(end, last->offset + last->len) - last->offset;
        return;
    }
    if (s->n_data == s->room) {
        s->room = s->room ? s->room * 2 : 64;
        s->data = xrealloc(s->data, s->room * sizeof(s->data[0]));
    }
    s->data[s->n_data++] = (struct extent){offset, end - offset};
}

static int
take_extents(void *user_data, const char *context, uint64_t offset,
             uint32_t *entries, size_t n_entries, int *error)
{
    struct nbdsource *s = user_data;

    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    for (size_t i = 0; i + 1 < n_entries && i < MAX_EXTENTS; i += 2) {
        uint64_t len = u64_min(entries[i], s->window_end - offset);
        if (!(entries[i + 1] & LIBNBD_STATE_ZERO))
            add_data(s, offset, len);
        offset += len;
    }
    s->described = offset;
    *error = 0;
    return 0;
}

/* The data from `from` to the window's end, into s->data. */
static int
describe_window(struct nbdsource *s, uint64_t from, struct err *e)
{
    uint64_t to = s->window_end;

    s->n_data = 0;
    if (!s->has_allocation) {
        add_data(s, from, to - from);
        return 0;
    }
    for (s->described = from; s->described < to;) {
        uint64_t at = s->described;
        if (nbd_block_status(
                s->nbd, to - at, at,
                (nbd_extent_callback){.callback = take_extents, .user_data = s},
                0) == -1)
            return nbd_failed(e, "cannot ask what is allocated");
        if (s->described <= at)
            return err_set(e, ERR_QEMU,
                           "the NBD server describes nothing at "
                           "%llu",
                           (unsigned long long)at);
    }
    return 0;
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
                      strerrordesc_np(*error));
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

/* Wait until something came, at most until STALL_MS. */
static int
pump(struct nbdsource *s, struct cancel *cancel, struct err *e)
{
    unsigned direction = nbd_aio_get_direction(s->nbd);
    struct pollfd p[] = {
        {.fd = nbd_aio_get_fd(s->nbd)},
        {.fd = cancel_fd(cancel), .events = POLLIN},
    };

    if (direction & LIBNBD_AIO_DIRECTION_READ)
        p[0].events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        p[0].events |= POLLOUT;
    int n = poll(p, ARRAY_LEN(p), STALL_MS);
    if (n == 0)
        return err_set(e, ERR_TIMEOUT, "QEMU's NBD server does not answer");
    if (cancel_check(cancel, e) == -1)
        return -1;
    int rc = 0;
    if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) &&
        (direction & LIBNBD_AIO_DIRECTION_READ))
        rc = nbd_aio_notify_read(s->nbd);
    else if (p[0].revents & (POLLOUT | POLLERR))
        rc = nbd_aio_notify_write(s->nbd);
    return rc == -1 ? nbd_failed(e, "NBD connection") : 0;
}

static int
pump_until(struct nbdsource *s, unsigned requests, struct cancel *cancel,
           struct err *e)
{
    while (s->requests > requests && s->failed.code == ERR_OK)
        if (pump(s, cancel, e) == -1)
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
    if (nbd_aio_pread(s->nbd, f->slot->data + offset, len,
                      f->slot->index * VOLUME_SLOT_BYTES + offset,
                      (nbd_completion_callback){.callback = read_done,
                                                .user_data = r,
                                                .free = read_free},
                      0) == -1)
        return nbd_failed(e, "cannot start a read");
    return 0;
}

/* The part of the data extents that lies in the slot. */
static int
fill_slot(struct nbdsource *s, struct filling *f, size_t *next,
          struct cancel *cancel, struct err *e)
{
    uint64_t base = f->slot->index * VOLUME_SLOT_BYTES;
    uint64_t end = base + f->slot->len;

    for (; *next < s->n_data && s->data[*next].offset < end; (*next)++) {
        uint64_t at = u64_max(base, s->data[*next].offset);
        uint64_t to = u64_min(end, s->data[*next].offset + s->data[*next].len);
        while (at < to) {
            uint32_t len = (uint32_t)u64_min(to - at, REQUEST_BYTES);
            if (pump_until(s, MAX_REQUESTS - 1, cancel, e) == -1 ||
                start_read(s, f, (uint32_t)(at - base), len, e) == -1)
                return -1;
            at += len;
        }
        if (s->data[*next].offset + s->data[*next].len > end)
            return 0; /* it goes on in the next slot */
    }
    return 0;
}

static int
copy_window(struct nbdsource *s, struct cancel *cancel, struct err *e)
{
    uint64_t done = 0;

    for (size_t next = 0; next < s->n_data;) {
        uint64_t at = u64_max(done, s->data[next].offset);
        struct filling *f = xcalloc(1, sizeof(*f));

        *f = (struct filling){.source = s, .reads = 1};
        if (volume_slot(s->volume, at / VOLUME_SLOT_BYTES, &f->slot, e) == -1) {
            free(f);
            return -1;
        }
        done = f->slot->index * VOLUME_SLOT_BYTES + f->slot->len;
        int rc = fill_slot(s, f, &next, cancel, e);
        if (rc == -1 && s->failed.code == ERR_OK)
            s->failed = *e;
        filling_put(f);
        if (rc == -1)
            return -1;
        s->progress(s->cookie, done);
    }
    return 0;
}

static int
copy(struct nbdsource *s, struct cancel *cancel, struct err *e)
{
    for (uint64_t at = 0; at < s->size; at = s->window_end) {
        s->window_end = u64_min(s->size, at + WINDOW_BYTES);
        if (describe_window(s, at, e) == -1 || copy_window(s, cancel, e) == -1)
            return -1;
        s->progress(s->cookie, s->window_end);
    }
    return pump_until(s, 0, cancel, e);
}

int
nbdsource_copy(struct nbdsource *s, struct volume_writer *v,
               nbdsource_progress_fn *fn, void *cookie, struct cancel *cancel,
               struct err *e)
{
    s->volume = v;
    s->progress = fn;
    s->cookie = cookie;
    if (copy(s, cancel, e) == 0)
        return 0;
    nbd_close(s->nbd); /* ends the requests, which gives their slots back */
    s->nbd = NULL;
    return -1;
}
