/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables: the L1 table of one state of a disk, and its L2 tables as they are
 * needed.
 *
 * Source:    qcow2.txt, "Cluster mapping".
 * Ownership: the file and the geometry are borrowed.
 * Threads:   one.
 * Memory:    the L1 table (at most 32 MiB), and 8 MiB of L2 tables.
 * Trust:     the file is hostile.  No two L1 entries may name the same L2
 *            table, so a walk through all of them reads no more than the file.
 */
#ifndef QCOW2_TABLES_H
#define QCOW2_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "qcow2/cluster.h"
#include "qcow2/imagefile.h"

struct err;

enum { QCOW2_TABLES_SLOTS = 64 };

struct qcow2_tables {
    struct qcow2_file *file;        /* borrowed */
    const struct qcow2_geometry *g; /* borrowed */
    uint64_t *l1;                   /* host offsets of L2 tables; 0: none */
    uint64_t l1_len;
    size_t n_slots, max_slots, last; /* `last` was used last */
    uint64_t tick;                   /* grows with each use */
    struct qcow2_tables_slot {
        uint64_t host_offset, used; /* `used`: tick */
        uint8_t *table;
    } slots[QCOW2_TABLES_SLOTS];
};

/* Reads and checks the L1 table. */
int qcow2_tables_open(struct qcow2_tables *t, struct qcow2_file *file,
                      const struct qcow2_geometry *g, uint64_t l1_offset,
                      uint32_t l1_len, struct err *e);
void qcow2_tables_done(struct qcow2_tables *t);

/* Where the L2 table is that describes this offset of the disk; 0: there is
 * none. */
uint64_t qcow2_tables_place(const struct qcow2_tables *t,
                            uint64_t guest_offset);

/*
 * The entry of the cluster at guest_offset.  1 and *out, valid until the next
 * call and followed by those of the table's next clusters; 0 if there is no
 * table; -1.
 */
int qcow2_tables_entry(struct qcow2_tables *t, uint64_t guest_offset,
                       const uint8_t **out, struct err *e);

#endif
