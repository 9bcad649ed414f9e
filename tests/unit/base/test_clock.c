/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define S INT64_C(1000000000)

/* The clocks of this program stand still and are set by hand: no test waits,
 * none depends on how fast the machine is. */
static struct timespec mono, wall;

int
clock_gettime(clockid_t id, struct timespec *t)
{
    *t = id == CLOCK_MONOTONIC ? mono : wall;
    return 0;
}

static void
set_mono_ns(uint64_t ns)
{
    mono = (struct timespec){.tv_sec = (time_t)(ns / (uint64_t)S),
                             .tv_nsec = (long)(ns % (uint64_t)S)};
}

static void
nanoseconds_are_whole(void **state)
{
    (void)state;
    mono = (struct timespec){.tv_sec = 5000000000, .tv_nsec = 7};
    wall = (struct timespec){.tv_sec = 1795341600, .tv_nsec = 999999999};
    assert_true(clock_mono_ns() == UINT64_C(5000000000000000007));
    assert_true(clock_wall_ns() == 1795341600999999999);
}

static void
a_deadline_passes_at_its_instant(void **state)
{
    (void)state;
    set_mono_ns(1000000000);
    struct deadline d = deadline_in_ms(20);
    assert_true(d.at_ns == 1020000000);
    assert_false(deadline_passed(d));
    set_mono_ns(1019999999);
    assert_false(deadline_passed(d));
    set_mono_ns(1020000000);
    assert_true(deadline_passed(d));
    set_mono_ns(2000000000);
    assert_true(deadline_passed(d));
    assert_true(deadline_passed(deadline_in_ms(0)));
}

static void
poll_never_wakes_before_the_deadline(void **state)
{
    struct deadline d = {3000000000};

    (void)state;
    set_mono_ns(1000000000);
    assert_int_equal(deadline_poll_ms(d), 2000);
    set_mono_ns(1000000001); /* rounded up, or the wait would spin on 0 */
    assert_int_equal(deadline_poll_ms(d), 2000);
    set_mono_ns(2999999999);
    assert_int_equal(deadline_poll_ms(d), 1);
    set_mono_ns(3000000000);
    assert_int_equal(deadline_poll_ms(d), 0);
    set_mono_ns(4000000000);
    assert_int_equal(deadline_poll_ms(d), 0);
}

static void
never_is_never(void **state)
{
    (void)state;
    mono = (struct timespec){.tv_sec = 18446744073, .tv_nsec = 709551614};
    assert_false(deadline_passed(deadline_never()));
    assert_int_equal(deadline_poll_ms(deadline_never()), -1);
}

static void
a_deadline_too_far_away_is_never_not_now(void **state)
{
    const uint64_t most = (UINT64_MAX - 1000000000) / 1000000;

    (void)state;
    set_mono_ns(1000000000);
    assert_true(deadline_in_ms(UINT64_MAX).at_ns == UINT64_MAX);
    assert_true(deadline_in_ms(UINT64_MAX / 1000000).at_ns == UINT64_MAX);
    assert_true(deadline_in_ms(most).at_ns == UINT64_MAX);
    assert_true(deadline_in_ms(most - 1).at_ns < UINT64_MAX);
    assert_false(deadline_passed(deadline_in_ms(most - 1)));
    assert_int_equal(deadline_poll_ms(deadline_in_ms(most - 1)), INT_MAX);
    set_mono_ns(0);
    assert_int_equal(deadline_poll_ms((struct deadline){UINT64_MAX - 1}),
                     INT_MAX);
}

static void
utc_text_of(int64_t wall_ns, const char *want)
{
    char out[CLOCK_TEXT_LEN];

    clock_format_utc(wall_ns, out);
    assert_string_equal(out, want);
}

