/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_together: calls of a store that do not depend on each other, at the
 * same time.
 *
 * A distant storage answers after a round trip, however small the question:
 * several asked together cost one.  What waits for nobody is asked one thing
 * after the other, in the order given, so that what needs an order is never to
 * be left to this.
 *
 * Threads: any number of them at once; a job may ask for more of its own.
 */
#ifndef STORE_STORE_TOGETHER_H
#define STORE_STORE_TOGETHER_H

#include <stddef.h>

#include "base/err.h"

struct store;

enum { STORE_TOGETHER_MAX = 8 }; /* at a time: connections are few, too */

struct store_job {
    int (*fn)(void *arg, struct err *e); /* 0 or -1; calls the store */
    void *arg;
    /* What became of it; `rc` is 1 if it was not begun. */
    int rc;
    struct err err;
};

/* How many calls at a time are worth it: 1 or more. */
size_t store_width(const struct store *st);

/*
 * Run them all; the first of the array begins first.  Once one has failed no
 * other is begun.  0, or -1 with the error of the first in the array that
 * failed; all that were begun have ended.
 */
int store_together(struct store *st, struct store_job *jobs, size_t n,
                   struct err *e);

#endif
