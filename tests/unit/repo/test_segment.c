/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/segment.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "packs.h"

struct made {
    struct keyring keys;
    struct pack *packs[2];
    struct buf bytes;
};

/* A segment of two packs with n0 data and n1 node objects. */
static struct made *
make(uint32_t n0, uint32_t n1)
{
    struct made *m = xcalloc(1, sizeof(*m));
    struct segment_builder *b = segment_builder_new();

    keyring_make(&m->keys);
    m->packs[0] = make_pack(&m->keys, PACK_DATA, 0, n0);
    m->packs[1] = make_pack(&m->keys, PACK_META, 1000000, n1);
    segment_builder_add(b, m->packs[0]);
    segment_builder_add(b, m->packs[1]);
    assert_int_equal(segment_builder_entries(b), n0 + n1);
    m->bytes = buf_of(SEGMENT_MAX_BYTES);
    assert_ok(segment_builder_pack(b, 3, &m->bytes, e));
    segment_builder_free(b);
    return m;
}

static void
unmake(struct made *m)
{
    pack_free(m->packs[0]);
    pack_free(m->packs[1]);
    keyring_done(&m->keys);
    buf_done(&m->bytes);
    free(m);
}

static void
assert_found(const struct segment *s, const struct pack *p, uint64_t first)
{
    uint8_t id[OBJECT_ID_BYTES];
    struct location at;

    for (uint32_t i = 0; i < p->n_entries; i++) {
        make_id(first + i, id);
        assert_true(segment_maybe(s, id));
        assert_int_equal(segment_find(s, id, &at, 1), 1);
        assert_memory_equal(at.pack, p->name, PACK_NAME_BYTES);
        assert_int_equal(at.kind, p->kind);
        assert_int_equal(at.pack_bytes, p->len);
        assert_int_equal(at.offset, p->entries[i].offset);
        assert_int_equal(at.len, p->entries[i].len);
        assert_int_equal(at.type, p->entries[i].type);
    }
}

static void
everything_is_found(void **state)
{
    static const uint32_t sizes[][2] = {
        {1, 1}, {7, 3}, {100, 33}, {1000, 1}, {16000, 500}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct made *m = make(sizes[i][0], sizes[i][1]);
        struct segment s;
        assert_ok(segment_open(m->bytes.p, m->bytes.len, &s, e));
        assert_int_equal(s.domain, 3);
        assert_int_equal(s.n_entries, sizes[i][0] + sizes[i][1]);
        assert_found(&s, m->packs[0], 0);
        assert_found(&s, m->packs[1], 1000000);
        unmake(m);
    }
}

static void
what_is_not_there_is_not_found(void **state)
{
    struct made *m = make(16000, 500);
    struct location at;
    uint8_t id[OBJECT_ID_BYTES];
    struct segment s;
    unsigned maybe = 0;

    (void)state;
    assert_ok(segment_open(m->bytes.p, m->bytes.len, &s, e));
    for (uint64_t i = 0; i < 20000; i++) {
        make_id(5000000 + i, id);
        assert_int_equal(segment_find(&s, id, &at, 1), 0);
        maybe += segment_maybe(&s, id);
    }
    /* One in a hundred is what ten bits a key buy. */
    assert_true(maybe < 20000 / 40);
    memset(id, 0, sizeof(id));
    assert_int_equal(segment_find(&s, id, &at, 1), 0);
    memset(id, 0xff, sizeof(id));
    assert_int_equal(segment_find(&s, id, &at, 1), 0);
    unmake(m);
}

static void
all_places_of_an_object_are_found(void **state)
{
    struct segment_builder *b = segment_builder_new();
    CLEANUP(buf_done) struct buf bytes = buf_of(SEGMENT_MAX_BYTES);
    struct pack *packs[3];
    struct location at[4];
    uint8_t id[OBJECT_ID_BYTES];
    struct keyring keys;
    struct segment s;

    (void)state;
    keyring_make(&keys);
    for (int i = 0; i < 3; i++) {
        packs[i] = make_pack(&keys, PACK_DATA, 0, 50);
        segment_builder_add(b, packs[i]);
    }
    assert_ok(segment_builder_pack(b, 1, &bytes, e));
    assert_ok(segment_open(bytes.p, bytes.len, &s, e));
    for (uint64_t i = 0; i < 50; i++) {
        make_id(i, id);
        assert_int_equal(segment_find(&s, id, at, 4), 3);
        assert_int_equal(segment_find(&s, id, at, 2), 2);
        assert_memory_not_equal(at[0].pack, at[1].pack, 32);
    }
    for (int i = 0; i < 3; i++)
        pack_free(packs[i]);
    segment_builder_free(b);
    keyring_done(&keys);
}

static void
entries_and_packs_can_be_walked(void **state)
{
    struct made *m = make(100, 20);
    struct location at;
    struct segment s;

    (void)state;
    assert_ok(segment_open(m->bytes.p, m->bytes.len, &s, e));
    for (uint32_t i = 1; i < s.n_entries; i++)
        assert_true(memcmp(segment_entry(&s, i - 1, &at),
                           segment_entry(&s, i, &at), GID_BYTES) < 0);
    bool turned =
        memcmp(m->packs[0]->name, m->packs[1]->name, PACK_NAME_BYTES) > 0;
    for (uint32_t i = 0; i < 2; i++) { /* by name */
        const struct pack *pack = m->packs[turned ? 1 - i : i];
        enum pack_kind kind = PACK_KINDS;
        uint32_t bytes = 0;
        assert_memory_equal(segment_pack(&s, i, &kind, &bytes), pack->name,
                            PACK_NAME_BYTES);
        assert_int_equal(kind, pack->kind);
        assert_int_equal(bytes, pack->len);
    }
    unmake(m);
}

