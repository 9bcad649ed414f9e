/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/bundle.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/aead.h"
#include "crypto/box.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/format.h"
#include "repo/keyring.h"

enum {
    SALT_BYTES = PASSWORD_SALT_BYTES,
    NOTE_HEAD_BYTES = 12,
    NOTE_READS = 1 << 0,
    BOX_BYTES = RECOVERY_BYTES + BOX_OVERHEAD
};

static const char NOTE_LABEL[] = "key note";
static const char RECOVERY_LABEL[16] = "recovery key";

static void
secret_done(struct buf *b)
{
    if (b->p)
        wipe(b->p, b->room);
    buf_done(b);
}

/* A bundle taken apart: the parts are borrowed from its bytes. */
struct parts {
    struct bundle_info info;
    const uint8_t *salt, *note, *box, *records;
    size_t note_at, note_len, records_at, records_len;
};

/* Takes what every kind has, then what those have that we know. */
static int
take_apart(const void *p, size_t len, struct parts *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    struct bundle_info *info = &out->info;
    uint16_t domain = 0;

    *out = (struct parts){0};
    if (format_get_head(&c, &FORMAT_BUNDLE, &domain, e) == -1)
        return -1;
    info->kind = cursor_u8(&c);
    info->role = cursor_u8(&c);
    out->note_len = cursor_le16(&c);
    info->created_ns = (int64_t)cursor_le64(&c);
    out->salt = cursor_bytes(&c, SALT_BYTES);
    out->note_at = c.pos;
    out->note = cursor_bytes(&c, out->note_len);
    if (info->kind == BUNDLE_PASSWORD) {
        info->cost.passes = cursor_le32(&c);
        info->cost.memory_kib = cursor_le32(&c);
        if (out->salt)
            memcpy(info->cost.salt, out->salt, SALT_BYTES);
    } else if (info->kind == BUNDLE_RECOVERY) {
        out->box = cursor_bytes(&c, BOX_BYTES);
    } else {
        return cursor_check(&c, "the key bundle", e);
    }
    out->records_len = cursor_le32(&c);
    out->records_at = c.pos;
    out->records = cursor_bytes(&c, out->records_len);
    if (cursor_done(&c, "the key bundle", e) == -1)
        return -1;
    if (out->records_len < AEAD_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "the key bundle is too short");
    return 0;
}

/* What opens one that a recovery key opens: it needs no costly derivation, as
 * nobody can try 2^256 of them. */
static void
derive_recovery(const uint8_t code[RECOVERY_BYTES], const uint8_t *salt,
                uint8_t out[AEAD_KEY_BYTES])
{
    uint8_t message[sizeof(RECOVERY_LABEL) + SALT_BYTES];
    uint8_t derived[HASH_DERIVED_BYTES];

    memcpy(message, RECOVERY_LABEL, sizeof(RECOVERY_LABEL));
    memcpy(message + sizeof(RECOVERY_LABEL), salt, SALT_BYTES);
    hash_derive(code, message, sizeof(message), derived);
    memcpy(out, derived, AEAD_KEY_BYTES);
    wipe(derived, sizeof(derived));
}

/* ---- making one -------------------------------------------------------- */

static void
put_note(struct buf *out, size_t start, const struct keyring *k,
         const char *label, const uint8_t salt[SALT_BYTES])
{
    CLEANUP(buf_done) struct buf note = buf_of(BUNDLE_MAX_BYTES);
    uint8_t derived[HASH_DERIVED_BYTES];
    size_t head = out->len - start;

    buf_le32(&note, k->has & (KEY_WRITER | KEY_NAMESPACE) ? k->ns : 0);
    buf_le32(&note, k->has & KEY_WRITER ? k->writer : 0);
    buf_u8(&note, k->has & (KEY_RESTORE | KEY_NAMESPACE) ? NOTE_READS : 0);
    buf_zero(&note, 3);
    buf_add(&note, label, strlen(label));
    keyring_derive(k, NOTE_LABEL, salt, SALT_BYTES, derived);
    uint8_t *to = buf_extend(out, note.len + AEAD_OVERHEAD);
    if (to)
        aead_seal(derived, out->p + start, head, note.p, note.len, to);
    wipe(derived, sizeof(derived));
}

/* The recovery code, for admins only. */
static void
put_box(struct buf *out, const struct keyring *k,
        const uint8_t code[RECOVERY_BYTES])
{
    uint8_t secret[KEY_BYTES], public[KEY_BYTES];

    keyring_escrow(k, secret);
    box_public(secret, public);
    wipe(secret, sizeof(secret));
    uint8_t *to = buf_extend(out, BOX_BYTES);
    bool ok = !to || box_seal(public, code, RECOVERY_BYTES, to);
    assert(ok); /* the key pair is ours */
    (void)ok;
}

static void
put_head(struct buf *out, size_t start, const struct keyring *k, uint8_t role,
         const char *label, const struct bundle_lock *lock,
         const uint8_t salt[SALT_BYTES], int64_t now_ns)
{
    format_put_head(out, &FORMAT_BUNDLE, k->domain);
    buf_u8(out, lock->recovery ? BUNDLE_RECOVERY : BUNDLE_PASSWORD);
    buf_u8(out, role);
    buf_le16(out, (uint16_t)(NOTE_HEAD_BYTES + strlen(label) + AEAD_OVERHEAD));
    buf_le64(out, (uint64_t)now_ns);
    buf_add(out, salt, SALT_BYTES);
    put_note(out, start, k, label, salt);
    if (lock->recovery) {
        put_box(out, k, lock->recovery);
        return;
    }
    buf_le32(out, lock->cost->passes);
    buf_le32(out, lock->cost->memory_kib);
}

