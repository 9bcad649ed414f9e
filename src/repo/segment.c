/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/segment.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/format.h"
#include "repo/gidsort.h"
#include "repo/keyring.h"

enum {
    HEAD_BYTES = 64, /* of which the last 32 are zero */
    PACK_BYTES = 40,
    PACK_ZERO = 37,
    ENTRY_BYTES = 28,
    BLOOM_BYTES = 64,
    ALIGN = 64,
    FANOUT_BITS_MAX = 16,
    FANOUT_FILL = 16, /* entries a bucket, if there are bits for it */
    BLOOM_BITS_A_KEY = 10,
    BLOOM_PROBES = 6,
    SEAL_SALT_BYTES = 16,
    SEAL_HEAD_BYTES = FORMAT_HEAD_BYTES + SEAL_SALT_BYTES + NAME_ID_BYTES + 8
};

static const char SEAL_LABEL[] = "index segment";

/* ---- layout ---------------------------------------------------------- */

struct layout {
    uint64_t packs, fanout, entries, blooms, sum, end; /* offsets */
};

static struct layout
layout_of(const struct segment *s)
{
    struct layout l = {.packs = HEAD_BYTES};

    l.fanout = round_up(l.packs + (uint64_t)s->n_packs * PACK_BYTES, ALIGN);
    l.entries = round_up(l.fanout + (UINT64_C(4) << s->fanout_bits), ALIGN);
    l.blooms =
        round_up(l.entries + (uint64_t)s->n_entries * ENTRY_BYTES, ALIGN);
    l.sum = l.blooms + (uint64_t)s->n_blooms * BLOOM_BYTES;
    l.end = l.sum + HASH_BYTES;
    return l;
}

static const uint8_t *
entry_at(const struct segment *s, uint32_t i)
{
    return s->entries + (size_t)i * ENTRY_BYTES;
}

static uint32_t
bucket_of(const uint8_t gid[GID_BYTES], uint8_t bits)
{
    return bits == 0 ? 0 : get_be32(gid) >> (32 - bits);
}

/* The entries of a bucket are [*first, the result). */
static uint32_t
bucket_end(const struct segment *s, uint32_t bucket, uint32_t *first)
{
    *first = bucket == 0 ? 0 : get_le32(s->fanout + ((size_t)bucket - 1) * 4);
    return get_le32(s->fanout + (size_t)bucket * 4);
}

/* One block of 512 bits a key, and 6 bits in it, out of the id itself. */
static size_t
bloom_block(const uint8_t gid[GID_BYTES], uint32_t n_blooms)
{
    return (size_t)((uint64_t)get_le32(gid + 8) * n_blooms >> 32);
}

static unsigned
bloom_bit(const uint8_t gid[GID_BYTES], unsigned probe)
{
    return get_le64(gid) >> (9 * probe) & 511;
}

/* ---- reading --------------------------------------------------------- */

static void
get_location(const struct segment *s, const uint8_t *entry,
             struct location *out)
{
    const uint8_t *pack =
        s->packs + (size_t)get_le32(entry + GID_BYTES) * PACK_BYTES;

    memcpy(out->pack, pack, PACK_NAME_BYTES);
    out->pack_bytes = get_le32(pack + 32);
    out->kind = pack[36] == PACK_META ? PACK_META : PACK_DATA;
    out->offset = get_le32(entry + 20);
    out->len = get_le24(entry + 24);
    out->type = entry[27];
}

static int
check_packs(const struct segment *s, struct err *e)
{
    for (uint32_t i = 0; i < s->n_packs; i++) {
        const uint8_t *pack = s->packs + (size_t)i * PACK_BYTES;
        if (get_le32(pack + 32) > PACK_MAX_BYTES || pack[36] >= PACK_KINDS)
            return err_set(e, ERR_CORRUPT,
                           "pack %u of the index segment makes no sense", i);
    }
    return 0;
}

static int
check_entries(const struct segment *s, struct err *e)
{
    uint32_t buckets = UINT32_C(1) << s->fanout_bits, at = 0;

    for (uint32_t b = 0; b < buckets; b++) {
        uint32_t first = 0, end = bucket_end(s, b, &first);
        if (end < first || end > s->n_entries)
            return err_set(e, ERR_CORRUPT,
                           "the index segment's fan-out table makes no sense");
        for (; at < end; at++) {
            const uint8_t *entry = entry_at(s, at);
            uint32_t pack = get_le32(entry + GID_BYTES);
            if (bucket_of(entry, s->fanout_bits) != b ||
                (at > 0 && memcmp(entry - ENTRY_BYTES, entry, GID_BYTES) > 0))
                return err_set(e, ERR_CORRUPT,
                               "entry %u of the index segment is out of order",
                               at);
            if (pack >= s->n_packs ||
                !range_inside(
                    get_le32(entry + 20), get_le24(entry + 24),
                    get_le32(s->packs + (size_t)pack * PACK_BYTES + 32)))
                return err_set(e, ERR_CORRUPT,
                               "entry %u of the index segment is outside of "
                               "its pack",
                               at);
        }
    }
    if (at != s->n_entries)
        return err_set(e, ERR_CORRUPT,
                       "the index segment's fan-out table is incomplete");
    return 0;
}

