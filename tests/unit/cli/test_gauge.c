/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gauge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

#define S UINT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)

static void
a_new_gauge_knows_nothing(void **state)
{
    struct gauge g = {.n = 0};

    (void)state;
    assert_int_equal(gauge_bytes_per_s(&g), 0);
    assert_int_equal(gauge_percent(&g), 0);
    assert_true(gauge_eta_s(&g) == UINT64_MAX);
    gauge_update(&g, 5 * S, 0, 100);
    assert_int_equal(gauge_bytes_per_s(&g), 0);
    assert_true(gauge_eta_s(&g) == UINT64_MAX);
}

static void
a_steady_rate_is_found(void **state)
{
    struct gauge g = {.n = 0};

    (void)state;
    for (uint64_t i = 0; i <= 1000; i++)
        gauge_update(&g, i * S / 10, i * MIB, 2000 * MIB);
    assert_int_equal(gauge_bytes_per_s(&g), 10 * MIB);
    assert_int_equal(gauge_eta_s(&g), 100);
    assert_int_equal(gauge_percent(&g), 50);
}

static void
a_change_of_speed_shows_after_some_seconds(void **state)
{
    struct gauge g = {.n = 0};
    uint64_t done = 0, now = 0;

    (void)state;
    for (int i = 0; i < 100; i++, now += S / 2, done += 100 * MIB)
        gauge_update(&g, now, done, 0);
    for (int i = 0; i < 20; i++, now += S / 2, done += MIB)
        gauge_update(&g, now, done, 0);
    assert_int_equal(gauge_bytes_per_s(&g), 2 * MIB);
}

static void
silence_lets_the_rate_fall(void **state)
{
    struct gauge g = {.n = 0};

    (void)state;
    for (uint64_t i = 0; i <= 10; i++)
        gauge_update(&g, i * S, i * MIB, 100 * MIB);
    uint64_t before = gauge_bytes_per_s(&g);
    for (uint64_t i = 11; i <= 40; i++)
        gauge_update(&g, i * S, 10 * MIB, 100 * MIB);
    assert_int_equal(before, MIB);
    assert_int_equal(gauge_bytes_per_s(&g), 0);
    assert_true(gauge_eta_s(&g) == UINT64_MAX);
}

static void
going_back_is_a_new_start(void **state)
{
    struct gauge g = {.n = 0};

    (void)state;
    gauge_update(&g, 0, 0, 0);
    gauge_update(&g, S, 100 * MIB, 0);
    gauge_update(&g, 2 * S, 0, 50 * MIB);
    gauge_update(&g, 3 * S, 5 * MIB, 50 * MIB);
    assert_int_equal(gauge_bytes_per_s(&g), 5 * MIB);
    assert_int_equal(gauge_eta_s(&g), 9);
}

static void
percent_says_100_only_at_the_end(void **state)
{
    struct gauge g = {.n = 0};

    (void)state;
    gauge_update(&g, 0, 99999, 100000);
    assert_int_equal(gauge_percent(&g), 99);
    gauge_update(&g, 1, 100000, 100000);
    assert_int_equal(gauge_percent(&g), 100);
    gauge_update(&g, 2, 200000, 100000); /* the guess was too low */
    assert_int_equal(gauge_percent(&g), 100);
    assert_true(gauge_eta_s(&g) == UINT64_MAX);
}

static void
extremes_do_not_overflow(void **state)
{
    struct gauge g = {.n = 0};

    (void)state;
    gauge_update(&g, 0, 0, UINT64_MAX);
    gauge_update(&g, 1, UINT64_MAX - 1, UINT64_MAX);
    assert_true(gauge_bytes_per_s(&g) > 0);
    assert_int_equal(gauge_percent(&g), 99);
    gauge_update(&g, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    assert_int_equal(gauge_percent(&g), 100);
    assert_int_equal(gauge_eta_s(&g), 0);
}

static void
time_of(uint64_t seconds, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);

    gauge_print_time(seconds, &b);
    assert_string_equal(buf_text(&b), want);
}

static void
times_are_written_for_people(void **state)
{
    (void)state;
    time_of(0, "0:00");
    time_of(41, "0:41");
    time_of(725, "12:05");
    time_of(3599, "59:59");
    time_of(3600, "1:00:00");
    time_of(360610, "100:10:10");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_gauge_knows_nothing),
        cmocka_unit_test(a_steady_rate_is_found),
        cmocka_unit_test(a_change_of_speed_shows_after_some_seconds),
        cmocka_unit_test(silence_lets_the_rate_fall),
        cmocka_unit_test(going_back_is_a_new_start),
        cmocka_unit_test(percent_says_100_only_at_the_end),
        cmocka_unit_test(extremes_do_not_overflow),
        cmocka_unit_test(times_are_written_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
