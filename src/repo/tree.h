/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: the shape of a volume's tree, and the nodes above the slots
 * (docs/format/tree.md, "Shape").
 */
#ifndef REPO_TREE_H
#define REPO_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "repo/node.h"

struct err;

/* Slots of a volume of that size, and levels above them: the least whose root
 * covers all. */
uint64_t tree_slots(uint64_t size_bytes);
uint8_t tree_levels(uint64_t size_bytes);

/* The slots below one node of `level`. */
uint64_t tree_slots_below(uint8_t level);

/* A node of the level at hand, at its position in it.  All zero: null, which
 * needs to be said only where a base has something. */
struct tree_item {
    uint64_t index;
    uint8_t h[CAPABILITY_BYTES];
};

struct tree_list {
    struct tree_item *items; /* owned */
    size_t n, room;
};

void tree_list_add(struct tree_list *l, uint64_t index,
                   const uint8_t h[CAPABILITY_BYTES]);
void tree_list_done(struct tree_list *l);

/* Store the node and say what its capability is. */
typedef int tree_store_fn(void *cookie, struct node *n,
                          uint8_t out_h[CAPABILITY_BYTES], struct err *e);

/* The children of a node of the base, all zero where there are none: what is
 * not in the list is as it is there. */
typedef int tree_base_fn(void *cookie, uint8_t level, uint64_t index,
                         uint8_t out[NODE_FANOUT][CAPABILITY_BYTES],
                         struct err *e);

/*
 * Build the levels above the slots in `l` (in any order; used up), and put the
 * root's capability into out_h: all zero if all slots are null.  On a base
 * (NULL: none) there must be one slot at least.  ERR_USAGE if a slot is there
 * twice.
 */
int tree_build(struct tree_list *l, uint8_t levels, tree_base_fn *base,
               tree_store_fn *store, void *cookie,
               uint8_t out_h[CAPABILITY_BYTES], struct err *e);

#endif
