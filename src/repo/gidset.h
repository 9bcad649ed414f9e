/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gidset: a set of short object ids in memory, 20 to 40 bytes each.  Ids are
 * as good as random, so they are their own hash values.
 *
 * Threads:   the caller's lock.
 */
#ifndef REPO_GIDSET_H
#define REPO_GIDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"

struct gidset {
    uint8_t (*slots)[GID_BYTES]; /* owned; all zero: free */
    size_t room;                 /* a power of 2, or 0 */
    size_t n;
};

void gidset_done(struct gidset *s); /* a zeroed struct is an empty set */

/* True if it was not in the set.  The all-zero id can't be. */
bool gidset_add(struct gidset *s, const uint8_t gid[GID_BYTES]);
bool gidset_has(const struct gidset *s, const uint8_t gid[GID_BYTES]);
/* Nothing happens if it is not in the set. */
void gidset_remove(struct gidset *s, const uint8_t gid[GID_BYTES]);

#endif
