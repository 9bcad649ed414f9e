/* SPDX-License-Identifier: Apache-2.0 */
/* g1: what there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "repo/gc.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "repo/sync.h"
#include "store/store.h"
#include "work/cancel.h"

enum { SEALED_MAX_BYTES = SEGMENT_MAX_BYTES + 4096 };

int64_t
gc_seconds(uint32_t s)
{
    return (int64_t)s * GC_NS_PER_S;
}

int64_t
gc_root_ns(const struct gc *g)
{
    return RULE(retire_grace) ? gc_seconds(g->repo->config.grace_s) : 0;
}

int64_t
gc_ref_ns(const struct gc *g)
{
    return config_ref_s(&g->repo->config) * GC_NS_PER_S;
}

int64_t
gc_elapsed_ns(const struct gc *g)
{
    int64_t mono = (int64_t)(clock_mono_ns() - g->mono_ns);
    int64_t wall = clock_wall_ns() - g->wall_ns;

    return mono > wall ? mono : wall; /* a suspended host's monotonic stands */
}

void *
gc_grow(void **array, size_t *n, size_t *room, size_t each)
{
    if (*n == *room) {
        *room = *room ? 2 * *room : 64;
        *array = xrealloc(*array, *room * each);
    }
    uint8_t *at = (uint8_t *)*array + (*n)++ * each;
    memset(at, 0, each);
    return at;
}

void
gc_done(struct gc *g)
{
    for (size_t i = 0; i < g->n_segments; i++) {
        buf_done(&g->segments[i].bytes);
        free(g->segments[i].packs);
        free(g->segments[i].live);
    }
    for (size_t i = 0; i < g->n_lists; i++)
        condemned_done(&g->lists[i].list);
    condemned_done(&g->next);
    gidnum_done(&g->pack_numbers);
    gidnum_done(&g->segment_numbers);
    gidnum_done(&g->shared);
    gidlist_done(&g->leaves);
    free(g->packs);
    free(g->segments);
    free(g->lists);
    free(g->refs);
    free(g->retired);
}

/* ---- clocks ---------------------------------------------------------- */

static int
doubt(const char *why, struct err *e)
{
    (void)err_set(e, ERR_STORE, "the time is in doubt: %s", why);
    return err_hint(e, "nothing was removed; set the clocks of this host and "
                       "of the storage");
}

static int
put_marker(struct gc *g, struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(SESSION_MAX_BYTES);
    struct session s = {.writer = SESSION_MAINTENANCE,
                        .time_ns = clock_wall_ns()};
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];

    g->mono_ns = clock_mono_ns();
    g->wall_ns = g->t0_ns = s.time_ns;
    if (g->options->dry_run)
        return 0;
    rand_bytes(s.id, sizeof(s.id));
    name_session(s.writer, s.time_ns, s.id, name);
    if (session_pack(&s, &g->repo->keys, &b, e) == -1 ||
        store_put(g->repo->store, name, b.p, b.len, e) == -1)
        return -1;
    int there = store_stat(g->repo->store, name, &stat, e);
    if (there == 0)
        return err_set(e, ERR_STORE, "%s, just stored, is gone", name);
    if (there == -1)
        return -1;
    g->t0_ns = stat.mtime_ns;
    /* The storage stamped it some time since we looked at our clock. */
    int64_t ahead = g->t0_ns - g->wall_ns, after = clock_wall_ns() - g->t0_ns;
    if (ahead > gc_seconds(GC_CLOCK_DOUBT_S) ||
        (after > gc_seconds(GC_CLOCK_DOUBT_S) &&
         -ahead > gc_seconds(GC_CLOCK_DOUBT_S)))
        return doubt("the storage's clock and this host's differ by more than "
                     "five minutes",
                     e);
    return 0;
}

/* An object from the future: the storage's time went backwards. */
static int
check_time(const struct gc *g, const char *name, const struct store_stat *stat,
           struct err *e)
{
    char why[NAME_MAX_LEN + 64];

    if (stat->mtime_ns <=
        g->t0_ns + gc_elapsed_ns(g) + gc_seconds(GC_CLOCK_DOUBT_S))
        return 0;
    (void)snprintf(why, sizeof(why), "%s was stored in the future", name);
    return doubt(why, e);
}

