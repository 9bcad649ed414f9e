/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/lost.h"

#include "base/buf.h"
#include "fixture.h"
#include "repo/config.h"

static const uint8_t record_id[NAME_ID_BYTES] = {9, 8, 7};

static void
make_items(struct lost_item out[3])
{
    for (int i = 0; i < 3; i++) {
        out[i] = (struct lost_item){.kind = (enum lost_kind)i};
        memset(out[i].name, i + 1, sizeof(out[i].name));
    }
}

static void
record_comes_back(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(LOST_MAX_BYTES);
    CLEANUP(freep) struct lost_item *got = NULL;
    struct lost_item items[3];
    struct fixture *f = *state;
    size_t n = 0;

    make_items(items);
    assert_ok(lost_pack(items, 3, 5, record_id, &f->r->keys, &b, e));
    assert_int_equal(b.len, 44 + 3 * 40 + 64); /* docs/format/lost.md */
    assert_memory_equal(b.p, "VMKLOST1", 8);
    assert_ok(lost_unpack(b.p, b.len, record_id, &f->r->config, &got, &n, e));
    assert_int_equal(n, 3);
    assert_memory_equal(got, items, sizeof(items));
}

static void
every_bit_and_length_counts(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(LOST_MAX_BYTES);
    struct lost_item items[3], *got = NULL;
    struct fixture *f = *state;
    size_t n = 0;

    make_items(items);
    assert_ok(lost_pack(items, 3, 5, record_id, &f->r->keys, &b, e));
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        struct err e = {0};
        b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(
            lost_unpack(b.p, b.len, record_id, &f->r->config, &got, &n, &e),
            -1);
        assert_true(e.msg[0] != '\0');
        b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t len = 0; len < b.len; len++) {
        struct err e = {0};
        assert_int_equal(
            lost_unpack(b.p, len, record_id, &f->r->config, &got, &n, &e), -1);
    }
    const uint8_t other[NAME_ID_BYTES] = {1};
    assert_fails(lost_unpack(b.p, b.len, other, &f->r->config, &got, &n, e),
                 ERR_CORRUPT, "of this name");
}

/* A host may write, and can't make others' data disappear. */
static void
only_maintenance_counts(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(LOST_MAX_BYTES);
    struct lost_item items[3], *got = NULL;
    struct fixture *f = *state;
    size_t n = 0;

    make_items(items);
    memcpy(f->r->keys.maintenance_seed, f->r->keys.writer_seed, KEY_BYTES);
    assert_ok(lost_pack(items, 3, 5, record_id, &f->r->keys, &b, e));
    assert_fails(lost_unpack(b.p, b.len, record_id, &f->r->config, &got, &n, e),
                 ERR_CORRUPT, "signature");
    f->r->keys.has &= ~(unsigned)KEY_MAINTENANCE;
    assert_fails(lost_pack(items, 3, 5, record_id, &f->r->keys, &b, e), ERR_KEY,
                 "maintenance key");
}

static void
all_records_count(void **state)
{
    struct lost_item items[3];
    struct fixture *f = *state;
    CLEANUP(repo_closep) struct repo *other = NULL;

    assert_ok(repo_open(f->st, PASSWORD, &other, e));
    make_items(items);
    assert_ok(lost_publish(f->r->lost, items, 1, &f->r->keys, e));
    assert_ok(lost_publish(f->r->lost, items + 1, 2, &f->r->keys, e));
    assert_ok(store_put(
        f->st,
        "lost/2026-11-22t10-00-00.000000000-00112233445566778899aabbcc"
        "ddeeff",
        "no record", 9, e));
    assert_false(lost_has(other->lost, LOST_DATA_PACK, items[0].name));
    for (int again = 0; again < 2; again++) {
        assert_ok(lost_refresh(other->lost, e));
        for (int i = 0; i < 3; i++) {
            assert_true(lost_has(other->lost, items[i].kind, items[i].name));
            assert_true(lost_has(f->r->lost, items[i].kind, items[i].name));
        }
        assert_false(lost_has(other->lost, LOST_META_PACK, items[0].name));
        assert_false(lost_has(other->lost, LOST_REF, items[2].name));
    }
    assert_int_equal(usage_of(f->st, "lost/").objects, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(record_comes_back),
        FIXTURE_TEST(every_bit_and_length_counts),
        FIXTURE_TEST(only_maintenance_counts),
        FIXTURE_TEST(all_records_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
