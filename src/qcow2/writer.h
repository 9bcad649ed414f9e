/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer: makes a qcow2 version 3 image, with or without an internal snapshot.
 *
 * With a snapshot, the disk's content is both the active state and the
 * snapshot (they share every cluster, as right after QEMU's savevm), and a
 * machine state may be stored in the snapshot, so that `-loadvm` continues it.
 *
 * Source:    QEMU docs/interop/qcow2.txt; `qemu-img check` is the oracle.
 * Ownership: the descriptor is borrowed: an empty, seekable, writable file.
 * Threads:   one thread a writer.
 * Memory:    grows with the size of the L1 tables and the L2 tables in use,
 *            not with the disk: about 8 bytes a 512 MiB, plus a bounded cache.
 */
#ifndef QCOW2_WRITER_H
#define QCOW2_WRITER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct qcow2_writer;

struct qcow2_write_options {
    uint64_t size_bytes;   /* of the virtual disk; a multiple of 512 */
    uint32_t cluster_bits; /* 9..21; 0: 16 (64 KiB) */
    const char *snapshot;  /* name of the internal snapshot, or NULL */
    int64_t time_ns;       /* of the snapshot, wall clock */
    uint64_t vm_clock_ns;  /* of the snapshot: how long the machine ran */
};

/* ERR_LIMIT if the size needs tables larger than the format allows. */
int qcow2_writer_open(int fd, const struct qcow2_write_options *o,
                      struct qcow2_writer **out, struct err *e);

/*
 * Data of the disk: [offset, offset + len) inside it, each cluster written at
 * most once, whole clusters (the last may be cut by the disk's end).  Any
 * order, fastest in ascending order.  What is never written reads as zeros.
 */
int qcow2_write_disk(struct qcow2_writer *w, uint64_t offset, const void *p,
                     size_t len, struct err *e);

/* The next bytes of the machine state; only with a snapshot. */
int qcow2_write_vmstate(struct qcow2_writer *w, const void *p, size_t len,
                        struct err *e);

/* Write all tables, the header last, and fsync.  Only then is the file an
 * image: before, it has no magic.  *w is freed and NULL, also on failure. */
int qcow2_writer_commit(struct qcow2_writer **w, struct err *e);
/* Free; what is in the file is no image.  For CLEANUP. */
void qcow2_writer_abandonp(struct qcow2_writer **w);

#endif
