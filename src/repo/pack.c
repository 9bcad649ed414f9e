/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/format.h"
#include "repo/keyring.h"

enum {
    SALT_BYTES = 16,
    TABLE_HEAD_BYTES = 8,
    ENTRY_BYTES = 48,
    TABLE_MAX_BYTES = TABLE_HEAD_BYTES + PACK_MAX_ENTRIES * ENTRY_BYTES,
    FRONT_MAX_BYTES = PACK_HEAD_BYTES + TABLE_MAX_BYTES + AEAD_OVERHEAD,
    OBJECTS_ROOM = PACK_TARGET_BYTES + OBJECT_SEALED_MAX
};

static const char TABLE_LABEL[] = "pack table";

_Static_assert(FRONT_MAX_BYTES + OBJECTS_ROOM <= PACK_MAX_BYTES, "pack size");

struct pack *
pack_new(void)
{
    struct pack *p = xcalloc(1, sizeof(*p));

    p->memory = xmalloc(FRONT_MAX_BYTES + OBJECTS_ROOM);
    p->entries = xmalloc(PACK_MAX_ENTRIES * sizeof(p->entries[0]));
    return p;
}

void
pack_free(struct pack *p)
{
    if (!p)
        return;
    free(p->memory);
    free(p->entries);
    free(p);
}

static size_t
pack_target(enum pack_kind kind)
{
    return kind == PACK_META ? PACK_META_TARGET_BYTES : PACK_TARGET_BYTES;
}

void
pack_reset(struct pack *p, enum pack_kind kind)
{
    size_t most = pack_target(kind) + OBJECT_SEALED_MAX;

    if (most < p->touched) { /* it would keep a large one's memory for long */
        mem_forget(p->memory + FRONT_MAX_BYTES + most, p->touched - most);
        p->touched = most;
    }
    p->kind = kind;
    p->n_entries = 0;
    p->objects_len = 0;
    p->bytes = NULL;
    p->len = 0;
}

bool
pack_is_full(const struct pack *p, size_t len)
{
    assert(len <= OBJECT_SEALED_MAX);
    return p->n_entries == PACK_MAX_ENTRIES ||
           p->objects_len >= pack_target(p->kind) ||
           len > OBJECTS_ROOM - p->objects_len;
}

static uint32_t
check_of(const uint8_t *p, size_t len)
{
    return (uint32_t)XXH3_64bits(p, len);
}

void
pack_add(struct pack *p, enum object_type type,
         const uint8_t id[OBJECT_ID_BYTES], size_t plain_len,
         const uint8_t *sealed, size_t len)
{
    assert(!pack_is_full(p, len));
    struct pack_entry *entry = &p->entries[p->n_entries++];

    *entry = (struct pack_entry){.offset = (uint32_t)p->objects_len,
                                 .len = (uint32_t)len,
                                 .type = (uint8_t)type,
                                 .plain_len = (uint32_t)plain_len};
    memcpy(entry->id, id, OBJECT_ID_BYTES);
    memcpy(p->memory + FRONT_MAX_BYTES + p->objects_len, sealed, len);
    p->objects_len += len;
    p->touched = u64_max(p->touched, p->objects_len);
}

static void
put_entry(struct buf *b, const struct pack_entry *entry)
{
    buf_add(b, entry->id, OBJECT_ID_BYTES);
    buf_le32(b, entry->offset);
    buf_le32(b, entry->len | (uint32_t)entry->type << 24);
    buf_le32(b, entry->plain_len);
    buf_le32(b, entry->check);
}

static struct pack_entry
get_entry(struct cursor *c)
{
    struct pack_entry entry = {0};

    cursor_copy(c, entry.id, OBJECT_ID_BYTES);
    entry.offset = cursor_le32(c);
    uint32_t word = cursor_le32(c);
    entry.len = word & 0xffffff;
    entry.type = (uint8_t)(word >> 24);
    entry.plain_len = cursor_le32(c);
    entry.check = cursor_le32(c);
    return entry;
}

