/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/import.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/imagesource.h"
#include "capture/live.h"
#include "capture/ramspool.h"
#include "capture/rawsource.h"
#include "capture/spoolsource.h"
#include "qcow2/layers.h"
#include "qcow2/snapshot.h"
#include "qemu/disks.h"
#include "qemu/machine.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"

/* Either raw or qcow2. */
struct image {
    struct rawsource *raw;
    struct imagesource *qcow2;
    bool probed;
};

struct import {
    const struct import_options *options;
    struct cancel *cancel;
    struct capture_result *result;
    struct machine *machine; /* made up: a name and disks */
    struct image images[IMPORT_MAX_IMAGES];
    size_t n_backing, n_data_files; /* of the lists that have been used */
    struct ramspool *spool;         /* NULL: no machine state so far */
    struct backup_writer *backup;
    struct manifest *manifest;
    struct progress progress;
    uint64_t before_bytes; /* of the images that are done */
};

static void
import_done(struct import *i)
{
    backup_abandonp(&i->backup);
    for (size_t k = 0; k < i->options->n_images; k++) {
        rawsource_close(i->images[k].raw);
        imagesource_close(i->images[k].qcow2);
    }
    ramspool_free(i->spool);
    manifest_free(i->manifest);
    machine_free(i->machine);
}

/* ---- the machine ----------------------------------------------------------
 */

static int
check_name(const char *name, struct err *e)
{
    size_t len = strlen(name);
    json_t *j = json_string(name);
    bool good = len > 0 && len <= IMPORT_MAX_NAME && j;

    json_decref(j);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            good = false;
    return good ? 0
                : err_set(e, ERR_USAGE,
                          "that is no name for a machine: 1 to %d bytes of "
                          "UTF-8 without control characters",
                          IMPORT_MAX_NAME);
}

static bool
is_taken(const struct machine *m, const char *name)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (strcmp(m->disks[i].name, name) == 0)
            return true;
    return false;
}

/* The name of its file without the ending, if a disk can be called so and none
 * is; else by its number. */
static char *
name_disk(const struct machine *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(freep) char *base = xstrdup(slash ? slash + 1 : path);
    char *dot = strrchr(base, '.');

    if (dot && dot != base)
        *dot = '\0';
    if (strlen(base) <= DISK_NAME_MAX && disk_name_is_fit(base) &&
        !is_taken(m, base))
        return STEAL(base);
    for (size_t n = m->n_disks;; n++) {
        char *numbered = xasprintf("disk%zu", n);
        if (!is_taken(m, numbered))
            return numbered;
        free(numbered);
    }
}

static uint64_t
size_of(const struct image *im)
{
    return im->qcow2 ? imagesource_size_bytes(im->qcow2)
                     : rawsource_size_bytes(im->raw);
}

static void
add_disk(struct machine *m, const char *path, const struct image *im)
{
    char *absolute = realpath(path, NULL);
    struct disk d = {
        .name = name_disk(m, path),
        .device = xstrdup(""),
        .qdev = xstrdup(""),
        .node = xstrdup(""),
        .format = xstrdup(im->qcow2 ? "qcow2" : "raw"),
        .filename = absolute ? absolute : xstrdup(path),
        .size_bytes = size_of(im),
    };

    m->disks[m->n_disks++] = d;
}

static struct machine *
make_machine(const struct import_options *o)
{
    struct machine *m = xcalloc(1, sizeof(*m));

    m->name = xstrdup(o->name);
    m->uuid = xstrdup("");
    m->socket = xstrdup("");
    m->type = xstrdup("");
    m->status = xstrdup("");
    m->blockers = xcalloc(1, sizeof(char *));
    m->disks = xcalloc(o->n_images, sizeof(m->disks[0]));
    return m;
}

/* ---- the backup ------------------------------------------------------------
 */

static void
show(struct import *i)
{
    if (i->options->progress)
        i->options->progress(i->options->progress_cookie, &i->progress);
}

static void
warn(struct import *i, char *text)
{
    struct capture_result *r = i->result;

    if (r->n_warnings < CAPTURE_MAX_WARNINGS)
        r->warnings[r->n_warnings++] = text;
    else
        free(text);
}

static void
reached(void *cookie, uint64_t offset)
{
    struct import *i = cookie;

    i->progress.done_bytes = i->before_bytes + offset;
    show(i);
}

/* 1: as qcow2; 0: as raw. */
static int
choose_format(struct import *i, size_t k, struct err *e)
{
    const struct import_options *o = i->options;
    int qcow2 = o->format == IMPORT_QCOW2;

    if (o->format == IMPORT_PROBED) {
        qcow2 = rawsource_looks_qcow2(o->images[k], e);
        i->images[k].probed = true;
    }
    if (qcow2 == 0 && o->snapshot)
        return err_set(e, ERR_USAGE,
                       "%s is a raw image, which has no snapshots",
                       o->images[k]);
    return qcow2;
}