int
segment_open(const void *p, size_t len, struct segment *out, struct err *e)
{
    struct segment s = {.p = p, .len = len};
    struct cursor c = cursor_of(p, len);
    uint8_t sum[HASH_BYTES];

    if (format_get_head(&c, &FORMAT_SEGMENT, &s.domain, e) == -1)
        return -1;
    s.n_packs = cursor_le32(&c);
    s.n_entries = cursor_le32(&c);
    s.n_blooms = cursor_le32(&c);
    s.fanout_bits = cursor_u8(&c);
    if (cursor_check(&c, "the index segment", e) == -1)
        return -1;
    if (s.n_entries == 0 || s.n_entries > SEGMENT_MAX_ENTRIES ||
        s.n_packs == 0 || s.n_packs > SEGMENT_MAX_PACKS || s.n_blooms == 0 ||
        s.fanout_bits > FANOUT_BITS_MAX)
        return err_set(e, ERR_CORRUPT,
                       "the index segment's head makes no "
                       "sense");
    struct layout l = layout_of(&s);
    if (l.end != len)
        return err_set(e, ERR_CORRUPT,
                       "the index segment has %zu bytes, not %llu", len,
                       (unsigned long long)l.end);
    hash_sha256(p, len - HASH_BYTES, sum);
    if (memcmp(sum, s.p + l.sum, sizeof(sum)) != 0)
        return err_set(e, ERR_CORRUPT, "the index segment's sum is wrong");
    s.packs = s.p + l.packs;
    s.fanout = s.p + l.fanout;
    s.entries = s.p + l.entries;
    s.blooms = s.p + l.blooms;
    if (check_packs(&s, e) == -1 || check_entries(&s, e) == -1)
        return -1;
    *out = s;
    return 0;
}

bool
segment_maybe(const struct segment *s, const uint8_t gid[GID_BYTES])
{
    const uint8_t *block =
        s->blooms + bloom_block(gid, s->n_blooms) * BLOOM_BYTES;

    for (unsigned i = 0; i < BLOOM_PROBES; i++) {
        unsigned bit = bloom_bit(gid, i);
        if (!(block[bit / 8] >> (bit % 8) & 1))
            return false;
    }
    return true;
}

void
segment_prefetch(const struct segment *s, const uint8_t gid[GID_BYTES])
{
    __builtin_prefetch(s->blooms + bloom_block(gid, s->n_blooms) * BLOOM_BYTES);
}

bool
segment_first(const struct segment *s, const uint8_t gid[GID_BYTES],
              uint32_t *out)
{
    uint32_t low = 0;
    uint32_t high = bucket_end(s, bucket_of(gid, s->fanout_bits), &low);

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(entry_at(s, mid), gid, GID_BYTES) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *out = low;
    return low < s->n_entries && memcmp(entry_at(s, low), gid, GID_BYTES) == 0;
}

size_t
segment_find(const struct segment *s, const uint8_t gid[GID_BYTES],
             struct location *out, size_t max)
{
    uint32_t at = 0;
    size_t n = 0;

    if (!segment_first(s, gid, &at))
        return 0;
    for (; at < s->n_entries && n < max; at++, n++) {
        if (memcmp(entry_at(s, at), gid, GID_BYTES) != 0)
            break;
        get_location(s, entry_at(s, at), &out[n]);
    }
    return n;
}

const uint8_t *
segment_gid(const struct segment *s, uint32_t i)
{
    assert(i < s->n_entries);
    return entry_at(s, i);
}

uint32_t
segment_pack_of(const struct segment *s, uint32_t i)
{
    return get_le32(segment_gid(s, i) + GID_BYTES);
}

uint32_t
segment_len(const struct segment *s, uint32_t i)
{
    return get_le24(segment_gid(s, i) + 24);
}

const uint8_t *
segment_entry(const struct segment *s, uint32_t i, struct location *out)
{
    assert(i < s->n_entries);
    get_location(s, entry_at(s, i), out);
    return entry_at(s, i);
}

const uint8_t *
segment_pack(const struct segment *s, uint32_t i, enum pack_kind *out_kind,
             uint32_t *out_bytes)
{
    assert(i < s->n_packs);
    const uint8_t *pack = s->packs + (size_t)i * PACK_BYTES;

    *out_bytes = get_le32(pack + 32);
    *out_kind = pack[36] == PACK_META ? PACK_META : PACK_DATA;
    return pack;
}

