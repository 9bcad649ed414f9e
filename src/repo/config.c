/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/box.h"
#include "crypto/sign.h"
#include "repo/chunker.h"
#include "repo/format.h"

enum { HOUR_S = 3600 };

static void
add_key(struct config *c, enum config_role role, uint32_t number,
        const uint8_t public[KEY_BYTES])
{
    struct config_key *k = &c->keys[c->n_keys++];

    *k = (struct config_key){
        .role = (uint8_t)role, .domain = c->domain, .number = number};
    memcpy(k->public, public, KEY_BYTES);
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
    c->keys = xcalloc(4, sizeof(c->keys[0]));
    box_public(k->restore_secret, public);
    add_key(c, ROLE_RESTORE, 0, public);
    box_public(k->ns_secret, public);
    add_key(c, ROLE_NAMESPACE, k->ns, public);
    sign_public(k->maintenance_seed, public);
    add_key(c, ROLE_MAINTENANCE, 0, public);
    sign_public(k->writer_seed, public);
    add_key(c, ROLE_WRITER, k->writer, public);
}

void
config_done(struct config *c)
{
    free(c->keys);
    *c = (struct config){0};
}

void
config_pack(const struct config *c, const struct keyring *k, struct buf *out)
{
    size_t start = out->len;
    uint8_t signature[SIGN_BYTES];

    format_put_head(out, &FORMAT_CONFIG, c->domain);
    buf_add(out, c->repo_id, sizeof(c->repo_id));
    buf_le64(out, (uint64_t)c->created_ns);
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
        buf_add(out, key->public, KEY_BYTES);
    }
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
    if (unpack_keys(&c, out, e) == -1)
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
config_check(const void *p, size_t len, const struct config *c,
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
    return 0;
}

const struct config_key *
config_key(const struct config *c, enum config_role role, uint32_t number)
{
    for (size_t i = 0; i < c->n_keys; i++)
        if (c->keys[i].role == role && c->keys[i].number == number)
            return &c->keys[i];
    return NULL;
}
