/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/savevm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/guard.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/ramspool.h"
#include "capture/snapshot.h"
#include "capture/viewsource.h"
#include "qcow2/layers.h"
#include "qcow2/reader.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "work/cancel.h"

/* Beside the RAM: device state, and tables. */
#define STATE_RESERVE_BYTES (UINT64_C(256) << 20)

/* One of l->disks, as we read it. */
struct savevm_disk {
    char *path; /* of its image, for us */
    struct qcow2_layers *layers;
    struct qcow2_layered *view;
    struct qcow2_layered *older; /* what it is compared with, or NULL */
};

struct savevm {
    size_t n;
    struct savevm_disk *disks;
    size_t vmstate_disk; /* where QEMU is asked to put the machine state */
    bool has_state;      /* it is in the spool */
};

void
savevm_free(struct savevm *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        qcow2_layered_close(s->disks[i].view);
        qcow2_layered_close(s->disks[i].older);
        qcow2_layers_close(s->disks[i].layers);
        free(s->disks[i].path);
    }
    free(s->disks);
    free(s);
}

const struct qcow2_layers *
savevm_layers(const struct savevm *s, size_t i)
{
    return s->disks[i].layers;
}

/* ---- preflight ----------------------------------------------------------- */

static int
unsupported(const struct live *l, const struct disk *d, const char *why,
            struct err *e)
{
    CLEANUP(freep) char *file = text_quote(d->filename, 300);

    return err_set(e, ERR_QEMU,
                   "machine %s cannot be captured by savevm: its disk %s (%s) "
                   "%s",
                   l->machine->name, d->name, file, why);
}

static int
check_state(const struct live *l, struct err *e)
{
    const char *s = l->machine->status;

    if (strcmp(s, "running") != 0 && strcmp(s, "paused") != 0)
        return err_set(e, ERR_QEMU,
                       "machine %s cannot be captured in run state '%s'; it "
                       "must be running or paused",
                       l->machine->name, s);
    if (!l->machine->blockers[0])
        return 0;
    CLEANUP(freep) char *why = text_quote(l->machine->blockers[0], 300);
    return err_set(e, ERR_QEMU,
                   "machine %s cannot be captured by savevm: QEMU says that a "
                   "device cannot be saved: %s",
                   l->machine->name, why);
}

/* QEMU tells a name as it sees it: relative to its folder, below its root. */
static char *
find_file(const struct machine *m, const char *name)
{
    CLEANUP(freep) char *here = path_join(m->cwd ? m->cwd : "", name);
    CLEANUP(freep)
    char *there = xasprintf("/proc/%d/root%s", (int)m->pid, here);

    if (m->pid && access(there, F_OK) == 0)
        return STEAL(there);
    return STEAL(here);
}

static int
open_layers(struct savevm_disk *s, struct err *e)
{
    const struct qcow2_layer_files files = {.image = s->path};

    qcow2_layers_close(STEAL(s->layers));
    return qcow2_layers_open(&files, &s->layers, e);
}

/* Can we read what QEMU will write? */
static int
check_disk(const struct live *l, const struct disk *d, struct savevm_disk *s,
           struct err *e)
{
    if (strcmp(d->format, "qcow2") != 0)
        return unsupported(l, d,
                           "is no qcow2 image, and only those can hold "
                           "snapshots",
                           e);
    s->path = find_file(l->machine, d->filename);
    if (open_layers(s, e) == -1)
        return err_wrap(e,
                        "machine %s cannot be captured by savevm: the image of "
                        "its disk %s cannot be read",
                        l->machine->name, d->name);
    const struct qcow2_header *h =
        qcow2_image_header(qcow2_layers_image(s->layers));
    if (h->crypt != QCOW2_PLAIN)
        return unsupported(l, d, "is encrypted, and only QEMU has the key", e);
    if (h->backing)
        return unsupported(l, d,
                           "stands on a backing file, which cannot be "
                           "read this way",
                           e);
    return 0;
}

