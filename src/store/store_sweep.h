/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_sweep: tries what is tested with every fault at every operation.
 *
 * For tests: everything runs on new stores in memory (store/store_mem.h),
 * behind a store that goes wrong (store/store_fault.h).
 */
#ifndef STORE_STORE_SWEEP_H
#define STORE_STORE_SWEEP_H

#include <stdint.h>

struct err;
struct store;
struct store_clock;
struct store_fault;

struct store_sweep {
    /* Fill the empty store that each round starts with; NULL: leave it. */
    int (*prepare)(void *cookie, struct store *inner, struct err *e);
    /* What is tested; may fail (its error is dropped). */
    int (*run)(void *cookie, struct store *faulty, struct err *e);
    /* Look at what it left.  `rc` is what run returned, `f` what happened
     * (f->at is 0 if nothing did).
     * The sweep ends at the first -1. */
    int (*check)(void *cookie, struct store *inner, const struct store_fault *f,
                 int rc, struct err *e);
    void *cookie;
    unsigned ops;                    /* as in struct store_fault */
    const char *prefix;              /* as in struct store_fault */
    const struct store_clock *clock; /* of the stores; borrowed; NULL: wall */
    uint64_t step; /* a sample: only every so manieth operation; 0: every */
};

/*
 * Run, on a new store_mem each time, with FAIL, CUT and NO_REPLY at every
 * operation, and GOES_ON, AGAIN and CRASH after it, until `run` gets by without
 * meeting the fault; that last round must succeed.  *rounds (may be NULL) is
 * how many there were.  An error names the fault that led to it.  A sample
 * begins each of the nine elsewhere, so that they meet different operations.
 */
int store_sweep(const struct store_sweep *s, uint64_t *rounds, struct err *e);

#endif
