/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack: many sealed objects as one object of the store
 * (docs/format/pack.md).
 *
 *   head 40, sealed table of contents, sealed objects ...
 *
 * A pack is named by the SHA-256 of its bytes, and a random salt in its head
 * makes that name unlike any other's ever: who condemns a name condemns one
 * upload.  The table comes first, so that one read of the front of each pack
 * is enough to rebuild an index.
 */
#ifndef REPO_PACK_H
#define REPO_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"
#include "repo/object.h"

struct err;
struct keyring;

enum {
    /* A writer closes a pack that has them.  One of nodes fills slowly, and is
     * open beside those of leaves. */
    PACK_TARGET_BYTES = 32 << 20,
    PACK_META_TARGET_BYTES = 8 << 20,
    PACK_MAX_BYTES = 64 << 20,
    PACK_MAX_ENTRIES = 16384,
    PACK_HEAD_BYTES = 40,
    PACK_NAME_BYTES = 32
};

struct pack_entry {
    uint8_t id[OBJECT_ID_BYTES];
    uint32_t offset; /* from the start of the pack */
    uint32_t len;    /* sealed */
    uint8_t type;    /* enum object_type */
    uint32_t plain_len;
    uint32_t check; /* low half of XXH3-64 of the sealed bytes */
};

/* A pack in the making, then one that is ready to be stored. */
struct pack {
    enum pack_kind kind;
    struct pack_entry *entries;
    uint32_t n_entries;
    uint8_t *memory; /* room for the largest head, then the objects */
    size_t objects_len, touched; /* bytes of `memory` behind the head */
    uint8_t *bytes;              /* once sealed: the pack, within `memory` */
    size_t len;
    uint8_t name[PACK_NAME_BYTES];
};

struct pack *pack_new(void);
void pack_free(struct pack *p); /* NULL is allowed */
void pack_reset(struct pack *p, enum pack_kind kind);

/* Is it time to close the pack before an object of `len` bytes more? */
bool pack_is_full(const struct pack *p, size_t len);
void pack_add(struct pack *p, enum object_type type,
              const uint8_t id[OBJECT_ID_BYTES], size_t plain_len,
              const uint8_t *sealed, size_t len);

/* Makes `bytes`, `len`, `name` and the entries' offsets. */
void pack_seal(struct pack *p, const struct keyring *k);

/* How much of the front of a pack to read: from its first PACK_HEAD_BYTES. */
int pack_front_bytes(const uint8_t *head, size_t len, size_t *out,
                     struct err *e);

/* The table of a pack of `pack_len` bytes, from its front. */
struct pack_table {
    enum pack_kind kind;
    uint32_t n;
    struct pack_entry *entries; /* owned */
};
int pack_unpack_table(const uint8_t *front, size_t len, uint64_t pack_len,
                      const struct keyring *k, struct pack_table *out,
                      struct err *e);
void pack_table_done(struct pack_table *t);

/* Are these its sealed bytes, as they were stored?  Against chance only. */
bool pack_entry_intact(const struct pack_entry *entry, const uint8_t *sealed);

/* Is this the whole pack of that name, are its table and each object's check
 * right?  Names the object that is not. */
int pack_check(const uint8_t *p, size_t len, const uint8_t name[32],
               const struct keyring *k, struct err *e);

#endif
