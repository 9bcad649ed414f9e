/* SPDX-License-Identifier: Apache-2.0 */
#include "hostclock.h"

#include <sys/io.h>
#include <time.h>

enum {
    PORT_INDEX = 0x70,
    PORT_DATA = 0x71,
    REG_SECOND = 0,
    REG_MINUTE = 2,
    REG_HOUR = 4,
    REG_DAY = 7,
    REG_MONTH = 8,
    REG_YEAR = 9
};

#define SECOND_NS UINT64_C(1000000000)
/* An edge that is known this well is exact.  On a host with too much to do that
 * may never be, so it doubles with each edge that was not. */
#define EXACT_NS UINT64_C(300000)
enum { MAX_DOUBLINGS = 7 };
/* One that is known worse than this is not awaited: the steps would stand
 * still for too long. */
#define MAX_AWAIT_NS UINT64_C(50000000)

uint64_t
now_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static uint8_t
rtc_read(uint8_t reg)
{
    outb(reg, PORT_INDEX);
    return inb(PORT_DATA);
}

static int
rtc_number(uint8_t reg)
{
    uint8_t bcd = rtc_read(reg);

    return (bcd >> 4) * 10 + (bcd & 15);
}

/* Since 1970, by the host. */
static int64_t
rtc_seconds(void)
{
    struct tm t = {.tm_sec = rtc_number(REG_SECOND),
                   .tm_min = rtc_number(REG_MINUTE),
                   .tm_hour = rtc_number(REG_HOUR),
                   .tm_mday = rtc_number(REG_DAY),
                   .tm_mon = rtc_number(REG_MONTH) - 1,
                   .tm_year = rtc_number(REG_YEAR) + 100};

    return timegm(&t);
}

bool
hostclock_init(struct hostclock *h)
{
    *h = (struct hostclock){0};
    if (ioperm(PORT_INDEX, 2, 1) != 0)
        return false;
    h->second = rtc_read(REG_SECOND);
    h->polled_ns = now_ns();
    return h->second != 0xff; /* what a bus without a device reads as */
}

static void
edge_exact(struct hostclock *h, uint64_t at_ns)
{
    int64_t second = rtc_seconds();

    if (h->has_exact)
        h->stopped_ns += (second - h->exact_second) * (int64_t)SECOND_NS -
                         (int64_t)(at_ns - h->exact_ns);
    h->has_exact = true;
    h->exact_ns = at_ns;
    h->exact_second = second;
    h->n_inexact = 0;
}

static void
edge_seen(struct hostclock *h, uint64_t now)
{
    h->slack_ns = now - h->polled_ns;
    h->edge_ns = now;
    if (h->slack_ns < EXACT_NS << h->n_inexact)
        edge_exact(h, now - h->slack_ns / 2);
    else if (h->n_inexact < MAX_DOUBLINGS)
        h->n_inexact++;
}

static uint64_t
edge_latest(const struct hostclock *h)
{
    return h->edge_ns + SECOND_NS + EXACT_NS;
}

uint64_t
hostclock_next(const struct hostclock *h)
{
    uint64_t earliest = edge_latest(h) - h->slack_ns - 2 * EXACT_NS;

    return h->slack_ns <= MAX_AWAIT_NS ? earliest : edge_latest(h);
}

/* May the next edge come any moment now? */
static bool
edge_is_near(const struct hostclock *h)
{
    return h->slack_ns <= MAX_AWAIT_NS && h->polled_ns >= hostclock_next(h) &&
           h->polled_ns < edge_latest(h);
}

void
hostclock_poll(struct hostclock *h)
{
    do {
        uint8_t second = rtc_read(REG_SECOND);
        uint64_t now = now_ns();

        if (second != h->second)
            edge_seen(h, now);
        h->second = second;
        h->polled_ns = now;
    } while (edge_is_near(h));
}

int64_t
hostclock_take(struct hostclock *h)
{
    int64_t stopped = h->stopped_ns;

    h->stopped_ns = 0;
    return stopped;
}
