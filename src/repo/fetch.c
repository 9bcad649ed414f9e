/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/fetch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/gidset.h"
#include "repo/index.h"
#include "repo/keyring.h"
#include "repo/ranges.h"
#include "store/store_together.h"

struct fetched_node {
    struct fetched_node *next;
    unsigned pins;
    uint64_t used;
    uint8_t h[CAPABILITY_BYTES];
    struct node *node;
};

struct idle_sealer {
    struct idle_sealer *next;
    struct sealer *sealer;
    uint8_t *leaf; /* room for one that is to be spread; NULL until needed */
};

struct fetch {
    const struct keyring *keys;
    struct index *index;
    struct ranges *ranges;
    bool is_distant;
    pthread_mutex_t lock; /* guards all below */
    struct idle_sealer *idle;
    struct fetched_node *nodes;
    unsigned n_nodes;
    uint64_t uses;
    struct gidset damaged;
};

struct fetch *
fetch_new(struct store *st, const struct keyring *k, struct index *x)
{
    struct fetch *f = xcalloc(1, sizeof(*f));

    f->keys = k;
    f->index = x;
    f->ranges = ranges_new(st, FETCH_CACHE_BYTES);
    f->is_distant = store_width(st) > 1;
    (void)pthread_mutex_init(&f->lock, NULL);
    return f;
}

