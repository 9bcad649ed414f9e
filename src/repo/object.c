/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/object.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/keyring.h"

enum { OBJECT_VERSION = 1, SPLIT_BYTES = 4 };

static const char NAME_LABEL[] = "vmkeep object 1";
static const char CHILDREN_LABEL[] = "node children";

struct sealer {
    const struct keyring *keys; /* borrowed */
    struct codec *codec;
    uint8_t *inner;  /* an object's clear text with the codec's head */
    uint8_t *sealed; /* OBJECT_SEALED_MAX */
    uint8_t *plain;  /* OBJECT_PLAIN_MAX */
};

void
object_name_of(const uint8_t h[CAPABILITY_BYTES], struct object_name *out)
{
    uint8_t both[HASH_DERIVED_BYTES];

    hash_derive(h, NAME_LABEL, sizeof(NAME_LABEL) - 1, both);
    if (out->h != h)
        memcpy(out->h, h, CAPABILITY_BYTES);
    memcpy(out->id, both, OBJECT_ID_BYTES);
    memcpy(out->key, both + OBJECT_ID_BYTES, sizeof(out->key));
    wipe(both, sizeof(both));
}

void
object_name(const struct keyring *k, enum object_type type, const void *p,
            size_t len, struct object_name *out)
{
    assert(k->id_key);
    hash_keyed(k->id_key, (uint8_t)type, p, len, out->h);
    object_name_of(out->h, out);
}

struct sealer *
sealer_new(const struct keyring *k, int level)
{
    struct sealer *s = xcalloc(1, sizeof(*s));

    s->keys = k;
    s->codec = codec_new(level);
    s->inner = xmalloc(codec_room(OBJECT_PLAIN_MAX));
    s->sealed = xmalloc(OBJECT_SEALED_MAX);
    s->plain = xmalloc(OBJECT_PLAIN_MAX);
    return s;
}

void
sealer_set_dense(struct sealer *s, bool dense)
{
    codec_set_dense(s->codec, dense);
}

void
sealer_free(struct sealer *s)
{
    if (!s)
        return;
    codec_free(s->codec);
    free(s->inner);
    free(s->sealed);
    free(s->plain);
    free(s);
}

void
sealer_freep(struct sealer **s)
{
    sealer_free(*s);
}

/* Seal under the object's own key; returns the sealed length. */
static size_t
seal(struct sealer *s, enum object_type type, const struct object_name *name,
     const void *p, size_t len, uint8_t *out)
{
    const uint8_t aad[] = {OBJECT_VERSION, (uint8_t)type};

    assert(len <= OBJECT_PLAIN_MAX);
    size_t n = codec_pack(s->codec, p, len, s->inner);
    aead_seal(name->key, aad, sizeof(aad), s->inner, n, out);
    return n + AEAD_OVERHEAD;
}

/* Open into `out`, which has `room` bytes. */
static int
open_sealed(struct sealer *s, enum object_type type,
            const struct object_name *name, const uint8_t *sealed,
            size_t sealed_len, uint8_t *out, size_t room, size_t *out_len,
            struct err *e)
{
    const uint8_t aad[] = {OBJECT_VERSION, (uint8_t)type};

    if (sealed_len < AEAD_OVERHEAD ||
        sealed_len - AEAD_OVERHEAD > codec_room(OBJECT_PLAIN_MAX))
        return err_set(e, ERR_CORRUPT, "it has %zu bytes", sealed_len);
    if (!aead_open(name->key, aad, sizeof(aad), sealed, sealed_len, s->inner))
        return err_set(e, ERR_CORRUPT, "its bytes are not authentic");
    return codec_unpack(s->codec, s->inner, sealed_len - AEAD_OVERHEAD, out,
                        room, out_len, e);
}

static int
check_name(const struct sealer *s, enum object_type type,
           const struct object_name *name, const void *p, size_t len,
           struct err *e)
{
    uint8_t h[HASH_BYTES];

    if (!s->keys->id_key)
        return err_set(e, ERR_KEY, "this key cannot open what backups hold");
    hash_keyed(s->keys->id_key, (uint8_t)type, p, len, h);
    if (!wipe_equal(h, name->h, sizeof(h)))
        return err_set(e, ERR_CORRUPT,
                       "its content is not what its name says: whoever stored "
                       "it was faulty or lied");
    return 0;
}

const uint8_t *
object_seal_leaf(struct sealer *s, const struct object_name *name,
                 const void *p, size_t len, size_t *out_len)
{
    *out_len = seal(s, OBJECT_LEAF, name, p, len, s->sealed);
    return s->sealed;
}

int
object_open_leaf(struct sealer *s, const struct object_name *name,
                 const uint8_t *sealed, size_t sealed_len, uint8_t *out,
                 size_t len, struct err *e)
{
    size_t n = 0;

    if (open_sealed(s, OBJECT_LEAF, name, sealed, sealed_len, out, len, &n,
                    e) == -1)
        return -1;
    if (n != len)
        return err_set(e, ERR_CORRUPT, "it has %zu bytes, not %zu", n, len);
    return check_name(s, OBJECT_LEAF, name, out, n, e);
}

