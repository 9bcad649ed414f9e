/* SPDX-License-Identifier: Apache-2.0 */
/* distant: a store that is worth asking several things at a time, and that
 * remembers how often it was asked for what. */
#ifndef TEST_REPO_DISTANT_H
#define TEST_REPO_DISTANT_H

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/store_internal.h"
#include "store/store_together.h"

enum { DISTANT_ASKED_MAX = 4096, DISTANT_TEXT = 200 };

struct distant {
    struct store base;
    struct store *inner; /* borrowed */
    pthread_mutex_t lock;
    int slow_ms; /* what each call takes: time for another to pass it */
    size_t n;
    char (*asked)[DISTANT_TEXT]; /* "get config", "did list keys/" */
};

static inline struct store *
distant_note(struct store *st, const char *op, const char *name)
{
    struct distant *d = (struct distant *)st;

    (void)pthread_mutex_lock(&d->lock);
    if (d->n < DISTANT_ASKED_MAX)
        (void)snprintf(d->asked[d->n++], DISTANT_TEXT, "%s %s", op, name);
    (void)pthread_mutex_unlock(&d->lock);
    if (d->slow_ms)
        (void)poll(NULL, 0, d->slow_ms);
    return d->inner;
}

static inline int
distant_put(struct store *st, const char *name, const void *p, size_t len,
            struct err *e)
{
    return store_put(distant_note(st, "put", name), name, p, len, e);
}

static inline int
distant_put_new(struct store *st, const char *name, const void *p, size_t len,
                struct err *e)
{
    int rc = store_put(distant_note(st, "new", name), name, p, len, e);

    (void)distant_note(st, "did new", name);
    return rc;
}

static inline int
distant_get(struct store *st, const char *name, uint64_t offset, void *out,
            size_t len, struct err *e)
{
    return store_get(distant_note(st, "read", name), name, offset, out, len, e);
}

static inline int
distant_get_all(struct store *st, const char *name, struct buf *out,
                struct err *e)
{
    return store_get_all(distant_note(st, "get", name), name, out, e);
}

static inline int
distant_stat(struct store *st, const char *name, struct store_stat *out,
             struct err *e)
{
    return store_stat(distant_note(st, "stat", name), name, out, e);
}

static inline int
distant_list(struct store *st, const char *prefix, store_list_fn *fn,
             void *cookie, struct err *e)
{
    int rc =
        store_list(distant_note(st, "list", prefix), prefix, fn, cookie, e);

    (void)distant_note(st, "did list", prefix);
    return rc;
}

static inline int
distant_remove(struct store *st, const char *name, struct err *e)
{
    return store_remove(distant_note(st, "remove", name), name, e);
}

static inline void
distant_close(struct store *st)
{
    struct distant *d = (struct distant *)st;

    (void)pthread_mutex_destroy(&d->lock);
    free(d->asked);
    free(d);
}

static inline struct distant *
distant_new(struct store *inner)
{
    static const struct store_ops ops = {.put = distant_put,
                                         .put_new = distant_put_new,
                                         .get = distant_get,
                                         .get_all = distant_get_all,
                                         .stat = distant_stat,
                                         .list = distant_list,
                                         .remove = distant_remove,
                                         .width = STORE_TOGETHER_MAX,
                                         .close = distant_close};
    struct distant *d = xcalloc(1, sizeof(*d));

    d->base = (struct store){.ops = &ops, .address = xstrdup("distant")};
    d->inner = inner;
    d->asked = xcalloc(DISTANT_ASKED_MAX, DISTANT_TEXT);
    (void)pthread_mutex_init(&d->lock, NULL);
    return d;
}

/* How often since distant_forget it was asked for what starts so. */
static inline size_t
distant_asked(struct distant *d, const char *what)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++)
        n += strncmp(d->asked[i], what, strlen(what)) == 0;
    return n;
}

/* Where the first, the last of what starts so is. */
static inline size_t
distant_first(struct distant *d, const char *what)
{
    size_t i = 0;

    while (i < d->n && strncmp(d->asked[i], what, strlen(what)) != 0)
        i++;
    return i;
}

static inline size_t
distant_last(struct distant *d, const char *what)
{
    size_t i = d->n;

    while (i > 0 && strncmp(d->asked[i - 1], what, strlen(what)) != 0)
        i--;
    return i - 1;
}

static inline void
distant_forget(struct distant *d)
{
    d->n = 0;
}

#endif
