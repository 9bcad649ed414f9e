/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/layers.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "qcow2/format.h"
#include "qcow2/inuse.h"
#include "qcow2/reader.h"

enum { NAME_SHOWN = 200 };

struct layer {
    const char *path;                /* borrowed */
    int fd, data_fd;                 /* data_fd: -1 if there is none */
    struct stat opened, data_opened; /* as they were then */
    struct qcow2_image *image;       /* NULL: raw */
};

struct qcow2_layers {
    bool in_use;
    size_t n;
    struct layer list[QCOW2_LAYERS_MAX]; /* the topmost first */
};

struct qcow2_layered {
    const struct qcow2_layers *layers; /* borrowed */
    size_t n;
    struct qcow2_view *views[QCOW2_LAYERS_MAX]; /* NULL: raw */
};

static int
open_file(const char *path, int *out, struct stat *opened, struct err *e)
{
    /* Without O_NONBLOCK a FIFO would keep us here. */
    CLEANUP(fd_closep)
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd == -1 || fstat(fd, opened) == -1)
        return err_set_errno(e, ERR_IO, "cannot open %s", path);
    *out = fd;
    fd = -1;
    return 0;
}

/* Takes the next of the data files if the layer's image needs one. */
static int
open_data_file(struct layer *l, const struct qcow2_layer_files *f, size_t *used,
               struct err *e)
{
    const struct qcow2_header *h = qcow2_image_header(l->image);

    if (!(h->incompatible & QCOW2_INCOMPAT_DATA_FILE))
        return 0;
    if (*used == f->n_data_files) {
        CLEANUP(freep)
        char *name = text_quote(h->data_file ? h->data_file : "", NAME_SHOWN);
        return err_set(e, ERR_UNSUP,
                       "%s keeps its data in an external file that it calls "
                       "'%s'; name that file with --data-file",
                       l->path, name);
    }
    if (open_file(f->data_files[*used], &l->data_fd, &l->data_opened, e) == -1)
        return -1;
    (*used)++;
    return 0;
}

static int
open_image(struct layer *l, const struct qcow2_layer_files *f,
           size_t *data_used, struct err *e)
{
    CLEANUP(qcow2_image_closep) struct qcow2_image *probe = NULL;

    /* The header says whether there is more to open. */
    if (qcow2_image_open(l->fd, -1, &l->image, e) == -1)
        return err_wrap(e, "%s", l->path);
    if (open_data_file(l, f, data_used, e) == -1)
        return -1;
    if (l->data_fd == -1)
        return 0;
    probe = STEAL(l->image);
    if (qcow2_image_open(l->fd, l->data_fd, &l->image, e) == -1)
        return err_wrap(e, "%s", l->path);
    return 0;
}

/* What is the backing file of `above`? */
static int
choose_format(const struct layer *above, const struct qcow2_layer_files *f,
              bool *out_raw, struct err *e)
{
    const struct qcow2_header *h = qcow2_image_header(above->image);
    const char *format = h->backing_format;

    if (!format || !*format)
        format = f->backing_format;
    if (!format)
        return err_set(e, ERR_USAGE,
                       "%s does not say whether its backing file is raw or "
                       "qcow2; say it with --backing-format",
                       above->path);
    if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0) {
        CLEANUP(freep) char *name = text_quote(format, NAME_SHOWN);
        return err_set(e, ERR_UNSUP,
                       "the backing file of %s has the format '%s'; raw and "
                       "qcow2 can be read",
                       above->path, name);
    }
    *out_raw = strcmp(format, "raw") == 0;
    return 0;
}

static int
check_quiet(const struct layer *l, struct err *e)
{
    int in_use = qcow2_in_use(l->fd, e);

    if (in_use == 1)
        (void)err_set(e, ERR_UNSUP,
                      "the backing file %s is being written to: it cannot be "
                      "read until that has ended",
                      l->path);
    return in_use == 0 ? 0 : -1;
}

