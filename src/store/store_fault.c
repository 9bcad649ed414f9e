/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_fault.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/store_internal.h"
#include "store/store_mem.h"

/* What was removed and is still listed for a while. */
struct ghost {
    struct ghost *next;
    struct store_stat stat;
    int64_t until_ns;
    char name[STORE_NAME_MAX + 1];
};

struct fault_store {
    struct store base;
    struct store *inner;  /* borrowed */
    pthread_mutex_t lock; /* guards all below */
    struct store_fault plan;
    uint64_t count, hits;
    bool crashed;
    const struct store_clock *clock; /* NULL: listings do not lag */
    int64_t lag_max_ns;
    uint64_t lag_seed;
    struct ghost *ghosts;
};

/* ---- the plan --------------------------------------------------------- */

static const char *const what_names[] = {
    [STORE_FAULT_FAIL] = "failure",        [STORE_FAULT_CUT] = "cut",
    [STORE_FAULT_NO_REPLY] = "lost reply", [STORE_FAULT_FLIP] = "flipped bit",
    [STORE_FAULT_SHORT] = "truncation",
};

const char *
store_fault_name(enum store_fault_what what)
{
    return what_names[what];
}

static void
lock(struct fault_store *f)
{
    (void)pthread_mutex_lock(&f->lock);
}

static void
unlock(struct fault_store *f)
{
    (void)pthread_mutex_unlock(&f->lock);
}

void
store_fault_set(struct store *st, const struct store_fault *plan)
{
    struct fault_store *f = (struct fault_store *)st;
    struct store_fault p = plan ? *plan : (struct store_fault){0};

    if (p.ops == 0)
        p.ops = STORE_OP_ALL;
    if (p.what == STORE_FAULT_FLIP || p.what == STORE_FAULT_SHORT)
        p.ops &= STORE_OP_GET;
    lock(f);
    f->plan = p;
    f->count = 0;
    f->hits = 0;
    f->crashed = false;
    unlock(f);
}

uint64_t
store_fault_count(struct store *st)
{
    struct fault_store *f = (struct fault_store *)st;

    lock(f);
    uint64_t n = f->count;
    unlock(f);
    return n;
}

uint64_t
store_fault_hits(struct store *st)
{
    struct fault_store *f = (struct fault_store *)st;

    lock(f);
    uint64_t n = f->hits;
    unlock(f);
    return n;
}

/* What is to happen to one operation. */
struct fate {
    bool faulty;
    bool dead; /* a crash came before */
    struct store_fault fault;
};

static struct fate
begin(struct fault_store *f, enum store_op op, const char *name)
{
    struct fate fate = {0};

    lock(f);
    const struct store_fault *p = &f->plan;
    if (f->crashed) {
        fate.dead = true;
        f->hits++;
    } else if ((p->ops & op) && (!p->prefix || text_starts(name, p->prefix))) {
        f->count++;
        fate.faulty =
            p->at && (f->count == p->at ||
                      (f->count > p->at && p->then == STORE_THEN_AGAIN));
        fate.fault = *p;
        f->hits += fate.faulty;
        f->crashed = fate.faulty && p->then == STORE_THEN_CRASH;
    }
    unlock(f);
    return fate;
}

/* Is the inner store to be asked at all? */
static bool
is_done(const struct fate *fate)
{
    return !fate->dead &&
           !(fate->faulty && fate->fault.what == STORE_FAULT_FAIL);
}

static bool
is_cut(const struct fate *fate)
{
    return fate->faulty && fate->fault.what == STORE_FAULT_CUT;
}

/* The operation did what it should, `rc`; now for what it reports. */
static int
finish(struct fault_store *f, const struct fate *fate, int rc, const char *what,
       const char *name, struct err *e)
{
    if (fate->dead)
        return err_set(e, ERR_STORE,
                       "cannot %s %s in %s: it is out of reach since the "
                       "injected crash",
                       what, name, f->base.address);
    if (!fate->faulty)
        return rc;
    if (fate->fault.hook)
        fate->fault.hook(fate->fault.cookie);
    if (rc == -1 || fate->fault.what == STORE_FAULT_FLIP ||
        fate->fault.what == STORE_FAULT_SHORT)
        return rc;
    return err_set(e, ERR_STORE, "cannot %s %s in %s: injected %s", what, name,
                   f->base.address, store_fault_name(fate->fault.what));
}

/* ---- lag -------------------------------------------------------------- */

void
store_fault_set_lag(struct store *st, const struct store_clock *clock,
                    int64_t max_ns, uint64_t seed)
{
    struct fault_store *f = (struct fault_store *)st;

    lock(f);
    f->clock = clock;
    f->lag_max_ns = max_ns;
    f->lag_seed = seed;
    unlock(f);
}

