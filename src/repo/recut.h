/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recut: cuts a slot of which only some blocks differ from a base's into the
 * chunks that its whole content would be cut into, reading as little of the
 * base as that needs.
 *
 * A chunk depends on nothing but where it starts and what it holds, and at its
 * end on whether the next block is zero.  So leaves of the base are taken as
 * they are, unread, up to the first that a change is in or makes longer; from
 * there the chunker cuts anew until it comes to the start of a leaf again.
 *
 * Trust:     a base whose leaves are not as its chunker cuts is still read
 *            right; what comes out may then be cut as oddly as it is.
 */
#ifndef REPO_RECUT_H
#define REPO_RECUT_H

#include "base/err.h"
#include "repo/chunker.h"
#include "repo/node.h"

struct fetch;

struct recut {
    struct slot *slot;
    struct fetch *fetch;     /* borrowed */
    const struct node *base; /* borrowed */
    struct chunker_run run;
    uint32_t blocks;                          /* of the slot */
    uint32_t at;                              /* the next block to look at */
    uint64_t absent[VOLUME_SLOT_BLOCKS / 64]; /* the base's, not read yet */
    uint16_t leaf[VOLUME_SLOT_BLOCKS];        /* its entry, plus 1; or 0 */
    uint16_t start[VOLUME_SLOT_BLOCKS];       /* of each entry */
    struct err err;                           /* of a read by the chunker */
};

/*
 * Cut `s`, whose blocks are the ones of the base's slot node `base` (NULL: all
 * zero) but where they are changed.  Marks what is data in the end, and fills
 * s->data where it has to be looked at.  ERR_CORRUPT if the base is damaged.
 */
int recut_init(struct recut *c, struct fetch *f, const struct node *base,
               struct slot *s, uint8_t chunker, uint64_t seed, struct err *e);

struct piece {
    uint32_t first, blocks;
    const uint8_t *h; /* the base's leaf, borrowed; NULL: it is in s->data */
};

/* The next chunk that is not all zero: 1, 0 at the end, -1. */
int recut_next(struct recut *c, struct piece *out, struct err *e);

#endif
