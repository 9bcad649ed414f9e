/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lost: what repair has put out of use (docs/format/lost.md): packs and index
 * segments that are damaged or gone, and refs that nobody can read any more.
 *
 * Nothing is removed or moved: a record that maintenance has signed says that
 * whoever meets the thing must take it for not there.  So writers store again
 * what only a lost pack held, and every backup that needs it is whole again.
 *
 * Threads:   a struct lost from any number at once.
 * Trust:     lost_unpack takes any bytes; what is not signed by the
 *            repository's maintenance key does not count.
 */
#ifndef REPO_LOST_H
#define REPO_LOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"

struct buf;
struct config;
struct err;
struct keyring;
struct lost;
struct store;

enum { LOST_NAME_BYTES = 32, LOST_MAX_ITEMS = 65536, LOST_MAX_BYTES = 4 << 20 };

enum lost_kind {
    LOST_DATA_PACK = PACK_DATA, /* by its SHA-256 */
    LOST_META_PACK = PACK_META,
    LOST_SEGMENT, /* by the ID in its name, and zeros */
    LOST_REF,     /* the same */
    LOST_KINDS
};

struct lost_item {
    enum lost_kind kind;
    uint8_t name[LOST_NAME_BYTES];
};

/* ---- one record ------------------------------------------------------ */

/* Appends.  1 to LOST_MAX_ITEMS of them; signed by k's maintenance key. */
int lost_pack(const struct lost_item *items, size_t n, int64_t now_ns,
              const uint8_t id[NAME_ID_BYTES], const struct keyring *k,
              struct buf *out, struct err *e);

/* *out is the caller's to free.  ERR_CORRUPT, ERR_UNSUP. */
int lost_unpack(const void *p, size_t len, const uint8_t id[NAME_ID_BYTES],
                const struct config *config, struct lost_item **out,
                size_t *out_n, struct err *e);

/* ---- all of a repository --------------------------------------------- */

/* Empty; borrows both. */
struct lost *lost_new(struct store *st, const struct config *config);
void lost_free(struct lost *l); /* NULL is allowed */

/* Load the records that the store has and we don't.  One that is damaged does
 * not count.  ERR_STORE, ERR_UNSUP. */
int lost_refresh(struct lost *l, struct err *e);

bool lost_has(struct lost *l, enum lost_kind kind, const uint8_t *name);

/* Is any pack lost? */
bool lost_any_pack(struct lost *l);

/* Store a record of these (more than one if they are many), which count from
 * then on.  ERR_KEY without the maintenance key. */
int lost_publish(struct lost *l, const struct lost_item *items, size_t n,
                 const struct keyring *k, struct err *e);

#endif