/* 0..max, the same for a name every time. */
static int64_t
lag_of(uint64_t seed, int64_t max_ns, const char *name)
{
    uint64_t h = seed ^ 0xcbf29ce484222325; /* FNV-1a, and a final mix */

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
    h ^= h >> 33;
    return (int64_t)(h % ((uint64_t)max_ns + 1));
}

/* Remember for the listings what is about to be removed. */
static void
add_ghost(struct fault_store *f, const char *name)
{
    struct err ignored = {0};
    struct store_stat stat;

    if (store_stat(f->inner, name, &stat, &ignored) != 1)
        return;
    struct ghost *g = xcalloc(1, sizeof(*g));
    g->stat = stat;
    memcpy(g->name, name, strlen(name));
    lock(f);
    if (f->clock) {
        g->until_ns =
            f->clock->now_ns + lag_of(f->lag_seed ^ 1, f->lag_max_ns, name);
        g->next = f->ghosts;
        f->ghosts = g;
        g = NULL;
    }
    unlock(f);
    free(g);
}

/* ---- the calls -------------------------------------------------------- */

static int
fault_put(struct store *st, const char *name, const void *p, size_t len,
          struct err *e)
{
    struct fault_store *f = (struct fault_store *)st;
    struct fate fate = begin(f, STORE_OP_PUT, name);
    int rc = 0;

    if (is_done(&fate))
        rc = store_put(f->inner, name, p, is_cut(&fate) ? len / 2 : len, e);
    return finish(f, &fate, rc, "write object", name, e);
}

/* A range of an object that seems to have only `keep` bytes. */
static int
get_of_short(struct fault_store *f, const char *name, uint64_t keep,
             uint64_t offset, void *out, size_t len, struct err *e)
{
    struct store_stat s;
    int rc = store_stat(f->inner, name, &s, e);

    if (rc != 1 || range_inside(offset, len, keep))
        return store_get(f->inner, name, offset, out, len, e);
    return store_fail_short(&f->base, name, u64_min(s.size_bytes, keep), offset,
                            len, e);
}

static void
flip(const struct fate *fate, uint8_t *p, size_t len)
{
    if (fate->faulty && fate->fault.what == STORE_FAULT_FLIP && len > 0)
        p[fate->fault.bit / 8 % len] ^= (uint8_t)(1u << fate->fault.bit % 8);
}

static int
fault_get(struct store *st, const char *name, uint64_t offset, void *out,
          size_t len, struct err *e)
{
    struct fault_store *f = (struct fault_store *)st;
    struct fate fate = begin(f, STORE_OP_GET, name);
    int rc = 0;

    if (fate.faulty && fate.fault.what == STORE_FAULT_SHORT)
        rc = get_of_short(f, name, fate.fault.keep, offset, out, len, e);
    else if (is_done(&fate))
        rc = store_get(f->inner, name, offset, out,
                       is_cut(&fate) ? len / 2 : len, e);
    if (rc == 0)
        flip(&fate, out, len);
    return finish(f, &fate, rc, "read object", name, e);
}

static int
fault_get_all(struct store *st, const char *name, struct buf *out,
              struct err *e)
{
    struct fault_store *f = (struct fault_store *)st;
    struct fate fate = begin(f, STORE_OP_GET, name);
    size_t before = out->len;
    int rc = 0;

    if (is_done(&fate))
        rc = store_get_all(f->inner, name, out, e);
    if (rc == 0 && out->len > before) {
        uint64_t got = out->len - before;
        flip(&fate, out->p + before, out->len - before);
        if (fate.faulty && fate.fault.what == STORE_FAULT_SHORT)
            out->len = before + (size_t)u64_min(got, fate.fault.keep);
    }
    return finish(f, &fate, rc, "read object", name, e);
}

static int
fault_stat(struct store *st, const char *name, struct store_stat *out,
           struct err *e)
{
    struct fault_store *f = (struct fault_store *)st;
    struct fate fate = begin(f, STORE_OP_STAT, name);
    struct store_stat s;
    int rc = 0;

    if (is_done(&fate))
        rc = store_stat(f->inner, name, &s, e);
    bool found = rc == 1;
    rc = finish(f, &fate, rc, "look at object", name, e);
    if (rc == 1 && found)
        *out = s;
    return rc;
}

static int
fault_remove(struct store *st, const char *name, struct err *e)
{
    struct fault_store *f = (struct fault_store *)st;
    struct fate fate = begin(f, STORE_OP_REMOVE, name);
    int rc = 0;

    if (is_done(&fate) && !is_cut(&fate)) {
        add_ghost(f, name);
        rc = store_remove(f->inner, name, e);
    }
    return finish(f, &fate, rc, "remove object", name, e);
}

/* ---- listing ---------------------------------------------------------- */