/* It takes its share of the files that were named. */
static int
open_qcow2(struct import *i, size_t k, struct err *e)
{
    const struct import_options *o = i->options;
    struct imagesource **source = &i->images[k].qcow2;
    const struct qcow2_layer_files files = {
        .image = o->images[k],
        .backing = o->backing + i->n_backing,
        .n_backing = o->n_backing - i->n_backing,
        .data_files = o->data_files + i->n_data_files,
        .n_data_files = o->n_data_files - i->n_data_files,
        .backing_format = o->backing_format,
    };
    size_t n_backing = 0, n_data = 0;

    if (imagesource_open(&files, o->snapshot, source, &n_backing, &n_data, e) ==
        -1)
        return i->images[k].probed
                   ? err_hint(e, "if it is a raw disk whose own bytes look "
                                 "like qcow2, say --format raw")
                   : -1;
    i->n_backing += n_backing;
    i->n_data_files += n_data;
    for (size_t n = 0; imagesource_warning(*source, n); n++)
        warn(i, xstrdup(imagesource_warning(*source, n)));
    i->progress.total_bytes += imagesource_state_bytes(*source);
    return 0;
}

static int
check_all_used(const struct import *i, struct err *e)
{
    const struct import_options *o = i->options;

    if (i->n_backing < o->n_backing)
        return err_set(e, ERR_USAGE, "no image here needs --backing %s",
                       o->backing[i->n_backing]);
    if (i->n_data_files < o->n_data_files)
        return err_set(e, ERR_USAGE, "no image here needs --data-file %s",
                       o->data_files[i->n_data_files]);
    return 0;
}

/* QEMU gives the snapshots of all disks of a machine one date and one clock. */
static int
check_one_instant(struct import *i, struct err *e)
{
    const struct import_options *o = i->options;
    const struct qcow2_snapshot *first = NULL;

    for (size_t k = 0; o->snapshot && k < o->n_images; k++) {
        const struct qcow2_snapshot *s =
            imagesource_snapshot(i->images[k].qcow2);
        if (!first)
            first = s;
        if (s->date_sec != first->date_sec ||
            s->date_nsec != first->date_nsec ||
            s->vm_clock_ns != first->vm_clock_ns)
            return err_set(e, ERR_USAGE,
                           "the snapshots '%s' in %s and %s are of different "
                           "instants, so they are not of one machine; import "
                           "them one by one",
                           o->snapshot, o->images[0], o->images[k]);
    }
    return 0;
}

/* All of them, before anything is read: a mistake shows at once. */
static int
open_images(struct import *i, struct err *e)
{
    const struct import_options *o = i->options;

    i->machine = make_machine(o);
    for (size_t k = 0; k < o->n_images; k++) {
        int qcow2 = choose_format(i, k, e);
        if (qcow2 == -1 || (qcow2 == 1 && open_qcow2(i, k, e) == -1) ||
            (qcow2 == 0 && rawsource_open(o->images[k], o->format == IMPORT_RAW,
                                          &i->images[k].raw, e) == -1))
            return -1;
        add_disk(i->machine, o->images[k], &i->images[k]);
        i->progress.total_bytes += size_of(&i->images[k]);
    }
    if (check_all_used(i, e) == -1)
        return -1;
    return check_one_instant(i, e);
}

static int
copy_state(struct import *i, struct imagesource *s, struct err *e)
{
    const char *dir = i->options->scratch_dir;
    uint64_t bytes = imagesource_state_bytes(s);

    if (bytes == 0)
        return 0;
    if (i->spool)
        return err_set(e, ERR_USAGE,
                       "more than one of the images has a machine state; "
                       "import them one by one");
    i->progress.what = "memory";
    if (ramspool_create(dir ? dir : "/var/tmp", &i->spool, e) == -1 ||
        imagesource_copy_state(s, i->spool, reached, i, i->cancel, e) == -1)
        return -1;
    i->before_bytes += bytes;
    return 0;
}

static int
copy_qcow2(struct import *i, struct imagesource *s, struct volume_writer **v,
           struct volume_root *out, struct err *e)
{
    if (imagesource_copy_disk(s, *v, reached, i, i->cancel, e) == -1 ||
        volume_end(v, out, e) == -1)
        return -1;
    i->before_bytes += out->size_bytes;
    return copy_state(i, s, e) == -1 ? -1 : imagesource_recheck(s, e);
}

