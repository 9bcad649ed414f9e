/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sly: a storage around another one that does not list what it has, lists what
 * it has not, takes its time, and counts what it is asked for; and one that is
 * set back to what it was.  Included by one file only.
 */
#ifndef TEST_REPO_SLY_H
#define TEST_REPO_SLY_H

#include <stdio.h>

#include "base/buf.h"
#include "repo/name.h"
#include "store/store_internal.h"
#include "vclock.h"

enum { OBJECTS = 256 };

/* A storage that does not list one of its objects. */
struct sly {
    struct store base;
    struct store *inner;
    char hides[NAME_MAX_LEN];
    char lacks[NAME_MAX_LEN];    /* it lists it, but it is gone */
    int64_t slow_ns;             /* what is asked for by name takes so long */
    unsigned stats, lists, gets; /* the last: of refs/ and retired/ */
};

static int
sly_put(struct store *st, const char *name, const void *p, size_t len,
        struct err *e)
{
    return store_put(((struct sly *)st)->inner, name, p, len, e);
}

static int
sly_get(struct store *st, const char *name, uint64_t offset, void *out,
        size_t len, struct err *e)
{
    return store_get(((struct sly *)st)->inner, name, offset, out, len, e);
}

static int
sly_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    ((struct sly *)st)->gets += strncmp(name, "re", 2) == 0;
    if (strcmp(name, ((struct sly *)st)->lacks) == 0)
        return store_fail_noent(st, name, e);
    return store_get_all(((struct sly *)st)->inner, name, out, e);
}

static int
sly_stat(struct store *st, const char *name, struct store_stat *out,
         struct err *e)
{
    ((struct sly *)st)->stats++;
    vclock.now_ns += ((struct sly *)st)->slow_ns;
    return store_stat(((struct sly *)st)->inner, name, out, e);
}

struct sly_listing {
    const struct sly *sly;
    store_list_fn *fn;
    void *cookie;
};

static int
sly_pass_on(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    const struct sly_listing *l = cookie;

    return strcmp(name, l->sly->hides) == 0 ? 0
                                            : l->fn(l->cookie, name, stat, e);
}

static int
sly_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
         struct err *e)
{
    struct sly_listing l = {(struct sly *)st, fn, cookie};

    ((struct sly *)st)->lists++;
    return store_list(((struct sly *)st)->inner, prefix, sly_pass_on, &l, e);
}

static int
sly_remove(struct store *st, const char *name, struct err *e)
{
    return store_remove(((struct sly *)st)->inner, name, e);
}

static void
sly_close(struct store *st)
{
    (void)st;
}

static const struct store_ops sly_ops = {.put = sly_put,
                                         .get = sly_get,
                                         .get_all = sly_get_all,
                                         .stat = sly_stat,
                                         .list = sly_list,
                                         .remove = sly_remove,
                                         .close = sly_close};

/* All objects, to be put back. */
struct snapshot {
    char names[OBJECTS][NAME_MAX_LEN];
    struct buf bytes[OBJECTS];
    size_t n;
    struct store *store;
};

static int
keep_object(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct snapshot *s = cookie;
    size_t i = s->n++;

    (void)stat;
    assert_true(i < OBJECTS);
    (void)snprintf(s->names[i], sizeof(s->names[i]), "%s", name);
    s->bytes[i] = buf_of(1 << 20);
    return store_get_all(s->store, name, &s->bytes[i], e);
}

static struct snapshot *
take(struct store *st)
{
    struct snapshot *s = xcalloc(1, sizeof(*s));

    s->store = st;
    assert_ok(store_list(st, "", keep_object, s, e));
    return s;
}

static void
drop(struct snapshot *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_done(&s->bytes[i]);
    free(s);
}

/* The storage as it was then. */
static void
set_back(struct snapshot *s)
{
    struct snapshot *now = take(s->store);

    for (size_t i = 0; i < now->n; i++)
        assert_ok(store_remove(s->store, now->names[i], e));
    for (size_t i = 0; i < s->n; i++)
        assert_ok(store_put(s->store, s->names[i], s->bytes[i].p,
                            s->bytes[i].len, e));
    drop(now);
}

#endif