struct lister {
    store_list_fn *fn;
    void *cookie;
    const struct store_clock *clock;
    int64_t now_ns, lag_max_ns;
    uint64_t lag_seed;
    uint64_t left; /* entries to be passed on still */
};

static int
count_entry(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    uint64_t *n = cookie;

    (void)name, (void)stat, (void)e;
    ++*n;
    return 0;
}

static int
pass_on(void *cookie, const char *name, const struct store_stat *stat,
        struct err *e)
{
    struct lister *l = cookie;

    if (l->left == 0)
        return 0;
    if (l->clock &&
        l->now_ns - stat->mtime_ns < lag_of(l->lag_seed, l->lag_max_ns, name))
        return 0;
    l->left--;
    return l->fn(l->cookie, name, stat, e);
}

/* A copy of the ghosts that still walk, so that fn is called without lock. */
static struct ghost *
copy_ghosts(struct fault_store *f, const char *prefix, int64_t now_ns)
{
    struct ghost *copies = NULL;

    lock(f);
    for (const struct ghost *g = f->ghosts; g; g = g->next) {
        if (g->until_ns <= now_ns || !text_starts(g->name, prefix))
            continue;
        struct ghost *copy = xmemdup(g, sizeof(*g));
        copy->next = copies;
        copies = copy;
    }
    unlock(f);
    return copies;
}

static int
list_ghosts(struct fault_store *f, const char *prefix, struct lister *l,
            struct err *e)
{
    struct ghost *ghosts = copy_ghosts(f, prefix, l->now_ns);
    int rc = 0;

    while (ghosts) {
        CLEANUP(freep) struct ghost *g = ghosts;
        struct store_stat s;
        ghosts = g->next;
        if (rc == 0 && l->left > 0) {
            /* Put again, or never removed: then it was listed above. */
            rc = store_stat(f->inner, g->name, &s, e);
            if (rc == 0)
                rc = l->fn(l->cookie, g->name, &g->stat, e);
            else if (rc == 1)
                rc = 0;
        }
    }
    return rc;
}

static int
list_inner(struct fault_store *f, const char *prefix, bool cut,
           struct lister *l, struct err *e)
{
    l->left = UINT64_MAX;
    if (cut) {
        uint64_t n = 0;
        if (store_list(f->inner, prefix, count_entry, &n, e) == -1)
            return -1;
        l->left = n / 2;
    }
    lock(f);
    l->clock = f->clock;
    l->now_ns = f->clock ? f->clock->now_ns : 0;
    l->lag_max_ns = f->lag_max_ns;
    l->lag_seed = f->lag_seed;
    unlock(f);
    if (store_list(f->inner, prefix, pass_on, l, e) == -1)
        return -1;
    return l->clock ? list_ghosts(f, prefix, l, e) : 0;
}

static int
fault_list(struct store *st, const char *prefix, store_list_fn *fn,
           void *cookie, struct err *e)
{
    struct fault_store *f = (struct fault_store *)st;
    struct fate fate = begin(f, STORE_OP_LIST, prefix);
    struct lister l = {.fn = fn, .cookie = cookie};
    int rc = 0;

    if (is_done(&fate))
        rc = list_inner(f, prefix, is_cut(&fate), &l, e);
    return finish(f, &fate, rc, "list", prefix[0] ? prefix : "the objects", e);
}

/* ---- making one ------------------------------------------------------- */

static void
fault_close(struct store *st)
{
    struct fault_store *f = (struct fault_store *)st;

    while (f->ghosts) {
        struct ghost *next = f->ghosts->next;
        free(f->ghosts);
        f->ghosts = next;
    }
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

static void
fault_set_cancel(struct store *st, struct cancel *c)
{
    store_set_cancel(((struct fault_store *)st)->inner, c);
}

static void
fault_set_rates(struct store *st, struct rate *up, struct rate *down)
{
    store_set_rates(((struct fault_store *)st)->inner, up, down);
}

static void
fault_traits(struct store *st, struct store_traits *out)
{
    store_get_traits(((struct fault_store *)st)->inner, out);
}

static const struct store_ops fault_ops = {
    .put = fault_put,
    .get = fault_get,
    .get_all = fault_get_all,
    .stat = fault_stat,
    .list = fault_list,
    .remove = fault_remove,
    .set_cancel = fault_set_cancel,
    .set_rates = fault_set_rates,
    .traits = fault_traits,
    .close = fault_close,
};

struct store *
store_fault_new(struct store *inner)
{
    struct fault_store *f = xcalloc(1, sizeof(*f));

    f->base = (struct store){.ops = &fault_ops,
                             .address = xstrdup(store_address(inner))};
    f->inner = inner;
    (void)pthread_mutex_init(&f->lock, NULL);
    store_fault_set(&f->base, NULL);
    return &f->base;
}
