/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ref.h"

#include <stdlib.h>
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
#include "crypto/sign.h"
#include "crypto/wipe.h"
#include "repo/config.h"
#include "repo/format.h"
#include "repo/keyring.h"

enum {
    HEAD_BYTES = FORMAT_HEAD_BYTES + 4 + NAME_TAG_BYTES + 8 + NAME_ID_BYTES +
                 4 + NAME_ID_BYTES + 32 + 8 + 4 + 4 + 4,
    ROOT_BYTES = 24,
    SEALED_KEY_BYTES = AEAD_KEY_BYTES + BOX_OVERHEAD,
    SEAL_BYTES = 8 + SEALED_KEY_BYTES
};

static const char ROOTS_LABEL[] = "backup roots";

/* A ref taken apart: the parts are borrowed from its bytes. */
struct parts {
    uint16_t domain;
    struct ref_head head;
    const uint8_t *roots, *seals, *body, *signature;
    uint32_t roots_len, n_seals, body_len;
};

static int
take_apart(const void *p, size_t len, struct parts *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    struct ref_head *h = &out->head;

    if (format_get_head(&c, &FORMAT_REF, &out->domain, e) == -1)
        return -1;
    h->name.ns = cursor_le32(&c);
    cursor_copy(&c, h->name.machine, NAME_TAG_BYTES);
    h->name.time_ns = (int64_t)cursor_le64(&c);
    cursor_copy(&c, h->name.id, NAME_ID_BYTES);
    h->writer = cursor_le32(&c);
    cursor_copy(&c, h->base, NAME_ID_BYTES);
    cursor_copy(&c, h->previous, sizeof(h->previous));
    h->sync_ns = (int64_t)cursor_le64(&c);
    out->roots_len = cursor_le32(&c);
    out->n_seals = cursor_le32(&c);
    out->body_len = cursor_le32(&c);
    out->roots = cursor_bytes(&c, out->roots_len);
    if (out->n_seals > REF_MAX_SEALS)
        return err_set(e, ERR_CORRUPT, "the ref is sealed to %u keys",
                       out->n_seals);
    out->seals = cursor_bytes(&c, (size_t)out->n_seals * SEAL_BYTES);
    out->body = cursor_bytes(&c, out->body_len);
    out->signature = cursor_bytes(&c, SIGN_BYTES);
    return cursor_done(&c, "the ref", e);
}

static void
put_head(struct buf *b, const struct ref_head *h, uint16_t domain,
         size_t roots_len, size_t n_seals, size_t body_len)
{
    format_put_head(b, &FORMAT_REF, domain);
    buf_le32(b, h->name.ns);
    buf_add(b, h->name.machine, NAME_TAG_BYTES);
    buf_le64(b, (uint64_t)h->name.time_ns);
    buf_add(b, h->name.id, NAME_ID_BYTES);
    buf_le32(b, h->writer);
    buf_add(b, h->base, NAME_ID_BYTES);
    buf_add(b, h->previous, sizeof(h->previous));
    buf_le64(b, (uint64_t)h->sync_ns);
    buf_le32(b, (uint32_t)roots_len);
    buf_le32(b, (uint32_t)n_seals);
    buf_le32(b, (uint32_t)body_len);
}

static void
put_roots(struct buf *b, const struct ref_root *roots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_add(b, roots[i].gid, GID_BYTES);
        buf_u8(b, roots[i].level);
        buf_zero(b, ROOT_BYTES - GID_BYTES - 1);
    }
}

/* The body's key for one reader. */
static int
put_seal(struct buf *b, const struct config *config, enum config_role role,
         uint32_t number, const uint8_t key[AEAD_KEY_BYTES], struct err *e)
{
    const struct config_key *to = config_key(config, role, number);

    if (!to)
        return err_set(e, ERR_KEY, "the repository has no key for namespace %u",
                       number);
    buf_u8(b, (uint8_t)role);
    buf_zero(b, 3);
    buf_le32(b, number);
    uint8_t *sealed = buf_extend(b, SEALED_KEY_BYTES);
    if (sealed && !box_seal(to->public, key, AEAD_KEY_BYTES, sealed))
        return err_set(e, ERR_CORRUPT, "a public key of the config is none");
    return 0;
}

