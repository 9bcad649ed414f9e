/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several threads read the disk, each through views of its own, find out what
 * is zero, have places given to the rest, and write it there; one follows the
 * machine state.  Tables and header come last, by the writer.
 */
#include "restore/extract.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/reader.h"
#include "qcow2/writer.h"
#include "restore/newfile.h"
#include "restore/statecheck.h"
#include "work/cancel.h"
#include "work/pool.h"

enum {
    READERS = 4, /* that a disk has something to do, not for the cores */
    CHUNK_BYTES = 512 << 10,
    PARTS_AHEAD = 4 /* for each of them; asked for, not in memory of ours */
};

/* What one thread works with. */
struct hand {
    struct hand *next; /* idle too */
    struct qcow2_layered *view;
    uint8_t *bytes; /* chunk_bytes */
};

struct extraction {
    const struct extract_options *o; /* borrowed */
    struct cancel *cancel;           /* borrowed */
    struct qcow2_layers *layers;
    const struct qcow2_snapshot *snapshot; /* the image's */
    struct qcow2_layered *plan;            /* the main thread's view */
    uint64_t chunk_bytes, total_bytes;
    struct newfile *file;
    struct hand hands[READERS];
    struct extract_result result; /* but what the lock guards */

    /* Guards what follows, and progress; no reading or writing of data under
     * it, only tables of the new image. */
    pthread_mutex_t lock;
    struct qcow2_writer *writer;
    struct hand *idle;
    uint64_t done_bytes, read_bytes, written_bytes;
};

/* A part of the disk to be copied. */
struct part {
    struct extraction *x;
    uint64_t offset;
    size_t len;
};

static void
lock(struct extraction *x)
{
    (void)pthread_mutex_lock(&x->lock);
}

static void
unlock(struct extraction *x)
{
    (void)pthread_mutex_unlock(&x->lock);
}

/* Under the lock. */
static void
tell(struct extraction *x, const char *phase, const char *what)
{
    const struct progress p = {phase, what, x->done_bytes, x->total_bytes};

    if (x->o->progress)
        x->o->progress(x->o->progress_cookie, &p);
}

static void
warn(struct extract_result *r, char *text)
{
    if (r->n_warnings < EXTRACT_MAX_WARNINGS)
        r->warnings[r->n_warnings++] = text;
    else
        free(text);
}

static int
write_run(struct extraction *x, uint64_t host, const uint8_t *p, size_t len,
          struct err *e)
{
    if (fd_pwrite(newfile_fd(x->file), p, len, host, newfile_path(x->file),
                  e) == -1)
        return -1;
    newfile_start_writing(x->file, host, len);
    return 0;
}

/* ---- the disk ------------------------------------------------------------ */

static struct hand *
take_hand(struct extraction *x)
{
    lock(x);
    struct hand *h = x->idle; /* there are as many as threads */
    x->idle = h->next;
    unlock(x);
    return h;
}

static void
give_hand(struct extraction *x, struct hand *h)
{
    lock(x);
    h->next = x->idle;
    x->idle = h;
    unlock(x);
}

/* Writes bytes that were read, run by run. */
static int
put_disk(struct extraction *x, uint64_t offset, const uint8_t *p, size_t len,
         struct err *e)
{
    uint64_t written = 0;

    for (size_t at = 0; at < len;) {
        bool zero = false;
        uint64_t host = 0;
        size_t n =
            qcow2_writer_run(x->writer, offset + at, p + at, len - at, &zero);
        lock(x);
        int rc = qcow2_writer_place(x->writer, offset + at, n, zero, &host, e);
        unlock(x);
        if (rc == -1 || (host && write_run(x, host, p + at, n, e) == -1))
            return -1;
        written += host ? n : 0;
        at += n;
    }
    lock(x);
    x->done_bytes += len;
    x->read_bytes += len;
    x->written_bytes += written;
    tell(x, "read", "disk");
    unlock(x);
    return 0;
}

static int
copy_part(struct extraction *x, struct hand *h, const struct part *part,
          struct err *e)
{
    /* The new disk ends with a whole sector, the old one need not. */
    uint64_t bytes = x->snapshot->disk_bytes;
    size_t there = u64_min(part->len, bytes - part->offset);

    memset(h->bytes + there, 0, part->len - there);
    if (cancel_check(x->cancel, e) == -1 ||
        qcow2_view_read(qcow2_layered_view(h->view), part->offset, h->bytes,
                        there, e) == -1)
        return -1;
    return put_disk(x, part->offset, h->bytes, part->len, e);
}

static int
run_part(void *arg, int failed, struct err *e)
{
    struct part *part = arg;
    struct extraction *x = part->x;
    int rc = 0;

    if (!failed) {
        struct hand *h = take_hand(x);
        rc = copy_part(x, h, part, e);
        give_hand(x, h);
    }
    free(part);
    return rc;
}