static int
copy_raw(struct import *i, struct rawsource *s, struct volume_writer **v,
         struct volume_root *out, struct err *e)
{
    if (rawsource_copy(s, v, out, reached, i, i->cancel, e) == -1)
        return -1;
    i->before_bytes += out->size_bytes;
    return 0;
}

static int
read_image(struct import *i, size_t k, struct err *e)
{
    const struct disk *d = &i->machine->disks[k];
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->name);
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};
    struct image *im = &i->images[k];

    i->progress.phase = "read";
    i->progress.what = d->name;
    show(i);
    if (volume_begin(i->backup, name, d->size_bytes, &v, e) == -1 ||
        (im->qcow2 ? copy_qcow2(i, im->qcow2, &v, &root, e)
                   : copy_raw(i, im->raw, &v, &root, e)) == -1)
        return -1;
    manifest_add_volume(i->manifest, name, &root);
    return 0;
}

static void
spool_reached(void *cookie, const char *what, uint64_t done_bytes)
{
    struct import *i = cookie;

    i->progress.what = what;
    reached(i, done_bytes);
}

static int
store_state(struct import *i, struct err *e)
{
    if (!i->spool)
        return 0;
    i->progress.total_bytes += spoolsource_bytes(i->spool);
    return spoolsource_copy(i->spool, i->backup, i->manifest, spool_reached, i,
                            i->cancel, e);
}

static void
set_text(char **member, const char *text)
{
    free(*member);
    *member = xstrdup(text);
}

static json_t *
images_json(const struct import *i)
{
    json_t *list = json_array();

    for (size_t k = 0; k < i->options->n_images; k++) {
        const struct disk *d = &i->machine->disks[k];
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:b}", "disk", d->name, "format",
                            d->format, "probed", (int)i->images[k].probed));
    }
    return list;
}

static json_t *
warnings_json(const struct capture_result *r)
{
    json_t *list = json_array();

    for (size_t k = 0; k < r->n_warnings; k++)
        (void)json_array_append_new(list, json_string(r->warnings[k]));
    return list;
}

/* A snapshot's own time, if it can be: what is backed up was then. */
static void
set_time(const struct import *i, struct manifest *m)
{
    const struct qcow2_snapshot *s =
        i->options->snapshot ? imagesource_snapshot(i->images[0].qcow2) : NULL;

    if (!s || s->date_sec == 0)
        return;
    int64_t time_ns = (int64_t)s->date_sec * 1000000000 + s->date_nsec;
    if (time_ns < m->time_ns)
        m->time_ns = time_ns;
}

static void
fill_manifest(struct import *i)
{
    struct manifest *m = i->manifest;
    char host[256] = "";

    set_time(i, m);

    (void)gethostname(host, sizeof(host) - 1);
    set_text(&m->machine, i->options->name);
    set_text(&m->uuid, "");
    set_text(&m->host, host);
    set_text(&m->method, "import");
    json_decref(m->detail);
    m->detail = json_pack("{s:o, s:s, s:o, s:o}", "machine",
                          machine_to_json(i->machine), "vmkeep", VMKEEP_VERSION,
                          "images", images_json(i), "warnings",
                          warnings_json(i->result));
    if (i->options->snapshot)
        (void)json_object_set_new(
            m->detail, "snapshot",
            json_string(imagesource_snapshot(i->images[0].qcow2)->name));
}

static int
import(struct import *i, struct repo *r, struct err *e)
{
    const struct import_options *o = i->options;

    if (check_name(o->name, e) == -1 || open_images(i, e) == -1 ||
        backup_begin(r, NULL, i->cancel, &i->backup, e) == -1)
        return -1;
    i->manifest = manifest_new();
    for (size_t k = 0; k < o->n_images; k++)
        if (read_image(i, k, e) == -1)
            return -1;
    if (store_state(i, e) == -1)
        return -1;
    i->progress.phase = "publish";
    i->progress.what = "";
    show(i);
    fill_manifest(i);
    return backup_commit(&i->backup, i->manifest, e);
}

int
import_images(struct repo *r, const struct import_options *o,
              struct cancel *cancel, struct capture_result *out, struct err *e)
{
    struct capture_result result = {0};
    struct import i = {.options = o,
                       .cancel = cancel,
                       .result = &result,
                       .progress = {.what = ""}};
    uint64_t begin = clock_mono_ns();

    if (o->n_images == 0 || o->n_images > IMPORT_MAX_IMAGES)
        return err_set(e, ERR_USAGE, "1 to %d images can be imported at once",
                       IMPORT_MAX_IMAGES);
    int rc = import(&i, r, e);
    if (rc == 0) {
        result.manifest = STEAL(i.manifest);
        result.duration_ns = clock_mono_ns() - begin;
        *out = result;
    } else {
        capture_result_done(&result);
    }
    import_done(&i);
    return rc;
}