static void
put_sealed(struct buf *b, const uint8_t *key, size_t start, const void *p,
           size_t len)
{
    uint8_t *to = buf_extend(b, len + AEAD_OVERHEAD);

    if (to)
        aead_seal(key, b->p + start, HEAD_BYTES, p, len, to);
}

int
ref_pack(const struct ref_head *head, const struct ref_root *roots,
         size_t n_roots, const void *body, size_t body_len,
         const struct keyring *k, const struct config *config, struct buf *out,
         struct err *e)
{
    CLEANUP(buf_done)
    struct buf clear = buf_of((size_t)REF_MAX_ROOTS * ROOT_BYTES);
    CLEANUP(codec_freep) struct codec *codec = codec_new(CODEC_LEVEL_DEFAULT);
    uint8_t key[AEAD_KEY_BYTES], derived[HASH_DERIVED_BYTES];
    uint8_t signature[SIGN_BYTES];
    size_t start = out->len;

    if (body_len > REF_BODY_MAX_BYTES || n_roots > REF_MAX_ROOTS)
        return err_set(e, ERR_LIMIT,
                       "the backup's description is too large (%zu bytes, %zu "
                       "volumes)",
                       body_len, n_roots);
    CLEANUP(freep) uint8_t *inner = xmalloc(codec_room(body_len));
    size_t inner_len = codec_pack(codec, body, body_len, inner);
    put_roots(&clear, roots, n_roots);

    put_head(out, head, k->domain, clear.len + AEAD_OVERHEAD, 2,
             inner_len + AEAD_OVERHEAD);
    keyring_derive(k, ROOTS_LABEL, head->name.id, NAME_ID_BYTES, derived);
    put_sealed(out, derived, start, clear.p, clear.len);
    wipe(derived, sizeof(derived));
    rand_bytes(key, sizeof(key));
    int rc = put_seal(out, config, ROLE_RESTORE, 0, key, e);
    if (rc == 0)
        rc = put_seal(out, config, ROLE_NAMESPACE, head->name.ns, key, e);
    put_sealed(out, key, start, inner, inner_len);
    wipe(key, sizeof(key));
    if (rc == -1 || buf_check(out, "the ref", e) == -1)
        return -1;
    sign_make(k->writer_seed, out->p + start, out->len - start, signature);
    buf_add(out, signature, sizeof(signature));
    return buf_check(out, "the ref", e);
}

int
ref_open_head(const void *p, size_t len, const char *name,
              const struct config *config, struct ref_head *out, struct err *e)
{
    struct parts parts = {0};
    char own[NAME_MAX_LEN];

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    const struct config_key *writer =
        config_key(config, ROLE_WRITER, parts.head.writer);
    if (!writer)
        return err_set(e, ERR_CORRUPT,
                       "it is signed by writer %u, whom this repository does "
                       "not know, unless its storage hides a newer config",
                       parts.head.writer);
    if (!sign_check(writer->public, p, len - SIGN_BYTES, parts.signature))
        return err_set(e, ERR_CORRUPT, "its signature is wrong");
    if (writer->ns != parts.head.name.ns)
        return err_set(e, ERR_CORRUPT,
                       "writer %u signed it, who may not write to namespace %u",
                       parts.head.writer, parts.head.name.ns);
    name_ref(&parts.head.name, own);
    if (strcmp(own, name) != 0)
        return err_set(e, ERR_CORRUPT, "it is not the ref of this name");
    *out = parts.head;
    return 0;
}

