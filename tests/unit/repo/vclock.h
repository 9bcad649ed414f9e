/* SPDX-License-Identifier: Apache-2.0 */
/* vclock: the wall clock and the storage's, standing still until told. */
#ifndef TEST_REPO_VCLOCK_H
#define TEST_REPO_VCLOCK_H

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

#define HOUR_NS (3600 * INT64_C(1000000000))
#define VCLOCK_START INT64_C(1795341600000000000) /* 2026-11-22T10:00:00Z */

static struct store_clock vclock = {VCLOCK_START};
static int64_t vclock_skew_ns; /* of the wall clock */

int clock_gettime(clockid_t id, struct timespec *t);
int
clock_gettime(clockid_t id, struct timespec *t)
{
    if (id != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, id, t);
    int64_t now = vclock.now_ns + vclock_skew_ns;
    *t = (struct timespec){now / 1000000000, now % 1000000000};
    return 0;
}

static inline void
vclock_pass_hours(int64_t hours)
{
    vclock.now_ns += hours * HOUR_NS;
}

static inline void
vfixture_start(struct fixture *f)
{
    vclock.now_ns = VCLOCK_START;
    vclock_skew_ns = 0;
    *f = (struct fixture){.st = store_mem_new(&vclock), .cancel = cancel_new()};
    assert_ok(cheap_init(f->st, e));
    fixture_open(f);
}

#endif
