/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: the world in which the protocol between writers and maintenance is
 * tried: the real code of any number of actors on one storage, on one thread,
 * each stopped before each of its operations for as long as the test wants.
 * The storage shows what was put or removed late, and every clock is the
 * test's.
 *
 * It keeps books: which packs hold which objects, which segments name them,
 * what each backup needs.  After each removal, and as each backup is
 * published, all good ones must have all their objects in packs that are there
 * and that an index names: published in time, not retired, or retired for less
 * than the grace.  What the books don't see, sim_read_all reads.
 *
 * Included by one file only.
 */
#ifndef TEST_REPO_SIM_H
#define TEST_REPO_SIM_H

#include <malloc.h>
#include <stdio.h>
#include <ucontext.h>

#include "base/buf.h"
#include "base/hex.h"
#include "fakes.h"
#include "fixture.h"
#include "repo/index.h"
#include "repo/notice.h"
#include "repo/prune.h"
#include "repo/ref.h"
#include "repo/rules.h"
#include "repo/sync.h"
#include "repo/walk.h"
#include "store/store_internal.h"

struct protocol_rules protocol_rules;

/* In ticks of a second. */
enum { LEASE = 60, VISIBILITY = 3, WINDOW = 40, GRACE = 75, AGE = 5 };

enum {
    CHUNKS = 7,
    SETS = 1 << CHUNKS,
    CHUNK_BYTES = 4096,
    VOLUME_BYTES = 16 << 20,
    ACTORS = 8, /* at most */
    STACK_BYTES = 512 << 10,
    MAX_GIDS = 512
};

#define TICK INT64_C(1000000000)
#define START INT64_C(1795341600000000000)

static struct store_clock sim_clock;
static struct cancel *sim_cancel; /* never raised */
static const struct protocol_rules all_rules = PROTOCOL_ALL_RULES;

int clock_gettime(clockid_t id, struct timespec *t);
int
clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    *t = (struct timespec){sim_clock.now_ns / TICK, sim_clock.now_ns % TICK};
    return 0;
}

/* ---- the world --------------------------------------------------------- */

/* What each set of chunks is as a volume; the same in all schedules. */
static struct {
    struct volume_root root;
    uint16_t gids[16];
    unsigned n;
} sets[SETS];
static struct gidnum gid_numbers; /* from 1 */
static uint8_t chunks[CHUNKS][CHUNK_BYTES];

enum { SEEDS = 3 };
static struct buf seed_objects[SEEDS]; /* the keys and the config */
static char seed_names[SEEDS][NAME_MAX_LEN];
static size_t n_seeds;

struct sim_pack {
    uint8_t sum[PACK_NAME_BYTES];
    bool there;
    unsigned named; /* by so many segments */
    uint16_t gids[MAX_GIDS];
    unsigned n;
};

struct sim_segment {
    char name[NAME_MAX_LEN];
    uint8_t (*packs)[PACK_NAME_BYTES];
    uint32_t n;
};

struct sim_ref {
    char name[NAME_MAX_LEN];
    struct ref_name ref;
    char id[BACKUP_ID_LEN + 1];
    unsigned a, b; /* the sets of its volumes */
    int64_t sync_ns, stored_ns, retired_ns;
    bool gone;
};

struct hidden { /* from listings, or in them though it is gone */
    char name[NAME_MAX_LEN];
    struct store_stat stat;
    int64_t until_ns;
    bool dead;
};

enum sim_op { OP_NONE, OP_PUT, OP_GET, OP_STAT, OP_LIST, OP_REMOVE };

struct actor {
    struct store base; /* the storage as this one sees it */
    ucontext_t context;
    void *stack;
    int64_t stalled_until_ns;
    bool ended;
    enum sim_op about; /* what it is stopped before, */
    char about_name[NAME_MAX_LEN];
    unsigned a, b; /* what its next ref will hold */
    void (*fn)(struct actor *);
    /* For who directs it. */
    struct repo *repo; /* kept open between its tasks */
    unsigned set;
    const char *take_over; /* the id of its base, or NULL */
    int rc;
    struct err err;
    struct prune_result result;
};

/* All that there is, by the first part of its name. */
struct sim_object {
    char name[NAME_MAX_LEN];
    size_t name_len;
    uint64_t tail; /* the end of the name, to tell most apart at once */
    uint8_t *p;
    size_t len;
    int64_t stored_ns;
    struct sim_object *next_grave;
};

