/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gidlist: many short object ids, gathered in any order and then looked up in
 * the order of an index: 16 bytes each, and one more for the table once it is
 * sorted.
 *
 * Threads:   the caller's lock.
 */
#ifndef REPO_GIDLIST_H
#define REPO_GIDLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"

enum { GIDLIST_MAX = 1 << 30 };

struct gidlist {
    uint8_t (*gids)[GID_BYTES]; /* owned */
    size_t n, room;
    uint32_t *starts; /* owned; of each value of the first bits, and the end */
    unsigned bits;
};

void gidlist_done(struct gidlist *l); /* a zeroed struct is an empty list */

/* Empty, but keeps its memory. */
void gidlist_clear(struct gidlist *l);

/* One more, at most GIDLIST_MAX.  Some that are in it more than once become
 * one, so that memory is for what is different. */
void gidlist_add(struct gidlist *l, const uint8_t gid[GID_BYTES]);

/* In order and each once: what gidlist_find needs, until the next is added. */
void gidlist_sort(struct gidlist *l);

/* Have what gidlist_find will look at first come closer; and, when that is
 * there, what it will look at next. */
void gidlist_prefetch(const struct gidlist *l, const uint8_t gid[GID_BYTES]);
void gidlist_prefetch_ids(const struct gidlist *l,
                          const uint8_t gid[GID_BYTES]);

/* Which of them it is. */
bool gidlist_find(const struct gidlist *l, const uint8_t gid[GID_BYTES],
                  size_t *out);

#endif
