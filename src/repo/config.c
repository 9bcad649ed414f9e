/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/box.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "crypto/wipe.h"
#include "repo/chunker.h"
#include "repo/format.h"

enum {
    HOUR_S = 3600,
    MAX_NAMES = CONFIG_MAX_KEYS,
    NAMES_MAX_BYTES = MAX_NAMES * (5 + CONFIG_MAX_NAME)
};

static const char NAMES_LABEL[] = "config names";
static const char DEFAULT_NAMESPACE[] = "default";

/* ---- keys and names ---------------------------------------------------- */

int
config_add_key(struct config *c, const struct config_key *key, struct err *e)
{
    if (c->n_keys >= CONFIG_MAX_KEYS)
        return err_set(e, ERR_LIMIT,
                       "the repository has %d public keys already",
                       CONFIG_MAX_KEYS);
    c->keys = xrealloc(c->keys, (c->n_keys + 1) * sizeof(c->keys[0]));
    c->keys[c->n_keys] = *key;
    c->keys[c->n_keys++].domain = c->domain;
    return 0;
}

int64_t
config_ref_s(const struct config *c)
{
    return (int64_t)c->grace_s + c->lease_s + 2 * (int64_t)c->visibility_s +
           c->window_s;
}

uint32_t
config_free_number(const struct config *c, enum config_role role)
{
    uint32_t n = 1;

    while (config_key(c, role, n))
        n++;
    return n;
}

const struct config_key *
config_key(const struct config *c, enum config_role role, uint32_t number)
{
    for (size_t i = 0; i < c->n_keys; i++)
        if (c->keys[i].role == role && c->keys[i].number == number)
            return &c->keys[i];
    return NULL;
}

int
config_namespace(const struct config *c, const char *name, uint32_t *out)
{
    for (size_t i = 0; i < c->n_names; i++)
        if (strcmp(c->names[i].name, name) == 0) {
            *out = c->names[i].ns;
            return 1;
        }
    return 0;
}

const char *
config_namespace_name(const struct config *c, uint32_t ns)
{
    for (size_t i = 0; i < c->n_names; i++)
        if (c->names[i].ns == ns)
            return c->names[i].name;
    return NULL;
}

int
config_name_namespace(struct config *c, uint32_t ns, const char *name,
                      struct err *e)
{
    size_t len = strlen(name);