static void
utc_is_written_as_iso_8601(void **state)
{
    (void)state;
    utc_text_of(0, "1970-01-01T00:00:00Z");
    utc_text_of(S - 1, "1970-01-01T00:00:00Z");
    utc_text_of(S, "1970-01-01T00:00:01Z");
    utc_text_of(-1, "1969-12-31T23:59:59Z");
    utc_text_of(-S, "1969-12-31T23:59:59Z");
    utc_text_of(-S - 1, "1969-12-31T23:59:58Z");
    utc_text_of(1795341600 * S, "2026-11-22T10:00:00Z");
    utc_text_of(INT64_MAX, "2262-04-11T23:47:16Z");
    utc_text_of(INT64_MIN, "1677-09-21T00:12:43Z");
}

static void
what_was_written_is_read(void **state)
{
    static const int64_t seconds[] = {
        0, -1, 1, 951782400, 1709164800, 1795341600, 9223372036, -9223372036};

    (void)state;
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        char text[CLOCK_TEXT_LEN];
        int64_t back = 42;
        clock_format_utc(seconds[i] * S, text);
        assert_true(clock_parse_utc(text, &back));
        assert_true(back == seconds[i] * S);
    }
}

static void
a_time_may_be_cut_short(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"2026-11-22T10:20:30Z", 1795342830},
        {"2026-11-22T10:20:30", 1795342830},
        {"2026-11-22T10:20Z", 1795342800},
        {"2026-11-22T10:20", 1795342800},
        {"2026-11-22", 1795305600},
        {"2024-02-29", 1709164800},
        {"2000-02-29", 951782400},
        {"1970-01-01T23:59:59", 86399},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t v = 42;
        assert_true(clock_parse_utc(cases[i].text, &v));
        assert_true(v == cases[i].seconds * S);
    }
}

static void
what_is_no_time_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "latest",
        "2026",
        "2026-11",
        "2026-11-",
        "2026-11-2",
        "26-11-22",
        "2026-1-22",
        "2026-11-22T",
        "2026-11-22T10",
        "2026-11-22T10:",
        "2026-11-22T10:0",
        "2026-11-22T10:00:",
        "2026-11-22T10:00:0",
        "2026-11-22Z",
        "2026-11-22T10:00:00ZZ",
        "2026-11-22T10:00:00+01:00",
        "2026-11-22T10:00:00.5Z",
        "2026-11-22 10:00:00",
        " 2026-11-22",
        "2026-11-22 ",
        "2026- 1-22",
        "2026-+1-22",
        "-026-11-22",
        "2026/11/22",
        "2026-00-22",
        "2026-13-22",
        "2026-11-00",
        "2026-11-31", /* November has 30 days */
        "2026-02-29",
        "2100-02-29",
        "2026-11-22T24:00",
        "2026-11-22T10:60",
        "2026-11-22T10:00:60",
        "9999-12-31", /* more nanoseconds than there are */
        "2262-04-12",
        "1677-09-21",
        "0000-01-01",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t v = 42;
        if (clock_parse_utc(texts[i], &v))
            fail_msg("\"%s\" was taken for a time", texts[i]);
        assert_true(v == 42);
    }
}

static void
local_time_follows_the_zone(void **state)
{
    char out[CLOCK_TEXT_LEN];

    (void)state;
    assert_int_equal(setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1), 0);
    tzset();
    clock_format_local(1795341600 * S, out);
    assert_string_equal(out, "2026-11-22 11:00:00");
    clock_format_local(1782122400 * S, out); /* summer */
    assert_string_equal(out, "2026-06-22 12:00:00");
    utc_text_of(1795341600 * S, "2026-11-22T10:00:00Z");
    int64_t v = 0;
    assert_true(clock_parse_utc("2026-11-22T10:00", &v));
    assert_true(v == 1795341600 * S);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nanoseconds_are_whole),
        cmocka_unit_test(a_deadline_passes_at_its_instant),
        cmocka_unit_test(poll_never_wakes_before_the_deadline),
        cmocka_unit_test(never_is_never),
        cmocka_unit_test(a_deadline_too_far_away_is_never_not_now),
        cmocka_unit_test(utc_is_written_as_iso_8601),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_time_may_be_cut_short),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(local_time_follows_the_zone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
