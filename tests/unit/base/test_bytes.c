/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* At every alignment: the formats do not ask where their fields fall. */
#define AT_EVERY_ADDRESS(p) \
    for (uint8_t room[24] = {0}, *p = room; p < room + 8; p++)

static void
get_reads_the_order_it_is_named_for(void **state)
{
    static const uint8_t b[] = {1, 2, 3, 4, 5, 6, 7, 0xf8};

    (void)state;
    AT_EVERY_ADDRESS(p)
    {
        memcpy(p, b, sizeof(b));
        assert_int_equal(get_le16(p), 0x0201);
        assert_int_equal(get_be16(p), 0x0102);
        assert_int_equal(get_le24(p), 0x030201);
        assert_int_equal(get_le32(p), 0x04030201);
        assert_int_equal(get_be32(p), 0x01020304);
        assert_true(get_le64(p) == 0xf807060504030201);
        assert_true(get_be64(p) == 0x01020304050607f8);
    }
}

static void
put_writes_what_get_reads_and_no_more(void **state)
{
    static const uint64_t v = 0xf0e1d2c3b4a59687;

    (void)state;
#define ROUND_TRIP(name, bits, n)                                         \
    AT_EVERY_ADDRESS(p)                                                   \
    {                                                                     \
        p[n] = 0x5a;                                                      \
        put_##name(p, (uint##bits##_t)v);                                 \
        assert_true(get_##name(p) == (v & (UINT64_MAX >> (64 - 8 * n)))); \
        assert_int_equal(p[n], 0x5a);                                     \
    }
    ROUND_TRIP(le16, 16, 2)
    ROUND_TRIP(be16, 16, 2)
    ROUND_TRIP(le24, 32, 3)
    ROUND_TRIP(le32, 32, 4)
    ROUND_TRIP(be32, 32, 4)
    ROUND_TRIP(le64, 64, 8)
    ROUND_TRIP(be64, 64, 8)
}

static void
sums_and_products_that_fit(void **state)
{
    uint64_t v = 0;

    (void)state;
    assert_true(u64_add(UINT64_MAX - 5, 5, &v));
    assert_true(v == UINT64_MAX);
    assert_true(u64_mul(UINT32_MAX, 0x100000001, &v));
    assert_true(v == UINT64_MAX);
    assert_true(u64_mul(UINT64_MAX, 0, &v));
    assert_true(v == 0);
}

static void
an_overflow_is_told_and_leaves_the_result_alone(void **state)
{
    uint64_t v = 42;

    (void)state;
    assert_false(u64_add(UINT64_MAX - 5, 6, &v));
    assert_false(u64_add(UINT64_MAX, UINT64_MAX, &v));
    assert_false(u64_mul((uint64_t)1 << 32, (uint64_t)1 << 32, &v));
    assert_false(u64_mul(UINT64_MAX, 2, &v));
    assert_true(v == 42);
}

static void
a_range_inside_does_not_wrap(void **state)
{
    (void)state;
    assert_true(range_inside(0, 0, 0));
    assert_true(range_inside(0, 10, 10));
    assert_true(range_inside(9, 1, 10));
    assert_true(range_inside(10, 0, 10));
    assert_false(range_inside(10, 1, 10));
    assert_false(range_inside(11, 0, 10));
    assert_false(range_inside(5, UINT64_MAX - 4, 10)); /* 5 + that is 0 */
    assert_false(range_inside(UINT64_MAX, 1, UINT64_MAX));
    assert_true(range_inside(0, UINT64_MAX, UINT64_MAX));
}

static void
rounding_goes_up_to_the_next_multiple(void **state)
{
    (void)state;
    assert_true(div_up(0, 7) == 0);
    assert_true(div_up(1, 7) == 1);
    assert_true(div_up(7, 7) == 1);
    assert_true(div_up(8, 7) == 2);
    assert_true(div_up(UINT64_MAX, 1) == UINT64_MAX);
    assert_true(div_up(UINT64_MAX, 2) == (uint64_t)1 << 63);
    assert_true(round_up(0, 512) == 0);
    assert_true(round_up(1, 512) == 512);
    assert_true(round_up(512, 512) == 512);
    assert_true(round_up(UINT64_MAX - 511, 512) == UINT64_MAX - 511);
}

static void
the_smaller_the_larger_and_the_power_of_two(void **state)
{
    (void)state;
    assert_true(u64_min(1, UINT64_MAX) == 1);
    assert_true(u64_min(UINT64_MAX, 1) == 1);
    assert_true(u64_max(1, UINT64_MAX) == UINT64_MAX);
    assert_true(u64_max(UINT64_MAX, 1) == UINT64_MAX);
    assert_false(is_power_of_2(0));
    assert_false(is_power_of_2(UINT64_MAX));
    for (unsigned i = 0; i < 64; i++) {
        assert_true(is_power_of_2((uint64_t)1 << i));
        if (i > 1)
            assert_false(is_power_of_2(((uint64_t)1 << i) - 1));
    }
}

static void
one_byte_anywhere_is_not_zero(void **state)
{
    uint8_t room[80] = {0};

    (void)state;
    assert_true(bytes_are_zero(NULL, 0));
    for (size_t start = 0; start < 8; start++)
        for (size_t len = 0; len <= 64; len++) {
            uint8_t *p = room + start;
            assert_true(bytes_are_zero(p, len));
            for (size_t i = 0; i < len; i++) {
                p[i] = 0x10;
                assert_false(bytes_are_zero(p, len));
                p[i] = 0;
            }
            p[len] = 1; /* not ours to look at */
            assert_true(bytes_are_zero(p, len));
            p[len] = 0;
        }
}

static void
a_repeated_pattern_is_not_zero(void **state)
{
    uint8_t p[4096];

    (void)state;
    memset(p, 0x77, sizeof(p));
    assert_false(bytes_are_zero(p, sizeof(p)));
    memset(p, 0, sizeof(p));
    assert_true(bytes_are_zero(p, sizeof(p)));
    p[sizeof(p) - 1] = 1;
    assert_false(bytes_are_zero(p, sizeof(p)));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_reads_the_order_it_is_named_for),
        cmocka_unit_test(put_writes_what_get_reads_and_no_more),
        cmocka_unit_test(sums_and_products_that_fit),
        cmocka_unit_test(an_overflow_is_told_and_leaves_the_result_alone),
        cmocka_unit_test(a_range_inside_does_not_wrap),
        cmocka_unit_test(rounding_goes_up_to_the_next_multiple),
        cmocka_unit_test(the_smaller_the_larger_and_the_power_of_two),
        cmocka_unit_test(one_byte_anywhere_is_not_zero),
        cmocka_unit_test(a_repeated_pattern_is_not_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