/* ---- condemned lists ------------------------------------------------- */

static int
note_list(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct gc *g = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    if (!name_parse_condemned(name, &time_ns, id))
        return 0;
    if (check_time(g, name, stat, e) == -1)
        return -1;
    struct gc_list *l =
        gc_grow((void **)&g->lists, &g->n_lists, &g->room_lists, sizeof(*l));
    (void)snprintf(l->name, sizeof(l->name), "%s", name);
    l->stored_ns = stat->mtime_ns;
    return 0;
}

static int
read_list(struct gc *g, struct gc_list *l, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONDEMNED_MAX_BYTES);
    const struct repo *r = g->repo;

    if (store_get_all(r->store, l->name, &bytes, e) == -1) {
        if (e->code != ERR_NOENT)
            return -1;
        err_clear(e); /* another run has done with it */
        l->gone = true;
        return 0;
    }
    if (condemned_unpack(bytes.p, bytes.len, l->name, &r->keys, &r->config,
                         &l->list, e) == -1)
        return err_wrap(e, "%s", l->name);
    return 0;
}

static int
look_at_lists(struct gc *g, struct err *e)
{
    if (store_list(g->repo->store, "cond/", note_list, g, e) == -1)
        return -1;
    for (size_t i = 0; i < g->n_lists; i++)
        if (read_list(g, &g->lists[i], e) == -1)
            return -1;
    return 0;
}

/* ---- packs and index ------------------------------------------------- */

uint32_t
gc_pack_number(const struct gc *g, const uint8_t sum[PACK_NAME_BYTES])
{
    const uint32_t *number = gidnum_find(&g->pack_numbers, sum);

    return number && memcmp(g->packs[*number].name, sum, PACK_NAME_BYTES) == 0
               ? *number
               : 0;
}

static uint32_t
add_pack(struct gc *g, const uint8_t sum[PACK_NAME_BYTES], enum pack_kind kind)
{
    uint32_t number = gc_pack_number(g, sum);

    if (number || bytes_are_zero(sum, GID_BYTES)) /* no pack has that name */
        return number;
    number = (uint32_t)g->n_packs;
    struct gc_pack *p =
        gc_grow((void **)&g->packs, &g->n_packs, &g->room_packs, sizeof(*p));
    memcpy(p->name, sum, PACK_NAME_BYTES);
    p->kind = kind;
    p->owner = UINT32_MAX;
    (void)gidnum_add(&g->pack_numbers, sum, number);
    return number;
}

static int
note_pack(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct gc *g = cookie;
    uint8_t sum[PACK_NAME_BYTES];
    enum pack_kind kind;

    if (!name_parse_pack(name, &kind, sum))
        return 0;
    if (check_time(g, name, stat, e) == -1)
        return -1;
    uint32_t number = add_pack(g, sum, kind); /* may move them all */
    if (number == 0)
        return 0;
    struct gc_pack *p = &g->packs[number];
    p->bytes = stat->size_bytes;
    p->stored_ns = stat->mtime_ns;
    /* What is lost counts as a copy of nothing. */
    p->lost = lost_has(g->repo->lost, (enum lost_kind)kind, sum);
    p->listed = !p->lost;
    return 0;
}

struct gc_segment *
gc_find_segment(const struct gc *g, const uint8_t id[NAME_ID_BYTES])
{
    const uint32_t *number = gidnum_find(&g->segment_numbers, id);

    return number ? &g->segments[*number] : NULL;
}

void
gc_segment_gone(struct gc *g, struct gc_segment *s)
{
    for (uint32_t k = 0; !s->gone && k < s->segment.n_packs; k++) {
        struct gc_pack *p = &g->packs[s->packs[k]];
        p->named--;
        p->named_well -= !s->condemned;
    }
    s->gone = true;
}

