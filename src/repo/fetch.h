/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: reads objects: finds them in the index, reads them from their packs,
 * opens and verifies them.
 *
 * Packs are read in ranges that hold many of the objects wanted, and what was
 * read is kept for a while: a volume that was written in order is read back in
 * a few large reads (repo/ranges.h).  Opened nodes are kept too.
 *
 * Errors:    ERR_CORRUPT names the object and the pack.  An object that is in
 *            several packs is damaged only if it is in all.
 * Threads:   from any number at once.
 */
#ifndef REPO_FETCH_H
#define REPO_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/node.h"

struct err;
struct fetch;
struct index;
struct keyring;
struct store;

enum {
    FETCH_CACHE_BYTES = 64 << 20,
    FETCH_NODE_BYTES = 512 << 10, /* read around a node */
    FETCH_NODES = 256             /* kept open */
};

/* Borrows all three. */
struct fetch *fetch_new(struct store *st, const struct keyring *k,
                        struct index *x);
void fetch_free(struct fetch *f); /* NULL is allowed */

/* Nothing that was asked for is waited for any more: as ranges_settle. */
void fetch_settle(struct fetch *f);

/* Give up the memory of what was read and is not in use: something else is to
 * have it. */
void fetch_clear(struct fetch *f);

struct fetched_node;
const struct node *fetched_node(const struct fetched_node *n);

/* The node, ours until fetch_node_put.  `level` is what it must be. */
int fetch_node(struct fetch *f, const uint8_t h[CAPABILITY_BYTES],
               uint8_t level, struct fetched_node **out, struct err *e);
void fetch_node_put(struct fetch *f, struct fetched_node *n);

struct fetch_leaf {
    const uint8_t *h; /* borrowed */
    uint8_t *out;     /* NULL: it is handed to `spread` */
    size_t len;
};
/* The leaf `number` of those that were asked for is at p, until it returns. */
typedef void fetch_spread_fn(void *cookie, size_t number, const uint8_t *p);

/* `spread` may be NULL if all have an `out`; `failed`, if not NULL, says which
 * one an error is about. */
int fetch_leaves(struct fetch *f, const struct fetch_leaf *leaves, size_t n,
                 fetch_spread_fn *spread, void *cookie, size_t *out_failed,
                 struct err *e);

/* These will be asked for later, from a storage that is worth asking before:
 * begin to read them, as far as there is room.  What is not known to be
 * anywhere is left out. */
void fetch_expect(struct fetch *f, const struct fetch_leaf *leaves, size_t n);
/* Is it such a storage? */
bool fetch_is_distant(const struct fetch *f);

/* Was the object asked for, and found damaged or gone wherever it is? */
bool fetch_has_failed(struct fetch *f, const uint8_t gid[GID_BYTES]);

#endif
