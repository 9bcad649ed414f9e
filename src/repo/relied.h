/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relied: the packs that a backup relies on: those that hold objects which it
 * found in the index and so did not store, and those that it has uploaded.
 *
 * What was there when it was looked up may have been condemned or removed
 * since: from time to time, and before a backup is published, they are looked
 * at again (docs/design/repository.md, "The writer's protocol").
 *
 * Memory:    some 60 bytes a pack, and 12 bits an object: which objects of a
 *            pack are needed is known with a few false alarms, no misses.
 * Threads:   relied_add and relied_add_own from many at once.
 */
#ifndef REPO_RELIED_H
#define REPO_RELIED_H

#include <stdbool.h>
#include <stddef.h>

#include "repo/segment.h"

struct err;
struct relied;
struct store;

struct relied *relied_new(void);
void relied_free(struct relied *r); /* NULL is allowed */

/* The object `gid` was found at that place. */
void relied_add(struct relied *r, const struct location *at,
                const uint8_t gid[GID_BYTES]);
/* All of this pack, which was just stored. */
void relied_add_own(struct relied *r, const struct pack *pack);
size_t relied_packs(struct relied *r);

/* May the object be one of those that were added? */
bool relied_may_need(struct relied *r, const uint8_t gid[GID_BYTES]);

struct relied_pack {
    uint8_t name[PACK_NAME_BYTES];
    enum pack_kind kind;
    uint32_t bytes;
    bool own;   /* everything in it is needed */
    bool given; /* nothing is relied on any more */
    bool found;
};

/* The next pack for which `pick` says true: 1, and it is no longer relied on
 * unless it is added again; 0 if there is none. */
typedef bool relied_pick_fn(void *cookie, const uint8_t name[PACK_NAME_BYTES]);
int relied_take(struct relied *r, relied_pick_fn *pick, void *cookie,
                struct relied_pack *out);

/* Are all still there, at their size?  ERR_STORE names one that is not. */
int relied_check(struct relied *r, struct store *st, struct err *e);

#endif