static bool
is_hole(const struct extraction *x, const struct qcow2_extent *extent)
{
    bool backed = qcow2_image_header(qcow2_layers_image(x->layers))->backing;

    return extent->kind == QCOW2_ZEROS ||
           (extent->kind == QCOW2_UNALLOCATED && !backed);
}

/* Skips holes and cuts the rest into parts, at multiples of the chunk. */
static int
hand_out_disk(struct extraction *x, struct group *g, struct err *e)
{
    uint64_t end = x->snapshot->disk_bytes;
    uint64_t new_end = round_up(end, QCOW2_SECTOR_BYTES);
    uint64_t cluster =
        qcow2_geometry_of(qcow2_image_header(qcow2_layers_image(x->layers)))
            .cluster_bytes;

    for (uint64_t at = 0; at < end && !group_failed(g);) {
        struct qcow2_extent extent = {0};
        if (qcow2_view_map(qcow2_layered_view(x->plan), at, &extent, e) == -1)
            return -1;
        uint64_t hole_end = extent.offset + extent.len;
        if (hole_end < end)
            hole_end -= hole_end % cluster;
        if (is_hole(x, &extent) && hole_end > at) {
            at = hole_end;
            continue;
        }
        uint64_t to =
            u64_min(new_end, at - at % x->chunk_bytes + x->chunk_bytes);
        qcow2_view_will_read(qcow2_layered_view(x->plan), &extent, to - at);
        struct part *part = xmalloc(sizeof(*part));
        *part = (struct part){x, at, to - at};
        group_run(g, run_part, part);
        at = to;
    }
    return 0;
}

/* ---- the machine state --------------------------------------------------- */

static int
put_vmstate(struct extraction *x, const uint8_t *p, size_t len, struct err *e)
{
    while (len > 0) {
        uint64_t host = 0;
        size_t n = 0;
        lock(x);
        int rc = qcow2_writer_place_vmstate(x->writer, len, &host, &n, e);
        unlock(x);
        if (rc == -1 || write_run(x, host, p, n, e) == -1)
            return -1;
        p += n;
        len -= n;
        lock(x);
        x->done_bytes += n;
        x->read_bytes += n;
        x->written_bytes += n;
        tell(x, "read", "memory");
        unlock(x);
    }
    return 0;
}

static int
copy_vmstate(struct extraction *x, struct hand *h, struct statecheck *check,
             struct err *e)
{
    uint64_t bytes = x->snapshot->vmstate_bytes;

    for (uint64_t at = 0; at < bytes; at += x->chunk_bytes) {
        size_t n = u64_min(x->chunk_bytes, bytes - at);
        if (cancel_check(x->cancel, e) == -1 ||
            qcow2_view_read_vmstate(qcow2_layered_view(h->view), at, h->bytes,
                                    n, e) == -1 ||
            (check && statecheck_push(check, h->bytes, n, e) == -1) ||
            put_vmstate(x, h->bytes, n, e) == -1)
            return -1;
    }
    if (!check)
        return 0;
    if (statecheck_end(check, e) == -1)
        return -1;
    if (statecheck_unknown(check))
        warn(&x->result,
             xasprintf("the machine state is of a kind that could not be "
                       "checked: %s",
                       statecheck_unknown(check)));
    return 0;
}

static int
run_vmstate(void *arg, int failed, struct err *e)
{
    struct extraction *x = arg;
    CLEANUP(statecheck_freep)
    struct statecheck *check = x->o->unchecked ? NULL : statecheck_new();

    if (failed)
        return 0;
    struct hand *h = take_hand(x);
    int rc = copy_vmstate(x, h, check, e);
    give_hand(x, h);
    return rc;
}

/* ---- all of it ----------------------------------------------------------- */

static int
copy_all(struct extraction *x, struct err *e)
{
    struct pool *pool = pool_new(READERS);
    struct group *g = group_new(pool, READERS * PARTS_AHEAD);
    struct err why = {0};

    if (x->snapshot->vmstate_bytes > 0)
        group_run(g, run_vmstate, x);
    int rc = hand_out_disk(x, g, &why);
    if (group_wait(g, e) == -1)
        rc = -1; /* that came first */
    else if (rc == -1)
        *e = why;
    group_free(g);
    pool_free(pool);
    return rc;
}

static int
find_snapshot(struct extraction *x, struct err *e)
{
    const struct qcow2_snapshots *all =
        qcow2_image_snapshots(qcow2_layers_image(x->layers));

    x->snapshot = qcow2_snapshot_find(all, x->o->snapshot);
    if (x->snapshot)
        return 0;
    (void)err_set(e, ERR_NOENT, "%s has no snapshot '%s'", x->o->files.image,
                  x->o->snapshot);
    return err_hint(e, "`vmkeep extract --list` shows which it has");
}

