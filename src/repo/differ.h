/* SPDX-License-Identifier: Apache-2.0 */
/*
 * differ: where two volumes of one repository differ, found by descending only
 * where their nodes are not the same.
 */
#ifndef REPO_DIFFER_H
#define REPO_DIFFER_H

#include <stdint.h>

#include "repo/node.h"
#include "repo/volume.h"

struct err;
struct fetch;

/* A slot whose nodes differ; all zero stands for none. */
struct differ_slot {
    uint64_t index;
    uint8_t a[CAPABILITY_BYTES], b[CAPABILITY_BYTES];
};

/*
 * The first such slot at or after `from`: 1 and *out, 0 if there is none.  Both
 * volumes have the same size.  Costs no more than the nodes that differ.
 */
int differ_next(struct fetch *f, const struct volume_root *a,
                const struct volume_root *b, uint64_t from,
                struct differ_slot *out, struct err *e);

/*
 * The blocks of a slot that are not the same block of the same leaf in both, or
 * a hole in one only: their bits in `changed`.  NULL stands for a slot that is
 * all zero.
 */
void differ_blocks(const struct node *a, const struct node *b,
                   uint64_t changed[VOLUME_SLOT_BLOCKS / 64]);

#endif
