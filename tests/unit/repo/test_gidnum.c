/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidnum.h"

#include "base/bytes.h"
#include "check.h"

enum { MANY = 20000 };

static void
make(uint8_t gid[GID_BYTES], uint64_t i)
{
    fill_random(gid, GID_BYTES, i + 1);
}

static void
an_empty_one_has_nothing(void **state)
{
    CLEANUP(gidnum_done) struct gidnum m = {0};
    uint8_t gid[GID_BYTES];

    (void)state;
    make(gid, 1);
    assert_null(gidnum_find(&m, gid));
    assert_int_equal(m.n, 0);
}

static void
what_was_added_is_found(void **state)
{
    CLEANUP(gidnum_done) struct gidnum m = {0};
    uint8_t gid[GID_BYTES];

    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        make(gid, i);
        assert_true(gidnum_add(&m, gid, i));
        assert_int_equal(m.n, i + 1);
    }
    for (uint32_t i = 0; i < 2 * MANY; i++) {
        make(gid, i);
        const uint32_t *value = gidnum_find(&m, gid);
        assert_int_equal(value != NULL, i < MANY);
        if (value)
            assert_int_equal(*value, i);
    }
}

static void
the_first_value_stays(void **state)
{
    CLEANUP(gidnum_done) struct gidnum m = {0};
    uint8_t gid[GID_BYTES];

    (void)state;
    make(gid, 1);
    assert_true(gidnum_add(&m, gid, 7));
    assert_false(gidnum_add(&m, gid, 8));
    assert_int_equal(*gidnum_find(&m, gid), 7);
    *gidnum_find(&m, gid) = 9;
    assert_int_equal(*gidnum_find(&m, gid), 9);
    assert_int_equal(m.n, 1);
}

/* Ids that all want the same place, which no honest ones do, but a hostile
 * host's may. */
static void
ids_that_collide_are_kept_apart(void **state)
{
    CLEANUP(gidnum_done) struct gidnum m = {0};
    uint8_t gid[GID_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        put_le32(gid + 12, i);
        assert_true(gidnum_add(&m, gid, i));
    }
    for (uint32_t i = 0; i < 1000; i++) {
        put_le32(gid + 12, i);
        assert_int_equal(*gidnum_find(&m, gid), i);
    }
    put_le32(gid + 12, 1000);
    assert_null(gidnum_find(&m, gid));
}

/* At most four fifths of it are in use, and at least two fifths once it has
 * grown. */
static void
it_grows_with_what_is_in_it(void **state)
{
    CLEANUP(gidnum_done) struct gidnum m = {0};
    uint8_t gid[GID_BYTES];

    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        make(gid, i);
        (void)gidnum_add(&m, gid, i);
        assert_true(m.n * 5 <= m.room * 4 + 5);
        assert_true(m.room <= 64 || m.n * 5 >= m.room * 2 - 5);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_has_nothing),
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(the_first_value_stays),
        cmocka_unit_test(ids_that_collide_are_kept_apart),
        cmocka_unit_test(it_grows_with_what_is_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
