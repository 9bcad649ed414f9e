/* SPDX-License-Identifier: Apache-2.0 */
/* g1, its second half: what is alive, and which copy of it is kept. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/gc.h"
#include "repo/gidlist.h"
#include "repo/index.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "repo/sync.h"
#include "repo/walk.h"
#include "store/store.h"
#include "work/cancel.h"

enum {
    MARK_TRIES = 16,
#ifndef PROTOCOL_SWITCHES
    LEAVES_MIN = 8 << 20,  /* 128 MiB: three rounds for 1 TiB */
    LEAVES_MAX = 24 << 20, /* 384 MiB: some ten rounds for 10 TiB */
#else
    LEAVES_MIN = 3, /* so that the tests have many rounds */
    LEAVES_MAX = 3,
#endif
    LEAVES_PART = 10, /* of the entries of the index */
    AHEAD = 16, /* entries that are made ready before they are looked up, */
    FAR_AHEAD = 2 * AHEAD, /* in two steps */
    SPARSE = 8 /* a search costs as much as so many entries in a row */
};

/* ---- what is alive --------------------------------------------------- */

/* Where an object is, by all that there is: newest segment first. */
struct place {
    const uint8_t *gid;
    size_t before;        /* the segments that were not looked at */
    struct gc_segment *s; /* NULL before the first */
    uint32_t entry;
    uint32_t pack; /* our number */
};

static bool
next_place(const struct gc *g, struct place *p)
{
    bool more =
        p->s && ++p->entry < p->s->segment.n_entries &&
        memcmp(segment_gid(&p->s->segment, p->entry), p->gid, GID_BYTES) == 0;

    while (!more && p->before > 0) {
        p->s = &g->segments[--p->before];
        more = !p->s->gone && segment_maybe(&p->s->segment, p->gid) &&
               segment_first(&p->s->segment, p->gid, &p->entry);
    }
    if (more)
        p->pack = p->s->packs[segment_pack_of(&p->s->segment, p->entry)];
    return more;
}

static struct place
place_of(const struct gc *g, const uint8_t gid[GID_BYTES])
{
    for (size_t i = 0; i < g->n_segments; i++)
        if (!g->segments[i].gone)
            segment_prefetch(&g->segments[i].segment, gid);
    return (struct place){.gid = gid, .before = g->n_segments};
}

/* Each pack that is there once, at most so many. */
static size_t
find_places(const struct gc *g, const uint8_t gid[GID_BYTES],
            struct location out[INDEX_MAX_LOCATIONS])
{
    struct place p = place_of(g, gid);
    size_t n = 0;

    while (n < INDEX_MAX_LOCATIONS && next_place(g, &p)) {
        bool known = !g->packs[p.pack].listed;
        for (size_t k = 0; k < n && !known; k++)
            known = memcmp(out[k].pack, g->packs[p.pack].name,
                           PACK_NAME_BYTES) == 0;
        if (!known)
            (void)segment_entry(&p.s->segment, p.entry, &out[n++]);
    }
    return n;
}

/* An object that a backup needs, and nobody has: say who had it. */
static int
is_nowhere(const struct gc *g, const uint8_t gid[GID_BYTES], struct err *e)
{
    char hex[2 * GID_BYTES + 1], pack[NAME_MAX_LEN];
    struct location at;

    hex_encode(gid, GID_BYTES, hex);
    for (size_t i = 0; i < g->n_segments; i++) {
        const struct gc_segment *s = &g->segments[i];
        if (s->gone || segment_find(&s->segment, gid, &at, 1) == 0)
            continue;
        name_pack(at.kind, at.pack, pack);
        return err_set(e, ERR_CORRUPT,
                       "object %s, which a backup needs, is in no pack: %s is "
                       "%s",
                       hex, pack,
                       g->packs[gc_pack_number(g, at.pack)].lost
                           ? "damaged and out of use"
                           : "gone from the storage");
    }
    return err_set(e, ERR_CORRUPT,
                   "object %s, which a backup needs, is in no pack and in no "
                   "index",
                   hex);
}

/* A backup may have been published since we listed the packs. */
static int
locate(void *cookie, const uint8_t gid[GID_BYTES],
       struct location out[INDEX_MAX_LOCATIONS], struct err *e)
{
    struct gc *g = cookie;
    size_t n = find_places(g, gid, out);

    if (n > 0)
        return (int)n;
    if (gc_look_at_packs(g, e) == -1)
        return -1;
    n = find_places(g, gid, out);
    return n > 0 ? (int)n : is_nowhere(g, gid, e);
}

/*
 * Marking.  A search in each segment for each object would take longer the
 * more segments there are, and read all of the index in no order.  So ids are
 * gathered, sorted, and then held against one segment after the other, each
 * from its first entry to its last.
 */
