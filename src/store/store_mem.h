/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_mem: a store in memory, for tests and benchmarks.
 *
 * It behaves as store.h says.  Closing it loses everything, so a test that
 * "starts again" keeps it open and opens what stands on it anew.  It lists in
 * the order of names, so that what happens on it can be repeated.
 */
#ifndef STORE_STORE_MEM_H
#define STORE_STORE_MEM_H

#include <stddef.h>
#include <stdint.h>

struct store;

/*
 * A clock for tests that stands still until it is told; any thread may set
 * now_ns at any time.
 */
struct store_clock {
    _Atomic int64_t now_ns; /* since 1970 UTC */
};

/* Never NULL.  `clock` gives the times of new objects and is borrowed; NULL
 * means the wall clock. */
struct store *store_mem_new(const struct store_clock *clock);

/* Damage: the object that is there (1) gets this content, its time is kept; 0
 * if there is none. */
int store_mem_replace(struct store *st, const char *name, const void *p,
                      size_t len);

#endif