int
ref_open_roots(const void *p, size_t len, const struct keyring *k,
               struct ref_root **out, size_t *out_n, struct err *e)
{
    CLEANUP(buf_done)
    struct buf clear = buf_of((size_t)REF_MAX_ROOTS * ROOT_BYTES);
    uint8_t derived[HASH_DERIVED_BYTES];
    struct parts parts = {0};

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    if (parts.roots_len < AEAD_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "its list of roots is cut short");
    size_t clear_len = parts.roots_len - AEAD_OVERHEAD;
    uint8_t *to = buf_extend(&clear, clear_len);
    if (buf_check(&clear, "the ref's list of roots", e) == -1)
        return -1;
    keyring_derive(k, ROOTS_LABEL, parts.head.name.id, NAME_ID_BYTES, derived);
    bool ok =
        aead_open(derived, p, HEAD_BYTES, parts.roots, parts.roots_len, to);
    wipe(derived, sizeof(derived));
    if (!ok || clear_len % ROOT_BYTES != 0)
        return err_set(e, ERR_CORRUPT, "its list of roots is not authentic");

    struct cursor c = cursor_of(clear.p, clear.len);
    size_t n = clear_len / ROOT_BYTES;
    struct ref_root *roots = xcalloc(n, sizeof(roots[0]));
    for (size_t i = 0; i < n; i++) {
        cursor_copy(&c, roots[i].gid, GID_BYTES);
        roots[i].level = cursor_u8(&c);
        (void)cursor_bytes(&c, ROOT_BYTES - GID_BYTES - 1);
    }
    *out = roots;
    *out_n = n;
    return 0;
}

/* The body's key, if one of ours opens a seal. */
static bool
open_seal(const struct parts *parts, const struct keyring *k,
          uint8_t out[AEAD_KEY_BYTES])
{
    struct cursor c =
        cursor_of(parts->seals, (size_t)parts->n_seals * SEAL_BYTES);

    for (uint32_t i = 0; i < parts->n_seals; i++) {
        uint8_t role = cursor_u8(&c);
        (void)cursor_bytes(&c, 3);
        uint32_t number = cursor_le32(&c);
        const uint8_t *sealed = cursor_bytes(&c, SEALED_KEY_BYTES);
        const uint8_t *secret = NULL;
        if (role == ROLE_RESTORE && k->has & KEY_RESTORE)
            secret = k->restore_secret;
        else if (role == ROLE_NAMESPACE && k->has & KEY_NAMESPACE &&
                 number == k->ns)
            secret = k->ns_secret;
        if (secret && box_open(secret, sealed, SEALED_KEY_BYTES, out))
            return true;
    }
    return false;
}

int
ref_open_body(const void *p, size_t len, const struct keyring *k,
              struct buf *out, struct err *e)
{
    CLEANUP(codec_freep) struct codec *codec = NULL;
    struct parts parts = {0};
    uint8_t key[AEAD_KEY_BYTES];
    void *mem = NULL;
    size_t n = 0;

    if (take_apart(p, len, &parts, e) == -1)
        return -1;
    if (parts.body_len < AEAD_OVERHEAD + CODEC_HEAD_BYTES)
        return err_set(e, ERR_CORRUPT, "its body is cut short");
    if (!open_seal(&parts, k, key))
        return err_set(e, ERR_KEY,
                       "this key cannot open backups of namespace %u",
                       parts.head.name.ns);
    size_t inner_len = parts.body_len - AEAD_OVERHEAD;
    if (mem_try(inner_len, "a ref's body", &mem, e) == -1)
        return -1;
    CLEANUP(freep) uint8_t *inner = mem;
    bool ok = aead_open(key, p, HEAD_BYTES, parts.body, parts.body_len, inner);
    wipe(key, sizeof(key));
    if (!ok)
        return err_set(e, ERR_CORRUPT, "its body is not authentic");

    /* The room that it asks for is authenticated, and limited all the same. */
    size_t plain_len = get_le32(inner + 4);
    if (plain_len > REF_BODY_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "its body has %zu bytes", plain_len);
    uint8_t *to = buf_extend(out, plain_len);
    if (buf_check(out, "the ref's body", e) == -1)
        return -1;
    codec = codec_new(CODEC_LEVEL_DEFAULT);
    return codec_unpack(codec, inner, inner_len, to, plain_len, &n, e);
}
