/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/keyring.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/rand.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "crypto/wipe.h"

enum { LABEL_BYTES = 16, CONTEXT_MAX_BYTES = 64, RECORD_MAX_BYTES = 1024 };

/* A reader that does not know a tag with this bit must refuse the bundle. */
enum { TAG_CRITICAL = 0x8000 };

enum tag {
    TAG_REPO_ID = 1,
    TAG_ADMIN_PUBLIC = 2,
    TAG_ADMIN_SEED = 3,
    TAG_ID = 4,
    TAG_RESTORE = 5,
    TAG_NAMESPACE = 6,
    TAG_MAINTENANCE = 7,
    TAG_WRITER = 8, /* its namespace ‖ seed */
    TAG_CONFIG = 9,
    TAG_META = 10
};

void
keyring_make(struct keyring *k)
{
    *k = (struct keyring){.has = KEY_ALL, .domain = 1, .ns = 1, .writer = 1};
    rand_bytes(k->repo_id, sizeof(k->repo_id));
    rand_bytes(k->admin_seed, KEY_BYTES);
    sign_public(k->admin_seed, k->admin_public);
    rand_bytes(k->k_id, KEY_BYTES);
    rand_bytes(k->k_meta, KEY_BYTES);
    rand_bytes(k->restore_secret, KEY_BYTES);
    keyring_namespace(k, k->ns, k->ns_secret);
    rand_bytes(k->maintenance_seed, KEY_BYTES);
    rand_bytes(k->writer_seed, KEY_BYTES);
    k->id_key = hash_key_new(k->k_id);
}

void
keyring_done(struct keyring *k)
{
    hash_key_free(k->id_key);
    wipe(k, sizeof(*k));
}

/* The fields of a keyring that each of its bits stands for. */
#define COPY(field) memcpy(&out->field, &k->field, sizeof(out->field))

void
keyring_part(const struct keyring *k, unsigned has, struct keyring *out)
{
    assert((k->has & has) == has);
    *out = (struct keyring){.has = has};
    COPY(repo_id);
    COPY(admin_public);
    COPY(config_generation);
    COPY(config_sum);
    if (has & KEY_DOMAIN)
        COPY(domain);
    if (has & (KEY_NAMESPACE | KEY_WRITER))
        COPY(ns);
    if (has & KEY_ADMIN)
        COPY(admin_seed);
    if (has & KEY_ID)
        COPY(k_id);
    if (has & KEY_META)
        COPY(k_meta);
    if (has & KEY_RESTORE)
        COPY(restore_secret);
    if (has & KEY_NAMESPACE)
        COPY(ns_secret);
    if (has & KEY_MAINTENANCE)
        COPY(maintenance_seed);
    if (has & KEY_WRITER) {
        COPY(writer);
        COPY(writer_seed);
    }
    if (has & KEY_ID)
        out->id_key = hash_key_new(out->k_id);
}

#undef COPY

/* BLAKE2b-512(from, label padded to 16 ‖ context). */
static void
derive(const uint8_t from[KEY_BYTES], const char *label, const void *context,
       size_t len, uint8_t out[HASH_DERIVED_BYTES])
{
    uint8_t message[LABEL_BYTES + CONTEXT_MAX_BYTES] = {0};
    size_t label_len = strlen(label);

    assert(label_len <= LABEL_BYTES && len <= CONTEXT_MAX_BYTES);
    for (size_t i = 0; i < label_len; i++)
        message[i] = (uint8_t)label[i];
    memcpy(message + LABEL_BYTES, context, len);
    hash_derive(from, message, LABEL_BYTES + len, out);
}

static void
derive_pair(const uint8_t from[KEY_BYTES], const char *label,
            const void *context, size_t len, uint8_t out[KEY_BYTES])
{
    uint8_t derived[HASH_DERIVED_BYTES];

    derive(from, label, context, len, derived);
    memcpy(out, derived, KEY_BYTES);
    wipe(derived, sizeof(derived));
}

