/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/import.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/live.h"
#include "capture/rawsource.h"
#include "qemu/disks.h"
#include "qemu/machine.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"

struct import {
    const struct import_options *options;
    struct cancel *cancel;
    struct machine *machine; /* made up: a name and disks */
    struct rawsource *sources[IMPORT_MAX_IMAGES];
    struct backup_writer *backup;
    struct manifest *manifest;
    struct progress progress;
    uint64_t before_bytes; /* of the images that are done */
};

static void
import_done(struct import *i)
{
    backup_abandonp(&i->backup);
    for (size_t k = 0; k < i->options->n_images; k++)
        rawsource_close(i->sources[k]);
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

static void
add_disk(struct machine *m, const char *path, const struct rawsource *source)
{
    char *absolute = realpath(path, NULL);
    struct disk d = {
        .name = name_disk(m, path),
        .device = xstrdup(""),
        .qdev = xstrdup(""),
        .node = xstrdup(""),
        .format = xstrdup("raw"),
        .filename = absolute ? absolute : xstrdup(path),
        .size_bytes = rawsource_size_bytes(source),
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
reached(void *cookie, uint64_t offset)
{
    struct import *i = cookie;

    i->progress.done_bytes = i->before_bytes + offset;
    show(i);
}

/* All of them, before anything is read: a mistake shows at once. */
static int
open_images(struct import *i, struct err *e)
{
    const struct import_options *o = i->options;

    i->machine = make_machine(o);
    for (size_t k = 0; k < o->n_images; k++) {
        if (rawsource_open(o->images[k], o->surely_raw, &i->sources[k], e) ==
            -1)
            return -1;
        add_disk(i->machine, o->images[k], i->sources[k]);
        i->progress.total_bytes += rawsource_size_bytes(i->sources[k]);
    }
    return 0;
}

static int
read_image(struct import *i, size_t k, struct err *e)
{
    const struct disk *d = &i->machine->disks[k];
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->name);
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};

    i->progress.phase = "read";
    i->progress.what = d->name;
    show(i);
    if (volume_begin(i->backup, name, d->size_bytes, &v, e) == -1 ||
        rawsource_copy(i->sources[k], &v, &root, reached, i, i->cancel, e) ==
            -1)
        return -1;
    i->before_bytes += d->size_bytes;
    manifest_add_volume(i->manifest, name, &root);
    return 0;
}

static void
set_text(char **member, const char *text)
{
    free(*member);
    *member = xstrdup(text);
}

static void
fill_manifest(struct import *i)
{
    struct manifest *m = i->manifest;
    char host[256] = "";

    (void)gethostname(host, sizeof(host) - 1);
    set_text(&m->machine, i->options->name);
    set_text(&m->uuid, "");
    set_text(&m->host, host);
    set_text(&m->method, "import");
    json_decref(m->detail);
    m->detail = json_pack("{s:o, s:s}", "machine", machine_to_json(i->machine),
                          "vmkeep", VMKEEP_VERSION);
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
    struct import i = {
        .options = o, .cancel = cancel, .progress = {.what = ""}};
    uint64_t begin = clock_mono_ns();

    if (o->n_images == 0 || o->n_images > IMPORT_MAX_IMAGES)
        return err_set(e, ERR_USAGE, "1 to %d images can be imported at once",
                       IMPORT_MAX_IMAGES);
    int rc = import(&i, r, e);
    if (rc == 0)
        *out = (struct capture_result){
            .manifest = STEAL(i.manifest),
            .duration_ns = clock_mono_ns() - begin,
        };
    import_done(&i);
    return rc;
}
