/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_internal: what the files of the reader share.
 */
#ifndef QCOW2_QCOW2_INTERNAL_H
#define QCOW2_QCOW2_INTERNAL_H

#include "qcow2/imagefile.h"
#include "qcow2/reader.h"
#include "qcow2/tables.h"

struct qcow2_unpacker;

/* Never changes once it is open, so that views in many threads may share it. */
struct qcow2_image {
    int fd, data_fd; /* borrowed; data_fd: -1 if there is none */
    struct qcow2_header header;
    struct qcow2_snapshots snapshots;
    struct qcow2_geometry g;
};

struct qcow2_view {
    const struct qcow2_image *image;       /* borrowed */
    const struct qcow2_snapshot *snapshot; /* the image's; NULL: active */
    struct qcow2_file file;                /* the image */
    struct qcow2_file data;                /* where disk data is */
    uint64_t l1_offset;
    struct qcow2_tables tables;
    uint64_t disk_bytes;
    uint64_t vm_base; /* the machine state's place behind the disk */
    uint64_t vm_bytes;
    struct qcow2_source backing; /* read is NULL: there is none */

    /* The compressed cluster that was read last; NULL before the first. */
    struct qcow2_unpacker *unpacker;
    uint8_t *packed;   /* 2 clusters: the most that an entry can name */
    uint8_t *unpacked; /* 1 cluster */
    uint64_t unpacked_host, unpacked_len; /* which; length 0: none */
};

/*
 * The piece at guest_offset, which may be in the machine state; cut at `end`,
 * the end of the disk or of the machine state.  What it names is there.
 */
int qcow2_view_piece(struct qcow2_view *v, uint64_t guest_offset, uint64_t end,
                     struct qcow2_piece *out, struct err *e);

/* The same and all that follows and is one with it, within reason. */
int qcow2_view_pieces(struct qcow2_view *v, uint64_t guest_offset, uint64_t end,
                      struct qcow2_piece *out, struct err *e);

#endif
