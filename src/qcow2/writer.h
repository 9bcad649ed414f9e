/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer: makes a qcow2 version 3 image, with or without an internal snapshot.
 *
 * With a snapshot, the disk's content is both the active state and the
 * snapshot (they share every cluster, as right after QEMU's savevm), and a
 * machine state may be stored in the snapshot, so that `-loadvm` continues it.
 *
 * Clusters that are all zeros take no space.  After a call that failed the
 * image is void: all later calls fail.
 *
 * Source:    QEMU docs/interop/qcow2.txt; docs/format/qcow2.md is the part of
 *            it that we write; `qemu-img check` is the oracle.
 * Ownership: the descriptor is borrowed: an empty regular file, open for
 *            reading and writing.
 * Threads:   one thread a writer, or several one after the other; for data
 *            that several threads write at a time see qcow2_writer_run.
 * Memory:    8 bytes for each L2 table that the disk could have (512 MiB of
 *            disk with clusters of 64 KiB; twice that in commit) and for each
 *            2 GiB of file, at most 8 MiB of L2 tables in work, and a few
 *            clusters.
 */
#ifndef QCOW2_WRITER_H
#define QCOW2_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct qcow2_writer;

struct qcow2_write_options {
    uint64_t size_bytes;     /* of the virtual disk; a multiple of 512 */
    uint32_t cluster_bits;   /* 9..21; 0: 16 (64 KiB) */
    const char *snapshot;    /* name of the internal snapshot, or NULL */
    const char *snapshot_id; /* NULL: "1" */
    int64_t time_ns;         /* of the snapshot, wall clock */
    uint64_t vm_clock_ns;    /* of the snapshot: how long the machine ran */
    const uint64_t *icount;  /* of the snapshot: instructions, or NULL */
    bool unsynced; /* no fsync: nobody can see the file before the caller has
                      made it durable */

    /* A file name or URL that QEMU will open, and its format; or NULL.  What
     * is never written then reads as the backing file. */
    const char *backing;
    const char *backing_format; /* NULL only if backing is */
};

/* ERR_USAGE for a request that makes no image, ERR_LIMIT if the size needs
 * tables larger than the format allows. */
int qcow2_writer_open(int fd, const struct qcow2_write_options *o,
                      struct qcow2_writer **out, struct err *e);

/*
 * Data of the disk: [offset, offset + len) inside it, each cluster written at
 * most once, whole clusters (the last may be cut by the disk's end).  Any
 * order, fastest in ascending order and large pieces.  What is never written
 * reads as zeros, or as the backing file.
 */
int qcow2_write_disk(struct qcow2_writer *w, uint64_t offset, const void *p,
                     size_t len, struct err *e);

/* The next bytes of the machine state; only with a snapshot. */
int qcow2_write_vmstate(struct qcow2_writer *w, const void *p, size_t len,
                        struct err *e);

/*
 * The same in parts, so that several threads can write data: cut it into runs
 * (by any thread, at any time), have a place given to each (one thread at a
 * time), write it there, to the writer's descriptor (any thread), and commit
 * when all of it has been written.  Without a place for data that was given
 * one, or after a write that failed, the writer is to be abandoned.
 */
/* How many bytes from the start of [p, p + len), data for `offset`, are one
 * run: all zeros, or not.  Rules as for qcow2_write_disk. */
size_t qcow2_writer_run(const struct qcow2_writer *w, uint64_t offset,
                        const void *p, size_t len, bool *out_zero);
/* *out_host is where in the file the run is to be written, whole; 0: nowhere,
 * it is zeros. */
int qcow2_writer_place(struct qcow2_writer *w, uint64_t offset, size_t len,
                       bool zero, uint64_t *out_host, struct err *e);
/* The next bytes of the machine state, at most len of them: *out_len.  Whole
 * clusters but at its end; not to be mixed with qcow2_write_vmstate. */
int qcow2_writer_place_vmstate(struct qcow2_writer *w, size_t len,
                               uint64_t *out_host, size_t *out_len,
                               struct err *e);

/* Write all tables, the header last, and fsync.  Only then is the file an
 * image: before, it has no magic.  *w is freed and NULL, also on failure. */
int qcow2_writer_commit(struct qcow2_writer **w, struct err *e);
/* Free; what is in the file is no image.  For CLEANUP. */
void qcow2_writer_abandonp(struct qcow2_writer **w);

#endif
