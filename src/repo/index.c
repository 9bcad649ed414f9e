/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/index.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/gather.h"
#include "repo/keyring.h"
#include "repo/lost.h"
#include "repo/name.h"
#include "repo/segcache.h"
#include "store/store.h"

enum {
    SEALED_MAX_BYTES = SEGMENT_MAX_BYTES + 4096,
    SMALL_BYTES = 4 << 20 /* such segments are read several at a time */
};

struct loaded {
    uint8_t id[NAME_ID_BYTES];
    bool damaged;         /* and then there is nothing else */
    struct mapped mapped; /* where it is, or else */
    struct buf bytes;
    struct segment segment;
};

struct index {
    struct store *store;
    const struct keyring *keys;
    pthread_mutex_t refreshing; /* taken before `lock`; held while loading;
                                 * guards the cache */
    struct segcache *cache;     /* or NULL */
    bool use_cache;             /* fixed, as is the next */
    char *cache_dir;            /* or NULL */
    struct lost *lost;          /* borrowed; may be NULL */
    atomic_uint looks;          /* at entries, since the last index_rest */
    pthread_rwlock_t lock;      /* guards all below */
    struct loaded **loaded;     /* each owned, never changed */
    size_t n, room;
    uint64_t mapped_bytes;
    char damage[ERR_MSG_MAX]; /* of the first that is damaged */
};

struct index *
index_new(struct store *st, const struct keyring *k)
{
    struct index *x = xcalloc(1, sizeof(*x));

    x->store = st;
    x->keys = k;
    (void)pthread_mutex_init(&x->refreshing, NULL);
    (void)pthread_rwlock_init(&x->lock, NULL);
    return x;
}

void
index_use_cache(struct index *x, const char *dir)
{
    assert(!x->use_cache && x->n == 0);
    x->use_cache = true;
    x->cache_dir = dir ? xstrdup(dir) : NULL;
}

void
index_heed(struct index *x, struct lost *l)
{
    x->lost = l;
}

static void
loaded_free(struct loaded *l)
{
    if (l) {
        buf_done(&l->bytes);
        mapped_done(&l->mapped);
    }
    free(l);
}

static void
loaded_freep(struct loaded **l)
{
    loaded_free(*l);
}

void
index_free(struct index *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < x->n; i++)
        loaded_free(x->loaded[i]);
    free(x->loaded);
    segcache_free(x->cache);
    free(x->cache_dir);
    (void)pthread_rwlock_destroy(&x->lock);
    (void)pthread_mutex_destroy(&x->refreshing);
    free(x);
}

/* What lookups read a little of, here and there. */
static void
rest(const struct loaded *l)
{
    if (l->mapped.map)
        mapped_rest(&l->mapped, l->segment.entries,
                    (size_t)(l->segment.blooms - l->segment.entries));
}

void
index_rest(struct index *x)
{
    (void)pthread_rwlock_rdlock(&x->lock);
    for (size_t i = 0; i < x->n && x->mapped_bytes > INDEX_RESIDENT_BYTES; i++)
        rest(x->loaded[i]);
    (void)pthread_rwlock_unlock(&x->lock);
}

static void
count_looks(struct index *x, unsigned n)
{
    unsigned before = n ? atomic_fetch_add(&x->looks, n) : 0;

    /* One of those who get here at a time will do. */
    if (before < INDEX_LOOKS && before + n >= INDEX_LOOKS) {
        index_rest(x);
        atomic_store(&x->looks, 0);
    }
}

static struct loaded *
loaded_new(const uint8_t id[NAME_ID_BYTES])
{
    struct loaded *l = xcalloc(1, sizeof(*l));

    memcpy(l->id, id, NAME_ID_BYTES);
    l->bytes = buf_of(SEGMENT_MAX_BYTES);
    return l;
}

static void
add(struct index *x, struct loaded *l, const char *damage)
{
    (void)pthread_rwlock_wrlock(&x->lock);
    if (x->n == x->room) {
        x->room = x->room ? 2 * x->room : 16;
        x->loaded = xrealloc(x->loaded, x->room * sizeof(void *));
    }
    x->loaded[x->n++] = l;
    x->mapped_bytes += l->mapped.len;
    if (damage && !x->damage[0])
        (void)snprintf(x->damage, sizeof(x->damage), "%s", damage);
    (void)pthread_rwlock_unlock(&x->lock);
}