enum { FOLDERS = 10 };

struct sim_folder {
    char name[16];
    size_t name_len;
    struct sim_object **objects;
    size_t n, room;
};

static struct sim {
    struct store truth; /* the storage as it is */
    struct sim_folder folders[FOLDERS];
    struct sim_object *graves; /* listings may still be at them */
    bool directed;             /* stop before every operation */
    bool at_once;              /* listings are never late */
    ucontext_t scheduler;
    struct actor *actor; /* who runs; NULL: nobody, the test itself */
    struct actor actors[ACTORS];
    bool stopping;
    struct repo *eye; /* for its keys and config */
    struct sim_pack *packs;
    size_t n_packs, room_packs;
    struct sim_segment *segments;
    size_t n_segments, room_segments;
    struct sim_ref *refs;
    size_t n_refs, room_refs;
    struct hidden *hidden;
    size_t n_hidden, room_hidden;
    char violation[256];
} sim;

static struct totals {
    uint64_t refs, late, condemned, deleted, repacked, refs_gone, merged,
        aborted, pardoned, base, failed, runs;
} totals;

static void *
grow(void *array, size_t n, size_t *room, size_t each)
{
    if (n < *room)
        return array;
    *room = *room ? 2 * *room : 64;
    return xrealloc(array, *room * each);
}

static uint16_t
gid_number(const uint8_t gid[GID_BYTES])
{
    const uint32_t *n = gidnum_find(&gid_numbers, gid);

    return n ? (uint16_t)*n : 0;
}

/* ---- is anything lost? -------------------------------------------------- */

static bool
is_good(const struct sim_ref *r)
{
    if (r->gone || r->stored_ns - r->sync_ns > LEASE * TICK)
        return false;
    return !r->retired_ns || sim_clock.now_ns - r->retired_ns < GRACE * TICK;
}

static void
check_all(const char *after)
{
    static bool have[MAX_GIDS];

    memset(have, 0, sizeof(have));
    for (size_t i = 0; i < sim.n_packs; i++)
        for (unsigned k = 0;
             sim.packs[i].there && sim.packs[i].named > 0 && k < sim.packs[i].n;
             k++)
            have[sim.packs[i].gids[k]] = true;
    for (size_t i = 0; i < sim.n_refs; i++) {
        const struct sim_ref *r = &sim.refs[i];
        const unsigned both[] = {r->a, r->b};
        for (int v = 0; v < 2 && is_good(r); v++)
            for (unsigned k = 0; k < sets[both[v]].n; k++)
                if (!have[sets[both[v]].gids[k]] && !sim.violation[0])
                    (void)snprintf(sim.violation, sizeof(sim.violation),
                                   "%s lacks object %u after %s", r->name,
                                   sets[both[v]].gids[k], after);
    }
}

static struct sim_pack *
find_pack(const uint8_t sum[PACK_NAME_BYTES])
{
    for (size_t i = sim.n_packs; i > 0; i--)
        if (memcmp(sim.packs[i - 1].sum, sum, PACK_NAME_BYTES) == 0)
            return &sim.packs[i - 1];
    return NULL;
}

static void
saw_pack(const uint8_t sum[PACK_NAME_BYTES], const uint8_t *p, size_t len)
{
    struct pack_table t = {0};

    sim.packs =
        grow(sim.packs, sim.n_packs, &sim.room_packs, sizeof(sim.packs[0]));
    struct sim_pack *to = &sim.packs[sim.n_packs++];
    *to = (struct sim_pack){.there = true};
    memcpy(to->sum, sum, PACK_NAME_BYTES);
    assert_ok(pack_unpack_table(p, len, len, &sim.eye->keys, &t, e));
    for (uint32_t i = 0; i < t.n; i++)
        to->gids[to->n++] = gid_number(t.entries[i].id);
    pack_table_done(&t);
}

