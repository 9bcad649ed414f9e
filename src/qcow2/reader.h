/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader: reads qcow2 images: what is in them, their disk as it is now or as
 * an internal snapshot keeps it, and the machine state of a snapshot.
 *
 * An image is open, its views are the states of its disk that are being read:
 *
 *   image_open -> image_snapshots -> view_open -> view_map, view_read,
 *   view_read_vmstate, view_diff -> view_recheck
 *
 * An image that QEMU has open for writing may be read while it writes, but
 * only views of snapshots, and only if view_recheck says at the end that the
 * snapshot is still there.  The active state is QEMU's own until it was
 * stopped and flushed, or has closed the file (inuse.h).  Descriptors must read
 * through the page cache (no O_DIRECT) of the host that QEMU runs on.
 *
 * Source:    QEMU docs/interop/qcow2.txt; docs/format/qcow2.md says what is
 *            read and what refused.
 * Ownership: descriptors are borrowed.  A view borrows its image, a source
 *            its context.
 * Threads:   one thread a view; many views may share an image.
 * Memory:    the L1 table (8 bytes for each 512 MiB of disk with clusters of
 *            64 KiB, at most 32 MiB), 8 MiB of L2 tables, a few clusters.
 * Trust:     the file is hostile.  No name in it is ever opened: a backing
 *            file or an external data file is what the caller hands in.  Work
 *            is bounded by the size of the file, or by what is asked for.
 * Errors:    ERR_CORRUPT for what the format forbids and for what is missing
 *            (the message says which part of the disk needed it), ERR_UNSUP
 *            for what we cannot read, ERR_LIMIT past QEMU's limits, ERR_IO.
 */
#ifndef QCOW2_READER_H
#define QCOW2_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qcow2/cluster.h"
#include "qcow2/header.h"
#include "qcow2/snapshot.h"

struct err;
struct qcow2_image;
struct qcow2_view;

/*
 * Reads the header and the snapshot table.  data_fd is the external data file
 * if the image has one (and it is to be read), else -1.  ERR_CORRUPT also if
 * QEMU changes the table faster than we can read it.
 */
int qcow2_image_open(int fd, int data_fd, struct qcow2_image **out,
                     struct err *e);
/* All its views must be closed. */
void qcow2_image_close(struct qcow2_image *image); /* NULL is allowed */
void qcow2_image_closep(struct qcow2_image **image);

const struct qcow2_header *qcow2_image_header(const struct qcow2_image *image);
const struct qcow2_snapshots *
qcow2_image_snapshots(const struct qcow2_image *image);

/* Bytes from elsewhere: [offset, offset + len) is inside size_bytes. */
typedef int qcow2_read_fn(void *ctx, uint64_t offset, void *p, size_t len,
                          struct err *e);

/* What unallocated clusters read as.  Behind its end there are zeros. */
struct qcow2_source {
    qcow2_read_fn *read;
    void *ctx; /* borrowed */
    uint64_t size_bytes;
};

/* A raw image: the descriptor is *fd, which must stay. */
int qcow2_source_of_raw(const int *fd, struct qcow2_source *out, struct err *e);
struct qcow2_source qcow2_source_of_view(struct qcow2_view *view);

/*
 * A snapshot of the image's, or NULL for the active state.  ERR_UNSUP for an
 * encrypted image, and if an external data file is missing.
 */
int qcow2_view_open(const struct qcow2_image *image,
                    const struct qcow2_snapshot *snapshot,
                    struct qcow2_view **out, struct err *e);
void qcow2_view_close(struct qcow2_view *view); /* NULL is allowed */
void qcow2_view_closep(struct qcow2_view **view);

uint64_t qcow2_view_bytes(const struct qcow2_view *view);
uint64_t qcow2_view_vmstate_bytes(const struct qcow2_view *view);

/* What was read of its files so far, tables and data. */
uint64_t qcow2_view_read_bytes(const struct qcow2_view *view);

/* Without one, unallocated clusters of an image that names a backing file
 * cannot be read (ERR_UNSUP): zeros would be a lie. */
void qcow2_view_set_backing(struct qcow2_view *view,
                            const struct qcow2_source *source);

struct qcow2_extent {
    uint64_t offset, len; /* of the disk */
    enum qcow2_kind kind;
    uint64_t host_offset; /* DATA: in the image, or in the data file */
};

/*
 * The part of the disk that begins at `offset`, which is inside it, and is of
 * one kind; DATA is in one piece in the file, too.  As long as it takes little
 * to find out: the next extent may be of the same kind.  COMPRESSED_DATA comes
 * cluster by cluster.
 */
int qcow2_view_map(struct qcow2_view *view, uint64_t offset,
                   struct qcow2_extent *out, struct err *e);

/* A hint: [offset, offset + len), the start of this extent of data or less,
 * will be read soon.  Readers that take turns look like no sequence to the
 * kernel. */
void qcow2_view_will_read(const struct qcow2_view *view,
                          const struct qcow2_extent *extent, uint64_t len);

/* Pieces of about 512 KiB are the fastest: large ones fall out of the
 * processor's cache before they are used. */
int qcow2_view_read(struct qcow2_view *view, uint64_t offset, void *p,
                    size_t len, struct err *e);

/* [offset, offset + len) of the machine state.  A hole in it is ERR_CORRUPT:
 * QEMU leaves none. */
int qcow2_view_read_vmstate(struct qcow2_view *view, uint64_t offset, void *p,
                            size_t len, struct err *e);

struct qcow2_change {
    uint64_t offset, len;
    bool changed; /* false: surely the same bytes; true: maybe others */
};

/*
 * Compares the disk of two views of one image, from `offset` inside the newer
 * one on, by their tables alone: equal entries are equal data.  What the older
 * disk is too short for has changed.  The answer holds if both snapshots still
 * pass view_recheck afterwards.
 */
int qcow2_view_diff(struct qcow2_view *older, struct qcow2_view *newer,
                    uint64_t offset, struct qcow2_change *out, struct err *e);

struct qcow2_check {
    uint64_t data_bytes;          /* of the disk that are in the file */
    uint64_t compressed_clusters; /* of the disk */
    uint64_t overlaps;            /* clusters that lie over something else */
    uint64_t first_overlap;       /* the first one's offset on the disk */
};

/*
 * Walks through all tables of the view and reads no data.  0: everything that
 * it names is there, the machine state too; -1: not, and the message says what
 * is missing first.
 *
 * Overlaps can be read, and QEMU reads the same, but no sound image has any:
 * one of the two clusters holds wrong bytes.  (`qemu-img check` sees none in
 * them.  QEMU 7.2 itself makes them now and then when compressed clusters are
 * written to an image that also has others.)
 */
int qcow2_view_check(struct qcow2_view *view, struct qcow2_check *out,
                     struct err *e);

/*
 * Does the file still name this state?  ERR_NOENT if the snapshot was deleted
 * or replaced: what was read meanwhile is void.  For the active state, if its
 * table moved.
 */
int qcow2_view_recheck(struct qcow2_view *view, struct err *e);

#endif
