/* SPDX-License-Identifier: Apache-2.0 */
/* g3: what is mostly garbage is emptied, what is not needed is condemned. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/gc.h"
#include "repo/index.h"
#include "repo/packer.h"
#include "repo/packfront.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "store/store.h"

enum {
    REPACK_PERCENT = 60, /* less than that of a pack is needed: empty it */
    SMALL_PACK_BYTES = 8 << 20,
    CLASSES = 3,
    CLASS_ENTRIES = 1 << 15,
    CLASS_FACTOR = 8, /* so many of a class are merged */
    STALE_PART = 16,  /* a big one is written again if so much of it is gone */
    MERGED_ENTRIES = 1 << 21,
    COOL_EVERY = 64 /* packs, each of whose objects is looked up */
};

void
gc_add(struct gc *g, const struct condemned_entry *entry)
{
    struct condemned_entry *to = gc_grow((void **)&g->next.entries, &g->next.n,
                                         &g->room_next, sizeof(*to));

    *to = *entry;
}

static bool
is_old(const struct gc *g, int64_t stored_ns, uint32_t age_s)
{
    return g->t0_ns - stored_ns >= gc_seconds(age_s);
}

/* What is lost is needed for nothing: its copies count nowhere. */
static bool
is_candidate(const struct gc *g, const struct gc_pack *p)
{
    return (p->listed || p->lost) && !p->condemned && !p->going &&
           is_old(g, p->stored_ns, g->repo->config.age_s);
}

static void
condemn_pack(struct gc *g, struct gc_pack *p)
{
    struct condemned_entry entry = {.kind = (uint8_t)p->kind};

    if (g->next.n >= CONDEMNED_MAX_ENTRIES / 2)
        return; /* the next run does the rest */
    memcpy(entry.sum, p->name, PACK_NAME_BYTES);
    gc_add(g, &entry);
    p->going = true;
    g->result->condemned++;
    g->result->condemned_bytes += p->bytes;
}

/* ---- repack ---------------------------------------------------------- */

struct repack {
    struct gc *gc;
    struct packer *packer;
    uint32_t number; /* of the pack at hand */
};

static bool
is_needed(void *cookie, const struct pack_entry *entry)
{
    const struct repack *r = cookie;
    uint32_t keeper = GC_NO_KEEPER;

    if (gc_keeper(r->gc, entry->id, &keeper) == 0)
        return false;
    /* In a pardoned pack: whatever has no other copy, once. */
    if (r->gc->packs[r->number].pardoned)
        return keeper == GC_NO_KEEPER && packer_claim(r->packer, entry->id);
    return keeper == r->number;
}

static void
packer_freep(struct packer **p)
{
    packer_free(*p);
}

/* Do packs that are small together fill a new one? */
static void
count_small(const struct gc *g, uint64_t out[PACK_KINDS])
{
    out[PACK_DATA] = out[PACK_META] = 0;
    for (size_t i = 1; i < g->n_packs; i++) {
        const struct gc_pack *p = &g->packs[i];
        if (is_candidate(g, p) && p->bytes < SMALL_PACK_BYTES)
            out[p->kind] += p->needed;
    }
}

static int
empty_pack(struct gc *g, uint32_t number, struct packer *packer, struct err *e)
{
    struct repack r = {.gc = g, .packer = packer, .number = number};
    struct gc_pack *p = &g->packs[number];
    uint64_t copied = 0;

    if (!packer)
        copied = p->needed;
    else if (packfront_copy(g->repo->store, p->kind, p->name, p->bytes,
                            &g->repo->keys, is_needed, &r, packer, &copied,
                            e) == -1)
        return -1;
    g->result->repacked++;
    g->result->repacked_bytes += copied;
    return 0;
}

/* Is it worth to copy what is needed of it? */
static bool
is_to_empty(const struct gc *g, const struct gc_pack *p,
            const uint64_t small[PACK_KINDS])
{
    if (p->pardoned && RULE(relist))
        return true;
    bool merge =
        p->bytes < SMALL_PACK_BYTES && small[p->kind] >= PACK_TARGET_BYTES;
    return is_candidate(g, p) && p->needed > 0 &&
           (p->needed * 100 < p->bytes * REPACK_PERCENT || merge);
}

/* All that is copied is stored, and indexed, before anything is condemned. */
static int
repack(struct gc *g, struct err *e)
{
    CLEANUP(packer_freep) struct packer *packer = NULL;
    CLEANUP(freep) bool *emptied = xcalloc(g->n_packs, sizeof(bool));
    uint64_t small[PACK_KINDS], copied = 0, n = 0;

    count_small(g, small);
    for (size_t i = 1; i < g->n_packs; i++) {
        const struct gc_pack *p = &g->packs[i];
        uint64_t bytes = p->pardoned ? p->live : p->needed;
        if (!is_to_empty(g, p, small) ||
            bytes > g->options->max_repack_bytes - copied)
            continue;
        if (!packer && !g->options->dry_run)
            packer = packer_new(g->repo->store, &g->repo->keys, g->repo->index,
                                g->cancel);
        if (empty_pack(g, (uint32_t)i, packer, e) == -1)
            return err_wrap(e, "cannot repack");
        copied += bytes;
        emptied[i] = !p->pardoned; /* that is on the list already */
        if (++n % COOL_EVERY == 0)
            index_cool_all(g->repo->index);
    }
    if (packer && packer_finish(packer, e) == -1)
        return -1;
    for (size_t i = 1; i < g->n_packs; i++)
        if (emptied[i])
            condemn_pack(g, &g->packs[i]);
    return 0;
}