/* Where is there room for the RAM?  A disk that fills up stops the guest. */
static int
choose_vmstate_disk(struct live *l, struct err *e)
{
    uint64_t need = l->machine->ram_bytes + STATE_RESERVE_BYTES, best = 0;
    char have[TEXT_SIZE_LEN], want[TEXT_SIZE_LEN];

    for (size_t i = 0; i < l->savevm->n; i++) {
        const char *path = l->savevm->disks[i].path;
        CLEANUP(freep) char *folder = xstrdup(path);
        char *slash = strrchr(folder, '/');
        uint64_t free_bytes = 0;
        struct stat st;
        if (slash)
            *slash = '\0';
        if (stat(path, &st) == -1 || !S_ISREG(st.st_mode))
            continue; /* how full a block device is, nobody can tell */
        if (dir_free_bytes(*folder ? folder : "/", &free_bytes, e) == -1)
            return -1;
        best = u64_max(best, free_bytes);
        if (free_bytes < need)
            continue;
        l->savevm->vmstate_disk = i;
        return 0;
    }
    text_size(best, have);
    text_size(need, want);
    return err_set(e, ERR_NOSPACE,
                   "machine %s cannot be captured by savevm: its RAM would be "
                   "written into one of its images and may need %s, but there "
                   "is %s free",
                   l->machine->name, want, have);
}

static int
savevm_preflight(struct live *l, struct err *e)
{
    live_progress(l, "preflight", "");
    if (l->options->exclude && l->options->exclude[0])
        return err_set(e, ERR_QEMU,
                       "machine %s cannot be captured by savevm without disk "
                       "%s: QEMU's snapshot is of all disks; use the method "
                       "live or disk, or do not exclude any",
                       l->machine->name, l->options->exclude[0]);
    if (check_state(l, e) == -1 || live_take_disks(l, e) == -1)
        return -1;
    if (l->n_disks == 0)
        return err_set(e, ERR_QEMU,
                       "machine %s cannot be captured by savevm: it has no "
                       "disk that could hold the snapshot",
                       l->machine->name);
    l->savevm = xcalloc(1, sizeof(*l->savevm));
    l->savevm->disks = xcalloc(l->n_disks, sizeof(l->savevm->disks[0]));
    l->savevm->n = l->n_disks;
    for (size_t i = 0; i < l->n_disks; i++)
        if (check_disk(l, l->disks[i].disk, &l->savevm->disks[i], e) == -1)
            return -1;
    if (live_check_interrupts(l, e) == -1 || choose_vmstate_disk(l, e) == -1 ||
        live_check_migration(l, e) == -1 || live_check_scratch(l, e) == -1)
        return -1;
    return cancel_check(l->cancel, e);
}

/* ---- prepare ------------------------------------------------------------- */

/* QEMU stops the guest, but lets it go on before a second snapshot could be
 * made of the same instant. */
static bool
stops_itself(const struct live *l)
{
    return l->intent->bitmap[0] && l->machine->running;
}

static int
write_intent(struct live *l, struct err *e)
{
    struct intent *in = intent_new(l->machine);

    l->intent = in;
    free(in->snapshot);
    in->snapshot = xcalloc(1, LABEL_MAX);
    label_make(in->snapshot, in->run, LABEL_SNAPSHOT, 0);
    savevm_name_tracking(l);
    for (size_t i = 0; i < l->n_disks; i++)
        intent_add_disk(in, l->disks[i].disk->qdev, l->disks[i].disk->node);
    /* On disk the window counts as open until it has been closed. */
    in->window_open = stops_itself(l);
    int rc = intent_save(in, e);
    in->window_open = false;
    return rc;
}

static int
savevm_prepare(struct live *l, struct err *e)
{
    live_progress(l, "prepare", "");
    /* The guard wants the end of a stream; this one ends at once. */
    if (write_intent(l, e) == -1 || fd_socketpair(l->stream, e) == -1 ||
        guard_start(l->intent, qmp_fd(l->qmp), l->stream[0], &l->guard, e) ==
            -1)
        return -1;
    fd_close(&l->stream[0]);
    fd_close(&l->stream[1]);
    return ramspool_create(l->scratch_dir, &l->spool, e);
}

/* ---- the pause ----------------------------------------------------------- */

static int
stop_guest(struct live *l, struct err *e)
{
    if (!stops_itself(l))
        return 0;
    if (guard_open_window(l->guard, 2 * SNAPSHOT_PATIENCE_MS, e) == -1)
        return -1;
    l->intent->window_open = true;
    return qmp_run(l->qmp, "stop", NULL, NULL, e);
}