int
bundle_pack(const struct keyring *k, uint8_t role, const char *label,
            const struct bundle_lock *lock, int64_t now_ns, struct buf *out,
            uint8_t out_id[NAME_ID_BYTES], struct err *e)
{
    CLEANUP(secret_done) struct buf clear = buf_of(KEYRING_MAX_BYTES);
    uint8_t key[PASSWORD_KEY_BYTES], sum[HASH_BYTES], salt[SALT_BYTES];
    size_t start = out->len;

    assert(k->has & KEY_META);
    if (strlen(label) > BUNDLE_MAX_LABEL)
        return err_set(e, ERR_USAGE, "a key's label has at most %d bytes",
                       BUNDLE_MAX_LABEL);
    if (lock->recovery) {
        rand_bytes(salt, sizeof(salt));
        derive_recovery(lock->recovery, salt, key);
    } else {
        memcpy(salt, lock->cost->salt, sizeof(salt));
        if (password_derive(lock->cost, lock->password, key, e) == -1)
            return -1;
    }
    /* Room at once: a buffer that grows leaves copies behind. */
    (void)buf_extend(&clear, KEYRING_MAX_BYTES);
    buf_reset(&clear);
    keyring_pack(k, &clear);
    put_head(out, start, k, role, label, lock, salt, now_ns);
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

/* ---- reading one ------------------------------------------------------- */

int
bundle_info(const void *p, size_t len, struct bundle_info *out, struct err *e)
{
    struct parts parts;

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    *out = parts.info;
    return 0;
}

int
bundle_note(const void *p, size_t len, const struct keyring *k,
            struct bundle_note *out, struct err *e)
{
    uint8_t clear[NOTE_HEAD_BYTES + BUNDLE_MAX_LABEL];
    uint8_t derived[HASH_DERIVED_BYTES];
    struct parts parts;

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    if (parts.note_len < NOTE_HEAD_BYTES + AEAD_OVERHEAD ||
        parts.note_len > sizeof(clear) + AEAD_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "the key bundle's note is %zu bytes",
                       parts.note_len);
    keyring_derive(k, NOTE_LABEL, parts.salt, SALT_BYTES, derived);
    bool ok =
        aead_open(derived, p, parts.note_at, parts.note, parts.note_len, clear);
    wipe(derived, sizeof(derived));
    if (!ok)
        return 0;
    *out = (struct bundle_note){.ns = get_le32(clear),
                                .writer = get_le32(clear + 4),
                                .reads = (clear[8] & NOTE_READS) != 0};
    memcpy(out->label, clear + NOTE_HEAD_BYTES,
           parts.note_len - AEAD_OVERHEAD - NOTE_HEAD_BYTES);
    return 1;
}

/* 1 and the key of the records, 0 if the password is not for this kind. */
static int
derive_key(const struct parts *parts, const char *password,
           uint8_t out[AEAD_KEY_BYTES], struct err *e)
{
    uint8_t code[RECOVERY_BYTES];

    if (parts->info.kind == BUNDLE_PASSWORD)
        return password_derive(&parts->info.cost, password, out, e) == -1 ? -1
                                                                          : 1;
    if (parts->info.kind != BUNDLE_RECOVERY ||
        !recovery_parse(password, code, NULL))
        return 0;
    derive_recovery(code, parts->salt, out);
    wipe(code, sizeof(code));
    return 1;
}

int
bundle_open(const void *p, size_t len, const char *password,
            struct keyring *out, struct err *e)
{
    CLEANUP(secret_done) struct buf clear = buf_of(BUNDLE_MAX_BYTES);
    uint8_t key[AEAD_KEY_BYTES];
    struct parts parts;

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    int rc = derive_key(&parts, password, key, e);
    if (rc != 1)
        return rc;
    uint8_t *to = buf_extend(&clear, parts.records_len - AEAD_OVERHEAD);
    bool ok = to && aead_open(key, p, parts.records_at, parts.records,
                              parts.records_len, to);
    wipe(key, sizeof(key));
    if (buf_check(&clear, "the key bundle", e) == -1)
        return -1;
    if (!ok)
        return 0;
    if (keyring_unpack(clear.p, clear.len, out, e) == -1) {
        keyring_done(out);
        return -1;
    }
    return 1;
}

int
bundle_recovery(const void *p, size_t len, const struct keyring *k,
                uint8_t out[RECOVERY_BYTES], struct err *e)
{
    uint8_t secret[KEY_BYTES];
    struct parts parts;

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    if (parts.info.kind != BUNDLE_RECOVERY || !(k->has & KEY_ADMIN))
        return 0;
    keyring_escrow(k, secret);
    bool ok = box_open(secret, parts.box, BOX_BYTES, out);
    wipe(secret, sizeof(secret));
    return ok ? 1 : 0;
}