static void
saw_segment(const char *name, const uint8_t id[NAME_ID_BYTES], const uint8_t *p,
            size_t len)
{
    CLEANUP(buf_done) struct buf clear = buf_of(1 << 24);
    struct segment s;
    enum pack_kind kind;
    uint32_t bytes = 0;

    sim.segments = grow(sim.segments, sim.n_segments, &sim.room_segments,
                        sizeof(sim.segments[0]));
    struct sim_segment *to = &sim.segments[sim.n_segments++];
    assert_ok(segment_unseal(&sim.eye->keys, id, p, len, &clear, e));
    assert_ok(segment_open(clear.p, clear.len, &s, e));
    (void)snprintf(to->name, sizeof(to->name), "%s", name);
    to->n = s.n_packs;
    to->packs = xcalloc(s.n_packs, PACK_NAME_BYTES);
    for (uint32_t i = 0; i < s.n_packs; i++) {
        memcpy(to->packs[i], segment_pack(&s, i, &kind, &bytes),
               PACK_NAME_BYTES);
        struct sim_pack *pack = find_pack(to->packs[i]);
        assert_non_null(pack); /* packs first, then what names them */
        pack->named++;
    }
}

static void
saw_put(const char *name, const uint8_t *p, size_t len)
{
    uint8_t sum[32], id[NAME_ID_BYTES];
    struct ref_head head;
    struct ref_name ref;
    enum pack_kind kind;
    int64_t time_ns;

    if (name_parse_pack(name, &kind, sum)) {
        saw_pack(sum, p, len);
    } else if (name_parse_index_delta(name, &time_ns, id)) {
        saw_segment(name, id, p, len);
    } else if (name_parse_retired(name, &ref)) {
        for (size_t i = 0; i < sim.n_refs; i++)
            if (memcmp(sim.refs[i].ref.id, ref.id, NAME_ID_BYTES) == 0)
                sim.refs[i].retired_ns = sim_clock.now_ns;
    } else if (name_parse_ref(name, &ref)) {
        sim.refs =
            grow(sim.refs, sim.n_refs, &sim.room_refs, sizeof(sim.refs[0]));
        assert_ok(ref_open_head(p, len, name, &sim.eye->config, &head, e));
        struct sim_ref *r = &sim.refs[sim.n_refs++];
        *r = (struct sim_ref){.ref = ref,
                              .a = sim.actor->a,
                              .b = sim.actor->b,
                              .sync_ns = head.sync_ns,
                              .stored_ns = sim_clock.now_ns};
        (void)snprintf(r->name, sizeof(r->name), "%s", name);
        hex_encode(ref.id, NAME_ID_BYTES, r->id);
        /* Without the lease a writer believes in a late ref. */
        if (!protocol_rules.lease)
            r->sync_ns = r->stored_ns;
        totals.refs++;
        totals.late += r->stored_ns - r->sync_ns > LEASE * TICK;
        check_all("its publication");
    }
}

static void
saw_remove(const char *name)
{
    uint8_t sum[32];
    enum pack_kind kind;

    if (name_parse_pack(name, &kind, sum)) {
        find_pack(sum)->there = false;
        check_all(name);
    }
    for (size_t i = 0; i < sim.n_segments; i++)
        if (strcmp(sim.segments[i].name, name) == 0) {
            for (uint32_t k = 0; k < sim.segments[i].n; k++)
                find_pack(sim.segments[i].packs[k])->named--;
            check_all(name);
        }
    for (size_t i = 0; i < sim.n_refs; i++)
        if (strcmp(sim.refs[i].name, name) == 0) {
            if (is_good(&sim.refs[i]))
                (void)snprintf(sim.violation, sizeof(sim.violation),
                               "%s was removed", name);
            sim.refs[i].gone = true;
        }
}

/* ---- the storage as it is ------------------------------------------------ */

static uint64_t
tail_of(const char *name, size_t len)
{
    return len < 8 ? len : get_le64((const uint8_t *)name + len - 8);
}

static struct sim_folder *
folder_of(const char *name)
{
    size_t len = strcspn(name, "/");

    for (size_t i = 0; i < FOLDERS; i++) {
        struct sim_folder *f = &sim.folders[i];
        if (!f->name_len) {
            assert_true(len < sizeof(f->name));
            memcpy(f->name, name, len);
            f->name_len = len;
        }
        if (f->name_len == len && memcmp(f->name, name, len) == 0)
            return f;
    }
    fail_msg("there are too many folders");
    return NULL;
}

/* NULL if there is none. */
static struct sim_object **
find_object(const char *name)
{
    struct sim_folder *f = folder_of(name);
    size_t len = strlen(name);
    uint64_t tail = tail_of(name, len);

    for (size_t i = f->n; i > 0; i--) {
        struct sim_object *o = f->objects[i - 1];
        if (o->tail == tail && o->name_len == len &&
            memcmp(o->name, name, len) == 0)
            return &f->objects[i - 1];
    }
    return NULL;
}

