/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sftp_pool: the connections of a store, and which of them a call gets.
 *
 * A connection takes ten round trips to be made, and what moves much data fills
 * its window.  So a call that asks little shares one with others like it, away
 * from those that move much.  Of these two share one at most: while one of them
 * waits for its file to be opened the other's data flows.
 *
 * Threads: any number.
 */
#ifndef STORE_SFTP_POOL_H
#define STORE_SFTP_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct cancel;
struct sftp;
struct sftp_address;
struct thread;

enum {
    SFTP_CONNECTIONS_MAX = 8,
    SFTP_MOVERS_MAX = 2 /* that share a connection */
};

struct sftp_link;

struct sftp_pool {
    const struct sftp_address *where; /* borrowed, as the next */
    const char *address;
    uint64_t stall_ms;
    /* What sftp_pool_expect has begun, until sftp_pool_done: */
    struct cancel *stop;
    struct thread *openers[SFTP_CONNECTIONS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock: */
    struct sftp_link *links; /* connections, the oldest first */
    unsigned n, opening;     /* of n; the others are links */
    unsigned coming;         /* of those, the ones that nobody waits for */
    unsigned moving;         /* of n: for calls that move much */
    unsigned most;           /* less if it is near, or refuses more */
    unsigned refused;        /* one after the other */
    unsigned failures;       /* connections that could not be made ... */
    struct err failure;      /* ... and why not the last */
    bool worked;             /* a call has, ever */
    bool measured;           /* how long the first took */
    bool expected;           /* there are openers */
};

void sftp_pool_init(struct sftp_pool *p, const struct sftp_address *where,
                    const char *address, uint64_t stall_ms);
/* All are given back. */
void sftp_pool_done(struct sftp_pool *p);

/* A session for a call that moves more than a little, or not; a new connection
 * may have to be made for it. */
int sftp_pool_take(struct sftp_pool *p, bool moves_much, struct cancel *cancel,
                   struct sftp **out, struct err *e);
/* Back, after a call; `broken`: its connection is of no more use. */
void sftp_pool_give(struct sftp_pool *p, struct sftp *s, bool broken);

/* So many calls that move much will come soon: begin to connect for them.  Only
 * the first time. */
void sftp_pool_expect(struct sftp_pool *p, unsigned calls);

/* Has any call worked? */
bool sftp_pool_has_worked(struct sftp_pool *p);

#endif
