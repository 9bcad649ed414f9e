/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/drainer.h"
#include "capture/endmark.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/nbdsource.h"
#include "capture/ramspool.h"
#include "capture/spoolsource.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "work/cancel.h"

enum {
    STREAM_STALL_MS = 120000, /* not a byte of RAM for so long: it hangs */
    STREAM_LOOK_MS = 200
};

/* ---- disks ----------------------------------------------------------------
 */

struct disk_progress {
    struct live *live;
    const char *name;
    uint64_t before; /* bytes done when this disk began */
};

static int
disk_reached(void *cookie, uint64_t offset, struct err *e)
{
    struct disk_progress *p = cookie;

    p->live->done_bytes = p->before + offset;
    live_progress(p->live, "read", p->name);
    return live_tend(p->live, e);
}

static int
export_disk(struct live *l, const struct live_disk *d, struct err *e)
{
    json_t *args =
        json_pack("{s:s, s:s, s:s, s:s, s:b}", "type", "nbd", "id", d->export,
                  "node-name", d->access, "name", d->export, "writable", 0);

    if (d->base)
        (void)json_object_set_new(args, "bitmaps",
                                  json_pack("[{s:s, s:s}]", "node",
                                            d->disk->node, "name", d->changed));
    return qmp_run(l->qmp, "block-export-add", args, NULL, e);
}

static int
begin_volume(struct live *l, const struct live_disk *d, const char *name,
             struct volume_writer **out, struct err *e)
{
    if (d->base)
        return volume_begin_on(l->backup, name, d->base, out, e);
    return volume_begin(l->backup, name, d->disk->size_bytes, out, e);
}

static int
copy_disk(struct live *l, struct live_disk *d, struct nbdsource *source,
          struct err *e)
{
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->disk->name);
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};

    if (nbdsource_size_bytes(source) != d->disk->size_bytes)
        return err_set(e, ERR_QEMU, "its size changed from %llu to %llu bytes",
                       (unsigned long long)d->disk->size_bytes,
                       (unsigned long long)nbdsource_size_bytes(source));
    if (begin_volume(l, d, name, &v, e) == -1)
        return -1;
    if (nbdsource_copy(source, v, e) == -1) {
        struct err room = {0};
        if (e->code == ERR_IO && live_check_room(l, &room) == -1) {
            *e = room; /* that is why */
            return -1;
        }
        if (e->code == ERR_IO)
            return err_hint(e,
                            "if it was not cut off, the guest overwrote more "
                            "than the scratch folder could hold, or a copy "
                            "took longer than the write stall allowed");
        return -1;
    }
    if (volume_end(&v, &root, e) == -1)
        return -1;
    d->read_bytes = nbdsource_read_bytes(source);
    manifest_add_volume(l->manifest, name, &root);
    return 0;
}

/* A bitmap that has lost its mark is not believed. */
static int
check_mark(struct live_disk *d, struct nbdsource *source, struct err *e)
{
    uint64_t bytes = d->disk->size_bytes;
    bool is_there = false;

    if (!d->base || bytes == 0)
        return 0;
    if (nbdsource_is_dirty_at(
            source, endmark_offset(bytes, tracking_grain_bytes(bytes)),
            &is_there, e) == -1)
        return -1;
    if (is_there)
        return 0;
    nbdsource_forget_bitmap(source);
    d->base = NULL;
    d->why_full = "it was made smaller and as large again, or its bitmap was "
                  "cleared";
    return 0;
}

static int
pull_disk(struct live *l, struct live_disk *d, struct err *e)
{
    CLEANUP(nbdsource_closep) struct nbdsource *source = NULL;
    struct disk_progress p = {l, d->disk->name, l->done_bytes};

    if (nbdsource_open(l->intent->nbd_path, d->export,
                       d->base ? d->changed : NULL, disk_reached, &p, l->cancel,
                       &source, e) == -1)
        return err_wrap(e, "disk %s of machine %s", d->disk->name,
                        l->machine->name);
    if (qmp_version(l->qmp)->major < 10) {
        nbdsource_read_in_blocks(source, CBW_PART_BYTES);
        nbdsource_doubt_holes(source, &d->copied);
    }
    if (check_mark(d, source, e) == -1 || copy_disk(l, d, source, e) == -1)
        return err_wrap(e, "disk %s of machine %s", d->disk->name,
                        l->machine->name);
    return 0;
}

