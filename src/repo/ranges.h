/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges: parts of packs, read once and kept for a while.
 *
 * Whoever wants bytes that another thread is reading just now waits for it
 * rather than read them again.  What is pinned stays; the rest is kept up to a
 * limit and the least recently used goes first.
 *
 * Threads:   from any number at once.
 */
#ifndef REPO_RANGES_H
#define REPO_RANGES_H

#include <stddef.h>
#include <stdint.h>

#include "repo/segment.h"

struct err;
struct range;
struct ranges;
struct store;

struct ranges *ranges_new(struct store *st, size_t max_bytes);
void ranges_free(struct ranges *r); /* nothing may be pinned; NULL is allowed */

/*
 * The sealed bytes of the object at `at`, pinned until ranges_put.  If they are
 * not here, [run_offset, run_offset + run_len) of its pack, which must contain
 * them, is read.  ERR_NOENT if there is no such pack; ERR_CORRUPT; ERR_STORE.
 */
int ranges_get(struct ranges *r, const struct location *at, uint32_t run_offset,
               uint32_t run_len, struct range **out, const uint8_t **out_bytes,
               struct err *e);
void ranges_put(struct ranges *r, struct range *range);

/* Is the object here, or about to be? */
bool ranges_has(struct ranges *r, const struct location *at);

/* Forget all that is not pinned. */
void ranges_clear(struct ranges *r);

/* The same as ranges_put, and its bytes are not to be used again: they were
 * damaged, maybe only on the way here. */
void ranges_drop(struct ranges *r, struct range *range);

#endif
