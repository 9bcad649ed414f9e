/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ranges.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/name.h"
#include "store/store.h"
#include "work/pool.h"

enum { MAX_RANGES = 512 };

enum range_state { QUEUED, LOADING, READY, FAILED, DROPPED };

struct range {
    struct range *next;
    enum range_state state;
    unsigned pins; /* a LOADING one has at least one */
    bool fresh;    /* wanted, and nobody got it yet */
    uint64_t used; /* by the cache's count of uses */
    uint8_t pack[PACK_NAME_BYTES];
    enum pack_kind kind;
    uint32_t offset, len;
    uint8_t *bytes;  /* written by whoever loads, read-only once READY */
    struct err *why; /* FAILED */
};

struct ranges {
    struct store *store;
    size_t max_bytes;
    pthread_mutex_t lock; /* guards all below, and all ranges but their bytes */
    pthread_cond_t loaded;
    pthread_cond_t queued; /* something is, or the loaders are to end */
    struct range *first;
    size_t n, bytes;
    uint64_t uses;
    bool closing;
    struct thread *loaders[RANGES_LOADERS]; /* not under the lock */
    bool has_loaders;
};

struct ranges *
ranges_new(struct store *st, size_t max_bytes)
{
    struct ranges *r = xcalloc(1, sizeof(*r));

    r->store = st;
    r->max_bytes = max_bytes;
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->loaded, NULL);
    (void)pthread_cond_init(&r->queued, NULL);
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
    free(gone->why);
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
    (void)pthread_mutex_lock(&r->lock);
    r->closing = true;
    (void)pthread_cond_broadcast(&r->queued);
    (void)pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < RANGES_LOADERS; i++)
        thread_join(r->loaders[i]);
    while (r->first)
        remove_locked(r, &r->first);
    (void)pthread_cond_destroy(&r->queued);
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

/* What is to go next: the least recently used; or, if it must be something that
 * was wanted and not got yet, what was wanted last.  NULL: all is in use. */
static struct range **
victim_locked(struct ranges *r, bool must)
{
    struct range **oldest = NULL, **last = NULL;

    for (struct range **at = &r->first; *at; at = &(*at)->next) {
        if ((*at)->pins > 0)
            continue;
        if (!(*at)->fresh && (!oldest || (*at)->used < (*oldest)->used))
            oldest = at;
        if ((*at)->fresh && (!last || (*at)->used > (*last)->used))
            last = at;
    }
    return oldest || !must ? oldest : last;
}

/* True if there is room for `len` bytes more. */
static bool
make_room_locked(struct ranges *r, size_t len, bool must)
{
    while (r->n >= MAX_RANGES || (r->n > 0 && r->bytes + len > r->max_bytes)) {
        struct range **gone = victim_locked(r, must);
        if (!gone)
            return false;
        remove_locked(r, gone);
    }
    return true;
}

