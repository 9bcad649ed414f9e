/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks by FUSE: QEMU shows the snapshot as a file, which is read like any
 * other.  Whoever has it open may die at any moment, and QEMU does not mind.
 *
 * Source: QMP block-export-add, type "fuse" (since 6.0); a file with holes
 * where the node has zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "qemu/machine.h"
#include "qemu/process.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "work/cancel.h"

enum { UNMOUNT_MS = 5000, UNMOUNT_LOOK_MS = 10 };

/* A disk as a file. */
struct shown {
    int fd;
    uint64_t size;
    char *path;
    const struct copied *copied; /* borrowed */
};

static void
shown_done(struct shown *s)
{
    fd_close(&s->fd);
    free(s->path);
}

/* ---- QEMU's side ----------------------------------------------------------
 */

static int
mount_node(struct live *l, size_t disk, const char *node, struct err *e)
{
    CLEANUP(freep) char *path = intent_mount(l->intent, disk);
    CLEANUP(fd_closep)
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot create %s", path);
    return qmp_run(l->qmp, "block-export-add",
                   json_pack("{s:s, s:s, s:s, s:s, s:b}", "type", "fuse", "id",
                             l->disks[disk].export, "node-name", node,
                             "mountpoint", path, "writable", 0),
                   NULL, e);
}