    if (len == 0 || len > CONFIG_MAX_NAME ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-"
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
        return err_set(e, ERR_USAGE,
                       "the name of a namespace has 1 to %d letters, digits, "
                       "dots, dashes and underscores",
                       CONFIG_MAX_NAME);
    if (c->n_names >= MAX_NAMES)
        return err_set(e, ERR_LIMIT, "the repository has %d namespaces already",
                       MAX_NAMES);
    c->names = xrealloc(c->names, (c->n_names + 1) * sizeof(c->names[0]));
    struct config_name *n = &c->names[c->n_names++];
    *n = (struct config_name){.ns = ns};
    memcpy(n->name, name, len);
    return 0;
}

/* ---- a new one --------------------------------------------------------- */

static void
add_key(struct config *c, enum config_role role, uint32_t number, uint32_t ns,
        const uint8_t public[KEY_BYTES])
{
    struct config_key k = {.role = (uint8_t)role, .number = number, .ns = ns};
    struct err ignored = {0}; /* there is room for the first few */

    memcpy(k.public, public, KEY_BYTES);
    (void)config_add_key(c, &k, &ignored);
}

void
config_make(struct config *c, const struct keyring *k, int64_t now_ns)
{
    uint8_t public[KEY_BYTES];

    *c = (struct config){.domain = k->domain,
                         .created_ns = now_ns,
                         .hash = CONFIG_HASH_HMAC_SHA256,
                         .chunker = CHUNKER_BA8,
                         .min_writer = 1,
                         .lease_s = 24 * HOUR_S,
                         .visibility_s = 300,
                         .window_s = 6 * HOUR_S,
                         .grace_s = 72 * HOUR_S,
                         .age_s = 7 * 24 * HOUR_S};
    memcpy(c->repo_id, k->repo_id, sizeof(c->repo_id));
    memcpy(c->admin_public, k->admin_public, KEY_BYTES);
    box_public(k->restore_secret, public);
    add_key(c, ROLE_RESTORE, 0, 0, public);
    box_public(k->ns_secret, public);
    add_key(c, ROLE_NAMESPACE, k->ns, 0, public);
    sign_public(k->maintenance_seed, public);
    add_key(c, ROLE_MAINTENANCE, 0, 0, public);
    sign_public(k->writer_seed, public);
    add_key(c, ROLE_WRITER, k->writer, k->ns, public);
    struct err ignored = {0}; /* it is a name */
    (void)config_name_namespace(c, k->ns, DEFAULT_NAMESPACE, &ignored);
}

void
config_done(struct config *c)
{
    free(c->keys);
    free(c->names);
    free(c->sealed_names);
    *c = (struct config){0};
}

/* ---- packing and unpacking --------------------------------------------- */

static void
derive_names_key(const struct config *c, const struct keyring *k,
                 uint8_t out[HASH_DERIVED_BYTES])
{
    uint8_t context[KEYRING_ID_BYTES + 4];

    memcpy(context, c->repo_id, KEYRING_ID_BYTES);
    put_le32(context + KEYRING_ID_BYTES, c->generation);
    keyring_derive(k, NAMES_LABEL, context, sizeof(context), out);
}

static void
put_names(struct buf *out, size_t start, const struct config *c,
          const struct keyring *k)
{
    CLEANUP(buf_done) struct buf clear = buf_of(NAMES_MAX_BYTES);
    uint8_t derived[HASH_DERIVED_BYTES];

    for (size_t i = 0; i < c->n_names; i++) {
        size_t len = strlen(c->names[i].name);
        buf_le32(&clear, c->names[i].ns);
        buf_u8(&clear, (uint8_t)len);
        buf_add(&clear, c->names[i].name, len);
    }
    buf_le32(out, (uint32_t)(clear.len + AEAD_OVERHEAD));
    size_t head = out->len - start;
    uint8_t *to = buf_extend(out, clear.len + AEAD_OVERHEAD);
    derive_names_key(c, k, derived);
    if (to)
        aead_seal(derived, out->p + start, head, clear.p, clear.len, to);
    wipe(derived, sizeof(derived));
}

/* Sealed: they can only be opened once it is known by which keyring. */
static int
unpack_names(struct cursor *c, struct config *out, struct err *e)
{
    uint32_t len = cursor_le32(c);

    if (len > NAMES_MAX_BYTES + AEAD_OVERHEAD)
        return err_set(e, ERR_LIMIT, "the config's names are %u bytes", len);
    out->names_at = c->pos;
    const uint8_t *p = cursor_bytes(c, len);
    if (p)
        out->sealed_names = xmemdup(p, len);
    out->sealed_len = len;
    return 0;
}

static int
parse_names(struct cursor *c, struct config *out, struct err *e)
{
    while (cursor_left(c) > 0) {
        char name[UINT8_MAX + 1] = {0};
        uint32_t ns = cursor_le32(c);
        cursor_copy(c, name, cursor_u8(c));
        if (cursor_check(c, "the config's names", e) == -1 ||
            config_name_namespace(out, ns, name, e) == -1)
            return -1;
    }
    return 0;
}

static int
open_names(const void *p, struct config *c, const struct keyring *k,
           struct err *e)
{
    CLEANUP(buf_done) struct buf clear = buf_of(NAMES_MAX_BYTES);
    uint8_t derived[HASH_DERIVED_BYTES];
    bool ok = false;

