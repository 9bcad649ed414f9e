/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

#include "base/bytes.h"

#define NS_PER_S 1000000000LL

uint64_t
clock_mono_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

int64_t
clock_wall_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

struct deadline
deadline_in_ms(uint64_t ms)
{
    uint64_t now = clock_mono_ns();

    if (ms >= (UINT64_MAX - now) / 1000000)
        return deadline_never();
    return (struct deadline){now + ms * 1000000};
}

struct deadline
deadline_never(void)
{
    return (struct deadline){UINT64_MAX};
}

bool
deadline_passed(struct deadline d)
{
    return d.at_ns != UINT64_MAX && clock_mono_ns() >= d.at_ns;
}

int
deadline_poll_ms(struct deadline d)
{
    uint64_t now = clock_mono_ns();

    if (d.at_ns == UINT64_MAX)
        return -1;
    if (now >= d.at_ns)
        return 0;
    uint64_t ms = div_up(d.at_ns - now, 1000000);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Seconds, rounded down also before 1970. */
static time_t
seconds_of(int64_t wall_ns)
{
    return (time_t)(wall_ns / NS_PER_S - (wall_ns % NS_PER_S < 0));
}

void
clock_format_utc(int64_t wall_ns, char *out)
{
    time_t t = seconds_of(wall_ns);
    struct tm tm = {0};

    (void)gmtime_r(&t, &tm);
    if (strftime(out, CLOCK_TEXT_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}

void
clock_format_local(int64_t wall_ns, char *out)
{
    time_t t = seconds_of(wall_ns);
    struct tm tm = {0};

    (void)localtime_r(&t, &tm);
    if (strftime(out, CLOCK_TEXT_LEN, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        out[0] = '\0';
}

/* Reads `n` digits and moves past them; -1 if there are fewer. */
static int
take_digits(const char **at, int n)
{
    int v = 0;

    for (; n > 0; n--, (*at)++) {
        if (**at < '0' || **at > '9')
            return -1;
        v = v * 10 + (**at - '0');
    }
    return v;
}

/* The same behind the character `before`. */
static int
take_part(const char **at, char before)
{
    if (**at != before)
        return -1;
    (*at)++;
    return take_digits(at, 2);
}

static bool
take_time(const char **at, struct tm *tm)
{
    tm->tm_hour = take_part(at, 'T');
    if (tm->tm_hour < 0)
        return false;
    tm->tm_min = take_part(at, ':');
    if (tm->tm_min < 0)
        return false;
    if (**at == ':')
        tm->tm_sec = take_part(at, ':');
    if (**at == 'Z')
        (*at)++;
    return tm->tm_sec >= 0;
}

bool
clock_parse_utc(const char *text, int64_t *out_wall_ns)
{
    struct tm tm = {0};
    int year = take_digits(&text, 4);
    int month = year < 0 ? -1 : take_part(&text, '-');
    tm.tm_mday = month < 0 ? -1 : take_part(&text, '-');

    if (tm.tm_mday < 0 || (*text && !take_time(&text, &tm)) || *text)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;

    /* timegm makes 3 March of 31 February: only what it leaves alone is a
     * date. */
    struct tm same = tm;
    int64_t ns = 0;
    if (__builtin_mul_overflow((int64_t)timegm(&same), NS_PER_S, &ns) ||
        same.tm_mon != tm.tm_mon || same.tm_mday != tm.tm_mday ||
        same.tm_hour != tm.tm_hour || same.tm_min != tm.tm_min ||
        same.tm_sec != tm.tm_sec)
        return false;
    *out_wall_ns = ns;
    return true;
}
