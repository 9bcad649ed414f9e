/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc: hands out the clusters of a growing image, in file order, and keeps
 * their refcounts.
 *
 * A cluster's refcount is known when it is handed out and never changes, so
 * refcount blocks are filled and written as the file grows: only the one in
 * work and the refcount table are in memory (8 bytes for each cluster_bytes^2
 * / 2 bytes of file: 2 GiB with clusters of 64 KiB).
 *
 * Source:    qcow2.txt, "Host cluster management"; refcounts are 16 bits wide.
 * Ownership: the descriptor is borrowed.
 * Threads:   one.
 */
#ifndef QCOW2_ALLOC_H
#define QCOW2_ALLOC_H

#include <stddef.h>
#include <stdint.h>

struct err;

struct qcow2_alloc {
    int fd;                 /* borrowed */
    uint64_t cluster_bytes; /* a power of 2 */
    uint64_t next;          /* the first cluster that is free */
    uint64_t *table;        /* host offset of each refcount block */
    size_t n_blocks, room;  /* in `table`: used, allocated */
    uint8_t *block;         /* the refcounts of the block that holds `next` */
};

/* Cluster 0 is taken, for the header. */
void qcow2_alloc_init(struct qcow2_alloc *a, int fd, uint32_t cluster_bits);
void qcow2_alloc_done(struct qcow2_alloc *a);

/*
 * n (> 0) clusters in one piece, each with this refcount; *out_offset is in
 * bytes.  ERR_LIMIT past what QEMU's largest refcount table can describe.
 */
int qcow2_alloc_run(struct qcow2_alloc *a, uint64_t n, uint16_t refcount,
                    uint64_t *out_offset, struct err *e);

/* Writes what is left, and the refcount table as the last clusters of the
 * file, whole.  No more calls but _done. */
int qcow2_alloc_finish(struct qcow2_alloc *a, uint64_t *out_table_offset,
                       uint32_t *out_table_clusters, struct err *e);

/* Where the file ends. */
uint64_t qcow2_alloc_bytes(const struct qcow2_alloc *a);

#endif
