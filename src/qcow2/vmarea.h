/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmarea: the machine state of a snapshot that is being written: a run of
 * guest clusters behind the disk, with L2 tables that only the snapshot has.
 *
 * Source:    qcow2.txt, "Snapshots", size of the VM state.
 * Ownership: the descriptor and the allocator are borrowed.
 * Threads:   one.
 * Memory:    two clusters or 256 KiB, and 8 bytes a table.
 */
#ifndef QCOW2_VMAREA_H
#define QCOW2_VMAREA_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct qcow2_alloc;

struct qcow2_vmarea {
    int fd;                    /* borrowed */
    struct qcow2_alloc *alloc; /* borrowed */
    uint64_t bytes;            /* of machine state, in all */
    uint64_t *tables;          /* host offsets of the L2 tables */
    size_t n_tables, tables_room, max_tables;
    uint8_t *table; /* the next one, in work */
    size_t n_entries;
    uint8_t *stage; /* bytes that have no cluster yet */
    size_t stage_len, stage_room;
};

void qcow2_vmarea_init(struct qcow2_vmarea *v, int fd,
                       struct qcow2_alloc *alloc, size_t max_tables);
void qcow2_vmarea_done(struct qcow2_vmarea *v);

/* The next bytes.  ERR_LIMIT if they need more than max_tables. */
int qcow2_vmarea_add(struct qcow2_vmarea *v, const void *p, size_t len,
                     struct err *e);
/*
 * Room for the next bytes, at most `len`, in one piece: *out_len of them, which
 * the caller writes to *out_host.  Whole clusters but at the end of the state;
 * not to be mixed with _add (ERR_USAGE).
 */
int qcow2_vmarea_place(struct qcow2_vmarea *v, size_t len, uint64_t *out_host,
                       size_t *out_len, struct err *e);
/* Write what is left; `tables` is complete then. */
int qcow2_vmarea_finish(struct qcow2_vmarea *v, struct err *e);

#endif
