/* SPDX-License-Identifier: Apache-2.0 */
/*
 * splice: which leaves a slot is to have, and which of its blocks is where in
 * them (docs/design/chunking.md, "Parts of leaves").
 *
 * Either all of the slot is cut by the chunker.  Or some of its blocks differ
 * from a base: the others stay where they are, in whole leaves or parts of
 * leaves, and neither they nor their leaves are looked at.  Of what is new,
 * long runs are cut by the chunker, and short ones put one behind the other
 * into common leaves.
 *
 * Memory:    6 KiB, and some 60 bytes a leaf.
 */
#ifndef REPO_SPLICE_H
#define REPO_SPLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/node.h"
#include "repo/volume.h"

struct err;

enum {
    /* A shorter run is hardly found elsewhere: cuts come one in eleven blocks,
     * and what is before its first and behind its last is its own. */
    SPLICE_LONG_BLOCKS = 32,
    /* A slot that uses so little of each of so many leaves has them put
     * together.  (Chunkers cut no less than four, but before zeros.) */
    SPLICE_TINY_BLOCKS = 3,
    SPLICE_TINY_LEAVES = 64
};

struct splice_leaf {
    bool is_new;                 /* else the base's, and this is its name: */
    uint8_t h[CAPABILITY_BYTES]; /* of a new one for the caller to fill in */
    uint8_t blocks;
    uint16_t from; /* of a new one: its first block's place in the slot */
    uint64_t used; /* a bit for each block that the slot uses */
};

struct splice {
    struct slot *slot;                 /* borrowed */
    uint32_t blocks;                   /* of the slot */
    uint16_t leaf[VOLUME_SLOT_BLOCKS]; /* its number plus 1, or 0: a hole */
    uint8_t place[VOLUME_SLOT_BLOCKS]; /* in its leaf */
    struct splice_leaf *leaves;        /* owned */
    size_t n, first_new;
};

void splice_done(struct splice *c); /* a zeroed one is none */

/* All of `s`, of which all marked blocks are in s->data.  (Blocks that are not
 * marked may be cleared there.)  *out is to be splice_done. */
void splice_all(struct splice *out, struct slot *s, uint8_t chunker,
                uint64_t seed);

/*
 * The slot as it is in `base`, but for the blocks that are changed, of which
 * those that are marked too are in s->data.  Where no data of the base stays,
 * that is splice_all.  ERR_CORRUPT if the base is larger than the slot.  *out
 * is to be splice_done in any case.
 */
int splice_keep(struct splice *out, const struct node *base, struct slot *s,
                uint8_t chunker, uint64_t seed, struct err *e);

enum splice_verdict {
    SPLICE_GOOD,
    SPLICE_SCATTERED, /* too many tiny leaves: they are wanted */
    SPLICE_WASTEFUL   /* too much is held for too little: all is wanted */
};

/*
 * May it be stored like that?  If not, `wanted` has a bit for each block that
 * is to be read from the base, put into s->data, marked and called changed
 * before it is tried again.
 */
enum splice_verdict splice_judge(const struct splice *c,
                                 uint64_t wanted[VOLUME_SLOT_BLOCKS / 64]);

/* What a new leaf holds: its blocks in the slot, or gathered into `room`, of
 * NODE_LEAF_MAX_BLOCKS. */
const uint8_t *splice_data(const struct splice *c, size_t leaf, uint8_t *room);

/* All leaves have names now: the slot's node; *out is the caller's.
 * ERR_CORRUPT if the base contradicts what was stored. */
int splice_node(const struct splice *c, struct node **out, struct err *e);

#endif