static int
true_put(struct store *st, const char *name, const void *p, size_t len,
         struct err *e)
{
    struct sim_folder *f = folder_of(name);
    struct sim_object *o = NULL;

    if (find_object(name))
        return store_fail_exists(st, name, e);
    o = xmalloc(sizeof(*o));
    o->name_len = strlen(name);
    memcpy(o->name, name, o->name_len + 1);
    o->tail = tail_of(name, o->name_len);
    o->p = xmalloc(len + 1);
    memcpy(o->p, p, len);
    o->len = len;
    o->stored_ns = sim_clock.now_ns;
    f->objects = grow(f->objects, f->n, &f->room, sizeof(struct sim_object *));
    f->objects[f->n++] = o;
    return 0;
}

static int
true_get(struct store *st, const char *name, uint64_t offset, void *out,
         size_t len, struct err *e)
{
    struct sim_object **o = find_object(name);

    if (!o)
        return store_fail_noent(st, name, e);
    if (!range_inside(offset, len, (*o)->len))
        return store_fail_short(st, name, (*o)->len, offset, len, e);
    memcpy(out, (*o)->p + offset, len);
    return 0;
}

static int
true_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    struct sim_object **o = find_object(name);

    if (!o)
        return store_fail_noent(st, name, e);
    uint8_t *to = store_room_for(out, (*o)->len, name, e);
    if (!to)
        return -1;
    memcpy(to, (*o)->p, (*o)->len);
    return 0;
}

static int
true_stat(struct store *st, const char *name, struct store_stat *out,
          struct err *e)
{
    struct sim_object **o = find_object(name);

    (void)st;
    (void)e;
    if (o)
        *out = (struct store_stat){.size_bytes = (*o)->len,
                                   .mtime_ns = (*o)->stored_ns};
    return o != NULL;
}

/* What is there now, in the order in which it was put; others may work
 * meanwhile. */
static int
true_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
          struct err *e)
{
    const struct sim_folder *f = folder_of(prefix);
    size_t n = f->n, len = strlen(prefix);
    CLEANUP(freep)
    struct sim_object **now = xcalloc(n + 1, sizeof(struct sim_object *));

    (void)st;
    if (n > 0)
        memcpy(now, f->objects, n * sizeof(struct sim_object *));
    for (size_t i = 0; i < n; i++) {
        const struct store_stat stat = {.size_bytes = now[i]->len,
                                        .mtime_ns = now[i]->stored_ns};
        if (strncmp(now[i]->name, prefix, len) == 0 &&
            fn(cookie, now[i]->name, &stat, e) == -1)
            return -1;
    }
    return 0;
}

static int
true_remove(struct store *st, const char *name, struct err *e)
{
    struct sim_object **o = find_object(name);
    struct sim_folder *f = folder_of(name);

    if (!o)
        return store_fail_noent(st, name, e);
    free((*o)->p);
    (*o)->p = NULL;
    (*o)->next_grave = sim.graves;
    sim.graves = *o;
    size_t at = (size_t)(o - f->objects);
    memmove(o, o + 1, (f->n - at - 1) * sizeof(struct sim_object *));
    f->n--;
    return 0;
}

static void
true_close(struct store *st)
{
    (void)st;
}

static const struct store_ops true_ops = {.put = true_put,
                                          .get = true_get,
                                          .get_all = true_get_all,
                                          .stat = true_stat,
                                          .list = true_list,
                                          .remove = true_remove,
                                          .close = true_close};

static void
bury_all(void)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        for (size_t k = 0; k < sim.folders[i].n; k++) {
            free(sim.folders[i].objects[k]->p);
            free(sim.folders[i].objects[k]);
        }
        free(sim.folders[i].objects);
    }
    while (sim.graves) {
        struct sim_object *o = sim.graves;
        sim.graves = o->next_grave;
        free(o);
    }
}

/* ---- the storage, as an actor sees it ------------------------------------ */

/* Let others run before each operation: always, or one time in `of`. */
static int
stop_before(enum sim_op op, const char *name, uint64_t of, struct err *e)
{
    struct actor *me = sim.actor;

    if (!me)
        return 0;
    if (!sim.stopping && (sim.directed || chance(of) == 0)) {
        me->about = op;
        (void)snprintf(me->about_name, sizeof(me->about_name), "%s", name);
        (void)swapcontext(&me->context, &sim.scheduler);
    }
    return sim.stopping ? err_set(e, ERR_STORE, "the end") : 0;
}

