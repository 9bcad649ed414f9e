/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostclock: how long the guest was stopped, which its own clock cannot tell.
 *
 * While QEMU has a machine stopped, all clocks of the machine stand still, but
 * for the battery-backed one: that follows the host.  It only shows whole
 * seconds, so we look when a second of it begins: if that comes 20 ms too early
 * by our clock, we were stopped for 20 ms.  The beginning is first met by
 * chance, between two steps, and once we know roughly when it comes, awaited:
 * then it is exact to a fraction of a millisecond.  What is reported lies
 * between two exact ones, so a stop is known a second or two later; on a host
 * that is overloaded later still, and within some milliseconds.
 *
 * Source:  MC146818 data sheet; QEMU hw/rtc/mc146818rtc.c (-rtc clock=host).
 */
#ifndef GUEST_HOSTCLOCK_H
#define GUEST_HOSTCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct hostclock {
    uint8_t second;     /* as last read */
    uint64_t polled_ns; /* when that was */
    uint64_t edge_ns;   /* when it was first seen to be another */
    uint64_t slack_ns;  /* how much earlier that may have been */
    unsigned n_inexact; /* edges since the last exact one */
    bool has_exact;
    uint64_t exact_ns;    /* the last exact edge, by our clock, */
    int64_t exact_second; /* and by the host's */
    int64_t stopped_ns;
};

/* False if this machine has no such clock. */
bool hostclock_init(struct hostclock *h);

/* To be called often; returns at once but for a millisecond in each second, and
 * up to 50 ms after a stop. */
void hostclock_poll(struct hostclock *h);

/* From when on the next second is awaited, by our clock: who sleeps is to call
 * hostclock_poll then.  It may be over. */
uint64_t hostclock_next(const struct hostclock *h);

/* The time stopped that became known since the last call; a fraction of a
 * millisecond of noise may make it negative. */
int64_t hostclock_take(struct hostclock *h);

/* The guest's own clock. */
uint64_t now_ns(void);

#endif
