/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/sync.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/gidset.h"
#include "repo/index.h"
#include "repo/notice.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "repo/seen.h"
#include "store/store.h"

#define NS_PER_S INT64_C(1000000000)

struct sync {
    struct repo *repo;
    int64_t time_ns;
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

/* 1 if it may be relied on, 0 if not. */
static int
base_is_good(struct repo *r, const struct ref_name *ref, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    struct store_stat stat = {0}, retired = {0};
    struct ref_head head = {0};
    char name[NAME_MAX_LEN];

    name_ref(ref, name);
    int there = store_stat(r->store, name, &stat, e);
    if (there != 1)
        return there;
    if (store_get_all(r->store, name, &bytes, e) == -1 ||
        ref_open_head(bytes.p, bytes.len, name, &r->config, &head, e) == -1)
        return err_wrap(e, "%s", name);
    if (sync_is_late(&r->config, head.sync_ns, stat.mtime_ns))
        return 0;
    name_retired(ref, name);
    int gone = store_stat(r->store, name, &retired, e);
    return gone == -1 ? -1 : !gone;
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
put_marker(struct repo *r, int64_t *out_ns, struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(SESSION_MAX_BYTES);
    struct session session = {.writer = r->keys.writer,
                              .time_ns = clock_wall_ns()};
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];

    rand_bytes(session.id, sizeof(session.id));
    name_session(session.writer, session.time_ns, session.id, name);
    if (session_pack(&session, &r->keys, &b, e) == -1 ||
        store_put(r->store, name, b.p, b.len, e) == -1)
        return err_wrap(e, "cannot put a sync marker");
    int there = store_stat(r->store, name, &stat, e);
    if (there == 0)
        return err_set(e, ERR_STORE, "%s, just stored, is gone", name);
    if (there == 1)
        *out_ns = stat.mtime_ns;
    return there == 1 ? 0 : -1;
}

/* ---- what is condemned ----------------------------------------------- */

static int
read_list(struct sync *s, const char *name, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONDEMNED_MAX_BYTES);
    CLEANUP(condemned_done) struct condemned list = {0};
    struct repo *r = s->repo;

    if (store_get_all(r->store, name, &bytes, e) == -1) {
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

static int
note_list(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct sync *s = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;

    (void)stat;
    if (!name_parse_condemned(name, &time_ns, id) || gidset_has(&s->lists, id))
        return 0;
    return read_list(s, name, e);
}

int
sync_now(struct sync *s, struct err *e)
{
    struct repo *r = s->repo;
    int64_t time_ns = 0;

    /* The order is what makes it safe: whoever does not see a list has a
     * marker that is older than it. */
    if (put_marker(r, &time_ns, e) == -1 ||
        (!RULE(order) && index_refresh(r->index, e) == -1) ||
        store_list(r->store, "cond/", note_list, s, e) == -1 ||
        (RULE(order) && index_refresh(r->index, e) == -1) ||
        check_base(s, e) == -1)
        return err_wrap(e, "cannot sync with the repository");
    s->time_ns = time_ns;
    return 0;
}
