/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segcache: index segments as local files, so that they need be neither in
 * memory nor fetched again by every run.
 *
 * DIR/REPOSITORY/ID.seg is the segment in the clear (docs/format/index.md)
 * and 32 bytes out of K_meta, the id and the segment's own sum: nobody without
 * the keys can plant one.  All of it may be lost, damaged or removed at any
 * time, by anybody: what does not check is as good as not there, and nothing
 * here is ever an error.
 *
 * Threads:   the caller's lock; mappings may be read by any number.
 * Trust:     files of other users, or that others may write to, are not used.
 *            Whoever shortens one that is mapped, or a disk that fails then,
 *            kills the process: the folder is private.
 */
#ifndef REPO_SEGCACHE_H
#define REPO_SEGCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"

struct keyring;
struct segcache;

/* `dir` is made if it is missing.  NULL, or one that can't be made: segments
 * go to nameless temporary files and are gone with the process.  Borrows k. */
struct segcache *segcache_new(const char *dir, const struct keyring *k);
void segcache_free(struct segcache *c); /* NULL is allowed */

/* A segment's bytes, mapped. */
struct mapped {
    const uint8_t *p;
    size_t len;
    void *map; /* of map_len bytes */
    size_t map_len;
};
void mapped_done(struct mapped *m); /* a zeroed struct is none */

/* The whole pages of [from, from + len), a part of it, no longer count as the
 * process's memory until they are read again.  Others may be reading them. */
void mapped_rest(const struct mapped *m, const uint8_t *from, size_t len);
/* It will be read from begin to end; it won't be read for a while, so that its
 * pages need not be in our memory.  Only hints, and what they cost. */
void mapped_warm(const struct mapped *m);
void mapped_cool(const struct mapped *m);

/* False if it is not there, or not what was put.  The caller still has to
 * segment_open it, which checks the sum. */
bool segcache_get(struct segcache *c, const uint8_t id[NAME_ID_BYTES],
                  struct mapped *out);
/* Keep a segment of `len` bytes and map it.  False if that can't be done, or
 * it is so small that memory is better. */
bool segcache_put(struct segcache *c, const uint8_t id[NAME_ID_BYTES],
                  const void *p, size_t len, struct mapped *out);
/* It turned out to be damaged. */
void segcache_drop(struct segcache *c, const uint8_t id[NAME_ID_BYTES]);

/* Remove what is not to be kept, and what killed processes left. */
typedef bool segcache_keep_fn(void *cookie, const uint8_t id[NAME_ID_BYTES]);
void segcache_sweep(struct segcache *c, segcache_keep_fn *keep, void *cookie);

#endif
