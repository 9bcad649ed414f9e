/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk: all objects that some roots keep alive, found by reading the parts of
 * the nodes that K_meta opens (docs/format/tree.md): no guest data is read.
 *
 * It goes level by level and in the order of packs, so that each pack of nodes
 * is read at most once a level.
 *
 * Memory:    a gidnum of all ids, unless the caller has a better way to
 * remember them; some 90 bytes for each node of a level. Errors:    whatever
 * can't be read ends it: who would delete what it has not found must not have
 * missed anything.
 */
#ifndef REPO_WALK_H
#define REPO_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Instead of the walk's own memory: notes an object; *out_new: it was not
 * noted before. */
typedef int walk_note_fn(void *cookie, const uint8_t gid[GID_BYTES],
                         bool *out_new, struct err *e);

/* Borrows all. */
struct walk *walk_new(struct store *st, const struct keyring *k,
                      walk_locate_fn *locate, void *cookie,
                      struct cancel *cancel);
void walk_free(struct walk *w); /* NULL is allowed */
void walk_freep(struct walk **w);

/* From the start have `note` remember what was found; walk_found stays empty.
 */
void walk_note_by(struct walk *w, walk_note_fn *note);

/* One more root, before walk_run.  ERR_CORRUPT if there can be none such. */
int walk_add_root(struct walk *w, uint8_t level, const uint8_t gid[GID_BYTES],
                  struct err *e);

int walk_run(struct walk *w, struct err *e);

/* What was found, nodes and leaves; all values are 0, and the caller's. */
struct gidnum *walk_found(struct walk *w);

#endif