static bool
is_loaded(struct index *x, const uint8_t id[NAME_ID_BYTES])
{
    bool found = false;

    (void)pthread_rwlock_rdlock(&x->lock);
    for (size_t i = 0; i < x->n && !found; i++)
        found = memcmp(x->loaded[i]->id, id, NAME_ID_BYTES) == 0;
    (void)pthread_rwlock_unlock(&x->lock);
    return found;
}

/* Not before there is something to keep: who only lists backups needs none. */
static void
open_cache(struct index *x)
{
    if (x->use_cache && !x->cache)
        x->cache = segcache_new(x->cache_dir, x->keys);
}

static bool
get_cached(struct index *x, struct loaded *l)
{
    struct err ignored = {0};

    open_cache(x);
    if (!x->cache || !segcache_get(x->cache, l->id, &l->mapped))
        return false;
    mapped_warm(&l->mapped);
    if (segment_open(l->mapped.p, l->mapped.len, &l->segment, &ignored) == 0) {
        mapped_cool(&l->mapped); /* that was a look at all */
        return true;
    }
    mapped_done(&l->mapped);
    segcache_drop(x->cache, l->id);
    return false;
}

/* From memory into the cache. */
static int
keep(struct index *x, struct loaded *l, struct err *e)
{
    open_cache(x);
    if (!x->cache ||
        !segcache_put(x->cache, l->id, l->bytes.p, l->bytes.len, &l->mapped))
        return 0;
    if (segment_open(l->mapped.p, l->mapped.len, &l->segment, e) == 0) {
        mapped_cool(&l->mapped);
        buf_done(&l->bytes);
        return 0;
    }
    /* The disk under the cache is not what it should be. */
    err_clear(e);
    segcache_drop(x->cache, l->id);
    mapped_done(&l->mapped);
    return segment_open(l->bytes.p, l->bytes.len, &l->segment, e);
}

static int
get_stored(struct index *x, struct gather *early, const char *name,
           struct loaded *l, struct err *e)
{
    CLEANUP(buf_done) struct buf sealed = buf_of(SEALED_MAX_BYTES);

    if (gather_get(early, x->store, name, &sealed, e) == -1 ||
        segment_unseal(x->keys, l->id, sealed.p, sealed.len, &l->bytes, e) ==
            -1)
        return -1;
    return segment_open(l->bytes.p, l->bytes.len, &l->segment, e);
}

/* `l` is owned from now on; it may be there already, from the cache. */
static int
load(struct index *x, struct gather *early, const char *name,
     struct loaded *owned, struct err *e)
{
    CLEANUP(loaded_freep) struct loaded *l = owned;

    if (l->mapped.map ||
        (get_stored(x, early, name, l, e) == 0 && keep(x, l, e) == 0)) {
        add(x, STEAL(l), NULL);
        return 0;
    }
    if (e->code == ERR_NOENT) { /* merged into another one meanwhile */
        err_clear(e);
        return 0;
    }
    (void)err_wrap(e, "%s", name);
    if (e->code != ERR_CORRUPT && e->code != ERR_LIMIT)
        return -1;
    l->damaged = true;
    buf_done(&l->bytes);
    add(x, STEAL(l), e->msg);
    err_clear(e);
    return 0;
}

struct listed {
    char name[NAME_MAX_LEN]; /* first: they are sorted by it */
    uint64_t bytes;
    struct loaded *loaded;
};

struct listing {
    struct index *index;
    struct listed *segments;
    size_t n, room;
};

static void
listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        loaded_free(l->segments[i].loaded);
    free(l->segments);
}

