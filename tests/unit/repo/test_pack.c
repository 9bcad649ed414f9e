/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/pack.h"

#include "base/bytes.h"
#include "check.h"
#include "crypto/hash.h"
#include "repo/keyring.h"

struct made {
    struct keyring keys;
    struct pack *pack;
};

/* Three objects; the bytes are anything. */
static void
fill(struct pack *p)
{
    uint8_t id[OBJECT_ID_BYTES], bytes[5000];

    pack_reset(p, PACK_META);
    fill_random(bytes, sizeof(bytes), 1);
    for (int i = 0; i < 3; i++) {
        memset(id, i + 1, sizeof(id));
        pack_add(p, i == 1 ? OBJECT_LEAF : OBJECT_NODE, id, (size_t)(10000 + i),
                 bytes, (size_t)(100 + 1000 * i));
    }
}

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->pack = pack_new();
    fill(m->pack);
    pack_seal(m->pack, &m->keys);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    pack_free(m->pack);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

/* As who rebuilds an index reads it: the front only. */
static int
read_table(const struct made *m, const uint8_t *p, size_t len,
           uint64_t pack_len, struct pack_table *out, struct err *e)
{
    size_t front = 0;

    *out = (struct pack_table){0};
    if (pack_front_bytes(p, len < PACK_HEAD_BYTES ? len : PACK_HEAD_BYTES,
                         &front, e) == -1)
        return -1;
    return pack_unpack_table(p, front < len ? front : len, pack_len, &m->keys,
                             out, e);
}

static void
the_table_comes_back(void **state)
{
    struct made *m = *state;
    CLEANUP(pack_table_done) struct pack_table t = {0};

    assert_ok(read_table(m, m->pack->bytes, m->pack->len, m->pack->len, &t, e));
    assert_int_equal(t.kind, PACK_META);
    assert_int_equal(t.n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(t.entries[i].id[7], i + 1);
        assert_int_equal(t.entries[i].len, 100 + 1000 * i);
        assert_int_equal(t.entries[i].plain_len, 10000 + i);
        assert_int_equal(t.entries[i].type, i == 1 ? OBJECT_LEAF : OBJECT_NODE);
        /* What the index is told is what the pack says. */
        assert_int_equal(t.entries[i].offset, m->pack->entries[i].offset);
    }
}

static void
objects_are_where_the_table_says(void **state)
{
    struct made *m = *state;
    uint8_t bytes[5000];

    fill_random(bytes, sizeof(bytes), 1);
    for (uint32_t i = 0; i < 3; i++)
        assert_memory_equal(m->pack->bytes + m->pack->entries[i].offset, bytes,
                            m->pack->entries[i].len);
    assert_int_equal(m->pack->entries[2].offset + m->pack->entries[2].len,
                     m->pack->len);
}

static void
the_head_is_what_the_format_says(void **state)
{
    struct made *m = *state;

    assert_memory_equal(m->pack->bytes, "VMKPACK1\1\0\1\0\0\0\0\0\1\0\0\0", 20);
    assert_int_equal(get_le32(m->pack->bytes + 20), 8 + 3 * 48 + 28);
}

static void
the_name_is_the_hash_and_never_the_same(void **state)
{
    struct made *m = *state;
    uint8_t first[PACK_NAME_BYTES], sum[32];

    hash_sha256(m->pack->bytes, m->pack->len, sum);
    assert_memory_equal(m->pack->name, sum, sizeof(sum));
    memcpy(first, m->pack->name, sizeof(first));
    fill(m->pack);
    pack_seal(m->pack, &m->keys);
    assert_memory_not_equal(m->pack->name, first, sizeof(first));
}

static void
a_pack_checks_out(void **state)
{
    struct made *m = *state;

    assert_ok(
        pack_check(m->pack->bytes, m->pack->len, m->pack->name, &m->keys, e));
}

static void
every_bit_is_checked(void **state)
{
    struct made *m = *state;
    uint8_t *p = m->pack->bytes;

    for (size_t i = 0; i < m->pack->len * 8; i += i < 2000 ? 1 : 11) {
        struct err e = {0};
        p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (pack_check(p, m->pack->len, m->pack->name, &m->keys, &e) == 0)
            fail_msg("bit %zu", i);
        p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < m->pack->len; n++) {
        struct err e = {0};
        if (pack_check(p, n, m->pack->name, &m->keys, &e) == 0)
            fail_msg("%zu bytes", n);
    }
}

/* By somebody with the keys. */
static void
gaps_and_overlaps_are_refused(void **state)
{
    struct made *m = *state;

    for (int i = 0; i < 3; i++) {
        fill(m->pack);
        m->pack->entries[i].offset += i == 2 ? (uint32_t)-1 : 1;
        pack_seal(m->pack, &m->keys);
        assert_fails(pack_check(m->pack->bytes, m->pack->len, m->pack->name,
                                &m->keys, e),
                     ERR_CORRUPT, "of the pack is at");
    }
}

static void
a_damaged_object_is_named(void **state)
{
    struct made *m = *state;

    m->pack->bytes[m->pack->entries[1].offset + 5] ^= 1;
    assert_fails(
        pack_check(m->pack->bytes, m->pack->len, m->pack->name, &m->keys, e),
        ERR_CORRUPT, "object 0202020202");
}

static void
another_packs_bytes_are_not_this_pack(void **state)
{
    struct made *m = *state;
    uint8_t name[32] = {1};

    assert_fails(pack_check(m->pack->bytes, m->pack->len, name, &m->keys, e),
                 ERR_CORRUPT, "named by");
}