/* Does the lowest so far name another below it? */
static bool
names_backing(const struct qcow2_layers *all)
{
    const struct qcow2_image *image = all->list[all->n - 1].image;

    return image && qcow2_image_header(image)->backing;
}

static int
add_backing(struct qcow2_layers *all, const char *path,
            const struct qcow2_layer_files *f, size_t *data_used, struct err *e)
{
    const struct layer *above = &all->list[all->n - 1];
    struct layer *l = &all->list[all->n];
    bool raw = false;

    if (choose_format(above, f, &raw, e) == -1)
        return -1;
    *l = (struct layer){.path = path, .fd = -1, .data_fd = -1};
    all->n++;
    if (open_file(path, &l->fd, &l->opened, e) == -1 || check_quiet(l, e) == -1)
        return -1;
    return raw ? 0 : open_image(l, f, data_used, e);
}

static int
open_topmost(struct qcow2_layers *all, const struct qcow2_layer_files *f,
             size_t *data_used, struct err *e)
{
    struct layer *l = &all->list[all->n++];

    *l = (struct layer){.path = f->image, .fd = -1, .data_fd = -1};
    if (open_file(f->image, &l->fd, &l->opened, e) == -1 ||
        open_image(l, f, data_used, e) == -1)
        return -1;
    int in_use = qcow2_in_use(l->fd, e);
    if (in_use == -1)
        return err_wrap(e, "%s", f->image);
    all->in_use = in_use == 1;
    return 0;
}

int
qcow2_layers_open_first(const struct qcow2_layer_files *f, size_t *out_backing,
                        size_t *out_data, struct qcow2_layers **out,
                        struct err *e)
{
    CLEANUP(qcow2_layers_closep)
    struct qcow2_layers *all = xcalloc(1, sizeof(*all));
    size_t data_used = 0, i = 0;

    if (open_topmost(all, f, &data_used, e) == -1)
        return -1;
    for (; i < f->n_backing && names_backing(all); i++) {
        if (all->n == QCOW2_LAYERS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d backing files",
                           QCOW2_LAYERS_MAX - 1);
        if (add_backing(all, f->backing[i], f, &data_used, e) == -1)
            return -1;
    }
    *out_backing = i;
    *out_data = data_used;
    *out = STEAL(all);
    return 0;
}

int
qcow2_layers_open(const struct qcow2_layer_files *f, struct qcow2_layers **out,
                  struct err *e)
{
    CLEANUP(qcow2_layers_closep) struct qcow2_layers *all = NULL;
    size_t n_backing = 0, n_data = 0;

    if (qcow2_layers_open_first(f, &n_backing, &n_data, &all, e) == -1)
        return -1;
    if (n_backing < f->n_backing)
        return err_set(e, ERR_USAGE,
                       "%s has no backing file: --backing %s is one too many",
                       all->list[all->n - 1].path, f->backing[n_backing]);
    if (n_data < f->n_data_files)
        return err_set(e, ERR_USAGE, "no image here needs --data-file %s",
                       f->data_files[n_data]);
    *out = STEAL(all);
    return 0;
}

static int
check_unchanged(const char *path, int fd, const struct stat *was, struct err *e)
{
    struct stat is;
    int in_use = qcow2_in_use(fd, e);

    if (in_use == -1)
        return err_wrap(e, "%s", path);
    if (fstat(fd, &is) == -1)
        return err_set_errno(e, ERR_IO, "cannot look at %s", path);
    if (in_use == 0 &&
        (!S_ISREG(is.st_mode) || (is.st_size == was->st_size &&
                                  is.st_mtim.tv_sec == was->st_mtim.tv_sec &&
                                  is.st_mtim.tv_nsec == was->st_mtim.tv_nsec)))
        return 0;
    return err_set(e, ERR_IO,
                   "%s was written to while it was read; try again when "
                   "nobody writes to it",
                   path);
}