/* Is everything there?  Before the first byte is written. */
static int
check_tables(struct extraction *x, struct err *e)
{
    struct qcow2_check check = {0};

    if (qcow2_view_check(qcow2_layered_view(x->plan), &check, e) == -1)
        return -1;
    if (check.overlaps > 0)
        warn(&x->result,
             xasprintf("%llu clusters of the disk lie over others, the first "
                       "at offset %llu: whoever wrote the image damaged it, "
                       "and of each two at least one has wrong bytes",
                       (unsigned long long)check.overlaps,
                       (unsigned long long)check.first_overlap));
    x->total_bytes = check.data_bytes + x->snapshot->vmstate_bytes;
    return 0;
}

static int
open_writer(struct extraction *x, struct err *e)
{
    const struct qcow2_snapshot *s = x->snapshot;
    const struct qcow2_header *h =
        qcow2_image_header(qcow2_layers_image(x->layers));
    const struct qcow2_write_options w = {
        .size_bytes = round_up(s->disk_bytes, QCOW2_SECTOR_BYTES),
        .cluster_bits = h->cluster_bits,
        .snapshot = s->name,
        .snapshot_id = s->id,
        .time_ns = (int64_t)s->date_sec * 1000000000 + s->date_nsec,
        .vm_clock_ns = s->vm_clock_ns,
        .unsynced = true, /* the file has no name yet */
        .icount = s->icount == QCOW2_NO_ICOUNT ? NULL : &s->icount,
    };

    if (newfile_open(x->o->target, &x->file, e) == -1)
        return -1;
    return qcow2_writer_open(newfile_fd(x->file), &w, &x->writer, e);
}

static int
open_hands(struct extraction *x, struct err *e)
{
    for (size_t i = 0; i < READERS; i++) {
        struct hand *h = &x->hands[i];
        if (qcow2_layers_view(x->layers, x->snapshot, &h->view, e) == -1)
            return -1;
        h->bytes = xmalloc(x->chunk_bytes);
        h->next = x->idle;
        x->idle = h;
    }
    return 0;
}

static int
extract(struct extraction *x, struct err *e)
{
    if (qcow2_layers_open(&x->o->files, &x->layers, e) == -1 ||
        find_snapshot(x, e) == -1)
        return -1;
    x->chunk_bytes =
        u64_max(CHUNK_BYTES,
                UINT64_C(1) << qcow2_image_header(qcow2_layers_image(x->layers))
                                   ->cluster_bits);
    if (qcow2_layers_view(x->layers, x->snapshot, &x->plan, e) == -1 ||
        check_tables(x, e) == -1)
        return err_wrap(e, "snapshot '%s' in %s", x->o->snapshot,
                        x->o->files.image);
    if (open_writer(x, e) == -1 || open_hands(x, e) == -1)
        return -1;
    if (copy_all(x, e) == -1 ||
        qcow2_view_recheck(qcow2_layered_view(x->plan), e) == -1)
        return e->code == ERR_CANCELED
                   ? -1
                   : err_wrap(e, "snapshot '%s' in %s", x->o->snapshot,
                              x->o->files.image);
    lock(x);
    tell(x, "finish", "");
    unlock(x);
    if (cancel_check(x->cancel, e) == -1 ||
        qcow2_writer_commit(&x->writer, e) == -1)
        return -1;
    return newfile_publish(&x->file, e);
}

static void
extraction_done(struct extraction *x)
{
    for (size_t i = 0; i < READERS; i++) {
        qcow2_layered_close(x->hands[i].view);
        free(x->hands[i].bytes);
    }
    qcow2_layered_close(x->plan);
    qcow2_writer_abandonp(&x->writer);
    newfile_abandonp(&x->file);
    qcow2_layers_close(x->layers);
    extract_result_done(&x->result);
    (void)pthread_mutex_destroy(&x->lock);
}

static void
fill_result(struct extraction *x, uint64_t begin)
{
    struct extract_result *r = &x->result;

    r->name = xstrdup(x->snapshot->name);
    r->id = xstrdup(x->snapshot->id);
    r->in_use = qcow2_layers_in_use(x->layers);
    r->disk_bytes = x->snapshot->disk_bytes;
    r->vmstate_bytes = x->snapshot->vmstate_bytes;
    r->read_bytes = x->read_bytes;
    r->written_bytes = x->written_bytes;
    r->duration_ns = clock_mono_ns() - begin;
}

int
extract_snapshot(const struct extract_options *o, struct cancel *cancel,
                 struct extract_result *out, struct err *e)
{
    uint64_t begin = clock_mono_ns();
    struct extraction x = {.o = o, .cancel = cancel};

    (void)pthread_mutex_init(&x.lock, NULL);
    int rc = extract(&x, e);
    if (rc == 0) {
        fill_result(&x, begin);
        *out = x.result;
        x.result = (struct extract_result){0};
    }
    extraction_done(&x);
    return rc;
}

void
extract_result_done(struct extract_result *r)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        free(r->warnings[i]);
    free(r->name);
    free(r->id);
    *r = (struct extract_result){0};
}