/* ---- building -------------------------------------------------------- */

struct segment_builder {
    uint8_t *packs, *entries; /* as they will be in the file */
    size_t n_packs, room_packs, n_entries, room_entries;
};

struct segment_builder *
segment_builder_new(void)
{
    return xcalloc(1, sizeof(struct segment_builder));
}

void
segment_builder_free(struct segment_builder *b)
{
    if (!b)
        return;
    free(b->packs);
    free(b->entries);
    free(b);
}

void
segment_builder_freep(struct segment_builder **b)
{
    segment_builder_free(*b);
}

size_t
segment_builder_entries(const struct segment_builder *b)
{
    return b->n_entries;
}

const uint8_t *
segment_builder_gid(const struct segment_builder *b, size_t i)
{
    assert(i < b->n_entries);
    return b->entries + i * ENTRY_BYTES;
}

static uint8_t *
append(uint8_t **records, size_t *n, size_t *room, size_t record_bytes)
{
    if (*n == *room) {
        *room = *room ? 2 * *room : 64;
        *records = xrealloc(*records, *room * record_bytes);
    }
    return *records + (*n)++ * record_bytes;
}

void
segment_builder_add(struct segment_builder *b, const struct pack *pack)
{
    uint32_t number = (uint32_t)b->n_packs;
    uint8_t *p = append(&b->packs, &b->n_packs, &b->room_packs, PACK_BYTES);

    memset(p, 0, PACK_BYTES);
    memcpy(p, pack->name, PACK_NAME_BYTES);
    put_le32(p + 32, (uint32_t)pack->len);
    p[36] = (uint8_t)pack->kind;
    for (uint32_t i = 0; i < pack->n_entries; i++) {
        const struct pack_entry *from = &pack->entries[i];
        uint8_t *to =
            append(&b->entries, &b->n_entries, &b->room_entries, ENTRY_BYTES);
        memcpy(to, from->id, GID_BYTES);
        put_le32(to + GID_BYTES, number);
        put_le32(to + 20, from->offset);
        put_le24(to + 24, from->len);
        to[27] = from->type;
    }
}

void
segment_builder_copy(struct segment_builder *b, const struct segment *s,
                     const bool *keep)
{
    CLEANUP(freep) uint32_t *numbers = xcalloc(s->n_packs, sizeof(uint32_t));

    for (uint32_t i = 0; i < s->n_packs; i++) {
        if (!keep[i])
            continue;
        numbers[i] = (uint32_t)b->n_packs;
        memcpy(append(&b->packs, &b->n_packs, &b->room_packs, PACK_BYTES),
               s->packs + (size_t)i * PACK_BYTES, PACK_BYTES);
    }
    for (uint32_t i = 0; i < s->n_entries; i++) {
        uint32_t pack = get_le32(entry_at(s, i) + GID_BYTES);
        if (!keep[pack])
            continue;
        uint8_t *to =
            append(&b->entries, &b->n_entries, &b->room_entries, ENTRY_BYTES);
        memcpy(to, entry_at(s, i), ENTRY_BYTES);
        put_le32(to + GID_BYTES, numbers[pack]);
    }
}

static void
fill_fanout(const struct segment *s, uint8_t *fanout)
{
    uint32_t bucket = 0, buckets = UINT32_C(1) << s->fanout_bits;

    for (uint32_t i = 0; i < s->n_entries; i++)
        for (; bucket < bucket_of(entry_at(s, i), s->fanout_bits); bucket++)
            put_le32(fanout + (size_t)bucket * 4, i);
    for (; bucket < buckets; bucket++)
        put_le32(fanout + (size_t)bucket * 4, s->n_entries);
}

static void
fill_blooms(const struct segment *s, uint8_t *blooms)
{
    for (uint32_t i = 0; i < s->n_entries; i++) {
        const uint8_t *gid = entry_at(s, i);
        uint8_t *block = blooms + bloom_block(gid, s->n_blooms) * BLOOM_BYTES;
        for (unsigned k = 0; k < BLOOM_PROBES; k++) {
            unsigned bit = bloom_bit(gid, k);
            block[bit / 8] |= (uint8_t)(1U << (bit % 8));
        }
    }
}

/* By name: which of several packs arrived first is left to chance. */
static void
sort_packs(struct segment_builder *b)
{
    CLEANUP(freep) uint32_t *numbers = xcalloc(b->n_packs, sizeof(uint32_t));

    for (uint32_t i = 0; i < b->n_packs; i++)
        put_le24(b->packs + (size_t)i * PACK_BYTES + PACK_ZERO, i);
    gidsort(b->packs, b->n_packs, PACK_BYTES);
    for (uint32_t i = 0; i < b->n_packs; i++) {
        uint8_t *was = b->packs + (size_t)i * PACK_BYTES + PACK_ZERO;
        numbers[get_le24(was)] = i;
        put_le24(was, 0);
    }
    for (size_t i = 0; i < b->n_entries; i++) {
        uint8_t *number = b->entries + i * ENTRY_BYTES + GID_BYTES;
        put_le32(number, numbers[get_le32(number)]);
    }
}

