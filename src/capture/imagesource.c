/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/imagesource.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/layers.h"
#include "qcow2/reader.h"

struct imagesource {
    char *path;
    struct qcow2_layers *layers;
    const struct qcow2_snapshot *snapshot; /* the image's; NULL: active */
    struct qcow2_layered *layered;
    char *warnings[IMAGESOURCE_MAX_WARNINGS];
    size_t n_warnings;
};

static const struct qcow2_header *
header_of(const struct imagesource *s)
{
    return qcow2_image_header(qcow2_layers_image(s->layers));
}

static struct qcow2_view *
view_of(const struct imagesource *s)
{
    return qcow2_layered_view(s->layered);
}

static void
warn(struct imagesource *s, char *text)
{
    if (s->n_warnings < IMAGESOURCE_MAX_WARNINGS)
        s->warnings[s->n_warnings++] = text;
    else
        free(text);
}

static int
find_snapshot(struct imagesource *s, const char *name, struct err *e)
{
    s->snapshot = qcow2_snapshot_find(
        qcow2_image_snapshots(qcow2_layers_image(s->layers)), name);
    if (s->snapshot)
        return 0;
    (void)err_set(e, ERR_NOENT, "%s has no snapshot '%s'", s->path, name);
    return err_hint(e, "`vmkeep extract --list` shows which it has");
}

/*
 * The dirty bit says that refcounts may be wrong, which nobody looks at here,
 * and that whoever wrote the image did not get to its end.  The corrupt bit is
 * set by QEMU when it has seen that the tables of the active state are wrong:
 * what it then stops writing to we do not save as if it were sound.
 */
static int
check_flags(struct imagesource *s, struct err *e)
{
    uint64_t flags = header_of(s)->incompatible;

    if (!s->snapshot && qcow2_layers_in_use(s->layers)) {
        (void)err_set(e, ERR_QEMU,
                      "a running QEMU has %s open for writing; only its "
                      "snapshots can be read",
                      s->path);
        return err_hint(e, "shut the machine down first, save it while it runs "
                           "by `vmkeep backup`, or name a snapshot by "
                           "--snapshot");
    }
    if (flags & QCOW2_INCOMPAT_CORRUPT && !s->snapshot) {
        (void)err_set(e, ERR_CORRUPT, "%s is marked as corrupt", s->path);
        return err_hint(e, "copy it, and repair the copy by `qemu-img check "
                           "-r all`");
    }
    if (flags & QCOW2_INCOMPAT_CORRUPT)
        warn(s, xasprintf("%s is marked as corrupt; its snapshot could be read "
                          "to its end",
                          s->path));
    if (flags & QCOW2_INCOMPAT_DIRTY && !s->snapshot)
        warn(s, xasprintf("%s was not closed: its machine was killed, or runs "
                          "where no lock can be seen",
                          s->path));
    return 0;
}

/* Is everything there? */
static int
check_tables(struct imagesource *s, struct err *e)
{
    struct qcow2_check check = {0};

    if (qcow2_view_check(view_of(s), &check, e) == -1)
        return err_wrap(e, "%s", s->path);
    if (check.overlaps > 0)
        warn(s,
             xasprintf("%llu clusters of the disk in %s lie over others, the "
                       "first at offset %llu: whoever wrote the image damaged "
                       "it, and of each two at least one has wrong bytes",
                       (unsigned long long)check.overlaps, s->path,
                       (unsigned long long)check.first_overlap));
    return 0;
}

int
imagesource_open(const struct qcow2_layer_files *files, const char *snapshot,
                 struct imagesource **out, size_t *out_backing,
                 size_t *out_data, struct err *e)
{
    CLEANUP(imagesource_closep)
    struct imagesource *s = xcalloc(1, sizeof(*s));
    size_t n_backing = 0, n_data = 0;

    s->path = xstrdup(files->image);
    if (qcow2_layers_open_first(files, &n_backing, &n_data, &s->layers, e) ==
            -1 ||
        (snapshot && find_snapshot(s, snapshot, e) == -1) ||
        check_flags(s, e) == -1 ||
        qcow2_layers_view(s->layers, s->snapshot, &s->layered, e) == -1 ||
        check_tables(s, e) == -1)
        return -1;
    *out_backing = n_backing;
    *out_data = n_data;
    *out = STEAL(s);
    return 0;
}

void
imagesource_close(struct imagesource *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_warnings; i++)
        free(s->warnings[i]);
    qcow2_layered_close(s->layered);
    qcow2_layers_close(s->layers);
    free(s->path);
    free(s);
}

void
imagesource_closep(struct imagesource **s)
{
    imagesource_close(*s);
    *s = NULL;
}

uint64_t
imagesource_size_bytes(const struct imagesource *s)
{
    return qcow2_view_bytes(view_of(s));
}

uint64_t
imagesource_state_bytes(const struct imagesource *s)
{
    return qcow2_view_vmstate_bytes(view_of(s));
}

const struct qcow2_snapshot *
imagesource_snapshot(const struct imagesource *s)
{
    return s->snapshot;
}

const char *
imagesource_warning(const struct imagesource *s, size_t i)
{
    return i < s->n_warnings ? s->warnings[i] : NULL;
}

int
imagesource_copy_disk(struct imagesource *s, struct volume_writer *v,
                      viewsource_progress_fn *fn, void *cookie,
                      struct cancel *cancel, struct err *e)
{
    if (viewsource_copy_disk(view_of(s), header_of(s)->backing, v, fn, cookie,
                             cancel, e) == 0)
        return 0;
    return e->code == ERR_CANCELED ? -1 : err_wrap(e, "%s", s->path);
}

int
imagesource_copy_state(struct imagesource *s, struct ramspool *spool,
                       viewsource_progress_fn *fn, void *cookie,
                       struct cancel *cancel, struct err *e)
{
    if (viewsource_copy_state(view_of(s), spool, fn, cookie, cancel, e) == 0)
        return 0;
    return e->code == ERR_CANCELED
               ? -1
               : err_wrap(e, "the machine state in %s", s->path);
}

int
imagesource_recheck(struct imagesource *s, struct err *e)
{
    if (qcow2_view_recheck(view_of(s), e) == -1)
        return err_wrap(e, "%s", s->path);
    return qcow2_layers_recheck(s->layers, s->snapshot == NULL, e);
}
