/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ranges.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "repo/name.h"
#include "store/store.h"

enum { MAX_RANGES = 512 };

enum range_state { LOADING, READY, DROPPED };

struct range {
    struct range *next;
    enum range_state state;
    unsigned pins;
    uint64_t used; /* by the cache's count of uses */
    uint8_t pack[PACK_NAME_BYTES];
    enum pack_kind kind;
    uint32_t offset, len;
    uint8_t *bytes; /* written by whoever loads, read-only once READY */
};

struct ranges {
    struct store *store;
    size_t max_bytes;
    pthread_mutex_t lock; /* guards all below, and all ranges but their bytes */
    pthread_cond_t loaded;
    struct range *first;
    size_t n, bytes;
    uint64_t uses;
};

struct ranges *
ranges_new(struct store *st, size_t max_bytes)
{
    struct ranges *r = xcalloc(1, sizeof(*r));

    r->store = st;
    r->max_bytes = max_bytes;
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->loaded, NULL);
    return r;
}

/* Unlinks and frees *at. */
static void
remove_locked(struct ranges *r, struct range **at)
{
    struct range *gone = *at;

    assert(gone->pins == 0);
    *at = gone->next;
    r->bytes -= gone->len;
    r->n--;
    free(gone->bytes);
    free(gone);
}

void
ranges_clear(struct ranges *r)
{
    (void)pthread_mutex_lock(&r->lock);
    for (struct range **at = &r->first; *at;)
        if ((*at)->pins == 0)
            remove_locked(r, at);
        else
            at = &(*at)->next;
    (void)pthread_mutex_unlock(&r->lock);
}

void
ranges_free(struct ranges *r)
{
    if (!r)
        return;
    while (r->first)
        remove_locked(r, &r->first);
    (void)pthread_cond_destroy(&r->loaded);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct range *
find_locked(struct ranges *r, const struct location *at)
{
    for (struct range *x = r->first; x; x = x->next)
        if (x->state != DROPPED && x->offset <= at->offset &&
            at->offset + at->len <= x->offset + x->len &&
            memcmp(x->pack, at->pack, PACK_NAME_BYTES) == 0)
            return x;
    return NULL;
}

bool
ranges_has(struct ranges *r, const struct location *at)
{
    (void)pthread_mutex_lock(&r->lock);
    bool has = find_locked(r, at) != NULL;
    (void)pthread_mutex_unlock(&r->lock);
    return has;
}

static void
make_room_locked(struct ranges *r, size_t len)
{
    while (r->n >= MAX_RANGES || (r->n > 0 && r->bytes + len > r->max_bytes)) {
        struct range **oldest = NULL;
        for (struct range **at = &r->first; *at; at = &(*at)->next)
            if ((*at)->pins == 0 && (!oldest || (*at)->used < (*oldest)->used))
                oldest = at;
        if (!oldest)
            return; /* all in use: over the limit for a moment */
        remove_locked(r, oldest);
    }
}

static struct range *
add_locked(struct ranges *r, const struct location *at, uint32_t run_offset,
           uint32_t run_len)
{
    struct range *x = xcalloc(1, sizeof(*x));

    make_room_locked(r, run_len);
    *x = (struct range){.next = r->first,
                        .state = LOADING,
                        .kind = at->kind,
                        .offset = run_offset,
                        .len = run_len};
    memcpy(x->pack, at->pack, PACK_NAME_BYTES);
    x->bytes = xmalloc(run_len);
    r->first = x;
    r->bytes += run_len;
    r->n++;
    return x;
}

/* The pin that the caller has on x goes. */
static void
unpin_locked(struct ranges *r, struct range *x)
{
    assert(x->pins > 0);
    if (--x->pins > 0 || x->state != DROPPED)
        return;
    for (struct range **at = &r->first; *at; at = &(*at)->next)
        if (*at == x) {
            remove_locked(r, at);
            return;
        }
}

static int
load(struct ranges *r, struct range *x, struct err *e)
{
    char name[NAME_MAX_LEN];

    name_pack(x->kind, x->pack, name);
    return store_get(r->store, name, x->offset, x->bytes, x->len, e);
}

int
ranges_get(struct ranges *r, const struct location *at, uint32_t run_offset,
           uint32_t run_len, struct range **out, const uint8_t **out_bytes,
           struct err *e)
{
    int rc = 0;

    assert(run_offset <= at->offset &&
           at->offset + at->len <= run_offset + run_len);
    (void)pthread_mutex_lock(&r->lock);
    struct range *x = find_locked(r, at);
    while (x && x->state == LOADING) {
        (void)pthread_cond_wait(&r->loaded, &r->lock);
        x = find_locked(r, at); /* it may have failed, or be gone by now */
    }
    if (x) {
        x->pins++;
    } else {
        x = add_locked(r, at, run_offset, run_len);
        x->pins++;
        (void)pthread_mutex_unlock(&r->lock);
        rc = load(r, x, e);
        (void)pthread_mutex_lock(&r->lock);
        x->state = rc == 0 ? READY : DROPPED;
        (void)pthread_cond_broadcast(&r->loaded);
    }
    x->used = ++r->uses;
    if (rc == 0) {
        *out = x;
        *out_bytes = x->bytes + (at->offset - x->offset);
    } else {
        unpin_locked(r, x);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

void
ranges_put(struct ranges *r, struct range *range)
{
    (void)pthread_mutex_lock(&r->lock);
    unpin_locked(r, range);
    (void)pthread_mutex_unlock(&r->lock);
}

void
ranges_drop(struct ranges *r, struct range *range)
{
    (void)pthread_mutex_lock(&r->lock);
    range->state = DROPPED;
    unpin_locked(r, range);
    (void)pthread_mutex_unlock(&r->lock);
}
