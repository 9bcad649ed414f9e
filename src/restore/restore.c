/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/restore.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "qcow2/writer.h"
#include "qemu/machine.h"
#include "repo/ahead.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "restore/image.h"
#include "restore/machinestate.h"
#include "restore/script.h"
#include "work/cancel.h"

enum {
    CLUSTER_BYTES = 65536, /* images are written in whole ones */
    SCRIPT_MAX_BYTES = 4 << 20
};

#define SNAPSHOT "vmkeep"
#define STATE_FILE "vmkeep.vmstate"

struct restore {
    struct repo *repo;
    const struct manifest *manifest;
    const struct restore_options *options;
    struct cancel *cancel;
    struct machine *machine;
    char *dir; /* absolute */
    bool with_state;
    struct image **images; /* finished, not yet published */
    size_t n_images;
    struct progress progress;
    uint64_t written_bytes;
};

static void
show(struct restore *r, const char *what, uint64_t more_bytes)
{
    r->progress.phase = "restore";
    r->progress.what = what;
    r->progress.done_bytes += more_bytes;
    if (r->options->progress)
        r->options->progress(r->options->progress_cookie, &r->progress);
}

/* ---- what is to be restored
 * ----------------------------------------------------- */

static const struct manifest_volume *
volume_of(const struct restore *r, const struct disk *d)
{
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->name);

    return manifest_volume(r->manifest, name);
}

/* Left out of the backup, as its maker wished? */
static bool
is_excluded(const struct restore *r, const struct disk *d)
{
    const json_t *list = json_object_get(r->manifest->detail, "excluded");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && strcmp(name, d->name) == 0)
            return !volume_of(r, d);
    }
    return false;
}

static bool
is_wanted(const struct restore *r, const struct disk *d)
{
    if (r->options->disk && strcmp(r->options->disk, d->name) != 0)
        return false;
    return volume_of(r, d) || (!r->options->disk && is_excluded(r, d));
}

/* An imported image has no machine that we know how to start. */
static bool
has_run(const struct restore *r)
{
    return r->machine->type[0] != '\0';
}

/* Saved without RAM, so that there is nothing to go on from. */
static bool
is_of_disks(const struct restore *r)
{
    return strcmp(r->manifest->method, "disk") == 0;
}

static int
no_such_disk(const struct restore *r, struct err *e)
{
    const char *name = r->options->disk, *id = r->manifest->id;

    for (size_t i = 0; i < r->machine->n_disks; i++)
        if (strcmp(r->machine->disks[i].name, name) == 0 &&
            is_excluded(r, &r->machine->disks[i]))
            return err_set(e, ERR_NOENT,
                           "disk %s was left out of backup %.8s "
                           "(--exclude-disk)",
                           name, id);
    return err_set(e, ERR_NOENT,
                   "backup %.8s has no disk '%s'; `vmkeep show %.8s` lists "
                   "them",
                   id, name, id);
}

static int
plan(struct restore *r, struct err *e)
{
    size_t wanted = 0;
    bool has_state = machinestate_exists(r->manifest);

    r->with_state = !r->options->boot && !r->options->disk && !is_of_disks(r) &&
                    (has_state || has_run(r));
    if (r->with_state && !has_state)
        return err_set(e, ERR_UNSUP,
                       "backup %.8s has no RAM; restore its disks with --boot",
                       r->manifest->id);
    for (size_t i = 0; i < r->machine->n_disks; i++) {
        const struct disk *d = &r->machine->disks[i];
        if (!is_wanted(r, d))
            continue;
        wanted++;
        r->progress.total_bytes += d->size_bytes;
    }
    if (wanted == 0 && r->options->disk)
        return no_such_disk(r, e);
    if (r->with_state)
        r->progress.total_bytes += machinestate_ram_bytes(r->manifest);
    r->images = xcalloc(wanted + 2, sizeof(struct image *));
    return 0;
}

