/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gidmap: a map from short ids (of objects; the front of a pack's name) to
 * small numbers, in memory: 25 to 50 bytes each.  Ids are as good as random,
 * so they are their own hash values.
 *
 * Threads:   the caller's lock.
 */
#ifndef REPO_GIDMAP_H
#define REPO_GIDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"

struct gidmap {
    uint8_t (*slots)[GID_BYTES]; /* owned; all zero: free */
    uint32_t *values;            /* owned */
    size_t room;                 /* a power of 2, or 0 */
    size_t n;
};

void gidmap_done(struct gidmap *m); /* a zeroed struct is an empty map */

/* True if it was not in the map: then it is, with that value.  The all-zero id
 * can't be. */
bool gidmap_add(struct gidmap *m, const uint8_t gid[GID_BYTES], uint32_t value);

/* The value, to be read and changed until the next gidmap_add; NULL if it is
 * not in the map. */
uint32_t *gidmap_find(const struct gidmap *m, const uint8_t gid[GID_BYTES]);

#endif
