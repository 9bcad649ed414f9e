/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/bundle.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/format.h"
#include "repo/keyring.h"

static void
secret_done(struct buf *b)
{
    if (b->p)
        wipe(b->p, b->room);
    buf_done(b);
}

int
bundle_pack(const struct keyring *k, const char *password,
            const struct password_cost *cost, const char *label, int64_t now_ns,
            struct buf *out, uint8_t out_id[NAME_ID_BYTES], struct err *e)
{
    CLEANUP(secret_done) struct buf clear = buf_of(KEYRING_MAX_BYTES);
    uint8_t key[PASSWORD_KEY_BYTES], sum[HASH_BYTES];
    size_t start = out->len, label_len = strlen(label);

    if (label_len > BUNDLE_MAX_LABEL)
        return err_set(e, ERR_USAGE, "a key's label has at most %d bytes",
                       BUNDLE_MAX_LABEL);
    if (password_derive(cost, password, key, e) == -1)
        return -1;
    keyring_pack(k, &clear);
    format_put_head(out, &FORMAT_BUNDLE, k->domain);
    buf_u8(out, BUNDLE_PASSWORD);
    buf_u8(out, 0);
    buf_le16(out, (uint16_t)label_len);
    buf_le64(out, (uint64_t)now_ns);
    buf_add(out, label, label_len);
    buf_le32(out, cost->passes);
    buf_le32(out, cost->memory_kib);
    buf_add(out, cost->salt, sizeof(cost->salt));
    buf_le32(out, (uint32_t)(clear.len + AEAD_OVERHEAD));

    size_t head = out->len - start;
    uint8_t *sealed = buf_extend(out, clear.len + AEAD_OVERHEAD);
    if (sealed)
        aead_seal(key, out->p + start, head, clear.p, clear.len, sealed);
    wipe(key, sizeof(key));
    if (buf_check(out, "the key bundle", e) == -1)
        return -1;
    hash_sha256(out->p + start, out->len - start, sum);
    memcpy(out_id, sum, NAME_ID_BYTES);
    return 0;
}

/* Leaves the cursor behind the part that all kinds share. */
static int
get_info(struct cursor *c, struct bundle_info *out, struct err *e)
{
    uint16_t domain = 0;

    *out = (struct bundle_info){0};
    if (format_get_head(c, &FORMAT_BUNDLE, &domain, e) == -1)
        return -1;
    out->kind = cursor_u8(c);
    (void)cursor_u8(c);
    uint16_t label_len = cursor_le16(c);
    out->created_ns = (int64_t)cursor_le64(c);
    if (label_len > BUNDLE_MAX_LABEL)
        return err_set(e, ERR_CORRUPT, "the key bundle's label is too long");
    cursor_copy(c, out->label, label_len);
    if (out->kind == BUNDLE_PASSWORD) {
        out->cost.passes = cursor_le32(c);
        out->cost.memory_kib = cursor_le32(c);
        cursor_copy(c, out->cost.salt, sizeof(out->cost.salt));
    }
    return cursor_check(c, "the key bundle", e);
}

int
bundle_info(const void *p, size_t len, struct bundle_info *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);

    return get_info(&c, out, e);
}

int
bundle_open(const void *p, size_t len, const char *password,
            struct keyring *out, struct err *e)
{
    CLEANUP(secret_done) struct buf clear = buf_of(KEYRING_MAX_BYTES);
    struct cursor c = cursor_of(p, len);
    struct bundle_info info = {0};
    uint8_t key[PASSWORD_KEY_BYTES];

    if (get_info(&c, &info, e) == -1)
        return -1;
    if (info.kind != BUNDLE_PASSWORD)
        return 0;
    uint32_t sealed_len = cursor_le32(&c);
    size_t head = c.pos;
    const uint8_t *sealed = cursor_bytes(&c, sealed_len);
    if (cursor_done(&c, "the key bundle", e) == -1)
        return -1;
    if (sealed_len < AEAD_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "the key bundle is too short");
    uint8_t *to = buf_extend(&clear, sealed_len - AEAD_OVERHEAD);
    if (buf_check(&clear, "the key bundle", e) == -1 ||
        password_derive(&info.cost, password, key, e) == -1)
        return -1;
    bool ok = aead_open(key, p, head, sealed, sealed_len, to);
    wipe(key, sizeof(key));
    if (!ok)
        return 0;
    if (keyring_unpack(clear.p, clear.len, out, e) == -1) {
        keyring_done(out);
        return -1;
    }
    return 1;
}
