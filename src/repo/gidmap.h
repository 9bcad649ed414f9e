/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gidmap: values under short object ids, in memory.  Ids are as good as random,
 * so they are their own hash values.
 *
 * Threads:   lookups from many at once; changes under the caller's lock.
 */
#ifndef REPO_GIDMAP_H
#define REPO_GIDMAP_H

#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"

struct gidmap {
    size_t value_bytes; /* of each */
    uint8_t *slots;     /* owned: id and value; an id all zero: free */
    size_t room;        /* a power of 2, or 0 */
    size_t n;
};

struct gidmap gidmap_of(size_t value_bytes);
void gidmap_done(struct gidmap *m); /* empty again */

/* The value under the id, NULL if there is none; until the next change. */
void *gidmap_get(const struct gidmap *m, const uint8_t gid[GID_BYTES]);

/* The same; makes one of zeros if there is none. */
void *gidmap_put(struct gidmap *m, const uint8_t gid[GID_BYTES]);

/* The i-th of `room` places, in no order: its id, or NULL if it is free. */
const uint8_t *gidmap_at(const struct gidmap *m, size_t i, void **out_value);

#endif
