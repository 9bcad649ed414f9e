/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold: a store that answers no read of packs before as many are under way as
 * it was told, or they are let go; after HOLD_MS it gives up waiting, so that
 * who reads one after the other fails its test and does not hang.
 */
#ifndef TEST_REPO_HOLD_H
#define TEST_REPO_HOLD_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "store/store_internal.h"
#include "store/store_together.h"

enum { HOLD_MS = 60000 };

struct hold {
    struct store base;
    struct store *inner; /* borrowed */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned under_way, most, wanted;
    uint64_t reads, bytes;
};

static inline void
hold_wait(struct hold *h)
{
    struct timespec end;

    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += HOLD_MS / 1000;
    pthread_mutex_lock(&h->lock);
    h->under_way++;
    h->reads++;
    h->most = h->under_way > h->most ? h->under_way : h->most;
    pthread_cond_broadcast(&h->changed);
    while (h->most < h->wanted &&
           pthread_cond_clockwait(&h->changed, &h->lock, CLOCK_MONOTONIC,
                                  &end) == 0)
        continue;
    h->wanted = 0; /* once is enough, and so is one wait in vain */
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static inline int
hold_get(struct store *st, const char *name, uint64_t offset, void *out,
         size_t len, struct err *e)
{
    struct hold *h = (struct hold *)st;
    bool counts = strncmp(name, "packs/d/", 8) == 0;

    if (counts)
        hold_wait(h);
    int rc = store_get(h->inner, name, offset, out, len, e);
    if (counts) {
        pthread_mutex_lock(&h->lock);
        h->under_way--;
        h->bytes += len;
        pthread_mutex_unlock(&h->lock);
    }
    return rc;
}

static inline int
hold_put(struct store *st, const char *name, const void *p, size_t len,
         struct err *e)
{
    return store_put(((struct hold *)st)->inner, name, p, len, e);
}

static inline int
hold_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    return store_get_all(((struct hold *)st)->inner, name, out, e);
}

static inline int
hold_stat(struct store *st, const char *name, struct store_stat *out,
          struct err *e)
{
    return store_stat(((struct hold *)st)->inner, name, out, e);
}

static inline int
hold_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
          struct err *e)
{
    return store_list(((struct hold *)st)->inner, prefix, fn, cookie, e);
}

static inline int
hold_remove(struct store *st, const char *name, struct err *e)
{
    return store_remove(((struct hold *)st)->inner, name, e);
}

static inline void
hold_close(struct store *st)
{
    struct hold *h = (struct hold *)st;

    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static inline struct hold *
hold_new(struct store *inner)
{
    static const struct store_ops ops = {.put = hold_put,
                                         .get = hold_get,
                                         .get_all = hold_get_all,
                                         .stat = hold_stat,
                                         .list = hold_list,
                                         .remove = hold_remove,
                                         .width = STORE_TOGETHER_MAX,
                                         .close = hold_close};
    struct hold *h = xcalloc(1, sizeof(*h));

    h->base = (struct store){.ops = &ops, .address = xstrdup("hold")};
    h->inner = inner;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    return h;
}

static inline unsigned
hold_under_way(struct hold *h)
{
    pthread_mutex_lock(&h->lock);
    unsigned n = h->under_way;
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* Returns once so many have come, of those held and those done. */
static inline void
hold_await(struct hold *h, uint64_t reads)
{
    pthread_mutex_lock(&h->lock);
    while (h->reads < reads)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

static inline void
hold_let_go(struct hold *h)
{
    pthread_mutex_lock(&h->lock);
    h->wanted = 0;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

/* Count from here, and hold reads until `wanted` are under way. */
static inline void
hold_reads(struct hold *h, unsigned wanted)
{
    h->under_way = h->most = 0;
    h->reads = h->bytes = 0;
    h->wanted = wanted;
}

#endif
