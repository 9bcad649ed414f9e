/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_fault: a store around another one that goes wrong as planned.
 *
 * Everything goes through to the inner store, and is counted, until the
 * planned operation comes:
 *
 *     struct store *mem = store_mem_new(NULL);
 *     struct store *st = store_fault_new(mem);
 *     store_fault_set(st, &(struct store_fault){
 *         .at = 3, .ops = STORE_OP_PUT, .what = STORE_FAULT_CUT,
 *         .then = STORE_THEN_CRASH});
 *     ... what is tested runs on st, and its third put is cut short ...
 *     ... a new start of it runs on mem ...
 *
 * and store/store_sweep.h does this for every operation and every fault.
 *
 * Failures are ERR_STORE, as of any store.  The wrapped store is borrowed and
 * may be used directly, or by several store_fault, at the same time; that is
 * how one sees what a crash left, or models several hosts.
 *
 * Threads: as store.h says; operations are counted in the order they begin.
 */
#ifndef STORE_STORE_FAULT_H
#define STORE_STORE_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct store;
struct store_clock;

/* Kinds of operation, to be or'ed.  A listing is one operation. */
enum store_op {
    STORE_OP_PUT = 1,
    STORE_OP_GET = 2, /* store_get and store_get_all */
    STORE_OP_STAT = 4,
    STORE_OP_LIST = 8,
    STORE_OP_REMOVE = 16,
    STORE_OP_CHANGES = STORE_OP_PUT | STORE_OP_REMOVE,
    STORE_OP_ALL = 31
};

/* What becomes of the planned operation. */
enum store_fault_what {
    STORE_FAULT_FAIL, /* not done, and reported as failed */
    /* Half done and reported as failed: half of the object is put, of the
     * bytes got, of the list listed; others are not done.  A real store never
     * shows half an object, but what stands on it should not care. */
    STORE_FAULT_CUT,
    STORE_FAULT_NO_REPLY, /* done, but reported as failed */
    /* The rest succeed, with wrong results.  Only for GET. */
    STORE_FAULT_FLIP, /* one bit of what is read is wrong: `bit` */
    STORE_FAULT_SHORT /* as if the object had only its first `keep` bytes */
};

/* What becomes of the operations after it. */
enum store_fault_then {
    STORE_THEN_GOES_ON, /* they work */
    STORE_THEN_AGAIN,   /* those of the same kind and prefix go the same way */
    STORE_THEN_CRASH    /* as if the process had died: none does anything, all
                         * fail, whatever their kind */
};

struct store_fault {
    uint64_t at;        /* the operation it happens to, from 1; 0: none */
    unsigned ops;       /* count only these (enum store_op); 0: all */
    const char *prefix; /* count only names (prefixes, for LIST) that start
                         * so; NULL: all; borrowed */
    enum store_fault_what what;
    enum store_fault_then then;
    uint64_t bit;  /* FLIP: counted from the first byte read; wraps around */
    uint64_t keep; /* SHORT */
    /* Called when the fault happens, after what it lets be done was done and
     * before the failure is reported: to stop a process, or to move a clock.
     * No lock is held. */
    void (*hook)(void *cookie);
    void *cookie;
};

/* Never NULL; no faults are planned.  `inner` is borrowed. */
struct store *store_fault_new(struct store *inner);

/* Plan this (NULL: nothing) and count from 0 again. */
void store_fault_set(struct store *st, const struct store_fault *plan);

/* Operations since the plan was made that it would count. */
uint64_t store_fault_count(struct store *st);

/* Operations since the plan was made that went wrong; with STORE_THEN_CRASH
 * those after the crash too. */
uint64_t store_fault_hits(struct store *st);

/*
 * From now on a listing shows what was put or removed (through this store) up
 * to max_ns late, by `clock`, which must be the clock of the inner store's
 * times: each object has its own delay, chosen by its name and `seed`.
 */
void store_fault_set_lag(struct store *st, const struct store_clock *clock,
                         int64_t max_ns, uint64_t seed);

/* "failure", "lost reply": for messages. */
const char *store_fault_name(enum store_fault_what what);

#endif
