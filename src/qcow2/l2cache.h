/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2cache: the L2 tables of an image that is being written: the few in use in
 * memory, the others in the file.
 *
 * A table is allocated when it is first asked for.  In ascending order each is
 * written once; in any other order the least recently used makes room.
 *
 * Ownership: the descriptor, which is read too, and the allocator are borrowed.
 * Threads:   one.
 * Memory:    8 MiB, with clusters of 2 MiB too.
 */
#ifndef QCOW2_L2CACHE_H
#define QCOW2_L2CACHE_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct qcow2_alloc;

enum { QCOW2_L2CACHE_SLOTS = 64 };

struct qcow2_l2cache {
    int fd;                    /* borrowed */
    struct qcow2_alloc *alloc; /* borrowed */
    uint16_t refcount;         /* of a new table */
    size_t n_slots;            /* in use */
    size_t max_slots;
    size_t last;   /* the slot that was used last */
    uint64_t tick; /* grows with each use */
    struct qcow2_l2_slot {
        uint64_t host_offset;
        uint64_t used; /* tick */
        uint8_t *table;
    } slots[QCOW2_L2CACHE_SLOTS];
};

void qcow2_l2cache_init(struct qcow2_l2cache *c, int fd,
                        struct qcow2_alloc *alloc, uint16_t refcount);
/* What was not flushed is lost. */
void qcow2_l2cache_done(struct qcow2_l2cache *c);

/*
 * The table, one cluster of bytes, whose place is *host_offset; 0 there makes
 * a new one and stores its place.  *out is the cache's, valid until the next
 * call, and will be written to the file.
 */
int qcow2_l2cache_get(struct qcow2_l2cache *c, uint64_t *host_offset,
                      uint8_t **out, struct err *e);

/* Write all tables. */
int qcow2_l2cache_flush(struct qcow2_l2cache *c, struct err *e);

#endif
