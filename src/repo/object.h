/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object: leaves (bytes of a guest) and nodes (of the tree above them), named
 * by what they are and sealed under a key of their own
 * (docs/format/tree.md, "Objects").
 *
 *   h        = HMAC-SHA256(K_id, type ‖ plaintext): the capability
 *   id ‖ key = BLAKE2b-512(key = h, "vmkeep object 1")
 *
 * Whoever has h can find and open the object; whoever has the id can only find
 * it.  A node is sealed in two parts: the ids of its children under a key that
 * maintenance can derive from K_meta and the node's id, and its entries, which
 * hold capabilities, under the node's own key.
 *
 * Trust:     what was opened has been hashed again and is what h names.
 */
#ifndef REPO_OBJECT_H
#define REPO_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/codec.h"

struct buf;
struct err;
struct keyring;

enum object_type { OBJECT_LEAF = 1, OBJECT_NODE = 2 };

enum {
    CAPABILITY_BYTES = 32,
    OBJECT_ID_BYTES = 32,
    GID_BYTES = 16, /* the part of the id that indexes use */
    OBJECT_PLAIN_MAX = 256 << 10,
    OBJECT_OVERHEAD = 64, /* at most, beside the (compressed) bytes */
    /* Room for any sealed object: two nodes' parts, or a leaf that does not
     * compress (and what zstd wants to have beyond it). */
    OBJECT_SEALED_MAX = OBJECT_PLAIN_MAX + (OBJECT_PLAIN_MAX >> 1)
};

struct object_name {
    uint8_t h[CAPABILITY_BYTES];
    uint8_t id[OBJECT_ID_BYTES];
    uint8_t key[32];
};

/* Name the bytes. */
void object_name(const struct keyring *k, enum object_type type, const void *p,
                 size_t len, struct object_name *out);
/* The rest of the name from its capability. */
void object_name_of(const uint8_t h[CAPABILITY_BYTES], struct object_name *out);

/* Memory for sealing and opening; belongs to one thread at a time. */
struct sealer;
struct sealer *sealer_new(const struct keyring *k, int level);
void sealer_free(struct sealer *s); /* NULL is allowed */
void sealer_freep(struct sealer **s);

/* See codec_set_dense. */
void sealer_set_dense(struct sealer *s, bool dense);

/* The sealed object; borrowed until the sealer is used again. */
const uint8_t *object_seal_leaf(struct sealer *s,
                                const struct object_name *name, const void *p,
                                size_t len, size_t *out_len);
const uint8_t *object_seal_node(struct sealer *s,
                                const struct object_name *name,
                                const void *children, size_t children_len,
                                const void *entries, size_t entries_len,
                                size_t *out_len);

/*
 * Open a leaf of exactly `len` bytes into `out`, and the entries of a node
 * (borrowed until the sealer is used again).  ERR_CORRUPT if the bytes are not
 * the object that name->h names; ERR_UNSUP.
 */
int object_open_leaf(struct sealer *s, const struct object_name *name,
                     const uint8_t *sealed, size_t sealed_len, uint8_t *out,
                     size_t len, struct err *e);
int object_open_node(struct sealer *s, const struct object_name *name,
                     const uint8_t *sealed, size_t sealed_len,
                     const uint8_t **out, size_t *out_len, struct err *e);

/* Does what was just sealed open to the same again? */
int object_verify_leaf(struct sealer *s, const struct object_name *name,
                       const uint8_t *sealed, size_t sealed_len, const void *p,
                       size_t len, struct err *e);
int object_verify_node(struct sealer *s, const struct object_name *name,
                       const uint8_t *sealed, size_t sealed_len,
                       const void *children, size_t children_len,
                       struct err *e);

/* The first part of a node, for which its id is enough; appends. */
int object_open_children(const struct keyring *k,
                         const uint8_t id[OBJECT_ID_BYTES],
                         const uint8_t *sealed, size_t sealed_len,
                         struct buf *out, struct err *e);

#endif
