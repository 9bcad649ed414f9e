/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidmap.h"

#include "base/bytes.h"
#include "packs.h"

enum { MANY = 5000 };

static void
what_was_put_is_got(void **state)
{
    CLEANUP(gidmap_done) struct gidmap m = gidmap_of(12);
    uint8_t id[OBJECT_ID_BYTES];

    (void)state;
    make_id(0, id);
    assert_null(gidmap_get(&m, id));
    for (uint64_t i = 0; i < MANY; i++) {
        make_id(i, id);
        assert_null(gidmap_get(&m, id));
        uint8_t *value = gidmap_put(&m, id);
        assert_true(bytes_are_zero(value, 12));
        put_le64(value + 4, i);
    }
    assert_int_equal(m.n, MANY);
    for (uint64_t i = 0; i < MANY; i++) {
        make_id(i, id);
        const uint8_t *value = gidmap_get(&m, id);
        assert_non_null(value);
        assert_int_equal(get_le64(value + 4), i);
        assert_ptr_equal(gidmap_put(&m, id), value);
    }
    assert_int_equal(m.n, MANY);
    make_id(MANY, id);
    assert_null(gidmap_get(&m, id));
}

static void
all_are_met(void **state)
{
    CLEANUP(gidmap_done) struct gidmap m = gidmap_of(8);
    uint8_t id[OBJECT_ID_BYTES];
    uint64_t sum = 0, n = 0;

    (void)state;
    for (uint64_t i = 1; i <= MANY; i++) {
        make_id(i, id);
        put_le64(gidmap_put(&m, id), i);
    }
    for (size_t i = 0; i < m.room; i++) {
        void *value = NULL;
        const uint8_t *gid = gidmap_at(&m, i, &value);
        if (!gid)
            continue;
        assert_ptr_equal(gidmap_get(&m, gid), value);
        sum += get_le64(value);
        n++;
    }
    assert_int_equal(n, MANY);
    assert_int_equal(sum, (uint64_t)MANY * (MANY + 1) / 2);
    gidmap_done(&m);
    assert_int_equal(m.n, 0);
    make_id(1, id);
    assert_null(gidmap_get(&m, id));
    assert_non_null(gidmap_put(&m, id));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_got),
        cmocka_unit_test(all_are_met),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
