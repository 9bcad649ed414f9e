/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/live_internal.h"
#include "capture/scratchprobe.h"
#include "capture/undo.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "work/cancel.h"

enum { NAMES_MAX_BYTES = 300 };

static int
unsupported(const struct live *l, struct err *e, const char *why)
{
    return err_set(e, ERR_QEMU, "machine %s cannot be captured %s: %s",
                   l->machine->name,
                   l->disks_only ? "by the method disk" : "live", why);
}

int
live_check_version(const struct live *l, struct err *e)
{
    const struct qmp_version *v = qmp_version(l->qmp);

    if (v->major < 7 || (v->major == 7 && v->minor < 1))
        return unsupported(l, e, "its QEMU is older than 7.1");
    return 0;
}

/* There, only its process can be a way to wake a guest whose stream ended
 * badly. */
static int
check_process(const struct live *l, struct err *e)
{
    if (l->machine->pid || !undo_cancel_freezes(l->qmp))
        return 0;
    (void)unsupported(l, e,
                      "its process cannot be told behind that monitor, so "
                      "nobody could wake it if the backup were killed");
    return err_hint(e, "use QEMU's own monitor socket, QEMU 8.1 or later, or "
                       "the method savevm or disk");
}

/* From any other state QEMU aborts when the migration starts. */
static int
check_status(const struct live *l, struct err *e)
{
    const char *s = l->machine->status;

    if (strcmp(s, "running") != 0 && strcmp(s, "paused") != 0)
        return err_set(e, ERR_QEMU,
                       "machine %s cannot be captured live in run state '%s'; "
                       "it must be running or paused",
                       l->machine->name, s);
    return 0;
}

static int
check_blockers(const struct live *l, struct err *e)
{
    if (!l->machine->blockers[0])
        return 0;
    CLEANUP(freep) char *why = text_quote(l->machine->blockers[0], 300);
    return err_set(
        e, ERR_QEMU,
        "machine %s cannot be captured live: QEMU says that a device "
        "cannot be migrated: %s",
        l->machine->name, why);
}

/*
 * Devices whose memory accesses do not go through QEMU's page tables escape
 * write protection, and nobody notices: the RAM would be torn.
 */
static int
check_bypass(const struct live *l, struct err *e)
{
    static const struct {
        const char *command, *sign, *why;
    } signs[] = {
        {"info qtree", "dev: vfio",
         "a vfio device writes past QEMU to its RAM"},
        {"info qtree", "dev: vhost-user-fs",
         "a virtiofs device (vhost-user-fs) writes past QEMU to its RAM"},
        {"info qtree", "dev: vhost-user",
         "a vhost-user device writes past QEMU to its RAM"},
        {"info qtree", "dev: vhost-vdpa",
         "a vdpa device writes past QEMU to its RAM"},
        {"info qtree", "dev: ivshmem",
         "an ivshmem device shares RAM with other programs, which write to it "
         "past QEMU"},
        {"info network", "type=vhost-user",
         "a vhost-user network card writes past QEMU to its RAM"},
        {"info network", "type=vhost-vdpa",
         "a vdpa network card writes past QEMU to its RAM"},
        /* Part of its state comes before the RAM in the stream; what is not
         * plugged is not in it. */
        {"info qtree", "dev: virtio-mem",
         "it has a virtio-mem device, whose RAM comes and goes"},
    };

    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        CLEANUP(freep) char *text = NULL;
        if (qmp_human(l->qmp, signs[i].command, &text, e) == -1)
            return -1;
        if (strstr(text, signs[i].sign))
            return unsupported(l, e, signs[i].why);
    }
    return 0;
}

/*
 * Of a SCSI disk in an I/O thread, QEMU 7.2 has been seen to show by FUSE what
 * the guest wrote after the instant, without an error
 * (docs/design/versions.md).
 */
static int
check_virtio_blk(const struct live *l, struct err *e)
{
    for (size_t i = 0; i < l->n_disks; i++) {
        const struct disk *d = l->disks[i].disk;
        if (text_ends(d->qdev, "/virtio-backend"))
            continue;
        return err_set(e, ERR_QEMU,
                       "machine %s cannot be captured live: this QEMU cannot "
                       "be relied on to show disk %s beside I/O threads; use "
                       "QEMU 9.0 or later, virtio-blk disks only, or no "
                       "iothread=",
                       l->machine->name, d->name);
    }
    return 0;
}

/* Has it disks of which one may be in an I/O thread? */
static int
has_iothreads(const struct live *l, bool *yes, struct err *e)
{
    CLEANUP(json_decrefp) json_t *threads = NULL;

    if (qmp_run(l->qmp, "query-iothreads", NULL, &threads, e) == -1)
        return -1;
    *yes = json_array_size(threads) > 0 && l->n_disks > 0;
    return 0;
}

int
live_check_interrupts(const struct live *l, struct err *e)
{
    CLEANUP(json_decrefp) json_t *kvm = NULL;
    bool beside = false;

    if (qmp_version(l->qmp)->major < 9)
        return 0;
    if (has_iothreads(l, &beside, e) == -1)
        return -1;
    if (!beside)
        return 0;
    if (qmp_run(l->qmp, "query-kvm", NULL, &kvm, e) == -1)
        return -1;
    if (json_is_true(json_object_get(kvm, "enabled")))
        return 0;
    (void)err_set(e, ERR_QEMU,
                  "machine %s cannot be captured: when it is stopped for a "
                  "moment, this QEMU, without KVM, may lose an interrupt of a "
                  "disk in an I/O thread, and the guest would hang",
                  l->machine->name);
    return err_hint(e, "start it with -accel kvm, or its disks without "
                       "iothread=");
}