/* ---- index ----------------------------------------------------------- */

/* Segments are of a size class by how many entries they have; those of the
 * last one stay as they are. */
static unsigned
class_of(const struct gc_segment *s)
{
    unsigned class = 0;

    for (uint64_t n = s->segment.n_entries; n >= CLASS_ENTRIES;
         n /= CLASS_FACTOR)
        class ++;
    return class < CLASSES ? class : CLASSES;
}

/* Does it name packs that are gone, and is it worth to write it again for
 * that? */
static bool
is_stale(const struct gc *g, const struct gc_segment *s)
{
    uint64_t dead = 0;

    for (uint32_t k = 0; k < s->segment.n_packs; k++)
        dead += !g->packs[s->packs[k]].listed;
    return dead > 0 &&
           (class_of(s) < CLASSES || dead * STALE_PART >= s->segment.n_packs);
}

static int
publish(struct gc *g, struct segment_builder *b, struct err *e)
{
    uint64_t bytes = 0;

    if (segment_builder_entries(b) == 0)
        return 0;
    return index_publish(g->repo->index, b, clock_wall_ns(), &bytes, e);
}

/* Put what is to be replaced into new segments, without the packs that are
 * gone and without saying anything twice. */
static int
replace_segments(struct gc *g, struct err *e)
{
    CLEANUP(segment_builder_freep)
    struct segment_builder *b = segment_builder_new();

    for (size_t i = 0; i < g->n_segments; i++) {
        const struct gc_segment *s = &g->segments[i];
        if (!s->replaced)
            continue;
        CLEANUP(freep) bool *keep = xcalloc(s->segment.n_packs, sizeof(bool));
        for (uint32_t k = 0; k < s->segment.n_packs; k++) {
            struct gc_pack *p = &g->packs[s->packs[k]];
            keep[k] = p->listed && !p->in_index;
            p->in_index = true;
        }
        index_warm(g->repo->index, s->id);
        segment_builder_copy(b, &s->segment, keep);
        index_cool(g->repo->index, s->id);
        if (segment_builder_entries(b) < MERGED_ENTRIES)
            continue;
        if (publish(g, b, e) == -1)
            return -1;
        segment_builder_free(b);
        b = segment_builder_new();
    }
    return publish(g, b, e);
}

/*
 * Lookups ask one segment after the other, so there must not be many; nor must
 * a big one be written again for each small one.  Eight of a class make one of
 * the next.
 */
static void
choose_segments(struct gc *g)
{
    size_t n[CLASSES + 1] = {0};

    for (int choose = 0; choose < 2; choose++)
        for (size_t i = 0; i < g->n_segments; i++) {
            struct gc_segment *s = &g->segments[i];
            bool may = !s->gone && !s->condemned &&
                       is_old(g, s->stored_ns, g->repo->config.lease_s);
            unsigned class = class_of(s);
            if (!choose)
                n[class] += may;
            else if ((may && (is_stale(g, s) ||
                              (class < CLASSES && n[class] >= CLASS_FACTOR))) ||
                     (s->pardoned && RULE(relist)))
                s->replaced = true;
        }
}

static int
merge_index(struct gc *g, struct err *e)
{
    choose_segments(g);
    for (size_t i = 0; i < g->n_segments; i++)
        g->result->index_merged += g->segments[i].replaced;
    if (g->options->dry_run)
        return 0;
    if (g->result->index_merged > 0 && replace_segments(g, e) == -1)
        return err_wrap(e, "cannot merge the index");
    for (size_t i = 0; i < g->n_segments; i++) {
        const struct gc_segment *s = &g->segments[i];
        struct condemned_entry entry = {.kind = CONDEMNED_INDEX,
                                        .time_ns = s->time_ns};
        memcpy(entry.id, s->id, sizeof(entry.id));
        if (s->replaced)
            gc_add(g, &entry);
    }
    return 0;
}

/* ---- the list -------------------------------------------------------- */

static int
put_list(struct gc *g, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONDEMNED_MAX_BYTES);
    char name[NAME_MAX_LEN];

    if (g->next.n == 0 || g->options->dry_run)
        return 0;
    rand_bytes(g->next.id, sizeof(g->next.id));
    g->next.time_ns = clock_wall_ns();
    name_condemned(g->next.time_ns, g->next.id, name);
    if (condemned_pack(&g->next, &g->repo->keys, &bytes, e) == -1)
        return -1;
    return store_put(g->repo->store, name, bytes.p, bytes.len, e);
}

int
gc_condemn(struct gc *g, struct err *e)
{
    for (size_t i = 1; i < g->n_packs; i++)
        if (is_candidate(g, &g->packs[i]) && g->packs[i].needed == 0)
            condemn_pack(g, &g->packs[i]);
    if (repack(g, e) == -1 || merge_index(g, e) == -1 || put_list(g, e) == -1)
        return -1;
    if (g->result->condemned > 0 && !g->result->due_ns)
        g->result->due_ns = g->t0_ns + gc_seconds(g->repo->config.grace_s);
    return 0;
}