void
keyring_namespace(const struct keyring *k, uint32_t n,
                  uint8_t out_secret[KEY_BYTES])
{
    uint8_t number[4];

    assert(k->has & KEY_RESTORE);
    put_le32(number, n);
    derive_pair(k->restore_secret, "namespace key", number, sizeof(number),
                out_secret);
}

void
keyring_escrow(const struct keyring *k, uint8_t out_secret[KEY_BYTES])
{
    assert(k->has & KEY_ADMIN);
    derive_pair(k->admin_seed, "recovery escrow", k->repo_id,
                sizeof(k->repo_id), out_secret);
}

static void
put(struct buf *b, enum tag tag, uint32_t number, const void *p, size_t len)
{
    buf_le16(b, (uint16_t)tag);
    buf_le16(b, (uint16_t)len);
    buf_le32(b, number);
    buf_add(b, p, len);
}

void
keyring_pack(const struct keyring *k, struct buf *out)
{
    uint8_t writer[4 + KEY_BYTES];

    put(out, TAG_REPO_ID, 0, k->repo_id, sizeof(k->repo_id));
    put(out, TAG_ADMIN_PUBLIC, 0, k->admin_public, KEY_BYTES);
    if (k->has & KEY_ADMIN)
        put(out, TAG_ADMIN_SEED, 0, k->admin_seed, KEY_BYTES);
    if (k->has & KEY_ID)
        put(out, TAG_ID, k->domain, k->k_id, KEY_BYTES);
    if (k->has & KEY_META)
        put(out, TAG_META, k->domain, k->k_meta, KEY_BYTES);
    if (k->has & KEY_RESTORE)
        put(out, TAG_RESTORE, 0, k->restore_secret, KEY_BYTES);
    if (k->has & KEY_NAMESPACE)
        put(out, TAG_NAMESPACE, k->ns, k->ns_secret, KEY_BYTES);
    if (k->has & KEY_MAINTENANCE)
        put(out, TAG_MAINTENANCE, 0, k->maintenance_seed, KEY_BYTES);
    if (k->has & KEY_WRITER) {
        put_le32(writer, k->ns);
        memcpy(writer + 4, k->writer_seed, KEY_BYTES);
        put(out, TAG_WRITER, k->writer, writer, sizeof(writer));
        wipe(writer, sizeof(writer));
    }
    put(out, TAG_CONFIG, k->config_generation, k->config_sum,
        sizeof(k->config_sum));
}

/* Two records speak of the same thing by its number; 0 is none. */
static int
same_number(uint32_t *have, uint32_t number, const char *what, struct err *e)
{
    if (number == 0 || (*have != 0 && *have != number))
        return err_set(e, ERR_CORRUPT, "the key bundle is of %s %u and %u",
                       what, *have, number);
    *have = number;
    return 0;
}

static int
take_domain(struct keyring *k, uint32_t number, struct err *e)
{
    uint32_t domain = k->domain;

    if (number > UINT16_MAX)
        return err_set(e, ERR_CORRUPT, "the key bundle is of key domain %u",
                       number);
    if (same_number(&domain, number, "key domains", e) == -1)
        return -1;
    k->domain = (uint16_t)domain;
    return 0;
}

/* Where a record goes; NULL if its tag is not known. */
struct place {
    uint8_t *to;
    size_t len;
    unsigned has;
};

static struct place
place_of(struct keyring *k, uint16_t tag)
{
    switch ((enum tag)tag) {
    case TAG_REPO_ID:
        return (struct place){k->repo_id, sizeof(k->repo_id), 0};
    case TAG_ADMIN_PUBLIC:
        return (struct place){k->admin_public, KEY_BYTES, 0};
    case TAG_ADMIN_SEED:
        return (struct place){k->admin_seed, KEY_BYTES, KEY_ADMIN};
    case TAG_ID:
        return (struct place){k->k_id, KEY_BYTES, KEY_ID};
    case TAG_META:
        return (struct place){k->k_meta, KEY_BYTES, KEY_META};
    case TAG_RESTORE:
        return (struct place){k->restore_secret, KEY_BYTES, KEY_RESTORE};
    case TAG_NAMESPACE:
        return (struct place){k->ns_secret, KEY_BYTES, KEY_NAMESPACE};
    case TAG_MAINTENANCE:
        return (struct place){k->maintenance_seed, KEY_BYTES, KEY_MAINTENANCE};
    case TAG_WRITER:
        return (struct place){k->writer_seed, KEY_BYTES, KEY_WRITER};
    case TAG_CONFIG:
        return (struct place){k->config_sum, sizeof(k->config_sum), 0};
    }
    return (struct place){0};
}