static void
the_front_alone_says_if_the_size_is_right(void **state)
{
    struct made *m = *state;
    struct pack_table t;
    const uint8_t *p = m->pack->bytes;
    size_t len = m->pack->len;

    assert_fails(read_table(m, p, len, len - 1, &t, e), ERR_CORRUPT, "object");
    assert_fails(read_table(m, p, len, len + 1, &t, e), ERR_CORRUPT, "bytes");
    assert_fails(read_table(m, p, len, UINT64_MAX, &t, e), ERR_CORRUPT,
                 "too large");
    for (size_t n = 0; n < m->pack->entries[0].offset; n++)
        assert_fails(read_table(m, p, n, len, &t, e), ERR_CORRUPT, "cut short");
}

static void
other_kinds_and_keys_are_refused(void **state)
{
    struct made *m = *state;
    struct made other = {.pack = m->pack};
    struct pack_table t;
    uint8_t *p = m->pack->bytes;

    p[16] = PACK_KINDS;
    assert_fails(read_table(m, p, m->pack->len, m->pack->len, &t, e), ERR_UNSUP,
                 "kind");
    p[16] = PACK_DATA; /* signed with the rest of the head */
    assert_fails(read_table(m, p, m->pack->len, m->pack->len, &t, e),
                 ERR_CORRUPT, "authentic");
    p[16] = PACK_META;
    keyring_make(&other.keys);
    assert_fails(read_table(&other, p, m->pack->len, m->pack->len, &t, e),
                 ERR_CORRUPT, "authentic");
    other.keys.domain++;
    assert_fails(read_table(&other, p, m->pack->len, m->pack->len, &t, e),
                 ERR_KEY, "domain 1");
    keyring_done(&other.keys);
}

static void
it_is_full_by_bytes_or_by_objects(void **state)
{
    struct made *m = *state;
    CLEANUP(pack_table_done) struct pack_table t = {0};
    CLEANUP(freep) uint8_t *big = xcalloc(1, OBJECT_SEALED_MAX);
    uint8_t id[OBJECT_ID_BYTES] = {1};
    size_t n = 0;

    pack_reset(m->pack, PACK_DATA);
    for (; !pack_is_full(m->pack, OBJECT_SEALED_MAX); n++)
        pack_add(m->pack, OBJECT_LEAF, id, 0, big, OBJECT_SEALED_MAX);
    assert_true(m->pack->objects_len >= PACK_TARGET_BYTES);
    pack_seal(m->pack, &m->keys);
    assert_true(m->pack->len <= PACK_MAX_BYTES);
    assert_ok(
        pack_check(m->pack->bytes, m->pack->len, m->pack->name, &m->keys, e));

    pack_reset(m->pack, PACK_META);
    for (n = 0; !pack_is_full(m->pack, OBJECT_SEALED_MAX); n++)
        pack_add(m->pack, OBJECT_NODE, id, 0, big, OBJECT_SEALED_MAX);
    assert_true(m->pack->objects_len >= PACK_META_TARGET_BYTES &&
                m->pack->objects_len <
                    PACK_META_TARGET_BYTES + OBJECT_SEALED_MAX);

    pack_reset(m->pack, PACK_DATA);
    for (n = 0; !pack_is_full(m->pack, 1); n++)
        pack_add(m->pack, OBJECT_LEAF, id, 0, big, 1);
    assert_int_equal(n, PACK_MAX_ENTRIES);
    pack_seal(m->pack, &m->keys);
    assert_ok(read_table(m, m->pack->bytes, m->pack->len, m->pack->len, &t, e));
    assert_int_equal(t.n, PACK_MAX_ENTRIES);
}

/* One that was full of leaves is not kept in memory for a few nodes. */
static void
one_of_nodes_takes_little_memory(void **state)
{
    struct made *m = *state;
    CLEANUP(freep) uint8_t *big = xmalloc(OBJECT_SEALED_MAX);
    const uint8_t *middle = m->pack->memory + PACK_TARGET_BYTES / 2;
    uint8_t id[OBJECT_ID_BYTES] = {1};

    memset(big, 0xaa, OBJECT_SEALED_MAX);
    pack_reset(m->pack, PACK_DATA);
    while (!pack_is_full(m->pack, OBJECT_SEALED_MAX))
        pack_add(m->pack, OBJECT_LEAF, id, 0, big, OBJECT_SEALED_MAX);
    pack_reset(m->pack, PACK_DATA);
    assert_int_equal(*middle, 0xaa);
    pack_reset(m->pack, PACK_META);
    assert_int_equal(*middle, 0);
    pack_add(m->pack, OBJECT_NODE, id, 0, big, OBJECT_SEALED_MAX);
    pack_seal(m->pack, &m->keys);
    assert_ok(
        pack_check(m->pack->bytes, m->pack->len, m->pack->name, &m->keys, e));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_table_comes_back),
        TEST(objects_are_where_the_table_says),
        TEST(the_head_is_what_the_format_says),
        TEST(the_name_is_the_hash_and_never_the_same),
        TEST(a_pack_checks_out),
        TEST(every_bit_is_checked),
        TEST(gaps_and_overlaps_are_refused),
        TEST(a_damaged_object_is_named),
        TEST(another_packs_bytes_are_not_this_pack),
        TEST(the_front_alone_says_if_the_size_is_right),
        TEST(other_kinds_and_keys_are_refused),
        TEST(it_is_full_by_bytes_or_by_objects),
        TEST(one_of_nodes_takes_little_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