struct join {
    const struct gidlist *list;
    uint64_t *old;           /* bits: it was marked before, */
    uint64_t *there;         /* a pack that is there has it, */
    uint64_t *once;          /* and some segment's own pack */
    struct walk_node *nodes; /* or NULL: where each is */
};

static bool
get_bit(const uint64_t *bits, size_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

/* What it was before. */
static bool
set_bit(uint64_t *bits, size_t i)
{
    bool was = get_bit(bits, i);

    bits[i / 64] |= UINT64_C(1) << (i % 64);
    return was;
}

static uint64_t *
bits_new(size_t n)
{
    return xcalloc(n / 64 + 1, sizeof(uint64_t));
}

bool
gc_is_live(const struct gc_segment *s, uint32_t i)
{
    return get_bit(s->live, i);
}

/* The k-th entry of a segment is the i-th of the list. */
static void
join_entry(struct gc *g, struct join *j, uint32_t number, uint32_t k, size_t i)
{
    struct gc_segment *s = &g->segments[number];
    uint32_t pack = s->packs[segment_pack_of(&s->segment, k)];

    if (set_bit(s->live, k))
        (void)set_bit(j->old, i);
    if (!g->packs[pack].listed)
        return;
    if (!set_bit(j->there, i) && j->nodes)
        (void)segment_entry(&s->segment, k, &j->nodes[i].at);
    /* Many segments may name the pack; one counts. */
    if (g->packs[pack].owner == number && set_bit(j->once, i))
        (void)gidnum_add(&g->shared, j->list->gids[i], GC_NO_KEEPER);
}

static void
join_few(struct gc *g, struct join *j, uint32_t number)
{
    const struct segment *s = &g->segments[number].segment;

    for (size_t i = 0; i < j->list->n; i++) {
        const uint8_t *gid = j->list->gids[i];
        uint32_t k = 0;
        if (!segment_maybe(s, gid) || !segment_first(s, gid, &k))
            continue;
        for (;
             k < s->n_entries && memcmp(segment_gid(s, k), gid, GID_BYTES) == 0;
             k++)
            join_entry(g, j, number, k, i);
    }
}

static void
join_many(struct gc *g, struct join *j, uint32_t number)
{
    const struct segment *s = &g->segments[number].segment;
    size_t i = 0;

    index_warm(g->repo->index, g->segments[number].id);
    for (uint32_t k = 0; k < s->n_entries; k++) {
        if (s->n_entries - k > FAR_AHEAD) {
            gidlist_prefetch(j->list, segment_gid(s, k + FAR_AHEAD));
            gidlist_prefetch_ids(j->list, segment_gid(s, k + AHEAD));
        }
        if (gidlist_find(j->list, segment_gid(s, k), &i))
            join_entry(g, j, number, k, i);
    }
}

/* Newest segment first, as lookups do. */
static int
join_all(struct gc *g, struct join *j, struct err *e)
{
    for (size_t number = g->n_segments; number-- > 0;) {
        const struct gc_segment *s = &g->segments[number];
        if (cancel_check(g->cancel, e) == -1)
            return -1;
        if (!s->owns)
            continue;
        if (j->list->n < s->segment.n_entries / SPARSE)
            join_few(g, j, (uint32_t)number);
        else
            join_many(g, j, (uint32_t)number);
        index_cool(g->repo->index, s->id);
    }
    return 0;
}

/* Marks what is in the list (sorted), which with `nodes` (of as many) learns
 * what is new and where it is. */
static int
mark_list(struct gc *g, const struct gidlist *list, struct walk_node *nodes,
          struct err *e)
{
    CLEANUP(freep) uint64_t *old = bits_new(list->n);
    CLEANUP(freep) uint64_t *there = bits_new(list->n);
    CLEANUP(freep) uint64_t *once = bits_new(list->n);
    struct join j = {
        .list = list, .old = old, .there = there, .once = once, .nodes = nodes};
    struct location at[INDEX_MAX_LOCATIONS];

    if (join_all(g, &j, e) == -1)
        return -1;
    for (size_t i = 0; i < list->n; i++) {
        bool is_new = !get_bit(old, i);
        if (nodes) {
            memcpy(nodes[i].gid, list->gids[i], GID_BYTES);
            nodes[i].is_new = is_new;
        }
        if (!is_new)
            continue;
        g->n_live++;
        if (get_bit(there, i))
            continue;
        if (locate(g, list->gids[i], at, e) == -1)
            return -1;
        if (nodes)
            nodes[i].at = at[0];
    }
    return 0;
}

static int
mark_nodes(void *cookie, const struct gidlist *list, struct walk_node *nodes,
           struct err *e)
{
    return mark_list(cookie, list, nodes, e);
}

static int
mark_leaves(struct gc *g, struct err *e)
{
    gidlist_sort(&g->leaves);
    int rc = mark_list(g, &g->leaves, NULL, e);
    gidlist_clear(&g->leaves);
    return rc;
}

/* A round reads all of the index: the larger that is, the fewer there are. */
static uint64_t
leaves_at_once(const struct gc *g)
{
    return u64_max(LEAVES_MIN, u64_min(LEAVES_MAX, g->n_entries / LEAVES_PART));
}

static int
note_leaf(void *cookie, const uint8_t gid[GID_BYTES], struct err *e)
{
    struct gc *g = cookie;

    gidlist_add(&g->leaves, gid);
    return g->leaves.n < leaves_at_once(g) ? 0 : mark_leaves(g, e);
}

int
gc_keeper(const struct gc *g, const uint8_t gid[GID_BYTES], uint32_t *out)
{
    struct place p = place_of(g, gid);
    const uint32_t *shared = gidnum_find(&g->shared, gid);
    uint32_t keeper = GC_NO_KEEPER;
    bool is_alive = false;

    while (next_place(g, &p)) {
        is_alive |= gc_is_live(p.s, p.entry);
        if (g->packs[p.pack].listed &&
            (!g->packs[p.pack].condemned || !RULE(second_copy)))
            keeper = p.pack;
    }
    if (is_alive)
        *out = shared ? *shared : keeper;
    return is_alive;
}

static int
add_roots(struct gc *g, struct walk *w, const struct gc_ref *ref, bool late,
          struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    const struct repo *r = g->repo;
    CLEANUP(freep) struct ref_root *roots = NULL;
    struct ref_head head = {0};
    size_t n = 0;

    if (store_get_all(r->store, ref->name, &bytes, e) == -1) {
        if (e->code != ERR_NOENT)
            return -1;
        err_clear(e); /* removed since it was listed: its time had come */
        return 0;
    }
    if (ref_open_head(bytes.p, bytes.len, ref->name, &r->config, &head, e) ==
            -1 ||
        ref_open_roots(bytes.p, bytes.len, &r->keys, &roots, &n, e) == -1)
        return -1;
    if (sync_is_late(&r->config, head.sync_ns, ref->stored_ns) != late)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (walk_add_root(w, roots[i].level, roots[i].gid, e) == -1)
            return -1;
    return 0;
}

static bool
is_root(const struct gc *g, const struct gc_ref *ref)
{
    return !ref->retired_ns || g->t0_ns - ref->retired_ns < gc_root_ns(g);
}

/*
 * A ref that was published too late promises nothing, and may have lost
 * something: then it keeps nothing alive.  If it is whole, it stays so: in a
 * store that was copied without its times, all are late.
 */
static int
mark_late(struct gc *g, const struct gc_ref *ref, struct err *e)
{
    CLEANUP(walk_freep)
    struct walk *w =
        walk_new(g->repo->store, &g->repo->keys, locate, g, g->cancel);
    struct location at[INDEX_MAX_LOCATIONS];

    if (add_roots(g, w, ref, true, e) == -1)
        return -1;
    const struct gidnum *found = walk_found(w);
    if (found->n == 0)
        return 0;
    if (walk_run(w, e) == -1) {
        if (e->code != ERR_CORRUPT && e->code != ERR_NOENT)
            return -1;
        err_clear(e);
        return 0;
    }
    for (size_t i = 0; i < found->room; i++)
        if (!bytes_are_zero(found->slots[i], GID_BYTES) &&
            find_places(g, found->slots[i], at) == 0)
            return 0;
    for (size_t i = 0; i < found->room; i++)
        if (!bytes_are_zero(found->slots[i], GID_BYTES) &&
            note_leaf(g, found->slots[i], e) == -1)
            return -1;
    return 0;
}

/* A segment that was merged into another one, and a grace later is still
 * there, owns nothing: then there is no need to look at it. */
static void
find_owners(struct gc *g)
{
    for (uint32_t i = 0; i < g->n_segments; i++)
        for (uint32_t k = 0; k < g->segments[i].segment.n_packs; k++)
            g->packs[g->segments[i].packs[k]].owner = i;
    for (uint32_t i = 0; i < g->n_segments; i++) {
        struct gc_segment *s = &g->segments[i];
        s->owns = false;
        for (uint32_t k = 0; k < s->segment.n_packs && !s->owns; k++)
            s->owns = g->packs[s->packs[k]].listed &&
                      g->packs[s->packs[k]].owner == i;
    }
}

static int
mark_once(struct gc *g, struct err *e)
{
    CLEANUP(walk_freep)
    struct walk *w =
        walk_new(g->repo->store, &g->repo->keys, locate, g, g->cancel);

    find_owners(g);
    walk_mark_by(w, mark_nodes, note_leaf);
    for (size_t i = 0; i < g->n_refs; i++)
        if (cancel_check(g->cancel, e) == -1)
            return -1;
        else if (is_root(g, &g->refs[i]) &&
                 add_roots(g, w, &g->refs[i], false, e) == -1)
            return err_wrap(e, "%s", g->refs[i].name);
    if (walk_run(w, e) == -1)
        return -1;
    for (size_t i = 0; i < g->n_refs; i++)
        if (is_root(g, &g->refs[i]) && mark_late(g, &g->refs[i], e) == -1)
            return err_wrap(e, "%s", g->refs[i].name);
    return mark_leaves(g, e);
}

/* Again from the start if there was more than we knew: a backup had been
 * published after we looked at the packs.  All that the refs need is found by
 * looking once more, so it is done soon. */
static int
mark_live(struct gc *g, struct err *e)
{
    for (int i = 0; i < MARK_TRIES; i++) {
        size_t known = g->n_segments;
        if (mark_once(g, e) == -1)
            return -1;
        if (g->n_segments == known) {
            gidlist_done(&g->leaves);
            return 0;
        }
        for (size_t k = 0; k < g->n_segments; k++)
            memset(g->segments[k].live, 0,
                   (g->segments[k].segment.n_entries / 64 + (size_t)1) *
                       sizeof(uint64_t));
        gidnum_done(&g->shared);
        g->n_live = 0;
    }
    return err_set(e, ERR_STORE, "the index changes faster than it is read");
}

/* ---- which copy of each is the one to keep ---------------------------- */

typedef void each_fn(struct gc *g, const uint8_t gid[GID_BYTES], uint32_t pack,
                     uint32_t len);

/* Each object that is alive, in each pack that has it. */
static void
each_live(struct gc *g, each_fn *fn)
{
    for (uint32_t i = 0; i < g->n_segments; i++) {
        const struct gc_segment *s = &g->segments[i];
        if (!s->owns)
            continue;
        index_warm(g->repo->index, s->id);
        for (uint32_t k = 0; k < s->segment.n_entries; k++) {
            if (k % 64 == 0 && s->live[k / 64] == 0) {
                k += 63;
                continue;
            }
            if (!gc_is_live(s, k))
                continue;
            uint32_t number = s->packs[segment_pack_of(&s->segment, k)];
            if (g->packs[number].listed && g->packs[number].owner == i)
                fn(g, segment_gid(&s->segment, k), number,
                   segment_len(&s->segment, k));
        }
        index_cool(g->repo->index, s->id);
    }
}

static void
count_live(struct gc *g, const uint8_t gid[GID_BYTES], uint32_t number,
           uint32_t len)
{
    (void)gid;
    g->packs[number].live += len;
}

/* Whoever stored it although there was one may have known that one to be
 * damaged, so the newer copy is kept, by the second, as some storages tell it;
 * else that in the fuller pack: the other may become empty. */
static bool
is_better(const struct gc_pack *p, const struct gc_pack *best)
{
    int64_t s = p->stored_ns / GC_NS_PER_S;
    int64_t best_s = best->stored_ns / GC_NS_PER_S;

    if (s != best_s)
        return s > best_s;
    if (p->live != best->live)
        return p->live > best->live;
    return memcmp(p->name, best->name, PACK_NAME_BYTES) < 0;
}

static void
choose_keeper(struct gc *g, const uint8_t gid[GID_BYTES], uint32_t number,
              uint32_t len)
{
    uint32_t *keeper = gidnum_find(&g->shared, gid);

    (void)len;
    if (!keeper)
        return;
    if (g->packs[number].condemned && RULE(second_copy))
        return; /* it is no copy to count on */
    if (*keeper == GC_NO_KEEPER ||
        is_better(&g->packs[number], &g->packs[*keeper]))
        *keeper = number;
}

static void
count_needed(struct gc *g, const uint8_t gid[GID_BYTES], uint32_t number,
             uint32_t len)
{
    const uint32_t *keeper = gidnum_find(&g->shared, gid);
    struct gc_pack *p = &g->packs[number];

    p->only_copy |= !keeper || *keeper == GC_NO_KEEPER;
    if (keeper ? *keeper != number : p->condemned && RULE(second_copy))
        return;
    p->needed += len;
    p->n_needed++;
    g->result->live_bytes += len;
}

static void
assign_keepers(struct gc *g)
{
    gc_mark_condemned(g);
    each_live(g, count_live);
    if (g->shared.n > 0)
        each_live(g, choose_keeper);
    each_live(g, count_needed);
    g->result->objects = g->n_live;
    for (size_t i = 1; i < g->n_packs; i++)
        if (g->packs[i].listed) {
            g->result->packs++;
            g->result->pack_bytes += g->packs[i].bytes;
        }
}

int
gc_mark(struct gc *g, struct err *e)
{
    if (mark_live(g, e) == -1)
        return -1;
    assign_keepers(g);
    return 0;
}