static int
note_segment(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct gc *g = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    _Static_assert((int)NAME_ID_BYTES == (int)GID_BYTES, "ids of segments");
    if (!name_parse_index_delta(name, &time_ns, id) || gc_find_segment(g, id) ||
        lost_has(g->repo->lost, LOST_SEGMENT, id))
        return 0;
    if (bytes_are_zero(id, sizeof(id)))
        return err_set(e, ERR_CORRUPT, "%s: nobody picks that id", name);
    if (check_time(g, name, stat, e) == -1)
        return -1;
    (void)gidnum_add(&g->segment_numbers, id, (uint32_t)g->n_segments);
    struct gc_segment *s = gc_grow((void **)&g->segments, &g->n_segments,
                                   &g->room_segments, sizeof(*s));
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
    memcpy(s->id, id, sizeof(id));
    s->time_ns = time_ns;
    s->stored_ns = stat->mtime_ns;
    s->bytes = buf_of(SEGMENT_MAX_BYTES);
    return 0;
}

/* As the index has it, else from the store. */
static int
get_segment(struct gc *g, struct gc_segment *s, struct err *e)
{
    CLEANUP(buf_done) struct buf sealed = buf_of(SEALED_MAX_BYTES);
    int lent = index_segment(g->repo->index, s->id, &s->segment, e);

    if (lent != 0)
        return lent == 1 ? 0 : -1;
    if (store_get_all(g->repo->store, s->name, &sealed, e) == -1) {
        if (e->code != ERR_NOENT)
            return -1;
        err_clear(e); /* it was merged into another one, and its time came */
        s->gone = true;
        return 0;
    }
    if (segment_unseal(&g->repo->keys, s->id, sealed.p, sealed.len, &s->bytes,
                       e) == -1)
        return -1;
    return segment_open(s->bytes.p, s->bytes.len, &s->segment, e);
}

static int
read_segment(struct gc *g, uint32_t number, struct err *e)
{
    struct gc_segment *s = &g->segments[number];
    enum pack_kind kind = PACK_DATA;
    uint32_t bytes = 0;

    if (get_segment(g, s, e) == -1)
        return err_wrap(e, "%s", s->name);
    g->n_entries += s->segment.n_entries;
    s->packs = xcalloc(s->segment.n_packs + (size_t)1, sizeof(s->packs[0]));
    s->live = xcalloc(s->segment.n_entries / 64 + (size_t)1, sizeof(uint64_t));
    for (uint32_t i = 0; i < s->segment.n_packs; i++) {
        const uint8_t *sum = segment_pack(&s->segment, i, &kind, &bytes);
        s->packs[i] = add_pack(g, sum, kind);
    }
    return 0;
}

int
gc_look_at_packs(struct gc *g, struct err *e)
{
    size_t first = g->n_segments;

    if (store_list(g->repo->store, "packs/", note_pack, g, e) == -1 ||
        store_list(g->repo->store, "index/d/", note_segment, g, e) == -1 ||
        (g->n_segments > first && index_refresh(g->repo->index, e) == -1))
        return -1;
    for (size_t i = first; i < g->n_segments; i++)
        if (cancel_check(g->cancel, e) == -1 ||
            read_segment(g, (uint32_t)i, e) == -1)
            return -1;
    return 0;
}

static void
mark_entry(struct gc *g, const struct condemned_entry *entry)
{
    if (entry->kind <= CONDEMNED_META)
        g->packs[gc_pack_number(g, entry->sum)].condemned = true;
    if (entry->kind == CONDEMNED_INDEX) {
        struct gc_segment *s = gc_find_segment(g, entry->id);
        if (s)
            s->condemned = true;
    }
    for (size_t l = 0; entry->kind == CONDEMNED_DONE && l < g->n_lists; l++)
        if (memcmp(g->lists[l].list.id, entry->id, NAME_ID_BYTES) == 0)
            g->lists[l].finished = true;
}

/* What the lists name, among what there is. */
void
gc_mark_condemned(struct gc *g)
{
    for (size_t i = 0; i < g->n_lists; i++)
        for (size_t k = 0; k < g->lists[i].list.n; k++)
            mark_entry(g, &g->lists[i].list.entries[k]);
    for (size_t i = 0; i < g->n_segments; i++) {
        const struct gc_segment *s = &g->segments[i];
        for (uint32_t k = 0; !s->gone && k < s->segment.n_packs; k++) {
            g->packs[s->packs[k]].named++;
            g->packs[s->packs[k]].named_well += !s->condemned;
        }
    }
}