static void
every_bit_is_checked(void **state)
{
    struct made *m = make(40, 3);
    struct segment s;

    (void)state;
    for (size_t i = 0; i < m->bytes.len * 8; i++) {
        struct err e = {0};
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (segment_open(m->bytes.p, m->bytes.len, &s, &e) == 0)
            fail_msg("bit %zu", i);
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < m->bytes.len; n++) {
        struct err e = {0};
        if (segment_open(m->bytes.p, n, &s, &e) == 0)
            fail_msg("%zu bytes", n);
    }
    unmake(m);
}

/* The sum is right, as somebody with the keys wrote it, but not the rest. */
static void
assert_refused(struct made *m, const char *text)
{
    struct segment s;

    hash_sha256(m->bytes.p, m->bytes.len - 32, m->bytes.p + m->bytes.len - 32);
    assert_fails(segment_open(m->bytes.p, m->bytes.len, &s, e), ERR_CORRUPT,
                 text);
}

static void
well_hashed_nonsense_is_refused(void **state)
{
    struct made *m = make(200, 1);
    struct segment s;

    (void)state;
    assert_ok(segment_open(m->bytes.p, m->bytes.len, &s, e));
    size_t packs = (size_t)(s.packs - s.p), fanout = (size_t)(s.fanout - s.p);
    size_t entries = (size_t)(s.entries - s.p);
    uint8_t *p = m->bytes.p;
    CLEANUP(freep) uint8_t *good = xmemdup(p, m->bytes.len);
#define AGAIN memcpy(p, good, m->bytes.len)

    put_le32(p + packs + 32, PACK_MAX_BYTES + 1);
    assert_refused(m, "pack 0");
    AGAIN;
    p[packs + 36] = PACK_KINDS;
    assert_refused(m, "pack 0");
    AGAIN;
    put_le32(p + entries + 16, 2); /* there are two packs */
    assert_refused(m, "outside of its pack");
    AGAIN;
    put_le32(p + entries + 16, UINT32_MAX);
    assert_refused(m, "outside of its pack");
    AGAIN;
    put_le32(p + entries + 20, UINT32_MAX);
    assert_refused(m, "outside of its pack");
    AGAIN;
    put_le24(p + entries + 24, 0xffffff);
    assert_refused(m, "outside of its pack");
    AGAIN;
    memset(p + entries + 28 * 100, 0, GID_BYTES);
    assert_refused(m, "out of order");
    AGAIN;
    put_le32(p + fanout, UINT32_MAX);
    assert_refused(m, "fan-out");
    AGAIN;
    put_le32(p + fanout + 4 * ((1u << s.fanout_bits) - 1), 200);
    assert_refused(m, "fan-out");
    AGAIN;
    put_le32(p + 20, 0); /* no entries */
    assert_refused(m, "head");
    unmake(m);
}

static void
sealed_segments_open_under_their_name_only(void **state)
{
    struct made *m = make(40, 3);
    CLEANUP(buf_done) struct buf sealed = buf_of(SEGMENT_MAX_BYTES);
    CLEANUP(buf_done) struct buf clear = buf_of(SEGMENT_MAX_BYTES);
    uint8_t id[NAME_ID_BYTES] = {1}, other[NAME_ID_BYTES] = {2};
    struct keyring stranger;

    (void)state;
    assert_ok(segment_seal(&m->keys, id, m->bytes.p, m->bytes.len, &sealed, e));
    assert_ok(segment_unseal(&m->keys, id, sealed.p, sealed.len, &clear, e));
    assert_int_equal(clear.len, m->bytes.len);
    assert_memory_equal(clear.p, m->bytes.p, clear.len);

    assert_fails(
        segment_unseal(&m->keys, other, sealed.p, sealed.len, &clear, e),
        ERR_CORRUPT, "of this name");
    keyring_make(&stranger);
    assert_fails(segment_unseal(&stranger, id, sealed.p, sealed.len, &clear, e),
                 ERR_CORRUPT, "authentic");
    stranger.domain++;
    assert_fails(segment_unseal(&stranger, id, sealed.p, sealed.len, &clear, e),
                 ERR_KEY, "domain");
    keyring_done(&stranger);
    for (size_t i = 0; i < sealed.len; i++) {
        struct err e = {0};
        sealed.p[i] ^= (uint8_t)(1 << i % 8);
        buf_reset(&clear);
        if (segment_unseal(&m->keys, id, sealed.p, sealed.len, &clear, &e) == 0)
            fail_msg("byte %zu", i);
        sealed.p[i] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < sealed.len; n++) {
        struct err e = {0};
        assert_int_equal(segment_unseal(&m->keys, id, sealed.p, n, &clear, &e),
                         -1);
    }
    unmake(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_found),
        cmocka_unit_test(what_is_not_there_is_not_found),
        cmocka_unit_test(all_places_of_an_object_are_found),
        cmocka_unit_test(entries_and_packs_can_be_walked),
        cmocka_unit_test(every_bit_is_checked),
        cmocka_unit_test(well_hashed_nonsense_is_refused),
        cmocka_unit_test(sealed_segments_open_under_their_name_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
