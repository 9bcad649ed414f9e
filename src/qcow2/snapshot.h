/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: the internal snapshots that an image lists.
 *
 * Source: qcow2.txt, "Snapshots"; QEMU's limits.
 * Trust:  the file is hostile, and may be in use: QEMU writes every new table
 *         to a new place and then changes one field of the header, so a table
 *         is good if the header named it before and after it was read.
 */
#ifndef QCOW2_SNAPSHOT_H
#define QCOW2_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct qcow2_file;
struct qcow2_header;

#define QCOW2_NO_ICOUNT UINT64_MAX

struct qcow2_snapshot {
    char *id, *name; /* any bytes of a stranger's, cut at a NUL */
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_ns;
    uint64_t vmstate_bytes; /* 0: disk only */
    uint64_t disk_bytes;    /* may differ from the active disk's */
    uint64_t icount;        /* QCOW2_NO_ICOUNT: none */
    uint64_t l1_offset;
    uint32_t l1_len; /* entries */
};

struct qcow2_snapshots {
    struct qcow2_snapshot *list; /* owned */
    size_t n;
};

/*
 * All of them.  The header is the caller's and stays; ERR_CORRUPT if the table
 * makes no sense.  What an entry says of its disk is looked at by
 * qcow2_view_open: the others can be read without it.  A table that was
 * replaced meanwhile makes none, or is old: see qcow2_image_open.
 */
int qcow2_snapshots_read(struct qcow2_file *f, const struct qcow2_header *h,
                         struct qcow2_snapshots *out, struct err *e);
void qcow2_snapshots_done(struct qcow2_snapshots *s);

/* Are they the same in every field? */
bool qcow2_snapshot_equal(const struct qcow2_snapshot *a,
                          const struct qcow2_snapshot *b);

/* The first of this name, else of this id, or NULL. */
const struct qcow2_snapshot *
qcow2_snapshot_find(const struct qcow2_snapshots *s, const char *name);

#endif
