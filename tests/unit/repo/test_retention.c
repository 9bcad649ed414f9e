/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/retention.h"

#include "base/clock.h"
#include "check.h"

#define NS_PER_S INT64_C(1000000000)
#define DAY_NS (86400 * NS_PER_S)

static int64_t
at(const char *text)
{
    int64_t ns = 0;

    assert_true(clock_parse_utc(text, &ns));
    return ns;
}

/* Which of the dates (newest first, NULL at the end) are kept: "x" or ".". */
static void
assert_kept(const struct retention_policy *p, const char *const *dates,
            const char *want)
{
    int64_t times[64];
    unsigned out[64];
    char got[65] = {0};
    size_t n = 0;

    for (; dates[n]; n++)
        times[n] = at(dates[n]);
    retention_apply(p, times, n, out);
    for (size_t i = 0; i < n; i++)
        got[i] = out[i] ? 'x' : '.';
    assert_string_equal(got, want);
}

static const char *const dates[] = {"2027-01-04T10:30", /* a Monday */
                                    "2027-01-04T10:10",
                                    "2027-01-04T09:59",
                                    "2027-01-03T23:00",
                                    "2027-01-03T01:00",
                                    "2027-01-01T00:00",
                                    "2026-12-31T23:59",
                                    "2026-12-01T00:00",
                                    "2026-11-30T23:59",
                                    "2024-02-29T12:00",
                                    "2024-02-28T12:00",
                                    NULL};

static void
each_rule_keeps_the_newest_of_each_period(void **state)
{
    (void)state;
    assert_kept(&(struct retention_policy){.last = 2}, dates, "xx.........");
    assert_kept(&(struct retention_policy){.hourly = 3}, dates, "x.xx.......");
    assert_kept(&(struct retention_policy){.daily = 4}, dates, "x..x.xx....");
    assert_kept(&(struct retention_policy){.weekly = 3}, dates, "x..x...x...");
    assert_kept(&(struct retention_policy){.monthly = 3}, dates, "x.....x.x..");
    assert_kept(&(struct retention_policy){.yearly = 3}, dates, "x.....x..x.");
    assert_kept(&(struct retention_policy){.yearly = 99}, dates, "x.....x..x.");
    assert_kept(&(struct retention_policy){.daily = 99}, dates, "x..x.xxxxxx");
}

static void
rules_add_up(void **state)
{
    unsigned out[3];
    const int64_t times[] = {at("2027-01-04T10:30"), at("2027-01-04T10:10"),
                             at("2026-01-01T00:00")};

    (void)state;
    assert_kept(&(struct retention_policy){.last = 1, .monthly = 2}, dates,
                "x.....x....");
    retention_apply(&(struct retention_policy){.last = 1, .yearly = 2}, times,
                    3, out);
    assert_int_equal(out[0], KEPT_LAST | KEPT_YEARLY);
    assert_int_equal(out[1], 0);
    assert_int_equal(out[2], KEPT_YEARLY);
    assert_string_equal(retention_reason_name(KEPT_YEARLY), "yearly");
    assert_string_equal(retention_reason_name(KEPT_LAST), "last");
    assert_string_equal(retention_reason_name(KEPT_NEWEST), "newest");
}

static void
within_is_a_span_to_the_nanosecond(void **state)
{
    const int64_t now = at("2027-01-04T10:30");
    const int64_t times[] = {now, now - 2 * DAY_NS, now - 2 * DAY_NS - 1};
    unsigned out[3];

    (void)state;
    retention_apply(&(struct retention_policy){.within_ns = 2 * DAY_NS}, times,
                    3, out);
    assert_int_equal(out[0], KEPT_WITHIN);
    assert_int_equal(out[1], KEPT_WITHIN);
    assert_int_equal(out[2], 0);
}

static void
the_newest_of_a_machine_always_stays(void **state)
{
    const int64_t times[] = {5, 4};
    unsigned out[2];

    (void)state;
    retention_apply(&(struct retention_policy){0}, times, 2, out);
    assert_int_equal(out[0], KEPT_NEWEST);
    assert_int_equal(out[1], 0);
    retention_apply(&(struct retention_policy){.last = 1}, NULL, 0, out);
    assert_true(retention_is_empty(&(struct retention_policy){0}));
    assert_false(retention_is_empty(&(struct retention_policy){.weekly = 1}));
    assert_false(
        retention_is_empty(&(struct retention_policy){.within_ns = 1}));
}

/* Against the C library's calendar, over 800 years and before 1970. */
static void
months_and_years_are_those_of_the_calendar(void **state)
{
    (void)state;
    for (int64_t day = -50000; day < 100000; day++) {
        const int64_t times[] = {(day + 1) * DAY_NS, day * DAY_NS};
        unsigned out[2];
        char a[CLOCK_TEXT_LEN], b[CLOCK_TEXT_LEN];
        clock_format_utc(times[0], a);
        clock_format_utc(times[1], b);
        retention_apply(&(struct retention_policy){.monthly = 2}, times, 2,
                        out);
        assert_int_equal(out[1] != 0, memcmp(a, b, 7) != 0);
        retention_apply(&(struct retention_policy){.yearly = 2}, times, 2, out);
        assert_int_equal(out[1] != 0, memcmp(a, b, 4) != 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_keeps_the_newest_of_each_period),
        cmocka_unit_test(rules_add_up),
        cmocka_unit_test(within_is_a_span_to_the_nanosecond),
        cmocka_unit_test(the_newest_of_a_machine_always_stays),
        cmocka_unit_test(months_and_years_are_those_of_the_calendar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