int
segment_builder_pack(struct segment_builder *b, uint16_t domain,
                     struct buf *out, struct err *e)
{
    size_t start = out->len;
    struct segment s = {.n_packs = (uint32_t)b->n_packs,
                        .n_entries = (uint32_t)b->n_entries};

    assert(b->n_entries > 0 && b->n_entries <= SEGMENT_MAX_ENTRIES &&
           b->n_packs <= SEGMENT_MAX_PACKS);
    while (s.n_entries >> s.fanout_bits > FANOUT_FILL &&
           s.fanout_bits < FANOUT_BITS_MAX)
        s.fanout_bits++;
    s.n_blooms = (uint32_t)div_up((uint64_t)s.n_entries * BLOOM_BITS_A_KEY,
                                  (uint64_t)BLOOM_BYTES * 8);
    sort_packs(b);
    gidsort(b->entries, b->n_entries, ENTRY_BYTES);

    struct layout l = layout_of(&s);
    format_put_head(out, &FORMAT_SEGMENT, domain);
    buf_le32(out, s.n_packs);
    buf_le32(out, s.n_entries);
    buf_le32(out, s.n_blooms);
    buf_u8(out, s.fanout_bits);
    buf_zero(out, l.end - (out->len - start));
    if (buf_check(out, "the index segment", e) == -1)
        return -1;
    uint8_t *p = out->p + start;
    memcpy(p + l.packs, b->packs, b->n_packs * PACK_BYTES);
    memcpy(p + l.entries, b->entries, b->n_entries * ENTRY_BYTES);
    s.entries = p + l.entries;
    fill_fanout(&s, p + l.fanout);
    fill_blooms(&s, p + l.blooms);
    hash_sha256(p, l.sum, p + l.sum);
    return 0;
}

/* ---- at rest --------------------------------------------------------- */

int
segment_seal(const struct keyring *k, const uint8_t id[NAME_ID_BYTES],
             const void *p, size_t len, struct buf *out, struct err *e)
{
    uint8_t salt[SEAL_SALT_BYTES], key[HASH_DERIVED_BYTES];
    size_t start = out->len;

    rand_bytes(salt, sizeof(salt));
    format_put_head(out, &FORMAT_INDEX, k->domain);
    buf_add(out, salt, sizeof(salt));
    buf_add(out, id, NAME_ID_BYTES);
    buf_le64(out, len);
    uint8_t *to = buf_extend(out, len + AEAD_OVERHEAD);
    if (buf_check(out, "the index segment", e) == -1)
        return -1;
    keyring_derive(k, SEAL_LABEL, salt, sizeof(salt), key);
    aead_seal(key, out->p + start, SEAL_HEAD_BYTES, p, len, to);
    wipe(key, sizeof(key));
    return 0;
}

int
segment_unseal(const struct keyring *k, const uint8_t id[NAME_ID_BYTES],
               const void *p, size_t len, struct buf *out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    uint8_t salt[SEAL_SALT_BYTES], own[NAME_ID_BYTES], key[HASH_DERIVED_BYTES];
    uint16_t domain = 0;

    if (format_get_head(&c, &FORMAT_INDEX, &domain, e) == -1)
        return -1;
    cursor_copy(&c, salt, sizeof(salt));
    cursor_copy(&c, own, sizeof(own));
    uint64_t clear_len = cursor_le64(&c);
    if (cursor_check(&c, "the index segment", e) == -1)
        return -1;
    if (clear_len > SEGMENT_MAX_BYTES ||
        cursor_left(&c) != clear_len + AEAD_OVERHEAD)
        return err_set(e, ERR_CORRUPT, "the index segment has %zu bytes", len);
    if (memcmp(own, id, sizeof(own)) != 0)
        return err_set(e, ERR_CORRUPT,
                       "the index segment is not the one of this name");
    if (domain != k->domain)
        return err_set(e, ERR_KEY, "the index segment is of key domain %u",
                       domain);
    uint8_t *to = buf_extend(out, clear_len);
    if (buf_check(out, "the index segment", e) == -1)
        return -1;
    const uint8_t *sealed = cursor_bytes(&c, clear_len + AEAD_OVERHEAD);
    keyring_derive(k, SEAL_LABEL, salt, sizeof(salt), key);
    bool ok = aead_open(key, p, SEAL_HEAD_BYTES, sealed,
                        clear_len + AEAD_OVERHEAD, to);
    wipe(key, sizeof(key));
    if (!ok)
        return err_set(e, ERR_CORRUPT, "the index segment is not authentic");
    return 0;
}
