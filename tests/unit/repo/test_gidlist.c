/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidlist.h"

#include "base/bytes.h"
#include "check.h"

/* As good as random, and each number another one (splitmix64). */
static void
make_gid(uint64_t i, uint8_t gid[GID_BYTES])
{
    uint64_t z = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    put_le64(gid, z ^ z >> 31);
    put_le64(gid + 8, i);
}

static void
assert_holds(struct gidlist *l, size_t n)
{
    uint8_t gid[GID_BYTES];
    size_t at = 0;

    gidlist_sort(l);
    assert_int_equal(l->n, n);
    for (size_t i = 1; i < n; i++)
        assert_true(memcmp(l->gids[i - 1], l->gids[i], GID_BYTES) < 0);
    for (size_t i = 0; i < n; i++) {
        make_gid(i, gid);
        assert_true(gidlist_find(l, gid, &at));
        assert_memory_equal(l->gids[at], gid, GID_BYTES);
    }
    for (size_t i = n; i < n + 1000; i++) {
        make_gid(i, gid);
        assert_false(gidlist_find(l, gid, &at));
    }
}

static void
it_finds_what_was_added(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 5, 63, 64, 65, 1000, 30000};
    uint8_t gid[GID_BYTES];

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        struct gidlist l = {0};
        for (size_t i = 0; i < sizes[k]; i++) {
            make_gid(i, gid);
            gidlist_add(&l, gid);
        }
        assert_holds(&l, sizes[k]);
        gidlist_done(&l);
    }
}

/* Memory is for what is different, however often it is added. */
static void
it_holds_each_once(void **state)
{
    struct gidlist l = {0};
    uint8_t gid[GID_BYTES];

    (void)state;
    for (size_t i = 0; i < 200000; i++) {
        make_gid(i % 1000, gid);
        gidlist_add(&l, gid);
        assert_true(l.room <= 4096);
    }
    assert_holds(&l, 1000);
    gidlist_done(&l);
}

static void
it_can_be_used_again(void **state)
{
    struct gidlist l = {0};
    uint8_t gid[GID_BYTES];
    size_t at = 0;

    (void)state;
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 500; i++) {
            make_gid(i, gid);
            gidlist_add(&l, gid);
        }
        assert_holds(&l, 500);
        make_gid(500, gid); /* and one more when it was sorted */
        gidlist_add(&l, gid);
        assert_holds(&l, 501);
        gidlist_clear(&l);
        gidlist_sort(&l);
        assert_int_equal(l.n, 0);
        assert_false(gidlist_find(&l, gid, &at));
    }
    gidlist_done(&l);
}

/* Ids at both ends, and many that begin alike. */
static void
ids_may_be_made_up(void **state)
{
    struct gidlist l = {0};
    uint8_t gid[GID_BYTES];
    size_t at = 0;

    (void)state;
    memset(gid, 0xff, sizeof(gid));
    gidlist_add(&l, gid);
    for (uint32_t i = 0; i < 1000; i++) {
        memset(gid, 0, sizeof(gid));
        put_le32(gid + 12, i);
        gidlist_add(&l, gid);
    }
    gidlist_sort(&l);
    assert_int_equal(l.n, 1001);
    put_le32(gid + 12, 999);
    assert_true(gidlist_find(&l, gid, &at));
    put_le32(gid + 12, 1000);
    assert_false(gidlist_find(&l, gid, &at));
    memset(gid, 0xff, sizeof(gid));
    assert_true(gidlist_find(&l, gid, &at));
    assert_int_equal(at, 1000);
    gidlist_done(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_was_added),
        cmocka_unit_test(it_holds_each_once),
        cmocka_unit_test(it_can_be_used_again),
        cmocka_unit_test(ids_may_be_made_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