static int
list_one(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct listing *l = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    (void)e;
    if (!name_parse_index_delta(name, &time_ns, id) ||
        is_loaded(l->index, id) ||
        (l->index->lost && lost_has(l->index->lost, LOST_SEGMENT, id)))
        return 0; /* of others, known, or out of use */
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->segments = xrealloc(l->segments, l->room * sizeof(l->segments[0]));
    }
    struct listed *s = &l->segments[l->n++];
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
    s->bytes = stat->size_bytes;
    s->loaded = loaded_new(id);
    return 0;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool
is_wanted(void *cookie, const uint8_t id[NAME_ID_BYTES])
{
    return is_loaded(cookie, id);
}

/* Some of them, in the order that they have. */
static int
load_some(struct index *x, struct listed *some, size_t n, struct err *e)
{
    CLEANUP(gather_done) struct gather early = {0};

    for (size_t i = 0; i < n; i++)
        if (!get_cached(x, some[i].loaded) && some[i].bytes <= SMALL_BYTES)
            gather_add(&early, x->store, some[i].name, SMALL_BYTES);
    gather_run(&early, 0);
    for (size_t i = 0; i < n; i++)
        if (load(x, &early, some[i].name, STEAL(some[i].loaded), e) == -1)
            return -1;
    return 0;
}

static int
refresh_locked(struct index *x, struct err *e)
{
    CLEANUP(listing_done) struct listing l = {.index = x};

    if (store_list(x->store, "index/d/", list_one, &l, e) == -1)
        return err_wrap(e, "cannot list the index");
    if (l.n > 0)
        qsort(l.segments, l.n, sizeof(l.segments[0]), by_name);
    for (size_t i = 0; i < l.n; i += GATHER_MAX)
        if (load_some(x, l.segments + i, u64_min(GATHER_MAX, l.n - i), e) == -1)
            return -1;
    if (x->cache)
        segcache_sweep(x->cache, is_wanted, x);
    return 0;
}

int
index_refresh(struct index *x, struct err *e)
{
    if (x->lost && lost_refresh(x->lost, e) == -1)
        return -1;
    return index_refresh_rest(x, e);
}

int
index_refresh_rest(struct index *x, struct err *e)
{
    (void)pthread_mutex_lock(&x->refreshing);
    int rc = refresh_locked(x, e);
    (void)pthread_mutex_unlock(&x->refreshing);
    return rc;
}

static const struct loaded *
find_loaded(struct index *x, const uint8_t id[NAME_ID_BYTES])
{
    const struct loaded *l = NULL;

    (void)pthread_rwlock_rdlock(&x->lock);
    for (size_t i = x->n; i > 0 && !l; i--)
        if (memcmp(x->loaded[i - 1]->id, id, NAME_ID_BYTES) == 0)
            l = x->loaded[i - 1];
    (void)pthread_rwlock_unlock(&x->lock);
    return l;
}

int
index_segment(struct index *x, const uint8_t id[NAME_ID_BYTES],
              struct segment *out, struct err *e)
{
    const struct loaded *l = find_loaded(x, id);

    if (!l)
        return 0;
    if (l->damaged)
        return err_set(e, ERR_CORRUPT, "%s", x->damage);
    *out = l->segment;
    return 1;
}

void
index_warm(struct index *x, const uint8_t id[NAME_ID_BYTES])
{
    const struct loaded *l = find_loaded(x, id);

    if (l)
        mapped_warm(&l->mapped);
}

void
index_cool(struct index *x, const uint8_t id[NAME_ID_BYTES])
{
    const struct loaded *l = find_loaded(x, id);

    if (l)
        mapped_cool(&l->mapped);
}

void
index_cool_all(struct index *x)
{
    (void)pthread_rwlock_rdlock(&x->lock);
    for (size_t i = 0; i < x->n; i++)
        mapped_cool(&x->loaded[i]->mapped);
    (void)pthread_rwlock_unlock(&x->lock);
}

