/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/sync.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/gather.h"
#include "repo/gidset.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/notice.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "repo/seen.h"
#include "store/store.h"
#include "store/store_together.h"

enum { LISTS_AT_A_TIME = 4 };

#define NS_PER_S INT64_C(1000000000)

struct sync {
    struct repo *repo;
    int64_t time_ns;
    int64_t wall_ns; /* when the last one began, by our clocks */
    uint64_t mono_ns;
    struct gidset lists; /* the condemned lists that were read */
    bool has_base, base_lost;
    struct ref_name base;
    struct gidset base_roots;
    pthread_rwlock_t lock;   /* guards the one below */
    struct gidset condemned; /* packs, by the front of their names */
};

struct sync *
sync_new(struct repo *r)
{
    struct sync *s = xcalloc(1, sizeof(*s));

    s->repo = r;
    (void)pthread_rwlock_init(&s->lock, NULL);
    return s;
}

void
sync_free(struct sync *s)
{
    if (!s)
        return;
    gidset_done(&s->lists);
    gidset_done(&s->base_roots);
    gidset_done(&s->condemned);
    (void)pthread_rwlock_destroy(&s->lock);
    free(s);
}

int64_t
sync_time_ns(const struct sync *s)
{
    return s->time_ns;
}

bool
sync_condemned(struct sync *s, const uint8_t sum[32])
{
    (void)pthread_rwlock_rdlock(&s->lock);
    bool is = gidset_has(&s->condemned, sum);
    (void)pthread_rwlock_unlock(&s->lock);
    return is;
}

const uint8_t *
sync_base(const struct sync *s)
{
    return s->has_base && !s->base_lost ? s->base.id : NULL;
}

bool
sync_base_has(const struct sync *s, const uint8_t gid[16])
{
    return gidset_has(&s->base_roots, gid);
}

bool
sync_base_lost(const struct sync *s)
{
    return s->has_base && s->base_lost;
}

void
sync_drop_base(struct sync *s)
{
    s->has_base = s->base_lost = false;
}

bool
sync_is_late(const struct config *c, int64_t sync_ns, int64_t stored_ns)
{
    if (!RULE(lease))
        return false;
    return sync_ns <= 0 || stored_ns < sync_ns ||
           stored_ns - sync_ns > (int64_t)c->lease_s * NS_PER_S;
}

/* ---- the base -------------------------------------------------------- */

struct search {
    uint8_t id[NAME_ID_BYTES];
    struct ref_name found;
    bool any;
    struct seen_look look;
};

static void
search_done(struct search *s)
{
    seen_look_done(&s->look);
}

static int
note_ref(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct search *s = cookie;
    struct ref_name ref;

    (void)stat;
    (void)e;
    if (!name_parse_ref(name, &ref))
        return 0;
    seen_look_add(&s->look, &ref, SEEN_LISTED);
    if (memcmp(ref.id, s->id, sizeof(s->id)) == 0)
        s->found = ref, s->any = true;
    return 0;
}

struct question {
    struct store *store;
    char name[NAME_MAX_LEN];
    struct store_stat stat;
    int there; /* as store_stat */
};

static int
job_stat(void *arg, struct err *e)
{
    struct question *q = arg;

    q->there = store_stat(q->store, q->name, &q->stat, e);
    return q->there == -1 ? -1 : 0;
}

/* 1 if it may be relied on, 0 if not. */
static int
base_is_good(struct repo *r, const struct ref_name *ref, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(gather_done) struct gather early = {0};
    struct question own = {.store = r->store}, retired = {.store = r->store};
    struct store_job jobs[2 + GATHER_MAX] = {{.fn = job_stat, .arg = &own},
                                             {.fn = job_stat, .arg = &retired}};
    struct ref_head head = {0};

    name_ref(ref, own.name);
    name_retired(ref, retired.name);
    gather_add(&early, r->store, own.name, REF_MAX_BYTES);
    size_t n = 2 + gather_jobs(&early, 0, jobs + 2);
    if (store_together(r->store, jobs, n, e) == -1)
        return -1;
    if (!own.there || retired.there)
        return 0;
    if (gather_get(&early, r->store, own.name, &bytes, e) == -1 ||
        ref_open_head(bytes.p, bytes.len, own.name, &r->config, &head, e) == -1)
        return err_wrap(e, "%s", own.name);
    return !sync_is_late(&r->config, head.sync_ns, own.stat.mtime_ns);
}