/* What the number of a record means, and what stands before its key. */
static int
take_number(struct keyring *k, uint16_t tag, uint32_t number, const uint8_t **p,
            size_t *len, struct err *e)
{
    switch ((enum tag)tag) {
    case TAG_ID:
    case TAG_META:
        return take_domain(k, number, e);
    case TAG_NAMESPACE:
        return same_number(&k->ns, number, "namespaces", e);
    case TAG_WRITER:
        if (*len != 4 + KEY_BYTES)
            return 0; /* refused by the caller */
        k->writer = number;
        uint32_t ns = get_le32(*p);
        *p += 4;
        *len -= 4;
        return same_number(&k->ns, ns, "namespaces", e);
    case TAG_CONFIG:
        k->config_generation = number;
        return 0;
    case TAG_REPO_ID:
    case TAG_ADMIN_PUBLIC:
    case TAG_ADMIN_SEED:
    case TAG_RESTORE:
    case TAG_MAINTENANCE:
        break;
    }
    return 0;
}

static int
take(struct keyring *k, uint16_t tag, uint32_t number, const uint8_t *p,
     size_t len, struct err *e)
{
    struct place place = place_of(k, tag);
    size_t whole = len;

    if (!place.to && tag & TAG_CRITICAL)
        return err_set(e, ERR_UNSUP,
                       "the key bundle has a record 0x%x that this vmkeep "
                       "does not know; use a newer vmkeep",
                       tag);
    if (!place.to)
        return 0;
    if (take_number(k, tag, number, &p, &len, e) == -1)
        return -1;
    if (len != place.len || (tag == TAG_WRITER && len == whole))
        return err_set(e, ERR_CORRUPT,
                       "record %u of the key bundle is %zu bytes long", tag,
                       whole);
    memcpy(place.to, p, len);
    k->has |= place.has;
    return 0;
}

int
keyring_unpack(const void *p, size_t len, struct keyring *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);

    *out = (struct keyring){0};
    for (unsigned n = 0; cursor_left(&c) > 0; n++) {
        uint16_t tag = cursor_le16(&c);
        uint16_t size = cursor_le16(&c);
        uint32_t number = cursor_le32(&c);
        const uint8_t *bytes = cursor_bytes(&c, size);
        if (cursor_check(&c, "the key bundle", e) == -1)
            return -1;
        if (n >= KEYRING_MAX_RECORDS || size > RECORD_MAX_BYTES)
            return err_set(e, ERR_LIMIT, "the key bundle is too large");
        if (take(out, tag, number, bytes, size, e) == -1)
            return -1;
    }
    if (bytes_are_zero(out->admin_public, KEY_BYTES))
        return err_set(e, ERR_CORRUPT, "the key bundle names no admin key");
    if (out->has & KEY_ID)
        out->id_key = hash_key_new(out->k_id);
    return 0;
}

void
keyring_derive(const struct keyring *k, const char *label, const void *context,
               size_t len, uint8_t out[64])
{
    derive(k->k_meta, label, context, len, out);
}

void
machine_tag(const struct keyring *k, const char *identity, uint8_t out[8])
{
    uint8_t sum[HASH_BYTES], derived[HASH_DERIVED_BYTES];

    hash_sha256(identity, strlen(identity), sum);
    keyring_derive(k, "machine tag", sum, sizeof(sum), derived);
    memcpy(out, derived, 8);
}