static void
hide(const char *name, const struct store_stat *stat, bool dead)
{
    int64_t delay = sim.at_once ? 0 : (int64_t)chance(VISIBILITY + 1) * TICK;

    for (size_t i = 0; i < sim.n_hidden;)
        if (sim.hidden[i].until_ns <= sim_clock.now_ns ||
            strcmp(sim.hidden[i].name, name) == 0)
            sim.hidden[i] = sim.hidden[--sim.n_hidden];
        else
            i++;
    if (delay == 0)
        return;
    sim.hidden =
        grow(sim.hidden, sim.n_hidden, &sim.room_hidden, sizeof(sim.hidden[0]));
    struct hidden *h = &sim.hidden[sim.n_hidden++];
    *h = (struct hidden){
        .stat = *stat, .until_ns = sim_clock.now_ns + delay, .dead = dead};
    (void)snprintf(h->name, sizeof(h->name), "%s", name);
}

static int
sim_put(struct store *st, const char *name, const void *p, size_t len,
        struct err *e)
{
    if (stop_before(OP_PUT, name, 1, e) == -1 ||
        true_put(st, name, p, len, e) == -1)
        return -1;
    if (sim.actor)
        hide(name, &(struct store_stat){.size_bytes = len}, false);
    saw_put(name, p, len);
    return 0;
}

static int
sim_get(struct store *st, const char *name, uint64_t offset, void *out,
        size_t len, struct err *e)
{
    return stop_before(OP_GET, name, 20, e) == -1
               ? -1
               : true_get(st, name, offset, out, len, e);
}

static int
sim_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    return stop_before(OP_GET, name, 20, e) == -1
               ? -1
               : true_get_all(st, name, out, e);
}

static int
sim_stat(struct store *st, const char *name, struct store_stat *out,
         struct err *e)
{
    return stop_before(OP_STAT, name, 3, e) == -1 ? -1
                                                  : true_stat(st, name, out, e);
}

struct sim_listing {
    store_list_fn *fn;
    void *cookie;
};

static int
list_one(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct sim_listing *l = cookie;

    for (size_t i = 0; i < sim.n_hidden; i++)
        if (!sim.hidden[i].dead && sim.hidden[i].until_ns > sim_clock.now_ns &&
            strcmp(sim.hidden[i].name, name) == 0)
            return 0;
    return l->fn(l->cookie, name, stat, e);
}

static int
sim_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
         struct err *e)
{
    CLEANUP(freep) struct hidden *ghosts = NULL;
    struct sim_listing l = {fn, cookie};
    size_t n = 0;

    if (stop_before(OP_LIST, prefix, 1, e) == -1)
        return -1;
    ghosts = xcalloc(sim.n_hidden + 1, sizeof(ghosts[0]));
    for (size_t i = 0; i < sim.n_hidden; i++)
        if (sim.hidden[i].dead && sim.hidden[i].until_ns > sim_clock.now_ns &&
            strncmp(sim.hidden[i].name, prefix, strlen(prefix)) == 0 &&
            (sim.directed || chance(2) == 0))
            ghosts[n++] = sim.hidden[i];
    if (true_list(st, prefix, list_one, &l, e) == -1)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (fn(cookie, ghosts[i].name, &ghosts[i].stat, e) == -1)
            return -1;
    return 0;
}

static int
sim_remove(struct store *st, const char *name, struct err *e)
{
    bool marker = strncmp(name, "sess/", 5) == 0;
    struct store_stat stat = {0};

    if (stop_before(OP_REMOVE, name, marker ? 50 : 1, e) == -1)
        return -1;
    bool was = true_stat(st, name, &stat, e) == 1;
    if (true_remove(st, name, e) == -1)
        return -1;
    if (was)
        hide(name, &stat, true);
    saw_remove(name);
    return 0;
}

static const struct store_ops sim_ops = {.put = sim_put,
                                         .get = sim_get,
                                         .get_all = sim_get_all,
                                         .stat = sim_stat,
                                         .list = sim_list,
                                         .remove = sim_remove,
                                         .close = true_close};

/* ---- what actors do --------------------------------------------------------
 */

static uint32_t sim_grace = GRACE;