/* The volumes that may be taken over. */
static int
read_roots(struct sync *s, const struct ref_name *ref, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(freep) struct ref_root *roots = NULL;
    struct repo *r = s->repo;
    struct ref_head head = {0};
    char name[NAME_MAX_LEN];
    size_t n = 0;

    name_ref(ref, name);
    if (store_get_all(r->store, name, &bytes, e) == -1 ||
        ref_open_head(bytes.p, bytes.len, name, &r->config, &head, e) == -1 ||
        ref_open_roots(bytes.p, bytes.len, &r->keys, &roots, &n, e) == -1)
        return err_wrap(e, "%s", name);
    for (size_t i = 0; i < n; i++)
        if (!bytes_are_zero(roots[i].gid, GID_BYTES))
            (void)gidset_add(&s->base_roots, roots[i].gid);
    return 0;
}

int
sync_set_base(struct sync *s, const char *id, struct err *e)
{
    CLEANUP(search_done) struct search search = {0};

    if (!hex_decode(id, search.id, sizeof(search.id)))
        return err_set(e, ERR_USAGE, "\"%s\" is no backup's id", id);
    seen_look_begin(&search.look, "refs/");
    if (store_list(s->repo->store, "refs/", note_ref, &search, e) == -1)
        return err_wrap(e, "cannot list the backups");
    seen_compare(s->repo, &search.look, SEEN_MAX_ASKED, NULL);
    int good = search.any ? base_is_good(s->repo, &search.found, e) : 0;
    if (good == -1 || (good == 1 && read_roots(s, &search.found, e) == -1))
        return -1;
    if (good == 0)
        return err_set(e, ERR_NOENT,
                       "backup %s can't be built upon: it is retired, gone, "
                       "or was published too late",
                       id);
    s->base = search.found;
    s->has_base = true;
    return 0;
}

static int
check_base(struct sync *s, struct err *e)
{
    int good = 1;

    if (s->has_base && !s->base_lost && RULE(base_check))
        good = base_is_good(s->repo, &s->base, e);
    if (good == 0)
        s->base_lost = true;
    return good == -1 ? -1 : 0;
}

/* ---- the marker ------------------------------------------------------ */

static int
put_marker(struct repo *r, int64_t now_ns, char name[NAME_MAX_LEN],
           struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(SESSION_MAX_BYTES);
    struct session session = {.writer = r->keys.writer, .time_ns = now_ns};

    rand_bytes(session.id, sizeof(session.id));
    name_session(session.writer, session.time_ns, session.id, name);
    if (session_pack(&session, &r->keys, &b, e) == -1 ||
        store_put_new(r->store, name, b.p, b.len, e) == -1)
        return err_wrap(e, "cannot put a sync marker");
    return 0;
}

/* ---- what is condemned ----------------------------------------------- */

struct lists {
    struct sync *sync;
    char (*names)[NAME_MAX_LEN];
    size_t n, room;
};

static void
lists_done(struct lists *l)
{
    free(l->names);
}

static int
note_list(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct lists *l = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    (void)stat;
    (void)e;
    if (!name_parse_condemned(name, &time_ns, id) ||
        gidset_has(&l->sync->lists, id))
        return 0;
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        l->names = xrealloc(l->names, l->room * sizeof(l->names[0]));
    }
    (void)snprintf(l->names[l->n++], sizeof(l->names[0]), "%s", name);
    return 0;
}

