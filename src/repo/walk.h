/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk: all objects that some roots keep alive, found by reading the parts of
 * the nodes that K_meta opens (docs/format/tree.md): no guest data is read.
 *
 * It goes level by level and in the order of packs, so that each pack of nodes
 * is read at most once a level.
 *
 * Memory:    a gidnum of all ids, unless the caller has a better way to
 *            remember them; some 130 bytes for each node of a level.
 * Errors:    whatever can't be read ends it: who would delete what it has not
 *            found must not have missed anything.
 */
#ifndef REPO_WALK_H
#define REPO_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/gidlist.h"
#include "repo/gidnum.h"
#include "repo/index.h"

struct cancel;
struct err;
struct keyring;
struct store;
struct walk;

/* The places of an object; 0 if there is none; -1 ends the walk. */
typedef int walk_locate_fn(void *cookie, const uint8_t gid[GID_BYTES],
                           struct location out[INDEX_MAX_LOCATIONS],
                           struct err *e);

/* A node of a level that is about to be read. */
struct walk_node {
    uint8_t gid[GID_BYTES];
    bool is_new; /* it was not marked before */
    struct location at;
};

/*
 * Instead of the walk's own memory, and of `locate` for what can be read at its
 * first place: marks all nodes of a level at once, which are sorted and
 * different, and fills `out`, of as many.  -1 ends the walk.
 */
typedef int walk_nodes_fn(void *cookie, const struct gidlist *list,
                          struct walk_node *out, struct err *e);

/* Marks a leaf, which may have been found before; not before all nodes that are
 * above a leaf have been marked. */
typedef int walk_leaf_fn(void *cookie, const uint8_t gid[GID_BYTES],
                         struct err *e);

/* Borrows all. */
struct walk *walk_new(struct store *st, const struct keyring *k,
                      walk_locate_fn *locate, void *cookie,
                      struct cancel *cancel);
void walk_free(struct walk *w); /* NULL is allowed */
void walk_freep(struct walk **w);

/* From the start have these remember what was found; walk_found stays empty. */
void walk_mark_by(struct walk *w, walk_nodes_fn *nodes, walk_leaf_fn *leaf);

/* One more root, before walk_run.  ERR_CORRUPT if there can be none such. */
int walk_add_root(struct walk *w, uint8_t level, const uint8_t gid[GID_BYTES],
                  struct err *e);

int walk_run(struct walk *w, struct err *e);

/* What was found, nodes and leaves; all values are 0, and the caller's. */
struct gidnum *walk_found(struct walk *w);

#endif