static void
table_key(const struct keyring *k, const uint8_t salt[SALT_BYTES],
          uint8_t out[HASH_DERIVED_BYTES])
{
    keyring_derive(k, TABLE_LABEL, salt, SALT_BYTES, out);
}

void
pack_seal(struct pack *p, const struct keyring *k)
{
    CLEANUP(buf_done) struct buf table = buf_of(TABLE_MAX_BYTES);
    CLEANUP(buf_done) struct buf head = buf_of(PACK_HEAD_BYTES);
    uint8_t salt[SALT_BYTES], key[HASH_DERIVED_BYTES];
    uint8_t *objects = p->memory + FRONT_MAX_BYTES;
    uint32_t table_len = TABLE_HEAD_BYTES + p->n_entries * ENTRY_BYTES;
    uint32_t front = PACK_HEAD_BYTES + table_len + AEAD_OVERHEAD;

    buf_le32(&table, p->n_entries);
    buf_le32(&table, 0);
    for (uint32_t i = 0; i < p->n_entries; i++) {
        struct pack_entry *entry = &p->entries[i];
        entry->check = check_of(objects + entry->offset, entry->len);
        entry->offset += front;
        put_entry(&table, entry);
    }
    rand_bytes(salt, sizeof(salt));
    format_put_head(&head, &FORMAT_PACK, k->domain);
    buf_u8(&head, (uint8_t)p->kind);
    buf_u8(&head, 0);
    buf_le16(&head, 0);
    buf_le32(&head, table_len + AEAD_OVERHEAD);
    buf_add(&head, salt, sizeof(salt));
    assert(table.len == table_len && head.len == PACK_HEAD_BYTES);

    p->bytes = objects - front;
    p->len = front + p->objects_len;
    memcpy(p->bytes, head.p, head.len);
    table_key(k, salt, key);
    aead_seal(key, p->bytes, PACK_HEAD_BYTES, table.p, table.len,
              p->bytes + PACK_HEAD_BYTES);
    wipe(key, sizeof(key));
    hash_sha256(p->bytes, p->len, p->name);
}

struct head {
    uint16_t domain;
    enum pack_kind kind;
    uint32_t table_len;
    uint8_t salt[SALT_BYTES];
};

static int
get_head(const uint8_t *p, size_t len, struct head *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);

    if (format_get_head(&c, &FORMAT_PACK, &out->domain, e) == -1)
        return -1;
    uint8_t kind = cursor_u8(&c);
    uint8_t flags = cursor_u8(&c);
    uint16_t reserved = cursor_le16(&c);
    out->table_len = cursor_le32(&c);
    cursor_copy(&c, out->salt, SALT_BYTES);
    if (cursor_check(&c, "the pack", e) == -1)
        return -1;
    if (kind >= PACK_KINDS || flags != 0 || reserved != 0)
        return err_set(e, ERR_UNSUP,
                       "the pack is of a kind (%u, %u) that this vmkeep does "
                       "not know; use a newer vmkeep",
                       kind, flags);
    out->kind = (enum pack_kind)kind;
    if (out->table_len < TABLE_HEAD_BYTES + AEAD_OVERHEAD ||
        out->table_len > TABLE_MAX_BYTES + AEAD_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "the pack's table has %u bytes",
                       out->table_len);
    return 0;
}

int
pack_front_bytes(const uint8_t *head, size_t len, size_t *out, struct err *e)
{
    struct head h = {0};

    if (get_head(head, len, &h, e) == -1)
        return -1;
    *out = PACK_HEAD_BYTES + h.table_len;
    return 0;
}

