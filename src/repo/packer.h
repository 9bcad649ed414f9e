/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packer: takes the sealed objects of one backup, fills packs with them,
 * uploads the packs that are full and publishes where the objects are.
 *
 * One pack of each kind is open at a time, whatever the number of volumes;
 * uploads run on threads of their own.  There are at most PACKER_MAX_PACKS
 * packs in memory: who would fill one more waits for an upload.
 *
 * What is in the store is of use to the next backup only once the index names
 * it, also if this backup never ends: so a delta is published now and then, and
 * when it is given up.  Who is killed loses PACKER_DELTA_BYTES, or a part of
 * what he has sent if that is more: few deltas are made by who sends much.
 *
 * Order:     an index delta names only packs that are in the store already.
 * Threads:   packer_add and _claim from many at once.
 * Errors:    the first failure of an upload fails all that follows.
 */
#ifndef REPO_PACKER_H
#define REPO_PACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/pack.h"

struct cancel;
struct err;
struct index;
struct keyring;
struct packer;
struct relied;
struct store;

enum {
    PACKER_MAX_PACKS = 4,
    PACKER_UPLOADERS = 3, /* one connection does not fill a long line */
    PACKER_EXPECT_BYTES = 4 << 20, /* of new data: there will be more of it */
    /* A delta is published before the end once it has that many, or once its
     * packs have that many bytes and are such a part of all so far. */
    PACKER_DELTA_ENTRIES = 1 << 18,
    PACKER_DELTA_BYTES = 64 << 20,
    PACKER_DELTA_PART = 4
};

/* Borrows all four. */
struct packer *packer_new(struct store *st, const struct keyring *k,
                          struct index *x, struct cancel *cancel);
/* Gives up what packer_finish has not published; unless the storage failed,
 * what is in the store already is put into the index.  NULL is allowed. */
void packer_free(struct packer *p);

/* From now on each pack that was stored is relied on (borrowed). */
void packer_rely(struct packer *p, struct relied *r);

/* Was the object claimed before, and is not in the index yet? */
bool packer_has(struct packer *p, const uint8_t gid[GID_BYTES]);
/* True for one caller only, who must then add the object. */
bool packer_claim(struct packer *p, const uint8_t gid[GID_BYTES]);

/* Copies the bytes. */
int packer_add(struct packer *p, enum pack_kind kind, enum object_type type,
               const uint8_t id[OBJECT_ID_BYTES], size_t plain_len,
               const uint8_t *sealed, size_t len, struct err *e);

/* Everything added is durable and in the index when it returns 0.  Once. */
int packer_finish(struct packer *p, struct err *e);

/* Bytes put into packs and index segments so far. */
uint64_t packer_stored_bytes(struct packer *p);

#endif