int
qcow2_layers_recheck(const struct qcow2_layers *l, bool active, struct err *e)
{
    for (size_t i = active ? 0 : 1; i < l->n; i++) {
        const struct layer *at = &l->list[i];
        if (check_unchanged(at->path, at->fd, &at->opened, e) == -1)
            return -1;
        if (at->data_fd == -1)
            continue;
        CLEANUP(freep) char *what = xasprintf("the data file of %s", at->path);
        if (check_unchanged(what, at->data_fd, &at->data_opened, e) == -1)
            return -1;
    }
    return 0;
}

void
qcow2_layers_close(struct qcow2_layers *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++) {
        qcow2_image_close(l->list[i].image);
        fd_close(&l->list[i].fd);
        fd_close(&l->list[i].data_fd);
    }
    free(l);
}

void
qcow2_layers_closep(struct qcow2_layers **l)
{
    qcow2_layers_close(*l);
    *l = NULL;
}

const struct qcow2_image *
qcow2_layers_image(const struct qcow2_layers *l)
{
    return l->list[0].image;
}

bool
qcow2_layers_in_use(const struct qcow2_layers *l)
{
    return l->in_use;
}

/* ---- views --------------------------------------------------------------- */

/* In the place of a backing file that nobody has named. */
static int
read_missing(void *ctx, uint64_t offset, void *p, size_t len, struct err *e)
{
    const struct layer *l = ctx;
    const struct qcow2_header *h = qcow2_image_header(l->image);
    CLEANUP(freep) char *name = text_quote(h->backing, NAME_SHOWN);

    (void)p, (void)len;
    return err_set(e, ERR_UNSUP,
                   "disk offset %llu of %s is in its backing file, which it "
                   "calls '%s'; name that file with --backing",
                   (unsigned long long)offset, l->path, name);
}

/* What layer number i reads where it has nothing itself. */
static int
source_below(const struct qcow2_layered *v, size_t i, struct qcow2_source *out,
             struct err *e)
{
    const struct layer *l = &v->layers->list[i], *below = l + 1;

    if (i + 1 == v->layers->n) {
        *out = (struct qcow2_source){.read = read_missing,
                                     .size_bytes = UINT64_MAX};
        memcpy(&out->ctx, &l, sizeof(l)); /* read_missing only looks at it */
        return 0;
    }
    if (below->image) {
        *out = qcow2_source_of_view(v->views[i + 1]);
        return 0;
    }
    return qcow2_source_of_raw(&below->fd, out, e);
}

int
qcow2_layers_view(const struct qcow2_layers *l,
                  const struct qcow2_snapshot *snapshot,
                  struct qcow2_layered **out, struct err *e)
{
    CLEANUP(qcow2_layered_closep)
    struct qcow2_layered *v = xcalloc(1, sizeof(*v));

    v->layers = l;
    v->n = l->n;
    for (size_t i = l->n; i-- > 0;) {
        const struct layer *at = &l->list[i];
        struct qcow2_source below = {0};
        if (!at->image)
            continue;
        if (qcow2_view_open(at->image, i == 0 ? snapshot : NULL, &v->views[i],
                            e) == -1)
            return err_wrap(e, "%s", at->path);
        if (!qcow2_image_header(at->image)->backing)
            continue;
        if (source_below(v, i, &below, e) == -1)
            return -1;
        qcow2_view_set_backing(v->views[i], &below);
    }
    *out = STEAL(v);
    return 0;
}

void
qcow2_layered_close(struct qcow2_layered *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->n; i++)
        qcow2_view_close(v->views[i]);
    free(v);
}

void
qcow2_layered_closep(struct qcow2_layered **v)
{
    qcow2_layered_close(*v);
    *v = NULL;
}

struct qcow2_view *
qcow2_layered_view(const struct qcow2_layered *v)
{
    return v->views[0];
}