void
fetch_free(struct fetch *f)
{
    if (!f)
        return;
    while (f->idle) {
        struct idle_sealer *i = f->idle;
        f->idle = i->next;
        sealer_free(i->sealer);
        free(i->leaf);
        free(i);
    }
    while (f->nodes) {
        struct fetched_node *n = f->nodes;
        f->nodes = n->next;
        node_free(n->node);
        free(n);
    }
    ranges_free(f->ranges);
    gidset_done(&f->damaged);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

void
fetch_settle(struct fetch *f)
{
    ranges_settle(f->ranges);
}

void
fetch_clear(struct fetch *f)
{
    ranges_clear(f->ranges);
}

static struct idle_sealer *
take_sealer(struct fetch *f)
{
    (void)pthread_mutex_lock(&f->lock);
    struct idle_sealer *i = f->idle;
    if (i)
        f->idle = i->next;
    (void)pthread_mutex_unlock(&f->lock);
    if (!i) {
        i = xcalloc(1, sizeof(*i));
        i->sealer = sealer_new(f->keys, CODEC_LEVEL_DEFAULT);
    }
    return i;
}

static void
give_sealer(struct fetch *f, struct idle_sealer *i)
{
    (void)pthread_mutex_lock(&f->lock);
    i->next = f->idle;
    f->idle = i;
    (void)pthread_mutex_unlock(&f->lock);
}

/* ---- one object ------------------------------------------------------ */

/* An object that is wanted, and where it is. */
struct wanted {
    struct object_name name;
    enum object_type type;
    struct location at[INDEX_MAX_LOCATIONS];
    size_t n_at;
    uint32_t run_offset, run_len; /* what to read of the pack at[0] */
    size_t number;                /* among the caller's */
    uint8_t *out;                 /* leaf */
    size_t len;
    struct node **out_node;
};

static int
is_nowhere(struct fetch *f, const struct wanted *w, struct err *e)
{
    char hex[2 * GID_BYTES + 1], pack[NAME_MAX_LEN];
    char damage[ERR_MSG_MAX];
    struct location lost;

    hex_encode(w->name.id, GID_BYTES, hex);
    if (index_find_lost(f->index, w->name.id, &lost) > 0) {
        name_pack(lost.kind, lost.pack, pack);
        return err_set(e, ERR_CORRUPT,
                       "object %s is lost with %s; a backup of the same data "
                       "brings it back",
                       hex, pack);
    }
    (void)err_set(e, ERR_CORRUPT, "object %s is in no index", hex);
    if (index_damage(f->index, damage, sizeof(damage)))
        (void)err_hint(e, "the cause may be %s", damage);
    return -1;
}

static int
locate(struct fetch *f, struct wanted *w, struct err *e)
{
    w->n_at = index_find(f->index, w->name.id, w->at);
    if (w->n_at == 0) { /* stored by another since we loaded the index? */
        if (index_refresh(f->index, e) == -1)
            return -1;
        w->n_at = index_find(f->index, w->name.id, w->at);
    }
    if (w->n_at == 0)
        return is_nowhere(f, w, e);
    w->run_offset = w->at[0].offset;
    w->run_len = w->at[0].len;
    return 0;
}

/* Open the sealed bytes and hand the content over. */
static int
open_object(struct sealer *s, struct wanted *w, const uint8_t *sealed,
            size_t len, struct err *e)
{
    const uint8_t *entries = NULL;
    size_t n = 0;

    if (w->type == OBJECT_LEAF)
        return object_open_leaf(s, &w->name, sealed, len, w->out, w->len, e);
    if (object_open_node(s, &w->name, sealed, len, &entries, &n, e) == -1)
        return -1;
    return node_unpack(entries, n, w->out_node, e);
}

/* From its i-th place. */
static int
fetch_from(struct fetch *f, struct sealer *s, struct wanted *w, size_t i,
           struct err *e)
{
    const struct location *at = &w->at[i];
    uint32_t run_offset = i == 0 ? w->run_offset : at->offset;
    uint32_t run_len = i == 0 ? w->run_len : at->len;
    const uint8_t *bytes = NULL;
    struct range *range = NULL;
    char pack[NAME_MAX_LEN], hex[2 * GID_BYTES + 1];
    int rc = 0;

    name_pack(at->kind, at->pack, pack);
    hex_encode(w->name.id, GID_BYTES, hex);
    if (at->type != w->type)
        rc = err_set(e, ERR_CORRUPT, "the index says that it is of type %u",
                     at->type);
    else
        rc = ranges_get(f->ranges, at, run_offset, run_len, &range, &bytes, e);
    if (rc == 0) {
        rc = open_object(s, w, bytes, at->len, e);
        if (rc == 0)
            ranges_put(f->ranges, range);
        else
            ranges_drop(f->ranges, range);
    }
    return rc == 0 ? 0 : err_wrap(e, "object %s in %s", hex, pack);
}

/* From the first of its places that has it whole. */
static int
fetch_any(struct fetch *f, struct sealer *s, struct wanted *w, struct err *e)
{
    for (size_t i = 0; i < w->n_at; i++) {
        struct err failure = {0};
        if (fetch_from(f, s, w, i, &failure) == 0) {
            err_clear(e);
            return 0;
        }
        if (e->code == ERR_OK)
            *e = failure;
    }
    return -1;
}

static bool
was_tried(const struct wanted *w, const struct location *at)
{
    for (size_t i = 0; i < w->n_at; i++)
        if (memcmp(w->at[i].pack, at->pack, PACK_NAME_BYTES) == 0)
            return true;
    return false;
}

/* From a place that was not tried: beyond the first, or one to which
 * maintenance has moved it, which a newer segment knows.  0 if one has it. */
static int
fetch_elsewhere(struct fetch *f, struct sealer *s, const struct wanted *w,
                bool is_gone)
{
    CLEANUP(freep) struct location *all = NULL;
    struct err ignored = {0};

    if (is_gone)
        (void)index_refresh(f->index, &ignored); /* else what we know */
    size_t n = index_find_all(f->index, w->name.id, &all);
    for (size_t i = 0; i < n; i++) {
        struct wanted one = *w;
        struct err why = {0};
        one.at[0] = all[i];
        one.n_at = 1;
        one.run_offset = all[i].offset;
        one.run_len = all[i].len;
        if (!was_tried(w, &all[i]) && fetch_from(f, s, &one, 0, &why) == 0)
            return 0;
    }
    return -1;
}

static int
fetch_one(struct fetch *f, struct sealer *s, struct wanted *w, struct err *e)
{
    if (fetch_any(f, s, w, e) == 0)
        return 0;
    if (fetch_elsewhere(f, s, w, e->code == ERR_NOENT) == 0) {
        err_clear(e);
        return 0;
    }
    if (e->code == ERR_NOENT) /* to who reads a backup, that is damage */
        e->code = ERR_CORRUPT;
    if (e->code == ERR_CORRUPT) {
        (void)pthread_mutex_lock(&f->lock);
        (void)gidset_add(&f->damaged, w->name.id);
        (void)pthread_mutex_unlock(&f->lock);
    }
    return -1;
}

bool
fetch_has_failed(struct fetch *f, const uint8_t gid[GID_BYTES])
{
    (void)pthread_mutex_lock(&f->lock);
    bool has = gidset_has(&f->damaged, gid);
    (void)pthread_mutex_unlock(&f->lock);
    return has;
}

/* ---- nodes ----------------------------------------------------------- */

const struct node *
fetched_node(const struct fetched_node *n)
{
    return n->node;
}

static struct fetched_node *
cached_node(struct fetch *f, const uint8_t h[CAPABILITY_BYTES])
{
    (void)pthread_mutex_lock(&f->lock);
    struct fetched_node *n = f->nodes;
    while (n && memcmp(n->h, h, CAPABILITY_BYTES) != 0)
        n = n->next;
    if (n) {
        n->pins++;
        n->used = ++f->uses;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

static void
evict_locked(struct fetch *f)
{
    struct fetched_node **oldest = NULL;

    for (struct fetched_node **at = &f->nodes; *at; at = &(*at)->next)
        if ((*at)->pins == 0 && (!oldest || (*at)->used < (*oldest)->used))
            oldest = at;
    if (!oldest)
        return;
    struct fetched_node *gone = *oldest;
    *oldest = gone->next;
    node_free(gone->node);
    free(gone);
    f->n_nodes--;
}

static struct fetched_node *
keep_node(struct fetch *f, const uint8_t h[CAPABILITY_BYTES], struct node *node)
{
    struct fetched_node *n = xcalloc(1, sizeof(*n));

    memcpy(n->h, h, CAPABILITY_BYTES);
    n->node = node;
    n->pins = 1;
    (void)pthread_mutex_lock(&f->lock);
    if (f->n_nodes >= FETCH_NODES)
        evict_locked(f);
    n->used = ++f->uses;
    n->next = f->nodes;
    f->nodes = n;
    f->n_nodes++;
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

/* The neighbours in a pack of nodes are those that will be wanted next. */
static void
widen(struct wanted *w)
{
    const struct location *at = &w->at[0];
    uint32_t start = at->offset / FETCH_NODE_BYTES * FETCH_NODE_BYTES;
    uint64_t end =
        u64_max((uint64_t)at->offset + at->len, start + FETCH_NODE_BYTES);

    w->run_offset = start;
    w->run_len = (uint32_t)(u64_min(end, at->pack_bytes) - start);
}

int
fetch_node(struct fetch *f, const uint8_t h[CAPABILITY_BYTES], uint8_t level,
           struct fetched_node **out, struct err *e)
{
    struct fetched_node *kept = cached_node(f, h);

    if (!kept) {
        struct node *node = NULL;
        struct wanted w = {.type = OBJECT_NODE, .out_node = &node};
        object_name_of(h, &w.name);
        if (locate(f, &w, e) == -1)
            return -1;
        widen(&w);
        struct idle_sealer *s = take_sealer(f);
        int rc = fetch_one(f, s->sealer, &w, e);
        give_sealer(f, s);
        if (rc == -1)
            return -1;
        kept = keep_node(f, h, node);
    }
    if (kept->node->level != level) {
        fetch_node_put(f, kept);
        return err_set(e, ERR_CORRUPT,
                       "a node of the tree is on the wrong level");
    }
    *out = kept;
    return 0;
}

void
fetch_node_put(struct fetch *f, struct fetched_node *n)
{
    if (!n)
        return;
    (void)pthread_mutex_lock(&f->lock);
    n->pins--;
    (void)pthread_mutex_unlock(&f->lock);
}

/* ---- leaves ---------------------------------------------------------- */

static int
by_place(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    int order = memcmp(x->at[0].pack, y->at[0].pack, PACK_NAME_BYTES);

    if (order != 0)
        return order;
    return (x->at[0].offset > y->at[0].offset) -
           (x->at[0].offset < y->at[0].offset);
}

static int
locate_all(struct fetch *f, const struct fetch_leaf *leaves, size_t n,
           struct wanted *w, size_t *out_failed, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        w[i] = (struct wanted){.type = OBJECT_LEAF,
                               .number = i,
                               .out = leaves[i].out,
                               .len = leaves[i].len};
        object_name_of(leaves[i].h, &w[i].name);
        if (locate(f, &w[i], e) == -1) {
            *out_failed = i;
            return -1;
        }
    }
    return 0;
}

/* Sorts them, and says where they are. */
static const struct location **
in_order(struct wanted *w, size_t n)
{
    const struct location **at = xcalloc(n + 1, sizeof(void *));

    qsort(w, n, sizeof(*w), by_place);
    for (size_t i = 0; i < n; i++)
        at[i] = &w[i].at[0];
    return at;
}

bool
fetch_is_distant(const struct fetch *f)
{
    return f->is_distant;
}

void
fetch_expect(struct fetch *f, const struct fetch_leaf *leaves, size_t n)
{
    CLEANUP(freep) struct wanted *w = xcalloc(n + 1, sizeof(*w));
    size_t known = 0;

    for (size_t i = 0; i < n; i++) {
        object_name_of(leaves[i].h, &w[known].name);
        known += index_find(f->index, w[known].name.id, w[known].at) > 0;
    }
    CLEANUP(freep) const struct location **at = in_order(w, known);
    ranges_want(f->ranges, at, known, false);
}

/* Into the caller's memory, or ours and from there by `spread`. */
static int
fetch_leaf(struct fetch *f, struct idle_sealer *s, struct wanted *w,
           fetch_spread_fn *spread, void *cookie, struct err *e)
{
    bool is_spread = w->out == NULL;

    if (is_spread && !s->leaf)
        s->leaf = xmalloc(OBJECT_PLAIN_MAX);
    if (is_spread)
        w->out = s->leaf;
    if (fetch_one(f, s->sealer, w, e) == -1)
        return -1;
    if (is_spread)
        spread(cookie, w->number, s->leaf);
    return 0;
}

int
fetch_leaves(struct fetch *f, const struct fetch_leaf *leaves, size_t n,
             fetch_spread_fn *spread, void *cookie, size_t *out_failed,
             struct err *e)
{
    CLEANUP(freep) struct wanted *w = xcalloc(n, sizeof(*w));
    size_t unasked = 0;
    int rc = 0;

    if (!out_failed)
        out_failed = &unasked;
    if (locate_all(f, leaves, n, w, out_failed, e) == -1)
        return -1;
    CLEANUP(freep) const struct location **at = in_order(w, n);
    ranges_want(f->ranges, at, n, true);
    struct idle_sealer *s = take_sealer(f);
    for (size_t i = 0; i < n && rc == 0; i++) {
        (void)ranges_run(f->ranges, at + i, n - i, &w[i].run_offset,
                         &w[i].run_len);
        rc = fetch_leaf(f, s, &w[i], spread, cookie, e);
        if (rc == -1)
            *out_failed = w[i].number;
    }
    give_sealer(f, s);
    return rc;
}
