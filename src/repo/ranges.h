/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges: parts of packs, read once and kept for a while.
 *
 * Whoever wants bytes that another thread is reading just now waits for it
 * rather than read them again.  What is pinned stays; the rest is kept up to a
 * limit and the least recently used goes first.
 *
 * Who will want many objects says so before (ranges_want): what is between them
 * and here is read in a few large reads, several under way at a time, as a
 * distant storage takes long to begin each.
 *
 * Threads:   from any number at once; RANGES_LOADERS of its own, once more than
 *            one read is wanted at a time.
 */
#ifndef REPO_RANGES_H
#define REPO_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/segment.h"

struct err;
struct range;
struct ranges;
struct store;

enum {
    RANGES_LOADERS = 12,
    RANGES_RUN_BYTES = 8 << 20,  /* of one read */
    RANGES_GAP_BYTES = 256 << 10 /* that nobody asked for, within one */
};

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

/*
 * These objects, which are in the order of their places, will be asked for
 * soon, in that order: begin to read what is not here yet, as far as there is
 * room beside what others have wanted and not got.  A read that fails is told
 * to the first who gets something that it was for.  `at_once`: the caller is
 * about to get the first of them himself; else a part of the room is left for
 * those who are.
 */
void ranges_want(struct ranges *r, const struct location *const *at, size_t n,
                 bool at_once);

/* One read for at[0], which is not here, and what is behind it in its pack and
 * not here either: true, and the run; false if it is here, or about to be. */
bool ranges_run(struct ranges *r, const struct location *const *at, size_t n,
                uint32_t *out_offset, uint32_t *out_len);

/* Nobody gets what was wanted any more: begin no read of it, and wait for those
 * that are under way. */
void ranges_settle(struct ranges *r);

/* Forget all that is not pinned. */
void ranges_clear(struct ranges *r);

/* The same as ranges_put, and its bytes are not to be used again: they were
 * damaged, maybe only on the way here. */
void ranges_drop(struct ranges *r, struct range *range);

#endif