int
index_publish(struct index *x, struct segment_builder *b, int64_t now_ns,
              uint64_t *out_bytes, struct err *e)
{
    CLEANUP(buf_done) struct buf sealed = buf_of(SEALED_MAX_BYTES);
    uint8_t id[NAME_ID_BYTES];
    char name[NAME_MAX_LEN];

    rand_bytes(id, sizeof(id));
    name_index_delta(now_ns, id, name);
    CLEANUP(loaded_freep) struct loaded *l = loaded_new(id);
    if (segment_builder_pack(b, x->keys->domain, &l->bytes, e) == -1 ||
        segment_open(l->bytes.p, l->bytes.len, &l->segment, e) == -1 ||
        segment_seal(x->keys, id, l->bytes.p, l->bytes.len, &sealed, e) == -1)
        return -1;

    /* A refresh that lists it before we have added it would load it twice. */
    (void)pthread_mutex_lock(&x->refreshing);
    int rc = store_put_new(x->store, name, sealed.p, sealed.len, e);
    if (rc == 0)
        rc = keep(x, l, e);
    if (rc == 0)
        add(x, STEAL(l), NULL);
    (void)pthread_mutex_unlock(&x->refreshing);
    *out_bytes = sealed.len;
    return rc;
}

static bool
is_lost(const struct index *x, const struct location *at)
{
    return x->lost && lost_has(x->lost, (enum lost_kind)at->kind, at->pack);
}

/* Segments that were merged say the same as the new one. */
static bool
is_new(const struct location *out, size_t n, const struct location *at)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(out[i].pack, at->pack, PACK_NAME_BYTES) == 0)
            return false;
    return true;
}

/* Behind the first n, the places of an object in one segment that are (not)
 * lost, each pack once.  How many there are then. */
static size_t
find_in(const struct index *x, const struct segment *s,
        const uint8_t gid[GID_BYTES], bool lost, struct location *out, size_t n,
        size_t max)
{
    struct location few[2 * INDEX_MAX_LOCATIONS], *at = few;
    CLEANUP(freep) struct location *many = NULL;
    size_t room = ARRAY_LEN(few), found = 0;

    /* What is gone must not hide what is there. */
    while ((found = segment_find(s, gid, at, room)) == room) {
        room *= 4;
        many = xrealloc(many, room * sizeof(*many));
        at = many;
    }
    for (size_t i = 0; i < found && n < max; i++)
        if (is_lost(x, &at[i]) == lost && is_new(out, n, &at[i]))
            out[n++] = at[i];
    return n;
}

static size_t
find(struct index *x, const uint8_t gid[GID_BYTES], bool lost,
     struct location *out, size_t max)
{
    unsigned looks = 0;
    size_t n = 0;

    (void)pthread_rwlock_rdlock(&x->lock);
    /* One miss of the caches after the other would be most of a lookup. */
    for (size_t i = 0; i < x->n; i++)
        if (!x->loaded[i]->damaged)
            segment_prefetch(&x->loaded[i]->segment, gid);
    for (size_t i = x->n; i > 0 && n < max; i--) {
        const struct loaded *l = x->loaded[i - 1];
        if (l->damaged || !segment_maybe(&l->segment, gid))
            continue;
        looks++;
        n = find_in(x, &l->segment, gid, lost, out, n, max);
    }
    (void)pthread_rwlock_unlock(&x->lock);
    count_looks(x, looks);
    return n;
}

size_t
index_find(struct index *x, const uint8_t gid[GID_BYTES],
           struct location out[INDEX_MAX_LOCATIONS])
{
    return find(x, gid, false, out, INDEX_MAX_LOCATIONS);
}

size_t
index_find_all(struct index *x, const uint8_t gid[GID_BYTES],
               struct location **out)
{
    struct location *all = NULL;
    size_t room = 2 * INDEX_MAX_LOCATIONS, n = 0;

    do {
        room *= 4;
        all = xrealloc(all, room * sizeof(*all));
        n = find(x, gid, false, all, room);
    } while (n == room);
    *out = all;
    return n;
}

int
index_find_lost(struct index *x, const uint8_t gid[GID_BYTES],
                struct location *out)
{
    return (int)find(x, gid, true, out, 1);
}

bool
index_damage(struct index *x, char *out, size_t room)
{
    (void)pthread_rwlock_rdlock(&x->lock);
    bool any = x->damage[0] != '\0';
    (void)snprintf(out, room, "%s", x->damage);
    (void)pthread_rwlock_unlock(&x->lock);
    return any;
}