/* ---- backups --------------------------------------------------------- */

static int
note_retired(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct gc *g = cookie;
    struct ref_name ref;

    if (!name_parse_retired(name, &ref))
        return 0;
    if (check_time(g, name, stat, e) == -1)
        return -1;
    struct gc_ref *r = gc_grow((void **)&g->retired, &g->n_retired,
                               &g->room_retired, sizeof(*r));
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    r->ref = ref;
    r->stored_ns = stat->mtime_ns;
    return 0;
}

/* Only a mark that maintenance has signed counts. */
static int
check_retired(struct gc *g, struct gc_ref *mark, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(RETIRED_MAX_BYTES);
    struct ref_name ref;

    if (store_get_all(g->repo->store, mark->name, &bytes, e) == -1) {
        if (e->code != ERR_NOENT)
            return -1;
        err_clear(e); /* removed since, with its ref */
        return 0;
    }
    if (retired_unpack(bytes.p, bytes.len, mark->name, &g->repo->config, &ref,
                       e) == -1)
        return err_wrap(e, "%s", mark->name);
    mark->retired_ns = mark->stored_ns;
    return 0;
}

static int
note_ref(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct gc *g = cookie;
    struct ref_name ref;

    if (!name_parse_ref(name, &ref)) {
        CLEANUP(freep) char *quoted = text_quote(name, NAME_MAX_LEN);
        return err_set(e, ERR_UNSUP,
                       "%s is no backup that this vmkeep knows; use a newer "
                       "vmkeep, or remove it if it is not vmkeep's",
                       quoted);
    }
    if (lost_has(g->repo->lost, LOST_REF, ref.id))
        return 0; /* repair found that nobody can read it */
    if (check_time(g, name, stat, e) == -1)
        return -1;
    struct gc_ref *r =
        gc_grow((void **)&g->refs, &g->n_refs, &g->room_refs, sizeof(*r));
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    r->ref = ref;
    r->stored_ns = stat->mtime_ns;
    return 0;
}

static int
look_at_backups(struct gc *g, struct err *e)
{
    struct store *st = g->repo->store;

    if (store_list(st, "retired/", note_retired, g, e) == -1)
        return -1;
    for (size_t i = 0; i < g->n_retired; i++)
        if (check_retired(g, &g->retired[i], e) == -1)
            return -1;
    if (store_list(st, "refs/", note_ref, g, e) == -1)
        return -1;
    CLEANUP(gidnum_done) struct gidnum marks = {0};
    for (size_t k = 0; k < g->n_retired; k++)
        if (!bytes_are_zero(g->retired[k].ref.id, NAME_ID_BYTES))
            (void)gidnum_add(&marks, g->retired[k].ref.id, (uint32_t)k);
    for (size_t i = 0; i < g->n_refs; i++) {
        struct gc_ref *ref = &g->refs[i];
        const uint32_t *k = gidnum_find(&marks, ref->ref.id);
        if (k && memcmp(&g->retired[*k].ref.machine, &ref->ref.machine,
                        NAME_TAG_BYTES) == 0)
            ref->retired_ns = g->retired[*k].retired_ns;
        g->result->backups++;
        g->result->retired += ref->retired_ns != 0;
    }
    return 0;
}

int
gc_look(struct gc *g, struct err *e)
{
    (void)gc_grow((void **)&g->packs, &g->n_packs, &g->room_packs,
                  sizeof(g->packs[0])); /* number 0 */
    /* The order is what makes it safe: a pack whose list we did not see was
     * condemned after our marker. */
    if (put_marker(g, e) == -1 || lost_refresh(g->repo->lost, e) == -1 ||
        (!RULE(order) && gc_look_at_packs(g, e) == -1) ||
        look_at_lists(g, e) == -1 ||
        (RULE(order) && gc_look_at_packs(g, e) == -1) ||
        look_at_backups(g, e) == -1)
        return -1;
    return gc_mark(g, e);
}
