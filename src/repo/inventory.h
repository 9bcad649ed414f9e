/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inventory: what a repository's store has, by its listing, and what is found
 * out about each pack while they are looked at.
 *
 * Threads:   the caller's lock; a pack belongs to one job at a time.
 */
#ifndef REPO_INVENTORY_H
#define REPO_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"
#include "repo/pack.h"

struct err;
struct store;

/* How a pack is. */
enum pack_state {
    PACK_UNSEEN,
    PACK_SOUND,   /* as far as it was read */
    PACK_DAMAGED, /* its table is right, some objects are not */
    PACK_BROKEN,  /* it has no table that can be read */
    PACK_UNREAD,  /* the storage failed to give it */
    PACK_MISSING  /* an index names it, and it is not there */
};

struct inventory_pack {
    uint8_t name[PACK_NAME_BYTES]; /* first: they are sorted by it */
    enum pack_kind kind;
    uint64_t bytes; /* as stored; of a missing one, as an index says */
    enum pack_state state;
    bool chosen;      /* its data is to be read */
    bool in_index;    /* some index segment names it */
    uint32_t entries; /* of its table, once read */
    uint8_t *covered; /* a bit an entry: an index has it; NULL: none, or all
                       * if all_covered; owned */
    bool all_covered;
};

/* Any other object, by name. */
struct inventory_object {
    char name[NAME_MAX_LEN];
    uint64_t bytes;
    int64_t stored_ns;
};

struct inventory_list {
    struct inventory_object *objects; /* sorted */
    size_t n, room;
};

struct inventory {
    struct inventory_pack *packs; /* sorted */
    size_t n_packs, room_packs;
    uint64_t pack_bytes;
    struct inventory_list segments, refs, keys, lost;
    uint64_t other_objects; /* what is not vmkeep's, or not known here */
};

/* Into the zeroed *out, to be inventory_done in any case.  Backups may be made
 * meanwhile: what those need that are in it is in it too. */
int inventory_make(struct store *st, struct inventory *out, struct err *e);
void inventory_done(struct inventory *v);

/* NULL if there is no pack of that name. */
struct inventory_pack *inventory_find(const struct inventory *v,
                                      const uint8_t name[PACK_NAME_BYTES]);

#endif