static int
continue_guest(struct live *l, struct err *e)
{
    if (!stops_itself(l))
        return 0;
    if (qmp_run(l->qmp, "cont", NULL, NULL, e) == -1)
        return -1;
    l->intent->window_open = false;
    if (guard_close_window(l->guard, e) == -1)
        return -1;
    return intent_save(l->intent, e);
}

static int
take_snapshots(struct live *l, struct err *e)
{
    int rc = stop_guest(l, e);

    if (rc == 0)
        rc = snapshot_take(l->qmp, l->intent, l->savevm->vmstate_disk, e);
    if (rc == 0 && l->intent->bitmap[0])
        savevm_take_tracking(l);
    return rc == 0 ? continue_guest(l, e) : -1; /* else it is undone */
}

static int
savevm_window(struct live *l, struct err *e)
{
    struct capture_pause *p = &l->result->pause;

    if (cancel_check(l->cancel, e) == -1)
        return -1;
    live_progress(l, "pause", "");
    qmp_forget_events(l->qmp);
    uint64_t begin = clock_mono_ns();
    l->instant_ns = clock_wall_ns();
    qmp_set_timeout_ms(l->qmp, SNAPSHOT_PATIENCE_MS);
    int rc = take_snapshots(l, e);
    qmp_reset_timeout(l->qmp);
    if (rc == -1)
        return err_wrap(e, "machine %s cannot be captured by savevm",
                        l->machine->name);
    if (l->machine->running) {
        p->total_us = (clock_mono_ns() - begin) / 1000;
        live_measure_by_events(l);
        p->ram_us = p->total_us;
    }
    return 0;
}

/* ---- pull ---------------------------------------------------------------- */

struct reached {
    struct live *live;
    const char *what;
    uint64_t before; /* bytes done when this began */
};

static void
note_reached(void *cookie, uint64_t offset)
{
    struct reached *r = cookie;

    r->live->done_bytes = r->before + offset;
    live_progress(r->live, "read", r->what);
}

/* The snapshot, in the file as it is now. */
static int
open_view(struct live *l, size_t i, struct err *e)
{
    struct savevm_disk *s = &l->savevm->disks[i];
    const struct disk *d = l->disks[i].disk;

    if (open_layers(s, e) == -1)
        return -1;
    const struct qcow2_snapshot *snapshot = qcow2_snapshot_find(
        qcow2_image_snapshots(qcow2_layers_image(s->layers)),
        l->intent->snapshot);
    if (!snapshot)
        return err_set(e, ERR_QEMU,
                       "QEMU has made the snapshot, but it is not in %s: QEMU "
                       "means another file by that name",
                       s->path);
    if (qcow2_layers_view(s->layers, snapshot, &s->view, e) == -1)
        return -1;
    if (qcow2_view_bytes(qcow2_layered_view(s->view)) != d->size_bytes)
        return err_set(e, ERR_QEMU, "its size has changed");
    return 0;
}

/* What the disk was at the backup before, in the same file. */
static int
open_older(struct live *l, size_t i, struct err *e)
{
    struct savevm_disk *s = &l->savevm->disks[i];
    const struct qcow2_snapshot *base = savevm_base_snapshot(l, i);

    if (!l->disks[i].base)
        return 0;
    if (base)
        return qcow2_layers_view(s->layers, base, &s->older, e);
    l->disks[i].base = NULL;
    l->disks[i].why_full = "its snapshot of the backup before is gone";
    return 0;
}

static int
fill_volume(struct live *l, size_t i, struct volume_writer *v, struct err *e)
{
    struct savevm_disk *s = &l->savevm->disks[i];
    struct qcow2_view *view = qcow2_layered_view(s->view);
    struct reached r = {l, l->disks[i].disk->name, l->done_bytes};

    if (!s->older)
        return viewsource_copy_disk(view, false, v, note_reached, &r, l->cancel,
                                    e);
    /* It is there as well as the new one, so the two can be compared. */
    struct qcow2_view *older = qcow2_layered_view(s->older);
    if (viewsource_copy_changes(older, view, v, note_reached, &r, l->cancel,
                                e) == -1)
        return -1;
    l->disks[i].read_bytes = qcow2_view_read_bytes(older);
    return qcow2_view_recheck(older, e);
}

