/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_mem.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/store_internal.h"

struct mem_object {
    char name[STORE_NAME_MAX + 1];
    uint8_t *p;
    size_t len;
    int64_t mtime_ns;
};

struct mem_store {
    struct store base;
    pthread_rwlock_t lock; /* guards the objects and their content */
    void *objects;         /* a tree by tsearch(3), ordered by name */
    const struct store_clock *clock;
};

static void
read_lock(struct mem_store *m)
{
    (void)pthread_rwlock_rdlock(&m->lock);
}

static void
write_lock(struct mem_store *m)
{
    (void)pthread_rwlock_wrlock(&m->lock);
}

static void
unlock(struct mem_store *m)
{
    (void)pthread_rwlock_unlock(&m->lock);
}

static int64_t
now_ns(const struct mem_store *m)
{
    return m->clock ? m->clock->now_ns : clock_wall_ns();
}

static void
object_free(void *arg)
{
    struct mem_object *o = arg;

    free(o->p);
    free(o);
}

static void
object_freep(struct mem_object **o)
{
    if (*o)
        object_free(*o);
}

static struct mem_object *
object_new(const char *name, const void *p, size_t len)
{
    struct mem_object *o = xcalloc(1, sizeof(*o));

    memcpy(o->name, name, strlen(name)); /* store.c checked the length */
    o->p = xmalloc(len ? len : 1);
    if (len)
        memcpy(o->p, p, len);
    o->len = len;
    return o;
}

/* For tsearch: an object and another, by name. */
static int
compare(const void *a, const void *b)
{
    const struct mem_object *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* The lock is held. */
static struct mem_object *
find(struct mem_store *m, const char *name)
{
    struct mem_object key = {0};

    memcpy(key.name, name, strlen(name));
    struct mem_object **node = tfind(&key, &m->objects, compare);
    return node ? *node : NULL;
}

static int
mem_put(struct store *st, const char *name, const void *p, size_t len,
        struct err *e)
{
    struct mem_store *m = (struct mem_store *)st;
    CLEANUP(object_freep) struct mem_object *o = object_new(name, p, len);

    write_lock(m);
    o->mtime_ns = now_ns(m);
    struct mem_object **node = tsearch(o, &m->objects, compare);
    if (!node)
        abort(); /* out of memory, as xmalloc does */
    if (*node == o)
        o = NULL; /* the tree's now */
    unlock(m);
    return o ? store_fail_exists(st, name, e) : 0;
}

static int
mem_get(struct store *st, const char *name, uint64_t offset, void *out,
        size_t len, struct err *e)
{
    struct mem_store *m = (struct mem_store *)st;
    uint64_t size = 0;

    read_lock(m);
    const struct mem_object *o = find(m, name);
    bool inside = o && range_inside(offset, len, o->len);
    if (o)
        size = o->len;
    if (inside && len)
        memcpy(out, o->p + offset, len);
    unlock(m);
    if (!o)
        return store_fail_noent(st, name, e);
    if (!inside)
        return store_fail_short(st, name, size, offset, len, e);
    return 0;
}

static int
mem_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    struct mem_store *m = (struct mem_store *)st;
    int rc = -1;

    read_lock(m);
    const struct mem_object *o = find(m, name);
    if (o) {
        uint8_t *to = store_room_for(out, o->len, name, e);
        if (to && o->len)
            memcpy(to, o->p, o->len);
        rc = to ? 0 : -1;
    }
    unlock(m);
    return o ? rc : store_fail_noent(st, name, e);
}

static int
mem_stat(struct store *st, const char *name, struct store_stat *out,
         struct err *e)
{
    struct mem_store *m = (struct mem_store *)st;

    (void)e; /* cannot fail */
    read_lock(m);
    const struct mem_object *o = find(m, name);
    if (o)
        *out =
            (struct store_stat){.size_bytes = o->len, .mtime_ns = o->mtime_ns};
    unlock(m);
    return o ? 1 : 0;
}

struct listed {
    char *name;
    struct store_stat stat;
};

struct listing {
    const char *prefix;
    struct listed *entries;
    size_t n, room;
};

static void
listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->entries[i].name);
    free(l->entries);
}

/* For twalk_r: adds a copy of each matching object. */
static void
collect(const void *node, VISIT visit, void *cookie)
{
    const struct mem_object *o = *(struct mem_object *const *)node;
    struct listing *l = cookie;

    if ((visit != postorder && visit != leaf) || /* each object once */
        !text_starts(o->name, l->prefix))
        return;
    if (l->n == l->room) {
        l->room = l->room ? l->room * 2 : 64;
        l->entries = xrealloc(l->entries, l->room * sizeof(*l->entries));
    }
    l->entries[l->n++] = (struct listed){
        .name = xstrdup(o->name),
        .stat = {.size_bytes = o->len, .mtime_ns = o->mtime_ns},
    };
}

static int
mem_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
         struct err *e)
{
    struct mem_store *m = (struct mem_store *)st;
    CLEANUP(listing_done) struct listing l = {.prefix = prefix};

    read_lock(m);
    twalk_r(m->objects, collect, &l);
    unlock(m);
    for (size_t i = 0; i < l.n; i++)
        if (fn(cookie, l.entries[i].name, &l.entries[i].stat, e) == -1)
            return -1;
    return 0;
}

static int
mem_remove(struct store *st, const char *name, struct err *e)
{
    struct mem_store *m = (struct mem_store *)st;

    write_lock(m);
    CLEANUP(object_freep) struct mem_object *o = find(m, name);
    if (o)
        (void)tdelete(o, &m->objects, compare);
    unlock(m);
    return o ? 0 : store_fail_noent(st, name, e);
}

static void
mem_close(struct store *st)
{
    struct mem_store *m = (struct mem_store *)st;

    tdestroy(m->objects, object_free);
    (void)pthread_rwlock_destroy(&m->lock);
    free(m);
}

static const struct store_ops mem_ops = {
    .put = mem_put,
    .get = mem_get,
    .get_all = mem_get_all,
    .stat = mem_stat,
    .list = mem_list,
    .remove = mem_remove,
    .close = mem_close,
};

struct store *
store_mem_new(const struct store_clock *clock)
{
    struct mem_store *m = xcalloc(1, sizeof(*m));

    m->base = (struct store){.ops = &mem_ops, .address = xstrdup("memory")};
    m->clock = clock;
    (void)pthread_rwlock_init(&m->lock, NULL);
    return &m->base;
}

int
store_mem_replace(struct store *st, const char *name, const void *p, size_t len)
{
    struct mem_store *m = (struct mem_store *)st;
    uint8_t *fresh = xmalloc(len ? len : 1);

    if (len)
        memcpy(fresh, p, len);
    write_lock(m);
    struct mem_object *o = find(m, name);
    if (o) {
        uint8_t *old = o->p;
        o->p = fresh;
        o->len = len;
        fresh = old;
    }
    unlock(m);
    free(fresh);
    return o ? 1 : 0;
}