static int
open_repo(struct store *st, struct repo **out, struct err *e)
{
    if (repo_open(st, PASSWORD, out, e) == -1)
        return -1;
    struct config *c = &(*out)->config;
    c->lease_s = LEASE;
    c->visibility_s = VISIBILITY;
    c->window_s = WINDOW;
    c->age_s = AGE;
    c->grace_s = sim_grace;
    return 0;
}

static int
write_set(struct backup_writer *b, unsigned set, struct volume_root *out,
          struct err *e)
{
    struct volume_writer *v = NULL;

    if (volume_begin(b, "a", VOLUME_BYTES, &v, e) == -1)
        return -1;
    for (uint64_t i = 0; i < 2; i++) {
        struct slot *s = NULL;
        if (volume_slot(v, i, &s, e) == -1) {
            volume_abandonp(&v);
            return -1;
        }
        for (unsigned c = (unsigned)i; c < CHUNKS; c += 2)
            if (set >> c & 1) {
                memcpy(s->data + (c / 2 << 16), chunks[c], CHUNK_BYTES);
                slot_mark(s, c / 2 << 16, CHUNK_BYTES);
            }
        volume_submit(v, s);
    }
    return volume_end(&v, out, e);
}

/* One backup of `set`, which takes over the volume `inherited` of `base`. */
static int
back_up(struct actor *me, struct repo *r, unsigned set, const char *base,
        unsigned inherited, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_options o = {.base = base};
    struct backup_writer *b = NULL;
    struct volume_root root = {0};

    free(m->machine);
    m->machine = xstrdup("m");
    if (backup_begin(r, &o, sim_cancel, &b, e) == -1)
        return -1;
    if (write_set(b, set, &root, e) == -1) {
        backup_abandonp(&b);
        return -1;
    }
    manifest_add_volume(m, "a", &root);
    if (inherited)
        manifest_add_volume(m, "b", &sets[inherited].root);
    me->a = set;
    me->b = inherited;
    return backup_commit(&b, m, e);
}

static int
retire(struct actor *me, struct sim_ref *r, struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(RETIRED_MAX_BYTES);
    char name[NAME_MAX_LEN];

    name_retired(&r->ref, name);
    if (retired_pack(&r->ref, sim_clock.now_ns, &sim.eye->keys, &b, e) == -1)
        return -1;
    return store_put(&me->base, name, b.p, b.len, e);
}

static int
prune(struct repo *r, uint64_t max_repack, struct prune_result *out,
      struct err *e)
{
    const struct prune_options o = {.max_repack_bytes = max_repack};

    return repo_prune(r, &o, sim_cancel, out, e);
}

static void
actor_main(unsigned number)
{
    struct actor *me = &sim.actors[number];

    me->fn(me);
    me->ended = true;
    for (;;)
        (void)swapcontext(&me->context, &sim.scheduler);
}

static void
run_actor(struct actor *a)
{
    sim.actor = a;
    (void)swapcontext(&sim.scheduler, &a->context);
    sim.actor = NULL;
}

/* ---- a world begins and ends -----------------------------------------------
 */

/* Have the actor do fn from now on. */
static void
actor_start(struct actor *a, void (*fn)(struct actor *))
{
    assert_true(!a->stack || a->ended);
    a->fn = fn;
    a->ended = false;
    a->about = OP_NONE;
    if (!a->stack)
        a->stack = xmalloc(STACK_BYTES);
    (void)getcontext(&a->context);
    a->context.uc_stack.ss_sp = a->stack;
    a->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&a->context, (void (*)(void))actor_main, 1,
                (int)(a - sim.actors));
}

static void
sim_start(uint64_t seed)
{
    sim = (struct sim){.truth = {.ops = &true_ops}};
    sim.truth.address = xstrdup("sim");
    sim_clock.now_ns = START;
    chance_state = seed * 1000003;
    rand_state = ~chance_state;
    for (size_t i = 0; i < n_seeds; i++)
        assert_ok(true_put(&sim.truth, seed_names[i], seed_objects[i].p,
                           seed_objects[i].len, e));
    assert_ok(open_repo(&sim.truth, &sim.eye, e));
    for (unsigned i = 0; i < ACTORS; i++) {
        sim.actors[i].base = (struct store){.ops = &sim_ops};
        sim.actors[i].base.address = xstrdup("sim");
    }
}