    c->n_names = 0;
    if (c->sealed_len >= AEAD_OVERHEAD) {
        uint8_t *to = buf_extend(&clear, c->sealed_len - AEAD_OVERHEAD);
        derive_names_key(c, k, derived);
        ok = to && aead_open(derived, p, c->names_at, c->sealed_names,
                             c->sealed_len, to);
        wipe(derived, sizeof(derived));
    }
    if (!ok)
        return err_set(e, ERR_CORRUPT, "the config's names are not authentic");
    struct cursor names = cursor_of(clear.p, clear.len);
    if (parse_names(&names, c, e) == 0)
        return 0;
    e->code = ERR_CORRUPT;
    return -1;
}

void
config_pack(const struct config *c, const struct keyring *k, struct buf *out)
{
    size_t start = out->len;
    uint8_t signature[SIGN_BYTES];

    format_put_head(out, &FORMAT_CONFIG, c->domain);
    buf_add(out, c->repo_id, sizeof(c->repo_id));
    buf_le64(out, (uint64_t)c->created_ns);
    buf_le32(out, c->generation);
    buf_le32(out, 0);
    buf_add(out, c->previous, sizeof(c->previous));
    buf_le64(out, c->ro_compat);
    buf_le64(out, c->gc_compat);
    buf_u8(out, c->hash);
    buf_u8(out, c->chunker);
    buf_le16(out, 0);
    buf_le32(out, c->min_writer);
    buf_le32(out, c->lease_s);
    buf_le32(out, c->visibility_s);
    buf_le32(out, c->window_s);
    buf_le32(out, c->grace_s);
    buf_le32(out, c->age_s);
    buf_add(out, c->admin_public, KEY_BYTES);
    buf_le32(out, (uint32_t)c->n_keys);
    for (size_t i = 0; i < c->n_keys; i++) {
        const struct config_key *key = &c->keys[i];
        buf_u8(out, key->role);
        buf_u8(out, key->flags);
        buf_le16(out, key->domain);
        buf_le32(out, key->number);
        buf_le32(out, key->ns);
        buf_add(out, key->public, KEY_BYTES);
    }
    put_names(out, start, c, k);
    if (out->overflow)
        return; /* for buf_check */
    sign_make(k->admin_seed, out->p + start, out->len - start, signature);
    buf_add(out, signature, sizeof(signature));
}

static int
unpack_keys(struct cursor *c, struct config *out, struct err *e)
{
    uint32_t n = cursor_le32(c);
    void *keys = NULL;

    if (n > CONFIG_MAX_KEYS)
        return err_set(e, ERR_LIMIT, "the config names %u keys", n);
    if (mem_try(n * sizeof(out->keys[0]), "the config's keys", &keys, e) == -1)
        return -1;
    out->keys = keys;
    out->n_keys = n;
    for (uint32_t i = 0; i < n; i++) {
        struct config_key *key = &out->keys[i];
        key->role = cursor_u8(c);
        key->flags = cursor_u8(c);
        key->domain = cursor_le16(c);
        key->number = cursor_le32(c);
        key->ns = cursor_le32(c);
        cursor_copy(c, key->public, KEY_BYTES);
    }
    return 0;
}

int
config_unpack(const void *p, size_t len, struct config *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);

    *out = (struct config){0};
    if (format_get_head(&c, &FORMAT_CONFIG, &out->domain, e) == -1)
        return -1;
    cursor_copy(&c, out->repo_id, sizeof(out->repo_id));
    out->created_ns = (int64_t)cursor_le64(&c);
    out->generation = cursor_le32(&c);
    (void)cursor_le32(&c);
    cursor_copy(&c, out->previous, sizeof(out->previous));
    out->ro_compat = cursor_le64(&c);
    out->gc_compat = cursor_le64(&c);
    out->hash = cursor_u8(&c);
    out->chunker = cursor_u8(&c);
    (void)cursor_le16(&c);
    out->min_writer = cursor_le32(&c);
    out->lease_s = cursor_le32(&c);
    out->visibility_s = cursor_le32(&c);
    out->window_s = cursor_le32(&c);
    out->grace_s = cursor_le32(&c);
    out->age_s = cursor_le32(&c);
    cursor_copy(&c, out->admin_public, KEY_BYTES);
    if (unpack_keys(&c, out, e) == -1 || unpack_names(&c, out, e) == -1)
        return -1;
    (void)cursor_bytes(&c, SIGN_BYTES);
    if (cursor_done(&c, "the config", e) == -1)
        return -1;
    if (out->hash != CONFIG_HASH_HMAC_SHA256)
        return err_set(e, ERR_UNSUP,
                       "the repository names its objects by hash %u, which "
                       "this vmkeep does not know; use a newer vmkeep",
                       out->hash);
    return 0;
}

int
config_check(const void *p, size_t len, struct config *c,
             const struct keyring *k, struct err *e)
{
    const uint8_t *bytes = p;

    if (len < SIGN_BYTES || !sign_check(k->admin_public, p, len - SIGN_BYTES,
                                        bytes + len - SIGN_BYTES))
        return err_set(e, ERR_CORRUPT,
                       "the config is not signed by this repository's admin "
                       "key: it is damaged, or another was put in its place");
    if (memcmp(c->repo_id, k->repo_id, sizeof(c->repo_id)) != 0)
        return err_set(e, ERR_CORRUPT,
                       "the config and the key are of two repositories");
    return k->has & KEY_META ? open_names(p, c, k, e) : 0;
}