static int
copy_disk(struct live *l, size_t i, struct err *e)
{
    struct live_disk *d = &l->disks[i];
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->disk->name);
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};

    if (open_older(l, i, e) == -1 ||
        (d->base ? volume_begin_on(l->backup, name, d->base, &v, e)
                 : volume_begin(l->backup, name, d->disk->size_bytes, &v, e)) ==
            -1 ||
        fill_volume(l, i, v, e) == -1 || volume_end(&v, &root, e) == -1)
        return -1;
    d->read_bytes +=
        qcow2_view_read_bytes(qcow2_layered_view(l->savevm->disks[i].view));
    manifest_add_volume(l->manifest, name, &root);
    return 0;
}

/* In one of the images: which, the human monitor's savevm chooses itself. */
static int
copy_state(struct live *l, size_t i, struct err *e)
{
    struct reached r = {l, "RAM", l->done_bytes};
    struct qcow2_view *view = qcow2_layered_view(l->savevm->disks[i].view);

    if (qcow2_view_vmstate_bytes(view) == 0)
        return 0;
    if (l->savevm->has_state)
        return err_set(e, ERR_QEMU, "a second machine state");
    l->savevm->has_state = true;
    if (viewsource_copy_state(view, l->spool, note_reached, &r, l->cancel, e) ==
        -1)
        return err_wrap(e, "the machine state");
    l->done_bytes = r.before; /* the repository has none of it yet */
    return 0;
}

static int
pull_disk(struct live *l, size_t i, struct err *e)
{
    if (open_view(l, i, e) == -1 || copy_disk(l, i, e) == -1 ||
        copy_state(l, i, e) == -1 ||
        qcow2_view_recheck(qcow2_layered_view(l->savevm->disks[i].view), e) ==
            -1)
        return e->code == ERR_CANCELED
                   ? -1
                   : err_wrap(e, "disk %s of machine %s",
                              l->disks[i].disk->name, l->machine->name);
    return 0;
}

static void
close_views(struct savevm_disk *s)
{
    qcow2_layered_close(STEAL(s->view));
    qcow2_layered_close(STEAL(s->older));
}

static int
pull_disks(struct live *l, struct err *e)
{
    for (size_t i = 0; i < l->n_disks; i++)
        if (pull_disk(l, i, e) == -1)
            return -1;
    if (!l->savevm->has_state)
        return err_set(e, ERR_QEMU, "the snapshot has no machine state");
    return 0;
}

/* The snapshot is still there: read all of it. */
static int
pull_disks_anew(struct live *l, struct err *e)
{
    for (size_t i = 0; i < l->n_disks; i++)
        close_views(&l->savevm->disks[i]);
    ramspool_free(STEAL(l->spool));
    l->savevm->has_state = false;
    if (ramspool_create(l->scratch_dir, &l->spool, e) == -1 ||
        live_begin_anew(l, e) == -1)
        return -1;
    return pull_disks(l, e);
}

/* Is it perhaps the base's fault? */
static bool
may_blame_base(const struct live *l, const struct err *e)
{
    return l->base && (e->code == ERR_CORRUPT || e->code == ERR_UNSUP ||
                       e->code == ERR_USAGE || e->code == ERR_NOENT);
}

static int
savevm_pull(struct live *l, struct err *e)
{
    l->total_bytes = l->machine->ram_bytes;
    for (size_t i = 0; i < l->n_disks; i++)
        l->total_bytes += l->disks[i].disk->size_bytes;
    uint64_t begin = clock_mono_ns();
    int rc = pull_disks(l, e);
    if (rc == -1 && may_blame_base(l, e)) {
        live_warn(l, xasprintf("read in full: %s", e->msg));
        err_clear(e);
        rc = pull_disks_anew(l, e);
    }
    uint64_t then = clock_mono_ns();
    l->result->disks_ns = then - begin;
    if (rc == 0)
        rc = live_pull_spool(l, e);
    l->result->memory_ns = clock_mono_ns() - then;
    return rc;
}

const struct capture_way savevm_way = {
    .method = "savevm",
    .preflight = savevm_preflight,
    .begin = savevm_begin_backup,
    .prepare = savevm_prepare,
    .window = savevm_window,
    .pull = savevm_pull,
    .settle = savevm_settle_tracking,
};

int
capture_savevm(struct repo *r, const char *socket,
               const struct capture_options *o, struct cancel *cancel,
               struct capture_result *out, struct err *e)
{
    return capture_by(&savevm_way, r, socket, o, cancel, out, e);
}