static struct range *
add_locked(struct ranges *r, const struct location *at, uint32_t run_offset,
           uint32_t run_len)
{
    struct range *x = xcalloc(1, sizeof(*x));

    *x = (struct range){.next = r->first,
                        .state = QUEUED,
                        .used = ++r->uses,
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

/* Whoever calls it has found it queued; the lock is given up meanwhile. */
static int
load_locked(struct ranges *r, struct range *x, struct err *e)
{
    char name[NAME_MAX_LEN];

    assert(x->state == QUEUED);
    x->state = LOADING;
    x->pins++;
    (void)pthread_mutex_unlock(&r->lock);
    name_pack(x->kind, x->pack, name);
    int rc = store_get(r->store, name, x->offset, x->bytes, x->len, e);
    (void)pthread_mutex_lock(&r->lock);
    x->state = rc == 0 ? READY : DROPPED;
    (void)pthread_cond_broadcast(&r->loaded);
    return rc;
}

/* ---- what is wanted ---------------------------------------------------- */

static struct range *
next_queued_locked(struct ranges *r)
{
    struct range *oldest = NULL;

    for (struct range *x = r->first; x; x = x->next)
        if (x->state == QUEUED && (!oldest || x->used < oldest->used))
            oldest = x;
    return oldest;
}

static void
loader(void *arg)
{
    struct ranges *r = arg;

    (void)pthread_mutex_lock(&r->lock);
    while (!r->closing) {
        struct range *x = next_queued_locked(r);
        struct err e = {0};
        if (!x) {
            (void)pthread_cond_wait(&r->queued, &r->lock);
            continue;
        }
        if (load_locked(r, x, &e) == -1) {
            x->state = FAILED;
            x->why = xmalloc(sizeof(e));
            *x->why = e;
        }
        unpin_locked(r, x);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

/* They would wait for each other if they were started under the lock. */
static void
start_loaders(struct ranges *r)
{
    (void)pthread_mutex_lock(&r->lock);
    bool is_first = !r->has_loaders;
    r->has_loaders = true;
    (void)pthread_mutex_unlock(&r->lock);
    for (int i = 0; is_first && i < RANGES_LOADERS; i++)
        r->loaders[i] = thread_start(loader, r);
}

/* Is a part of [from, to) of the pack here, or about to be? */
static bool
touches_locked(const struct ranges *r, const uint8_t pack[PACK_NAME_BYTES],
               uint64_t from, uint64_t to)
{
    for (const struct range *x = r->first; x; x = x->next)
        if (x->state != DROPPED && x->offset < to &&
            from < (uint64_t)x->offset + x->len &&
            memcmp(x->pack, pack, PACK_NAME_BYTES) == 0)
            return true;
    return false;
}

/* Over small gaps, up to what is here already. */
static void
run_locked(const struct ranges *r, const struct location *const *at, size_t n,
           uint32_t *out_offset, uint32_t *out_len)
{
    uint32_t start = at[0]->offset;
    uint64_t end = start + (uint64_t)at[0]->len;

    for (size_t i = 1; i < n; i++) {
        const struct location *x = at[i];
        uint64_t to = u64_max(end, x->offset + (uint64_t)x->len);
        if (memcmp(x->pack, at[0]->pack, PACK_NAME_BYTES) != 0 ||
            x->offset > end + RANGES_GAP_BYTES ||
            to > start + (uint64_t)RANGES_RUN_BYTES ||
            touches_locked(r, x->pack, end, to))
            break;
        end = to;
    }
    *out_offset = start;
    *out_len = (uint32_t)(end - start);
}

bool
ranges_run(struct ranges *r, const struct location *const *at, size_t n,
           uint32_t *out_offset, uint32_t *out_len)
{
    (void)pthread_mutex_lock(&r->lock);
    bool is_missing = !find_locked(r, at[0]);
    if (is_missing)
        run_locked(r, at, n, out_offset, out_len);
    (void)pthread_mutex_unlock(&r->lock);
    return is_missing;
}

/* What is wanted for later must not drive out, read already, what is wanted
 * now: a part of the room is left for that. */
static bool
is_too_much_locked(const struct ranges *r, size_t len)
{
    size_t busy = len;

    for (const struct range *x = r->first; x; x = x->next)
        if (x->pins > 0 || x->fresh)
            busy += x->len;
    return busy > r->max_bytes / 4 * 3;
}

void
ranges_want(struct ranges *r, const struct location *const *at, size_t n,
            bool at_once)
{
    unsigned wanted = 0;

    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++) {
        uint32_t offset = 0, len = 0;
        if (find_locked(r, at[i]))
            continue;
        run_locked(r, at + i, n - i, &offset, &len);
        if ((!at_once && is_too_much_locked(r, len)) ||
            !make_room_locked(r, len, false))
            break;
        add_locked(r, at[i], offset, len)->fresh = true;
        wanted++;
    }
    (void)pthread_cond_broadcast(&r->queued);
    (void)pthread_mutex_unlock(&r->lock);
    if (wanted > (at_once ? 1 : 0)) /* the first is read by who gets it */
        start_loaders(r);
}

static bool
is_loading_locked(const struct ranges *r)
{
    for (const struct range *x = r->first; x; x = x->next)
        if (x->state == LOADING)
            return true;
    return false;
}

void
ranges_settle(struct ranges *r)
{
    (void)pthread_mutex_lock(&r->lock);
    for (struct range **at = &r->first; *at;)
        if ((*at)->state == QUEUED && (*at)->pins == 0)
            remove_locked(r, at);
        else
            at = &(*at)->next;
    while (is_loading_locked(r))
        (void)pthread_cond_wait(&r->loaded, &r->lock);
    (void)pthread_mutex_unlock(&r->lock);
}

/* ---- getting ----------------------------------------------------------- */

/* What another's read has failed with, once. */
static int
fail_locked(struct ranges *r, struct range *x, struct err *e)
{
    *e = *x->why;
    x->state = DROPPED;
    x->pins++;
    unpin_locked(r, x);
    return -1;
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
    if (!x) {
        /* If all is in use, it is over the limit for a moment. */
        (void)make_room_locked(r, run_len, true);
        x = add_locked(r, at, run_offset, run_len);
    }
    if (x->state == FAILED) {
        rc = fail_locked(r, x, e);
    } else {
        if (x->state == QUEUED)
            rc = load_locked(r, x, e);
        else
            x->pins++;
        x->fresh = false;
        x->used = ++r->uses;
        if (rc == -1)
            unpin_locked(r, x);
    }
    if (rc == 0) {
        *out = x;
        *out_bytes = x->bytes + (at->offset - x->offset);
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
