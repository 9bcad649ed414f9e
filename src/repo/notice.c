/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/notice.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "crypto/wipe.h"
#include "repo/config.h"
#include "repo/format.h"
#include "repo/keyring.h"

enum { CONDEMNED_HEAD_BYTES = FORMAT_HEAD_BYTES + NAME_ID_BYTES + 8 + 4 + 4 };

static const char CONDEMNED_LABEL[] = "condemned list";

/* ---- signatures ------------------------------------------------------ */

static int
sign_as(const struct keyring *k, unsigned has, const uint8_t *seed,
        size_t start, struct buf *out, struct err *e)
{
    uint8_t signature[SIGN_BYTES];

    if (!(k->has & has))
        return err_set(e, ERR_KEY, "this key may not do maintenance");
    if (buf_check(out, "a notice", e) == -1)
        return -1;
    sign_make(seed, out->p + start, out->len - start, signature);
    buf_add(out, signature, sizeof(signature));
    return buf_check(out, "a notice", e);
}

static int
check_signature(const void *p, size_t len, const struct config *config,
                enum config_role role, uint32_t number, struct err *e)
{
    const struct config_key *key = config_key(config, role, number);
    const uint8_t *bytes = p;

    if (!key)
        return err_set(e, ERR_CORRUPT,
                       "it is signed by a key that this repository does not "
                       "know");
    if (len < SIGN_BYTES ||
        !sign_check(key->public, p, len - SIGN_BYTES, bytes + len - SIGN_BYTES))
        return err_set(e, ERR_CORRUPT, "its signature is wrong");
    return 0;
}

static int
check_name(const char *own, const char *name, struct err *e)
{
    if (strcmp(own, name) != 0)
        return err_set(e, ERR_CORRUPT, "it is not the object of this name");
    return 0;
}

/* ---- session --------------------------------------------------------- */

int
session_pack(const struct session *s, const struct keyring *k, struct buf *out,
             struct err *e)
{
    bool maintenance = s->writer == SESSION_MAINTENANCE;
    size_t start = out->len;

    format_put_head(out, &FORMAT_SESSION, k->domain);
    buf_le32(out, s->writer);
    buf_le64(out, (uint64_t)s->time_ns);
    buf_add(out, s->id, sizeof(s->id));
    return sign_as(k, maintenance ? KEY_MAINTENANCE : KEY_WRITER,
                   maintenance ? k->maintenance_seed : k->writer_seed, start,
                   out, e);
}

int
session_unpack(const void *p, size_t len, const char *name,
               const struct config *config, struct session *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    struct session s = {0};
    uint16_t domain = 0;
    char own[NAME_MAX_LEN];

    if (format_get_head(&c, &FORMAT_SESSION, &domain, e) == -1)
        return -1;
    s.writer = cursor_le32(&c);
    s.time_ns = (int64_t)cursor_le64(&c);
    cursor_copy(&c, s.id, sizeof(s.id));
    (void)cursor_bytes(&c, SIGN_BYTES);
    if (cursor_done(&c, "the sync marker", e) == -1)
        return -1;
    bool maintenance = s.writer == SESSION_MAINTENANCE;
    name_session(s.writer, s.time_ns, s.id, own);
    if (check_signature(p, len, config,
                        maintenance ? ROLE_MAINTENANCE : ROLE_WRITER,
                        maintenance ? 0 : s.writer, e) == -1 ||
        check_name(own, name, e) == -1)
        return -1;
    *out = s;
    return 0;
}

/* ---- condemned ------------------------------------------------------- */

void
condemned_done(struct condemned *c)
{
    free(c->entries);
    *c = (struct condemned){0};
}

void
condemned_object(const struct condemned_entry *entry, char *out)
{
    if (entry->kind == CONDEMNED_INDEX)
        name_index_delta(entry->time_ns, entry->id, out);
    else if (entry->kind == CONDEMNED_DONE)
        name_condemned(entry->time_ns, entry->id, out);
    else
        name_pack(entry->kind == CONDEMNED_META ? PACK_META : PACK_DATA,
                  entry->sum, out);
}

static void
put_entry(struct buf *b, const struct condemned_entry *entry)
{
    buf_u8(b, entry->kind);
    buf_zero(b, 7);
    if (entry->kind <= CONDEMNED_META) {
        buf_add(b, entry->sum, sizeof(entry->sum));
        return;
    }
    buf_le64(b, (uint64_t)entry->time_ns);
    buf_add(b, entry->id, sizeof(entry->id));
    buf_zero(b, 8);
}

static int
get_entry(struct cursor *c, struct condemned_entry *out, struct err *e)
{
    *out = (struct condemned_entry){.kind = cursor_u8(c)};
    (void)cursor_bytes(c, 7);
    if (out->kind <= CONDEMNED_META) {
        cursor_copy(c, out->sum, sizeof(out->sum));
    } else {
        out->time_ns = (int64_t)cursor_le64(c);
        cursor_copy(c, out->id, sizeof(out->id));
        (void)cursor_bytes(c, 8);
    }
    if (out->kind > CONDEMNED_DONE)
        return err_set(e, ERR_UNSUP,
                       "it condemns objects of kind %u, which this vmkeep "
                       "does not know; use a newer vmkeep",
                       out->kind);
    return 0;
}

