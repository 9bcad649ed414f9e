/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/keyring.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
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
    TAG_DOMAIN = 4, /* K_id ‖ K_meta */
    TAG_RESTORE = 5,
    TAG_NAMESPACE = 6,
    TAG_MAINTENANCE = 7,
    TAG_WRITER = 8
};

void
keyring_make(struct keyring *k)
{
    *k = (struct keyring){.has = KEY_ADMIN | KEY_DOMAIN | KEY_RESTORE |
                                 KEY_NAMESPACE | KEY_MAINTENANCE | KEY_WRITER,
                          .domain = 1,
                          .ns = 1,
                          .writer = 1};
    rand_bytes(k->repo_id, sizeof(k->repo_id));
    rand_bytes(k->admin_seed, KEY_BYTES);
    sign_public(k->admin_seed, k->admin_public);
    rand_bytes(k->k_id, KEY_BYTES);
    rand_bytes(k->k_meta, KEY_BYTES);
    rand_bytes(k->restore_secret, KEY_BYTES);
    rand_bytes(k->ns_secret, KEY_BYTES);
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
    uint8_t domain[2 * KEY_BYTES];

    put(out, TAG_REPO_ID, 0, k->repo_id, sizeof(k->repo_id));
    put(out, TAG_ADMIN_PUBLIC, 0, k->admin_public, KEY_BYTES);
    if (k->has & KEY_ADMIN)
        put(out, TAG_ADMIN_SEED, 0, k->admin_seed, KEY_BYTES);
    if (k->has & KEY_DOMAIN) {
        memcpy(domain, k->k_id, KEY_BYTES);
        memcpy(domain + KEY_BYTES, k->k_meta, KEY_BYTES);
        put(out, TAG_DOMAIN, k->domain, domain, sizeof(domain));
        wipe(domain, sizeof(domain));
    }
    if (k->has & KEY_RESTORE)
        put(out, TAG_RESTORE, 0, k->restore_secret, KEY_BYTES);
    if (k->has & KEY_NAMESPACE)
        put(out, TAG_NAMESPACE, k->ns, k->ns_secret, KEY_BYTES);
    if (k->has & KEY_MAINTENANCE)
        put(out, TAG_MAINTENANCE, 0, k->maintenance_seed, KEY_BYTES);
    if (k->has & KEY_WRITER)
        put(out, TAG_WRITER, k->writer, k->writer_seed, KEY_BYTES);
}

/* One record of a tag we know, of the length that the tag has. */
static int
take(struct keyring *k, uint16_t tag, uint32_t number, const uint8_t *p,
     size_t len, struct err *e)
{
    struct {
        uint8_t *to;
        size_t len;
        unsigned has;
    } where = {0};

    switch ((enum tag)tag) {
    case TAG_REPO_ID:
        where.to = k->repo_id, where.len = sizeof(k->repo_id);
        break;
    case TAG_ADMIN_PUBLIC:
        where.to = k->admin_public, where.len = KEY_BYTES;
        break;
    case TAG_ADMIN_SEED:
        where.to = k->admin_seed, where.len = KEY_BYTES, where.has = KEY_ADMIN;
        break;
    case TAG_DOMAIN:
        if (len != (size_t)2 * KEY_BYTES || number == 0 || number > UINT16_MAX)
            break;
        k->domain = (uint16_t)number;
        memcpy(k->k_id, p, KEY_BYTES);
        where.to = k->k_meta, where.len = KEY_BYTES, where.has = KEY_DOMAIN;
        p += KEY_BYTES, len -= KEY_BYTES;
        break;
    case TAG_RESTORE:
        where.to = k->restore_secret, where.len = KEY_BYTES,
        where.has = KEY_RESTORE;
        break;
    case TAG_NAMESPACE:
        k->ns = number;
        where.to = k->ns_secret, where.len = KEY_BYTES,
        where.has = KEY_NAMESPACE;
        break;
    case TAG_MAINTENANCE:
        where.to = k->maintenance_seed, where.len = KEY_BYTES,
        where.has = KEY_MAINTENANCE;
        break;
    case TAG_WRITER:
        k->writer = number;
        where.to = k->writer_seed, where.len = KEY_BYTES,
        where.has = KEY_WRITER;
        break;
    default:
        if (tag & TAG_CRITICAL)
            return err_set(e, ERR_UNSUP,
                           "the key bundle has a record 0x%x that this vmkeep "
                           "does not know; use a newer vmkeep",
                           tag);
        return 0;
    }
    if (!where.to || len != where.len)
        return err_set(e, ERR_CORRUPT,
                       "record %u of the key bundle is %zu "
                       "bytes long",
                       tag, len);
    memcpy(where.to, p, len);
    k->has |= where.has;
    return 0;
}

int
keyring_unpack(const void *p, size_t len, struct keyring *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    static const uint8_t none[KEY_BYTES];

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
    if (memcmp(out->admin_public, none, KEY_BYTES) == 0)
        return err_set(e, ERR_CORRUPT, "the key bundle names no admin key");
    if (out->has & KEY_DOMAIN)
        out->id_key = hash_key_new(out->k_id);
    return 0;
}

void
keyring_derive(const struct keyring *k, const char *label, const void *context,
               size_t len, uint8_t out[64])
{
    uint8_t message[LABEL_BYTES + CONTEXT_MAX_BYTES] = {0};
    size_t label_len = strlen(label);

    assert(label_len <= LABEL_BYTES && len <= CONTEXT_MAX_BYTES);
    for (size_t i = 0; i < label_len; i++)
        message[i] = (uint8_t)label[i];
    memcpy(message + LABEL_BYTES, context, len);
    hash_derive(k->k_meta, message, LABEL_BYTES + len, out);
}

void
machine_tag(const struct keyring *k, const char *identity, uint8_t out[8])
{
    uint8_t sum[HASH_BYTES], derived[HASH_DERIVED_BYTES];

    hash_sha256(identity, strlen(identity), sum);
    keyring_derive(k, "machine tag", sum, sizeof(sum), derived);
    memcpy(out, derived, 8);
}