static int
not_the_same(struct err *e)
{
    err_clear(e);
    return err_set(e, ERR_CORRUPT,
                   "what was sealed does not open to the same bytes; this "
                   "machine's memory or processor is faulty");
}

int
object_verify_leaf(struct sealer *s, const struct object_name *name,
                   const uint8_t *sealed, size_t sealed_len, const void *p,
                   size_t len, struct err *e)
{
    size_t n = 0;

    if (open_sealed(s, OBJECT_LEAF, name, sealed, sealed_len, s->plain,
                    OBJECT_PLAIN_MAX, &n, e) == -1 ||
        n != len || memcmp(s->plain, p, len) != 0)
        return not_the_same(e);
    return 0;
}

/*
 * The key of a node's first part, and four bytes that hide how long that part
 * is: in the clear it would tell the store how many children the node has.
 */
static void
children_key(const struct keyring *k, const uint8_t id[OBJECT_ID_BYTES],
             uint8_t out[HASH_DERIVED_BYTES])
{
    keyring_derive(k, CHILDREN_LABEL, id, OBJECT_ID_BYTES, out);
}

static uint32_t
mask_of(const uint8_t derived[HASH_DERIVED_BYTES])
{
    return get_le32(derived + AEAD_KEY_BYTES);
}

const uint8_t *
object_seal_node(struct sealer *s, const struct object_name *name,
                 const void *children, size_t children_len, const void *entries,
                 size_t entries_len, size_t *out_len)
{
    uint8_t derived[HASH_DERIVED_BYTES], split[SPLIT_BYTES];
    uint32_t first = (uint32_t)children_len + AEAD_OVERHEAD;

    assert(children_len + entries_len <= OBJECT_PLAIN_MAX);
    children_key(s->keys, name->id, derived);
    put_le32(split, first);
    put_le32(s->sealed, first ^ mask_of(derived));
    aead_seal(derived, split, sizeof(split), children, children_len,
              s->sealed + SPLIT_BYTES);
    wipe(derived, sizeof(derived));
    *out_len = SPLIT_BYTES + first +
               seal(s, OBJECT_NODE, name, entries, entries_len,
                    s->sealed + SPLIT_BYTES + first);
    return s->sealed;
}

/* Where the second part starts. */
static int
find_split(const uint8_t derived[HASH_DERIVED_BYTES], const uint8_t *sealed,
           size_t sealed_len, size_t *out, struct err *e)
{
    if (sealed_len < SPLIT_BYTES)
        return err_set(e, ERR_CORRUPT, "it is cut short");
    size_t first = get_le32(sealed) ^ mask_of(derived);
    if (first < AEAD_OVERHEAD || first > sealed_len - SPLIT_BYTES)
        return err_set(e, ERR_CORRUPT, "its two parts don't fit it");
    *out = SPLIT_BYTES + first;
    return 0;
}

int
object_open_node(struct sealer *s, const struct object_name *name,
                 const uint8_t *sealed, size_t sealed_len, const uint8_t **out,
                 size_t *out_len, struct err *e)
{
    uint8_t derived[HASH_DERIVED_BYTES];
    size_t at = 0;

    children_key(s->keys, name->id, derived);
    int rc = find_split(derived, sealed, sealed_len, &at, e);
    wipe(derived, sizeof(derived));
    if (rc == -1 ||
        open_sealed(s, OBJECT_NODE, name, sealed + at, sealed_len - at,
                    s->plain, OBJECT_PLAIN_MAX, out_len, e) == -1)
        return -1;
    *out = s->plain;
    return check_name(s, OBJECT_NODE, name, s->plain, *out_len, e);
}

int
object_open_children(const struct keyring *k, const uint8_t id[OBJECT_ID_BYTES],
                     const uint8_t *sealed, size_t sealed_len, struct buf *out,
                     struct err *e)
{
    uint8_t derived[HASH_DERIVED_BYTES], split[SPLIT_BYTES];
    size_t at = 0;

    children_key(k, id, derived);
    if (find_split(derived, sealed, sealed_len, &at, e) == -1)
        return -1;
    uint32_t first = (uint32_t)at - SPLIT_BYTES;
    put_le32(split, first);
    uint8_t *to = buf_extend(out, first - AEAD_OVERHEAD);
    if (buf_check(out, "the list of a node's children", e) == -1)
        return -1;
    bool ok = aead_open(derived, split, sizeof(split), sealed + SPLIT_BYTES,
                        first, to);
    wipe(derived, sizeof(derived));
    if (!ok)
        return err_set(e, ERR_CORRUPT, "its children are not authentic");
    return 0;
}

int
object_verify_node(struct sealer *s, const struct object_name *name,
                   const uint8_t *sealed, size_t sealed_len,
                   const void *children, size_t children_len, struct err *e)
{
    CLEANUP(buf_done) struct buf again = buf_of(OBJECT_PLAIN_MAX);
    const uint8_t *entries = NULL;
    size_t n = 0;

    if (object_open_node(s, name, sealed, sealed_len, &entries, &n, e) == -1 ||
        object_open_children(s->keys, name->id, sealed, sealed_len, &again,
                             e) == -1 ||
        again.len != children_len ||
        memcmp(again.p, children, children_len) != 0)
        return not_the_same(e);
    return 0;
}