/*
 * QEMU 7.2.14 to 8.x may carry a fix (of CVE-2024-7409) which aborts the
 * machine when an NBD client leaves a node that lives in an I/O thread.  All up
 * to 8.x abort when a node is added above such a one while the guest writes to
 * it (seen with 7.2.22).
 */
int
live_look_at_iothreads(struct live *l, struct err *e)
{
    const struct qmp_version *v = qmp_version(l->qmp);

    if (v->major >= 9)
        return live_check_interrupts(l, e);
    if (has_iothreads(l, &l->arms_late, e) == -1)
        return -1;
    if (v->major == 7 && v->minor == 2 && v->micro < 14)
        return 0;
    l->by_fuse = l->arms_late;
    return l->by_fuse ? check_virtio_blk(l, e) : 0;
}

int
live_check_migration(const struct live *l, struct err *e)
{
    static const char *const idle[] = {"", "none", "completed", "failed",
                                       "cancelled"};
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(l->qmp, "query-migrate", NULL, &reply, e) == -1)
        return -1;
    const char *s = json_string_value(json_object_get(reply, "status"));
    for (size_t i = 0; i < ARRAY_LEN(idle); i++)
        if (!s || strcmp(s, idle[i]) == 0)
            return 0;
    return err_set(e, ERR_QEMU,
                   "machine %s is being migrated (status %s); wait until that "
                   "has ended",
                   l->machine->name, s);
}

int
live_check_scratch(const struct live *l, struct err *e)
{
    uint64_t free_bytes = 0, wanted = UINT64_MAX;
    char have[TEXT_SIZE_LEN], need[TEXT_SIZE_LEN];

    if (!l->looks_only && scratch_answers(l->scratch_dir, -1, e) == -1)
        return err_hint(e, "name another with --scratch");
    if (dir_free_bytes(l->scratch_dir, &free_bytes, e) == -1)
        return err_wrap(e, "scratch folder");
    (void)u64_add(l->disks_only ? 0 : l->machine->ram_bytes, l->min_free_bytes,
                  &wanted);
    if (free_bytes >= wanted)
        return 0;
    text_size(free_bytes, have);
    text_size(wanted, need);
    return err_set(e, ERR_NOSPACE,
                   "the scratch folder %s has %s free, but machine %s may need "
                   "%s for %swhat is to be left; free some or name "
                   "another with --scratch",
                   l->scratch_dir, have, l->machine->name, need,
                   l->disks_only ? "" : "its RAM and ");
}

bool
live_excludes(const struct live *l, const struct disk *d)
{
    const char *const *names = l->options->exclude;

    for (size_t i = 0; names && names[i]; i++)
        if (!d->read_only && strcmp(names[i], d->name) == 0)
            return true;
    return false;
}

/* A name that fits none is a mistake: the disk that was meant would be read. */
static int
check_excluded(const struct live *l, const char *name, struct err *e)
{
    const struct machine *m = l->machine;
    CLEANUP(buf_done) struct buf all = buf_of(NAMES_MAX_BYTES);

    for (size_t i = 0; i < m->n_disks; i++) {
        if (m->disks[i].read_only)
            continue;
        if (strcmp(m->disks[i].name, name) == 0)
            return 0;
        buf_printf(&all, "%s%s", all.len > 0 ? ", " : "", m->disks[i].name);
    }
    (void)err_set(e, ERR_USAGE,
                  "machine %s has no writable disk %s that could be left out",
                  m->name, name);
    return all.len > 0 ? err_hint(e, "it has %s", buf_text(&all)) : -1;
}

int
live_take_disks(struct live *l, struct err *e)
{
    const char *const *names = l->options->exclude;

    for (size_t i = 0; names && names[i]; i++)
        if (check_excluded(l, names[i], e) == -1)
            return -1;
    l->disks = xcalloc(l->machine->n_disks, sizeof(l->disks[0]));
    for (size_t i = 0; i < l->machine->n_disks; i++) {
        const struct disk *d = &l->machine->disks[i];
        if (d->read_only || live_excludes(l, d))
            continue;
        if (d->qdev[0] == '\0')
            return err_set(e, ERR_QEMU,
                           "machine %s cannot be captured: its disk %s "
                           "(%s) is not attached to a device that QEMU names",
                           l->machine->name, d->name, d->filename);
        if (d->size_bytes > CAPTURE_DISK_MAX_BYTES) {
            (void)err_set(e, ERR_LIMIT,
                          "machine %s cannot be captured: QEMU would stand "
                          "still for seconds because of its disk %s (%llu TiB, "
                          "the limit is %d)",
                          l->machine->name, d->name,
                          (unsigned long long)(d->size_bytes >> 40),
                          (int)(CAPTURE_DISK_MAX_BYTES >> 40));
            return err_hint(e, "leave it out with --exclude %s", d->name);
        }
        l->disks[l->n_disks++] =
            (struct live_disk){.disk = d, .scratch_fd = -1};
    }
    return 0;
}

int
live_preflight(struct live *l, struct err *e)
{
    live_progress(l, "preflight", "");
    if (live_check_version(l, e) == -1 || check_process(l, e) == -1 ||
        check_status(l, e) == -1 || check_bypass(l, e) == -1 ||
        check_blockers(l, e) == -1 || live_take_disks(l, e) == -1 ||
        live_look_at_iothreads(l, e) == -1 ||
        live_check_migration(l, e) == -1 || live_check_scratch(l, e) == -1 ||
        live_estimate(l, e) == -1)
        return -1;
    return cancel_check(l->cancel, e);
}