static int
pull_disks(struct live *l, struct err *e)
{
    for (size_t i = 0; i < l->n_disks; i++)
        if ((l->by_fuse ? live_pull_by_fuse(l, i, e)
                        : pull_disk(l, &l->disks[i], e)) == -1)
            return -1;
    return 0;
}

/* Is it the base's fault, so that without it there is a chance? */
static bool
blames_base(const struct live *l, const struct err *e)
{
    return l->base && (e->code == ERR_CORRUPT || e->code == ERR_UNSUP ||
                       e->code == ERR_USAGE);
}

/* ---- RAM -------------------------------------------------------------------
 */

/* Wait until the drainer has it all. */
static int
await_stream(struct live *l, struct err *e)
{
    struct deadline stall = deadline_in_ms(STREAM_STALL_MS);
    uint64_t seen = 0;

    for (;;) {
        enum drainer_state s = drainer_state(l->drainer);
        if (s == DRAINER_DONE)
            return ramspool_open_result(l->spool, e);
        if (s == DRAINER_FAILED) {
            (void)ramspool_open_result(l->spool, e);
            return -1;
        }
        if (ramspool_stream_bytes(l->spool) != seen) {
            seen = ramspool_stream_bytes(l->spool);
            stall = deadline_in_ms(STREAM_STALL_MS);
        }
        if (deadline_passed(stall))
            return err_set(e, ERR_TIMEOUT, "QEMU sends no more RAM");
        struct pollfd p[] = {
            {.fd = drainer_fd(l->drainer), .events = POLLIN},
            {.fd = cancel_fd(l->cancel), .events = POLLIN},
        };
        (void)poll(p, ARRAY_LEN(p), STREAM_LOOK_MS);
        if (cancel_check(l->cancel, e) == -1 || live_tend(l, e) == -1)
            return -1;
        live_progress(l, "read", "RAM");
    }
}

struct spool_progress {
    struct live *live;
    uint64_t before; /* bytes done when the RAM began */
};

static void
spool_reached(void *cookie, const char *what, uint64_t done_bytes)
{
    struct spool_progress *p = cookie;

    p->live->done_bytes = p->before + done_bytes;
    live_progress(p->live, "read", what);
}

int
live_pull_spool(struct live *l, struct err *e)
{
    struct spool_progress p = {l, l->done_bytes};

    /* Video RAM and the like come in beside what the machine calls RAM. */
    l->total_bytes = l->done_bytes + spoolsource_bytes(l->spool);
    return spoolsource_copy(l->spool, l->backup, l->manifest, spool_reached, &p,
                            l->cancel, e);
}

static int
pull_ram(struct live *l, struct err *e)
{
    if (await_stream(l, e) == -1)
        return err_wrap(e, "machine %s", l->machine->name);
    return live_pull_spool(l, e);
}

int
live_pull(struct live *l, struct err *e)
{
    l->total_bytes = l->disks_only ? 0 : l->machine->ram_bytes;
    for (size_t i = 0; i < l->n_disks; i++)
        l->total_bytes += l->disks[i].disk->size_bytes;
    for (size_t i = 0; i < l->n_disks; i++)
        if (!l->by_fuse && export_disk(l, &l->disks[i], e) == -1)
            return err_wrap(e, "disk %s of machine %s", l->disks[i].disk->name,
                            l->machine->name);
    uint64_t begin = clock_mono_ns();
    int rc = pull_disks(l, e);
    if (rc == -1 && blames_base(l, e)) {
        live_warn(l, xasprintf("read in full: %s", e->msg));
        err_clear(e);
        rc = live_begin_anew(l, e); /* the instant is still there */
        if (rc == 0)
            rc = pull_disks(l, e);
    }
    uint64_t then = clock_mono_ns();
    l->result->disks_ns = then - begin;
    if (rc == -1 || l->disks_only)
        return rc;
    rc = pull_ram(l, e);
    l->result->memory_ns = clock_mono_ns() - then;
    return rc;
}
