/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gidnum: a map from short ids (of objects; the front of a pack's name) to
 * small numbers, in memory: 25 to 50 bytes each.  Ids are as good as random,
 * so they are their own hash values.
 *
 * Threads:   the caller's lock.
 */
#ifndef REPO_GIDNUM_H
#define REPO_GIDNUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"

struct gidnum {
    uint8_t (*slots)[GID_BYTES]; /* owned; all zero: free */
    uint32_t *values;            /* owned */
    size_t room;                 /* a power of 2, or 0 */
    size_t n;
};

void gidnum_done(struct gidnum *m); /* a zeroed struct is an empty map */

/* True if it was not in the map: then it is, with that value.  The all-zero id
 * can't be. */
bool gidnum_add(struct gidnum *m, const uint8_t gid[GID_BYTES], uint32_t value);

/* The value, to be read and changed until the next gidnum_add; NULL if it is
 * not in the map. */
uint32_t *gidnum_find(const struct gidnum *m, const uint8_t gid[GID_BYTES]);

#endif