static int
unpack_entries(const uint8_t *p, size_t len, uint64_t front, uint64_t pack_len,
               struct pack_table *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    uint32_t n = cursor_le32(&c);
    uint32_t reserved = cursor_le32(&c);
    uint64_t at = front;
    void *entries = NULL;

    if (reserved != 0)
        return err_set(e, ERR_UNSUP,
                       "the pack's table has something (%u) that this vmkeep "
                       "does not know; use a newer vmkeep",
                       reserved);
    if (n > PACK_MAX_ENTRIES)
        return err_set(e, ERR_CORRUPT, "the pack has %u objects", n);
    if (mem_try(n * sizeof(out->entries[0]), "a pack's table", &entries, e) ==
        -1)
        return -1;
    out->entries = entries;
    out->n = n;
    for (uint32_t i = 0; i < n; i++) {
        out->entries[i] = get_entry(&c);
        const struct pack_entry *entry = &out->entries[i];
        /* Objects lie in order without gaps: no byte of a pack is unnamed. */
        if (entry->offset != at || !range_inside(at, entry->len, pack_len))
            return err_set(e, ERR_CORRUPT,
                           "object %u of the pack is at %u, %u bytes long", i,
                           entry->offset, entry->len);
        at += entry->len;
    }
    if (cursor_done(&c, "the pack's table", e) == -1)
        return -1;
    if (at != pack_len)
        return err_set(e, ERR_CORRUPT, "the pack has %llu bytes, not %llu",
                       (unsigned long long)pack_len, (unsigned long long)at);
    return 0;
}

int
pack_unpack_table(const uint8_t *front, size_t len, uint64_t pack_len,
                  const struct keyring *k, struct pack_table *out,
                  struct err *e)
{
    struct head h = {0};
    uint8_t key[HASH_DERIVED_BYTES];
    void *mem = NULL;

    *out = (struct pack_table){0};
    if (get_head(front, len, &h, e) == -1)
        return -1;
    if (h.table_len > len - PACK_HEAD_BYTES || pack_len > PACK_MAX_BYTES)
        return err_set(e, ERR_CORRUPT, "the pack is cut short or too large");
    if (h.domain != k->domain)
        return err_set(e, ERR_KEY, "the pack is of key domain %u", h.domain);
    size_t clear_len = h.table_len - AEAD_OVERHEAD;
    if (mem_try(clear_len, "a pack's table", &mem, e) == -1)
        return -1;
    CLEANUP(freep) uint8_t *clear = mem;
    table_key(k, h.salt, key);
    bool ok = aead_open(key, front, PACK_HEAD_BYTES, front + PACK_HEAD_BYTES,
                        h.table_len, clear);
    wipe(key, sizeof(key));
    if (!ok)
        return err_set(e, ERR_CORRUPT, "the pack's table is not authentic");
    out->kind = h.kind;
    if (unpack_entries(clear, clear_len, PACK_HEAD_BYTES + h.table_len,
                       pack_len, out, e) == -1) {
        pack_table_done(out);
        return -1;
    }
    return 0;
}

void
pack_table_done(struct pack_table *t)
{
    free(t->entries);
    *t = (struct pack_table){0};
}

bool
pack_entry_intact(const struct pack_entry *entry, const uint8_t *sealed)
{
    return check_of(sealed, entry->len) == entry->check;
}

int
pack_check(const uint8_t *p, size_t len, const uint8_t name[32],
           const struct keyring *k, struct err *e)
{
    CLEANUP(pack_table_done) struct pack_table t = {0};
    uint8_t sum[HASH_BYTES];
    int rc = 0;

    /* The table first: it says more precisely what is damaged. */
    if (pack_unpack_table(p, len, len, k, &t, e) == -1)
        return -1;
    for (uint32_t i = 0; i < t.n && rc == 0; i++)
        if (!pack_entry_intact(&t.entries[i], p + t.entries[i].offset)) {
            char hex[2 * GID_BYTES + 1];
            hex_encode(t.entries[i].id, GID_BYTES, hex);
            rc = err_set(e, ERR_CORRUPT, "object %s in the pack is damaged",
                         hex);
        }
    hash_sha256(p, len, sum);
    if (rc == 0 && memcmp(sum, name, sizeof(sum)) != 0)
        rc = err_set(e, ERR_CORRUPT,
                     "the pack's bytes are not those that it "
                     "is named by");
    return rc;
}