static int
make_folder(struct restore *r, struct err *e)
{
    struct stat st;

    if (stat(r->options->dir, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(e, ERR_EXISTS, "%s is not a folder", r->options->dir);
    if (dir_make(r->options->dir, e) == -1)
        return -1;
    int empty = dir_is_empty(r->options->dir, e);
    if (empty == -1)
        return -1;
    if (!empty)
        return err_set(e, ERR_EXISTS,
                       "the folder %s is not empty; name a new or empty one",
                       r->options->dir);
    r->dir = realpath(r->options->dir, NULL);
    if (!r->dir)
        return err_set_errno(e, ERR_IO, "cannot resolve %s", r->options->dir);
    return 0;
}

/* ---- disks
 * ------------------------------------------------------------------------ */

/* The whole clusters of the slot in which something is marked. */
static int
write_slot(struct restore *r, struct image *im, uint64_t base, uint64_t len,
           const struct ahead_slot *s, struct err *e)
{
    const unsigned blocks = CLUSTER_BYTES / VOLUME_BLOCK_BYTES;
    uint64_t run = 0; /* the start of the run of clusters to be written */
    uint64_t at = 0;

    for (; at < len; at += CLUSTER_BYTES) {
        uint64_t block = at / VOLUME_BLOCK_BYTES;
        uint64_t bits =
            s->marked[block / 64] >> block % 64 & ((UINT64_C(1) << blocks) - 1);
        if (bits)
            continue;
        if (at > run &&
            image_write(im, base + run, s->data + run, at - run, e) == -1)
            return -1;
        r->written_bytes += at - run;
        run = at + CLUSTER_BYTES;
    }
    at = len;
    if (at > run) {
        if (image_write(im, base + run, s->data + run, at - run, e) == -1)
            return -1;
        r->written_bytes += at - run;
    }
    return 0;
}

static int
copy_volume(struct restore *r, const struct disk *d,
            const struct volume_root *root, struct image *im, struct err *e)
{
    CLEANUP(volume_closep) struct volume_reader *reader = NULL;
    struct ahead_slot slot;
    uint64_t done = 0;
    int rc = 0;

    if (volume_open(r->repo, root, &reader, e) == -1)
        return -1;
    CLEANUP(ahead_freep) struct ahead *ahead = ahead_new(reader);
    while ((rc = ahead_next(ahead, &slot, e)) == 1) {
        uint64_t base = slot.index * VOLUME_SLOT_BYTES;
        uint64_t len = u64_min(VOLUME_SLOT_BYTES, root->size_bytes - base);
        if (cancel_check(r->cancel, e) == -1 ||
            write_slot(r, im, base, len, &slot, e) == -1)
            return -1;
        show(r, d->name, base + len - done);
        done = base + len;
    }
    if (rc == 0)
        show(r, d->name, root->size_bytes - done);
    return rc;
}

static int
take_state(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct restore *r = cookie;

    r->written_bytes += len;
    return image_append(r->images[r->n_images], p, len, e);
}

static void
state_reached(void *cookie, uint64_t bytes)
{
    show(cookie, "RAM", bytes);
}

static int
write_state(struct restore *r, struct err *e)
{
    return machinestate_write(r->repo, r->manifest, take_state, state_reached,
                              r, r->cancel, e);
}

static int
open_disk(struct restore *r, const struct disk *d, struct err *e)
{
    struct image **im = &r->images[r->n_images];
    const struct qcow2_write_options o = {
        .size_bytes = round_up(d->size_bytes, 512),
        .snapshot = r->with_state ? SNAPSHOT : NULL,
        .time_ns = r->manifest->time_ns,
    };
    CLEANUP(freep) char *raw = xasprintf("%s.raw", d->name);

    if (r->options->format == RESTORE_QCOW2)
        return image_open_qcow2(r->dir, d->name, &o, im, e);
    return image_open_raw(r->dir, raw, d->size_bytes, im, e);
}

static int
restore_disk(struct restore *r, const struct disk *d, bool with_state,
             struct err *e)
{
    if (open_disk(r, d, e) == -1)
        return -1;
    struct image *im = r->images[r->n_images];
    const struct manifest_volume *v = volume_of(r, d);
    int rc = v ? copy_volume(r, d, &v->root, im, e) : 0;
    if (!v)
        show(r, d->name, d->size_bytes); /* an empty one */
    if (rc == 0 && with_state)
        rc = write_state(r, e);
    if (rc == 0)
        rc = image_finish(im, e);
    r->n_images++;
    return rc == 0 ? 0 : err_wrap(e, "disk %s", d->name);
}

/* In qcow2 the first image carries the machine's state: QEMU looks for it in
 * the first disk that can hold snapshots. */
static int
restore_disks(struct restore *r, bool *state_written, struct err *e)
{
    bool first = r->with_state && r->options->format == RESTORE_QCOW2;

    for (size_t i = 0; i < r->machine->n_disks; i++) {
        const struct disk *d = &r->machine->disks[i];
        if (!is_wanted(r, d))
            continue;
        if (restore_disk(r, d, first, e) == -1)
            return -1;
        *state_written |= first;
        first = false;
    }
    return 0;
}

static int
restore_state_file(struct restore *r, struct err *e)
{
    if (image_open_raw(r->dir, STATE_FILE, 0, &r->images[r->n_images], e) == -1)
        return -1;
    int rc = write_state(r, e);
    if (rc == 0)
        rc = image_finish(r->images[r->n_images], e);
    r->n_images++;
    return rc;
}

/* ---- the script, and the end
 * ---------------------------------------------------- */

static int
write_script(struct restore *r, enum script_start start, char **excluded,
             struct err *e)
{
    bool qcow2 = r->options->format == RESTORE_QCOW2;
    const struct script s = {
        .machine = r->machine,
        .start = start,
        .format = qcow2 ? "qcow2" : "raw",
        .ending = qcow2 ? ".qcow2" : ".raw",
        .time_ns = r->manifest->time_ns,
        .excluded = (const char *const *)excluded,
    };
    CLEANUP(buf_done) struct buf text = buf_of(SCRIPT_MAX_BYTES);
    CLEANUP(freep) char *path = xasprintf("%s/run", r->dir);
    const char *unmapped = NULL;

    script_write(&s, &text, &unmapped);
    if (buf_check(&text, "the command line", e) == -1 ||
        file_publish(path, text.p, text.len, e) == -1)
        return -1;
    if (chmod(path, 0700) == -1)
        return err_set_errno(e, ERR_IO, "cannot make %s executable", path);
    return 0;
}

static int
publish(struct restore *r, struct restore_result *out, struct err *e)
{
    for (size_t i = 0; i < r->n_images; i++) {
        out->files[i] = xstrdup(image_path(r->images[i]));
        if (image_publish(&r->images[i], e) == -1)
            return -1;
    }
    return dir_fsync(r->dir, e);
}

static void
list_excluded(const struct restore *r, struct restore_result *out)
{
    size_t n = 0;

    out->excluded = xcalloc(r->machine->n_disks + 1, sizeof(char *));
    for (size_t i = 0; i < r->machine->n_disks; i++) {
        const struct disk *d = &r->machine->disks[i];
        if (is_wanted(r, d) && !volume_of(r, d))
            out->excluded[n++] = xstrdup(d->name);
    }
}

static int
restore(struct restore *r, struct restore_result *out, struct err *e)
{
    bool state_written = false;
    enum script_start start = SCRIPT_BOOT;

    if (plan(r, e) == -1 || make_folder(r, e) == -1 ||
        restore_disks(r, &state_written, e) == -1)
        return -1;
    if (state_written) {
        start = SCRIPT_LOADVM;
    } else if (r->with_state) {
        start = SCRIPT_INCOMING;
        if (restore_state_file(r, e) == -1)
            return -1;
    }
    out->files = xcalloc(r->n_images + 2, sizeof(char *));
    if (publish(r, out, e) == -1)
        return -1;
    out->has_state = r->with_state;
    list_excluded(r, out);
    if (r->options->disk || !has_run(r))
        return 0;
    out->has_script = true;
    out->files[r->n_images] = xasprintf("%s/run", r->dir);
    return write_script(r, start, out->excluded, e);
}

static void
restore_done(struct restore *r)
{
    for (size_t i = 0; i < r->n_images + 1 && r->images; i++)
        image_abandonp(&r->images[i]);
    free(r->images);
    free(r->dir);
    machine_free(r->machine);
}

int
restore_files(struct repo *repo, const struct manifest *m,
              const struct restore_options *o, struct cancel *cancel,
              struct restore_result *out, struct err *e)
{
    struct restore r = {
        .repo = repo,
        .manifest = m,
        .options = o,
        .cancel = cancel,
    };
    struct restore_result result = {0};
    uint64_t begin = clock_mono_ns();

    int rc =
        machine_from_json(json_object_get(m->detail, "machine"), &r.machine, e);
    if (rc == 0)
        rc = restore(&r, &result, e);
    result.written_bytes = r.written_bytes;
    result.duration_ns = clock_mono_ns() - begin;
    restore_done(&r);
    if (rc == 0)
        *out = result;
    else
        restore_result_done(&result);
    return rc;
}

void
restore_result_done(struct restore_result *r)
{
    for (size_t i = 0; r->files && r->files[i]; i++)
        free(r->files[i]);
    free(r->files);
    for (size_t i = 0; r->excluded && r->excluded[i]; i++)
        free(r->excluded[i]);
    free(r->excluded);
    *r = (struct restore_result){0};
}
