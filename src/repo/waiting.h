/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting: on a condition, but not for long: raising a cancel wakes nobody, so
 * whoever waits looks at it ten times a second.
 */
#ifndef REPO_WAITING_H
#define REPO_WAITING_H

#include <pthread.h>
#include <time.h>

enum { WAITING_MS = 100 };

static inline void
wait_a_while(pthread_cond_t *changed, pthread_mutex_t *lock)
{
    struct timespec until = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAITING_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
}

#endif
