/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster: what an entry of an L2 table says about its guest cluster.
 *
 * Source: qcow2.txt, "Cluster mapping" and "Extended L2 Entries".  Bit 63
 *         (COPIED) is never looked at, but with an external data file, where
 *         it tells offset 0 from none: QEMU flips it in tables of snapshots.
 * Trust:  entries are hostile; whatever the format forbids is ERR_CORRUPT.
 */
#ifndef QCOW2_CLUSTER_H
#define QCOW2_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct qcow2_header;

struct qcow2_geometry {
    uint32_t version, cluster_bits;
    uint64_t cluster_bytes;
    uint64_t l2_entries;  /* a table */
    uint32_t entry_bytes; /* 8, or 16 with subclusters */
    bool extended;        /* with subclusters */
    bool data_file;       /* disk data is in an external file */
};

struct qcow2_geometry qcow2_geometry_of(const struct qcow2_header *h);

/* How much of the disk one L2 table describes. */
uint64_t qcow2_table_span(const struct qcow2_geometry *g);

enum qcow2_kind {
    QCOW2_UNALLOCATED, /* reads as the backing file, or zeros without one */
    QCOW2_ZEROS,
    QCOW2_DATA,
    QCOW2_COMPRESSED_DATA
};

/* A part of one guest cluster. */
struct qcow2_piece {
    enum qcow2_kind kind;
    uint64_t len;
    /* DATA: of the part.  COMPRESSED_DATA: of the cluster it is a part of. */
    uint64_t host_offset;
    uint64_t host_len; /* COMPRESSED_DATA: it takes no more bytes than these */
};

/*
 * The part of the cluster that begins at guest_offset, as far as all of it is
 * of one kind.  `entry` has entry_bytes.
 */
int qcow2_entry_piece(const struct qcow2_geometry *g, const uint8_t *entry,
                      uint64_t guest_offset, struct qcow2_piece *out,
                      struct err *e);

/* Do both entries name the same data?  Only for tables of one image, at one
 * guest offset; NULL is an entry of zeros. */
bool qcow2_entries_equal(const struct qcow2_geometry *g, const uint8_t *a,
                         const uint8_t *b);

#endif