/* QEMU may see other mounts than we do: look where it looks. */
static int
open_shown(struct live *l, size_t disk, struct shown *out, struct err *e)
{
    CLEANUP(freep) char *path = intent_mount(l->intent, disk);
    struct shown s = {.fd = -1};
    struct stat st;

    s.path =
        l->machine->pid ? process_path(l->machine->pid, path) : xstrdup(path);
    /* O_DIRECT: QEMU sees the reads that we make, not what the kernel would
     * read ahead. */
    s.fd = open(s.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (s.fd == -1 || fstat(s.fd, &st) == -1) {
        (void)err_set_errno(e, ERR_IO, "cannot open %s", s.path);
        shown_done(&s);
        return -1;
    }
    s.size = (uint64_t)st.st_size;
    *out = s;
    return 0;
}

static int
is_exported(struct live *l, const char *id, struct err *e)
{
    CLEANUP(json_decrefp) json_t *all = NULL;
    json_t *x = NULL;
    size_t i = 0;

    if (qmp_run(l->qmp, "query-block-exports", NULL, &all, e) == -1)
        return -1;
    json_array_foreach(all, i, x)
    {
        const char *found = json_string_value(json_object_get(x, "id"));
        if (found && strcmp(found, id) == 0)
            return 1;
    }
    return 0;
}

static int
unmount(struct live *l, size_t disk, struct err *e)
{
    const char *id = l->disks[disk].export;
    struct deadline d = deadline_in_ms(UNMOUNT_MS);
    int there = 1;

    if (qmp_run(l->qmp, "block-export-del",
                json_pack("{s:s, s:s}", "id", id, "mode", "hard"), NULL,
                e) == -1)
        return -1;
    while ((there = is_exported(l, id, e)) == 1 && !deadline_passed(d))
        (void)poll(NULL, 0, UNMOUNT_LOOK_MS);
    if (there == 1)
        return err_set(e, ERR_TIMEOUT, "the FUSE export does not end");
    return there;
}

/* ---- trying it ------------------------------------------------------------
 */

static int
try_scratch(struct live *l, struct err *e)
{
    struct shown s = {.fd = -1};
    uint8_t byte = 0;

    if (mount_node(l, 0, l->disks[0].scratch, e) == -1)
        return -1;
    int rc = open_shown(l, 0, &s, e);
    if (rc == 0) {
        if (s.size < l->disks[0].disk->size_bytes)
            rc = err_set(e, ERR_QEMU, "%s is not what QEMU shows", s.path);
        else if (s.size > 0)
            rc = fd_pread(s.fd, &byte, 1, 0, s.path, e);
        shown_done(&s);
    }
    struct err later = {0};
    if (unmount(l, 0, rc == 0 ? e : &later) == -1)
        rc = -1;
    return rc;
}

int
live_try_fuse(struct live *l, struct err *e)
{
    if (try_scratch(l, e) == 0)
        return 0;
    (void)err_wrap(e,
                   "machine %s cannot be captured live: this QEMU may crash "
                   "when a disk in an I/O thread is read over NBD, and it "
                   "cannot show it by FUSE",
                   l->machine->name);
    return err_hint(e, "use QEMU 9.0 or later, disks without iothread=, or let "
                       "QEMU mount FUSE and its user's mounts be read here");
}

/* ---- reading --------------------------------------------------------------
 */

/* The place of the next byte of data; the file's end if there is none. */
static uint64_t
next_data(const struct shown *s, uint64_t at)
{
    off_t found = lseek(s->fd, (off_t)at, SEEK_DATA);

    if (found == -1 && errno != ENXIO)
        return at; /* nobody knows */
    uint64_t data = found == -1 ? s->size : (uint64_t)found;
    data = copied_next(s->copied, at, data);
    if (data == s->size)
        return data;
    return u64_max(at, data - data % VOLUME_BLOCK_BYTES);
}

static uint64_t
data_end(const struct shown *s, uint64_t at)
{
    off_t found = lseek(s->fd, (off_t)at, SEEK_HOLE);

    if (found == -1 || (uint64_t)found <= at)
        return s->size;
    return u64_min(s->size,
                   round_up((uint64_t)found, (uint64_t)VOLUME_BLOCK_BYTES));
}

static int
fill_slot(const struct shown *s, struct slot *slot, uint64_t *read_bytes,
          struct err *e)
{
    uint64_t base = slot->index * VOLUME_SLOT_BYTES, end = base + slot->len;
    uint64_t at = next_data(s, base);

    while (at < end) {
        uint64_t to = u64_min(end, data_end(s, at));
        to = u64_min(to, at - at % CBW_PART_BYTES + CBW_PART_BYTES);
        if (fd_pread(s->fd, slot->data + (at - base), to - at, at, s->path,
                     e) == -1)
            return -1;
        slot_mark(slot, (uint32_t)(at - base), (uint32_t)(to - at));
        *read_bytes += to - at;
        at = to < end ? next_data(s, to) : end;
    }
    return 0;
}

static int
copy_shown(struct live *l, size_t disk, const struct shown *s,
           struct volume_writer *v, struct err *e)
{
    const char *name = l->disks[disk].disk->name;
    uint64_t before = l->done_bytes, size = s->size;
    uint64_t at = next_data(s, 0);

    while (at < size) {
        struct slot *slot = NULL;
        uint64_t index = at / VOLUME_SLOT_BYTES;
        if (cancel_check(l->cancel, e) == -1 || live_tend(l, e) == -1 ||
            volume_slot(v, index, &slot, e) == -1)
            return -1;
        if (fill_slot(s, slot, &l->disks[disk].read_bytes, e) == -1) {
            volume_drop(v, slot);
            return -1;
        }
        volume_submit(v, slot);
        at = u64_min((index + 1) * VOLUME_SLOT_BYTES, size);
        l->done_bytes = before + at;
        live_progress(l, "read", name);
        at = at < size ? next_data(s, at) : at;
    }
    l->done_bytes = before + size;
    return 0;
}

static int
copy_disk(struct live *l, size_t disk, struct volume_writer *v, struct err *e)
{
    const struct live_disk *d = &l->disks[disk];
    struct shown s = {.fd = -1};
    int rc = 0;

    if (mount_node(l, disk, d->access, e) == -1 ||
        open_shown(l, disk, &s, e) == -1)
        return -1;
    s.copied = &d->copied;
    if (s.size != d->disk->size_bytes)
        rc = err_set(e, ERR_QEMU, "its size changed from %llu to %llu bytes",
                     (unsigned long long)d->disk->size_bytes,
                     (unsigned long long)s.size);
    else
        rc = copy_shown(l, disk, &s, v, e);
    shown_done(&s);
    struct err room = {0};
    if (rc == -1 && e->code == ERR_IO && live_check_room(l, &room) == -1) {
        *e = room; /* that is why */
        return -1;
    }
    if (rc == -1 && e->code == ERR_IO)
        return err_hint(e, "the guest may have overwritten more than the "
                           "scratch folder could hold, or a copy took longer "
                           "than the write stall allowed");
    return rc;
}

int
live_pull_by_fuse(struct live *l, size_t disk, struct err *e)
{
    const struct disk *d = l->disks[disk].disk;
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->name);
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};

    if (volume_begin(l->backup, name, d->size_bytes, &v, e) == -1 ||
        copy_disk(l, disk, v, e) == -1 || volume_end(&v, &root, e) == -1)
        return err_wrap(e, "disk %s of machine %s", d->name, l->machine->name);
    manifest_add_volume(l->manifest, name, &root);
    return 0;
}
