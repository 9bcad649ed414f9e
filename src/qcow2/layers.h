/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layers: a qcow2 image and the backing files below it, open for reading.
 *
 * The image may be in use by a running QEMU, see qcow2/reader.h for what can
 * be read of it then; nothing is locked, nobody is kept out.  The files below
 * must not be written to by anybody.
 *
 * No name in an image is ever opened: a guest that owns its disk file could
 * name any file of the host.  The caller says which files these are, in the
 * order in which the images name them.
 *
 * Threads: a layered view belongs to one thread; several may share the layers.
 */
#ifndef QCOW2_LAYERS_H
#define QCOW2_LAYERS_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct qcow2_layered;
struct qcow2_layers;
struct qcow2_image;
struct qcow2_snapshot;
struct qcow2_view;

enum { QCOW2_LAYERS_MAX = 64 };

/* All strings are borrowed while the layers are open. */
struct qcow2_layer_files {
    const char *image;
    const char *const *backing; /* the image's own first, then that one's */
    size_t n_backing;
    const char *const *data_files; /* of those images that have one, in order */
    size_t n_data_files;
    const char *backing_format; /* where an image does not say: "raw", "qcow2"
                                   or NULL */
};

/* ERR_USAGE if there are more files than the images name, or other ones than
 * can be; a backing file that is missing is only missed when it is read. */
int qcow2_layers_open(const struct qcow2_layer_files *f,
                      struct qcow2_layers **out, struct err *e);
/* The same with lists that several images share: takes from their start as
 * many as this one's layers name, and says how many those were. */
int qcow2_layers_open_first(const struct qcow2_layer_files *f,
                            size_t *out_backing, size_t *out_data,
                            struct qcow2_layers **out, struct err *e);
void qcow2_layers_close(struct qcow2_layers *l); /* NULL is allowed */
void qcow2_layers_closep(struct qcow2_layers **l);

/* The topmost. */
const struct qcow2_image *qcow2_layers_image(const struct qcow2_layers *l);
/* Does somebody write to the topmost?  As far as locks tell. */
bool qcow2_layers_in_use(const struct qcow2_layers *l);

/*
 * Has nobody written to the files below since they were opened, nor, for its
 * active state, to the topmost?  ERR_IO if so, by locks, sizes and times of
 * modification; block devices have no such times.
 */
int qcow2_layers_recheck(const struct qcow2_layers *l, bool active,
                         struct err *e);

/* The disk as the snapshot has it, over all layers. */
int qcow2_layers_view(const struct qcow2_layers *l,
                      const struct qcow2_snapshot *snapshot,
                      struct qcow2_layered **out, struct err *e);
void qcow2_layered_close(struct qcow2_layered *v); /* NULL is allowed */
void qcow2_layered_closep(struct qcow2_layered **v);
/* What to read from; the topmost's. */
struct qcow2_view *qcow2_layered_view(const struct qcow2_layered *v);

#endif
