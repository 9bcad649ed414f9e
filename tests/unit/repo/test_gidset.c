/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidset.h"

#include "base/bytes.h"
#include "check.h"

enum { MANY = 20000 };

/* Few different homes, so that they collide and wrap around. */
static void
make_gid(unsigned i, uint8_t gid[GID_BYTES])
{
    memset(gid, 0, GID_BYTES);
    put_le64(gid, i % 7 == 0 ? UINT64_MAX - i % 3 : i / 4);
    put_le64(gid + 8, i + 1);
}

static void
it_holds_what_was_added(void **state)
{
    struct gidset s = {0};
    uint8_t gid[GID_BYTES];

    (void)state;
    make_gid(0, gid);
    assert_false(gidset_has(&s, gid));
    gidset_remove(&s, gid);
    for (unsigned i = 0; i < MANY; i++) {
        make_gid(i, gid);
        assert_false(gidset_has(&s, gid));
        assert_true(gidset_add(&s, gid));
        assert_false(gidset_add(&s, gid));
    }
    assert_int_equal(s.n, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        make_gid(i, gid);
        assert_true(gidset_has(&s, gid));
    }
    make_gid(MANY, gid);
    assert_false(gidset_has(&s, gid));
    gidset_done(&s);
}

/* Against a plain array of what should be there. */
static void
removing_leaves_the_rest(void **state)
{
    static bool there[500];
    struct gidset s = {0};
    uint8_t gid[GID_BYTES];
    uint64_t x = 88172645463325252u;
    size_t n = 0;

    (void)state;
    for (int round = 0; round < 100000; round++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        unsigned i = (unsigned)(x >> 20) % ARRAY_LEN(there);
        make_gid(i, gid);
        assert_int_equal(gidset_has(&s, gid), there[i]);
        if (x >> 40 & 1) {
            assert_int_equal(gidset_add(&s, gid), !there[i]);
            n += !there[i];
            there[i] = true;
        } else {
            gidset_remove(&s, gid);
            n -= there[i];
            there[i] = false;
        }
        assert_int_equal(s.n, n);
    }
    for (unsigned i = 0; i < ARRAY_LEN(there); i++) {
        make_gid(i, gid);
        assert_int_equal(gidset_has(&s, gid), there[i]);
    }
    gidset_done(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_was_added),
        cmocka_unit_test(removing_leaves_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