static int
read_list(struct sync *s, struct gather *early, const char *name, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONDEMNED_MAX_BYTES);
    CLEANUP(condemned_done) struct condemned list = {0};
    struct repo *r = s->repo;

    if (gather_get(early, r->store, name, &bytes, e) == -1) {
        if (e->code != ERR_NOENT)
            return -1;
        err_clear(e); /* carried out long ago: its packs are in no index */
        return 0;
    }
    if (condemned_unpack(bytes.p, bytes.len, name, &r->keys, &r->config, &list,
                         e) == -1) {
        (void)err_wrap(e, "%s", name);
        return err_hint(e, "until it can be read, no backup knows what it "
                           "may build upon");
    }
    (void)pthread_rwlock_wrlock(&s->lock);
    for (size_t i = 0; i < list.n; i++)
        if (list.entries[i].kind <= CONDEMNED_META)
            (void)gidset_add(&s->condemned, list.entries[i].sum);
    (void)pthread_rwlock_unlock(&s->lock);
    (void)gidset_add(&s->lists, list.id);
    return 0;
}

/* Lists of a large repository are large: a few at a time. */
static int
read_condemned(struct sync *s, struct err *e)
{
    CLEANUP(lists_done) struct lists l = {.sync = s};
    struct store *st = s->repo->store;

    if (store_list(st, "cond/", note_list, &l, e) == -1)
        return -1;
    for (size_t i = 0; i < l.n; i += LISTS_AT_A_TIME) {
        CLEANUP(gather_done) struct gather early = {0};
        size_t end = u64_min(i + LISTS_AT_A_TIME, l.n);
        for (size_t k = i; k < end; k++)
            gather_add(&early, st, l.names[k], CONDEMNED_MAX_BYTES);
        gather_run(&early, 0);
        for (size_t k = i; k < end; k++)
            if (read_list(s, &early, l.names[k], e) == -1)
                return -1;
    }
    return 0;
}

/* ---- all of it -------------------------------------------------------- */

static int
job_condemned(void *arg, struct err *e)
{
    return read_condemned(arg, e);
}

static int
job_lost(void *arg, struct err *e)
{
    const struct sync *s = arg;

    return lost_refresh(s->repo->lost, e);
}

static int
job_index(void *arg, struct err *e)
{
    const struct sync *s = arg;

    return index_refresh_rest(s->repo->index, e);
}

static int
job_base(void *arg, struct err *e)
{
    return check_base(arg, e);
}

/* The order is what makes it safe: whoever does not see a list has a marker
 * that is older than it. */
static int
sync_in_order(struct sync *s, int64_t now_ns, struct question *marker,
              struct err *e)
{
    struct store *st = s->repo->store;
    /* Its time is the same whenever it is read. */
    struct store_job first[] = {{.fn = job_stat, .arg = marker},
                                {.fn = job_condemned, .arg = s},
                                {.fn = job_lost, .arg = s}};
    struct store_job second[] = {{.fn = job_index, .arg = s},
                                 {.fn = job_base, .arg = s}};

    if (put_marker(s->repo, now_ns, marker->name, e) == -1 ||
        (!RULE(order) && index_refresh(s->repo->index, e) == -1) ||
        store_together(st, first, ARRAY_LEN(first), e) == -1)
        return -1;
    if (!marker->there)
        return err_set(e, ERR_STORE, "%s, just stored, is gone", marker->name);
    return store_together(st, RULE(order) ? second : second + 1,
                          RULE(order) ? 2 : 1, e);
}

int
sync_now(struct sync *s, struct err *e)
{
    struct question marker = {.store = s->repo->store};
    int64_t wall_ns = clock_wall_ns();
    uint64_t mono_ns = clock_mono_ns();

    if (sync_in_order(s, wall_ns, &marker, e) == -1)
        return err_wrap(e, "cannot sync with the repository");
    s->time_ns = marker.stat.mtime_ns;
    s->wall_ns = wall_ns;
    s->mono_ns = mono_ns;
    return 0;
}

int64_t
sync_age_ns(const struct sync *s)
{
    int64_t wall = clock_wall_ns() - s->wall_ns;
    int64_t mono = (int64_t)(clock_mono_ns() - s->mono_ns);

    return mono > wall ? mono : wall; /* a suspended host's monotonic stands */
}