int
condemned_pack(const struct condemned *c, const struct keyring *k,
               struct buf *out, struct err *e)
{
    CLEANUP(buf_done)
    struct buf clear =
        buf_of((size_t)CONDEMNED_MAX_ENTRIES * CONDEMNED_ENTRY_BYTES);
    uint8_t key[HASH_DERIVED_BYTES];
    size_t start = out->len;

    for (size_t i = 0; i < c->n; i++)
        put_entry(&clear, &c->entries[i]);
    if (buf_check(&clear, "a list of condemned objects", e) == -1)
        return -1;
    format_put_head(out, &FORMAT_CONDEMNED, k->domain);
    buf_add(out, c->id, sizeof(c->id));
    buf_le64(out, (uint64_t)c->time_ns);
    buf_le32(out, (uint32_t)c->n);
    buf_le32(out, 0);
    uint8_t *to = buf_extend(out, clear.len + AEAD_OVERHEAD);
    if (to) {
        keyring_derive(k, CONDEMNED_LABEL, c->id, sizeof(c->id), key);
        aead_seal(key, out->p + start, CONDEMNED_HEAD_BYTES, clear.p, clear.len,
                  to);
        wipe(key, sizeof(key));
    }
    return sign_as(k, KEY_MAINTENANCE, k->maintenance_seed, start, out, e);
}

static int
open_entries(struct cursor *c, const uint8_t *head, size_t n,
             const struct keyring *k, struct condemned *out, struct err *e)
{
    size_t clear_len = n * CONDEMNED_ENTRY_BYTES;
    const uint8_t *sealed = cursor_bytes(c, clear_len + AEAD_OVERHEAD);
    uint8_t key[HASH_DERIVED_BYTES];
    void *mem = NULL, *entries = NULL;

    (void)cursor_bytes(c, SIGN_BYTES);
    if (cursor_done(c, "the list of condemned objects", e) == -1 ||
        mem_try(clear_len + 1, "a list of condemned objects", &mem, e) == -1)
        return -1;
    CLEANUP(freep) uint8_t *clear = mem;
    keyring_derive(k, CONDEMNED_LABEL, out->id, sizeof(out->id), key);
    bool ok = aead_open(key, head, CONDEMNED_HEAD_BYTES, sealed,
                        clear_len + AEAD_OVERHEAD, clear);
    wipe(key, sizeof(key));
    if (!ok)
        return err_set(e, ERR_CORRUPT, "it is not authentic");
    if (mem_try((n + 1) * sizeof(out->entries[0]),
                "a list of condemned objects", &entries, e) == -1)
        return -1;
    out->entries = entries;
    struct cursor at = cursor_of(clear, clear_len);
    for (; out->n < n; out->n++)
        if (get_entry(&at, &out->entries[out->n], e) == -1)
            return -1;
    return 0;
}

int
condemned_unpack(const void *p, size_t len, const char *name,
                 const struct keyring *k, const struct config *config,
                 struct condemned *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    uint16_t domain = 0;
    char own[NAME_MAX_LEN];

    *out = (struct condemned){0};
    if (format_get_head(&c, &FORMAT_CONDEMNED, &domain, e) == -1)
        return -1;
    cursor_copy(&c, out->id, sizeof(out->id));
    out->time_ns = (int64_t)cursor_le64(&c);
    size_t n = cursor_le32(&c);
    (void)cursor_le32(&c);
    name_condemned(out->time_ns, out->id, own);
    if (cursor_check(&c, "the list of condemned objects", e) == -1)
        return -1;
    if (n > CONDEMNED_MAX_ENTRIES)
        return err_set(e, ERR_LIMIT, "it condemns %zu objects", n);
    if (check_signature(p, len, config, ROLE_MAINTENANCE, 0, e) == -1 ||
        check_name(own, name, e) == -1)
        return -1;
    if (domain != k->domain)
        return err_set(e, ERR_KEY, "it is of key domain %u", domain);
    return open_entries(&c, p, n, k, out, e);
}

/* ---- retired --------------------------------------------------------- */

int
retired_pack(const struct ref_name *ref, int64_t time_ns,
             const struct keyring *k, struct buf *out, struct err *e)
{
    size_t start = out->len;

    format_put_head(out, &FORMAT_RETIRED, k->domain);
    buf_le32(out, ref->ns);
    buf_add(out, ref->machine, sizeof(ref->machine));
    buf_le64(out, (uint64_t)ref->time_ns);
    buf_add(out, ref->id, sizeof(ref->id));
    buf_le64(out, (uint64_t)time_ns);
    return sign_as(k, KEY_MAINTENANCE, k->maintenance_seed, start, out, e);
}

int
retired_unpack(const void *p, size_t len, const char *name,
               const struct config *config, struct ref_name *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    struct ref_name ref = {0};
    uint16_t domain = 0;
    char own[NAME_MAX_LEN];

    if (format_get_head(&c, &FORMAT_RETIRED, &domain, e) == -1)
        return -1;
    ref.ns = cursor_le32(&c);
    cursor_copy(&c, ref.machine, sizeof(ref.machine));
    ref.time_ns = (int64_t)cursor_le64(&c);
    cursor_copy(&c, ref.id, sizeof(ref.id));
    (void)cursor_le64(&c);
    (void)cursor_bytes(&c, SIGN_BYTES);
    if (cursor_done(&c, "the retirement", e) == -1)
        return -1;
    name_retired(&ref, own);
    if (check_signature(p, len, config, ROLE_MAINTENANCE, 0, e) == -1 ||
        check_name(own, name, e) == -1)
        return -1;
    *out = ref;
    return 0;
}