static void
sim_end(void)
{
    sim.stopping = true;
    for (int i = 0; i < ACTORS; i++) {
        struct actor *a = &sim.actors[i];
        while (a->stack && !a->ended)
            run_actor(a);
        free(a->stack);
        repo_close(a->repo);
        free(a->base.address);
    }
    for (size_t i = 0; i < sim.n_segments; i++)
        free(sim.segments[i].packs);
    free(sim.packs);
    free(sim.segments);
    free(sim.refs);
    free(sim.hidden);
    repo_close(sim.eye);
    bury_all();
    free(sim.truth.address);
}

/* What the books say is one thing; here it is read. */
static int
read_one(void *cookie, const struct manifest *m, struct err *e)
{
    CLEANUP(freep) uint8_t *got = xmalloc(VOLUME_SLOT_BYTES);
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];

    for (size_t i = 0; i < m->n_volumes; i++) {
        CLEANUP(volume_closep) struct volume_reader *v = NULL;
        if (volume_open(cookie, &m->volumes[i].root, &v, e) == -1)
            return -1;
        for (uint64_t s = 0; s < 2; s++)
            if (volume_read_slot(v, s, got, marked, e) == -1)
                return -1;
    }
    return 0;
}

static void
sim_read_all(void)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct err e = {0};

    if (open_repo(&sim.truth, &r, &e) == -1 ||
        backup_list(r, read_one, r, &e) == -1)
        (void)snprintf(sim.violation, sizeof(sim.violation), "%.200s", e.msg);
}

/* ---- the same for all schedules ---------------------------------------------
 */

static int
locate(void *cookie, const uint8_t gid[GID_BYTES],
       struct location out[INDEX_MAX_LOCATIONS], struct err *e)
{
    (void)e;
    return (int)index_find(cookie, gid, out);
}

static void
learn_set(struct repo *r, struct cancel *cancel, unsigned set)
{
    struct backup_writer *b = NULL;
    struct manifest *m = manifest_new();
    struct object_name name;

    assert_ok(backup_begin(r, NULL, cancel, &b, e));
    assert_ok(write_set(b, set, &sets[set].root, e));
    manifest_add_volume(m, "a", &sets[set].root);
    assert_ok(backup_commit(&b, m, e));
    manifest_free(m);
    CLEANUP(walk_freep)
    struct walk *w = walk_new(r->store, &r->keys, locate, r->index, cancel);
    object_name_of(sets[set].root.h, &name);
    assert_ok(walk_add_root(w, sets[set].root.levels, name.id, e));
    assert_ok(walk_run(w, e));
    struct gidnum *found = walk_found(w);
    for (size_t i = 0; i < found->room; i++) {
        const uint8_t *gid = found->slots[i];
        if (bytes_are_zero(gid, GID_BYTES))
            continue;
        (void)gidnum_add(&gid_numbers, gid, (uint32_t)gid_numbers.n + 1);
        assert_true(gid_numbers.n < MAX_GIDS && sets[set].n < 16);
        sets[set].gids[sets[set].n++] = gid_number(gid);
    }
}

static int
keep_object(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    size_t i = n_seeds++;

    (void)stat;
    assert_true(i < SEEDS);
    (void)snprintf(seed_names[i], sizeof(seed_names[i]), "%s", name);
    seed_objects[i] = buf_of(1 << 20);
    return store_get_all(cookie, name, &seed_objects[i], e);
}

static int
learn(void **state)
{
    struct cancel *cancel = cancel_new();

    /* The same big pieces of memory are asked for again and again. */
    (void)mallopt(M_MMAP_MAX, 0);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    struct store *st = store_mem_new(&sim_clock);
    struct repo *r = NULL;

    (void)state;
    sim_clock.now_ns = START;
    protocol_rules = all_rules;
    for (unsigned i = 0; i < CHUNKS; i++)
        fill_random(chunks[i], CHUNK_BYTES, i + 1);
    assert_ok(cheap_init(st, e));
    assert_ok(store_list(st, "", keep_object, st, e));
    assert_ok(open_repo(st, &r, e));
    for (unsigned set = 1; set < SETS; set++)
        learn_set(r, cancel, set);
    repo_close(r);
    store_close(st);
    sim_cancel = cancel;
    return 0;
}

static int
forget(void **state)
{
    (void)state;
    gidnum_done(&gid_numbers);
    cancel_free(sim_cancel);
    for (size_t i = 0; i < n_seeds; i++)
        buf_done(&seed_objects[i]);
    return 0;
}

#endif
