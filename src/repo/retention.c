/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/retention.h"

#include "base/mem.h"

#define NS_PER_S INT64_C(1000000000)

enum { HOUR_S = 3600, DAY_S = 86400, EPOCH_WEEKDAY = 3 /* from Monday */ };

/* A number for the period that a time is in; other periods, other numbers. */
typedef int64_t period_fn(int64_t day, int64_t second_of_day);

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t
hour_of(int64_t day, int64_t second)
{
    return day * 24 + second / HOUR_S;
}

static int64_t
day_of(int64_t day, int64_t second)
{
    (void)second;
    return day;
}

static int64_t
week_of(int64_t day, int64_t second)
{
    (void)second;
    return floor_div(day + EPOCH_WEEKDAY, 7);
}

/*
 * Months since March of the year 0, in the proleptic Gregorian calendar: years
 * that begin in March have their leap day at the end, 146097 days make 400
 * years, and five months from March on have 153 days.
 */
static int64_t
march_months(int64_t day)
{
    int64_t since = day + 719468; /* from 0000-03-01 to 1970-01-01 */
    int64_t era = floor_div(since, 146097);
    int64_t d = since - era * 146097;
    int64_t year = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    int64_t in_year = d - (365 * year + year / 4 - year / 100);

    return (era * 400 + year) * 12 + (5 * in_year + 2) / 153;
}

static int64_t
month_of(int64_t day, int64_t second)
{
    (void)second;
    return march_months(day);
}

static int64_t
year_of(int64_t day, int64_t second)
{
    (void)second;
    return floor_div(march_months(day) + 2, 12); /* January, not March */
}

bool
retention_is_empty(const struct retention_policy *p)
{
    return !p->last && !p->hourly && !p->daily && !p->weekly && !p->monthly &&
           !p->yearly && p->within_ns <= 0;
}

static void
keep_newest_of_each(period_fn *period, uint32_t many,
                    enum retention_reason reason, const int64_t *times_ns,
                    size_t n, unsigned *out)
{
    int64_t last = 0;
    uint32_t kept = 0;

    for (size_t i = 0; i < n && kept < many; i++) {
        int64_t seconds = floor_div(times_ns[i], NS_PER_S);
        int64_t day = floor_div(seconds, DAY_S);
        int64_t is = period(day, seconds - day * DAY_S);
        if (kept > 0 && is == last)
            continue;
        out[i] |= (unsigned)reason;
        last = is;
        kept++;
    }
}

void
retention_apply(const struct retention_policy *p, const int64_t *times_ns,
                size_t n, unsigned *out)
{
    const struct {
        period_fn *period;
        uint32_t many;
        enum retention_reason reason;
    } rules[] = {{hour_of, p->hourly, KEPT_HOURLY},
                 {day_of, p->daily, KEPT_DAILY},
                 {week_of, p->weekly, KEPT_WEEKLY},
                 {month_of, p->monthly, KEPT_MONTHLY},
                 {year_of, p->yearly, KEPT_YEARLY}};

    for (size_t i = 0; i < n; i++) {
        out[i] = i < p->last ? KEPT_LAST : 0;
        if (p->within_ns > 0 && times_ns[0] - times_ns[i] <= p->within_ns)
            out[i] |= KEPT_WITHIN;
    }
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        keep_newest_of_each(rules[i].period, rules[i].many, rules[i].reason,
                            times_ns, n, out);
    if (n > 0 && out[0] == 0)
        out[0] = KEPT_NEWEST;
}

const char *
retention_reason_name(enum retention_reason reason)
{
    static const char *const names[] = {"last",   "hourly",  "daily",
                                        "weekly", "monthly", "yearly",
                                        "within", "newest"};
    unsigned bit = (unsigned)__builtin_ctz((unsigned)reason | 1U << 31);

    return bit < ARRAY_LEN(names) ? names[bit] : "";
}
