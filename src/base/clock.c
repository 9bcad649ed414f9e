/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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
    return (struct deadline){clock_mono_ns() + ms * 1000000};
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
    uint64_t ms = (d.at_ns - now + 999999) / 1000000;
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

bool
clock_parse_utc(const char *text, int64_t *out_wall_ns)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ",
                                        "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M",
                                        "%Y-%m-%d"};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (end && *end == '\0') {
            *out_wall_ns = (int64_t)timegm(&tm) * NS_PER_S;
            return true;
        }
    }
    return false;
}
