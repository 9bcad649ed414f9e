/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node: the bytes of a tree node (docs/format/tree.md, "Nodes").
 *
 * Level 0 is a slot: 8 MiB of a volume as holes and leaves, in order.  A node
 * of level n covers 128 nodes of level n - 1.  There is one encoding for one
 * content, so that equal content has equal names: holes that touch are one,
 * what ends in a hole ends before it, and what is all hole is no node but the
 * null capability above.
 *
 * Trust:     node_unpack takes any bytes and refuses all but that encoding.
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
    NODE_ENTRIES_MAX = NODE_SLOT_BLOCKS,
    NODE_BLOCK_BYTES = 4096
};

struct node_entry {
    uint32_t blocks;             /* of 4 KiB that it covers; 0 above level 0 */
    uint8_t h[CAPABILITY_BYTES]; /* all zero: a hole */
};

struct node {
    uint8_t level;
    uint32_t n;
    struct node_entry *entries; /* owned */
};

/* An empty one to be filled. */
struct node *node_new(uint8_t level);
void node_free(struct node *n); /* NULL is allowed */
void node_freep(struct node **n);

bool node_is_hole(const struct node_entry *entry);

/* Level 0: `blocks` more of hole, or a leaf. */
void node_add_hole(struct node *n, uint32_t blocks);
void node_add_leaf(struct node *n, uint32_t blocks,
                   const uint8_t h[CAPABILITY_BYTES]);
/* Above: the child at `position`, which must be past the last one added. */
void node_add_child(struct node *n, uint32_t position,
                    const uint8_t h[CAPABILITY_BYTES]);

/* Cuts the trailing hole off, then appends the bytes.  Must not be empty. */
void node_pack(struct node *n, struct buf *out);

/* Into a new node. */
int node_unpack(const void *p, size_t len, struct node **out, struct err *e);

/*
 * What maintenance sees of a node: the short ids of its children, in order;
 * holes have none.
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
