/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node: the bytes of a tree node (docs/format/tree.md, "Nodes").
 *
 * Level 0 is a slot: 8 MiB of a volume as holes, leaves and parts of leaves, in
 * order.  A node of level n covers 128 nodes of level n - 1.  There is one
 * encoding for one list of them, so that equal ones have equal names: holes
 * that touch are one, so are parts that go on in their leaf, what ends in a
 * hole ends before it, and what is all hole is no node but the null capability
 * above.
 *
 * Trust:     node_unpack takes any bytes and refuses all but that encoding, and
 *            slots whose leaves hold more than NODE_HELD_TIMES what is used of
 *            them: who reads a slot reads no more than that.
 */
#ifndef REPO_NODE_H
#define REPO_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"

struct buf;
struct err;

enum {
    NODE_FANOUT = 128,
    NODE_LEVEL_MAX = 4,
    NODE_SLOT_BLOCKS = 2048,
    NODE_LEAF_MAX_BLOCKS = 64,
    NODE_HELD_TIMES = 2, /* what a slot's leaves hold, by what it uses */
    NODE_ENTRIES_MAX = NODE_SLOT_BLOCKS,
    NODE_BLOCK_BYTES = 4096
};

struct node_entry {
    uint32_t blocks; /* of 4 KiB that it covers; 0 above level 0 */
    /* Level 0, and no hole: which of the slot's leaves it names, its first
     * block in that leaf, and the blocks of all of the leaf. */
    uint16_t leaf;
    uint8_t first, leaf_blocks;
    uint8_t h[CAPABILITY_BYTES]; /* all zero: a hole */
};

struct node {
    uint8_t level;
    uint32_t n;
    struct node_entry *entries; /* owned */
    /* Level 0: its leaves, each once, as the entries that name them first. */
    uint32_t n_leaves;
    uint16_t *named; /* owned */
    uint16_t *table; /* owned, while it is being filled: leaves by h */
};

/* An empty one to be filled. */
struct node *node_new(uint8_t level);
void node_free(struct node *n); /* NULL is allowed */
void node_freep(struct node **n);

bool node_is_hole(const struct node_entry *entry);
/* Does it name all of its leaf? */
bool node_is_whole(const struct node_entry *entry);

/* The first entry that names this leaf. */
const struct node_entry *node_leaf(const struct node *n, uint32_t leaf);

/* How many blocks the leaves of a slot hold, and how many of them it uses, each
 * counted once. */
struct node_use {
    uint32_t held, used;
};
void node_use(const struct node *n, struct node_use *out);

/* Level 0: `blocks` more of hole, or a leaf. */
void node_add_hole(struct node *n, uint32_t blocks);
void node_add_leaf(struct node *n, uint32_t blocks,
                   const uint8_t h[CAPABILITY_BYTES]);
/* A part of a leaf of `leaf_blocks` blocks, from its block `first` on.  False,
 * and nothing is added, if that leaf was added with another length. */
bool node_add_part(struct node *n, uint32_t blocks,
                   const uint8_t h[CAPABILITY_BYTES], uint32_t first,
                   uint32_t leaf_blocks);
/* Above: the child at `position`, which must be past the last one added. */
void node_add_child(struct node *n, uint32_t position,
                    const uint8_t h[CAPABILITY_BYTES]);

/* Cuts the trailing hole off, then appends the bytes.  Must not be empty. */
void node_pack(struct node *n, struct buf *out);

/* Into a new node. */
int node_unpack(const void *p, size_t len, struct node **out, struct err *e);

/*
 * What maintenance sees of a node: the short ids of its children, in order;
 * holes have none, and a slot has each of its leaves once.
 */
struct node_children {
    uint8_t level; /* of the node; its children are leaves if 0 */
    uint32_t n;
    const uint8_t *gids; /* n times GID_BYTES, borrowed from the bytes */
};

void node_children_pack(const struct node *n, struct buf *out);
int node_children_unpack(const void *p, size_t len, struct node_children *out,
                         struct err *e);

#endif
