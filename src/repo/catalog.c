/* SPDX-License-Identifier: Apache-2.0 */
/* The backups of a repository: listing and finding them (repo.h). */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/gather.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/manifest.h"
#include "repo/manifest_format.h"
#include "repo/notice.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/seen.h"
#include "repo/sync.h"
#include "store/store.h"
#include "store/store_together.h"
#include "work/pool.h"

/* Refs are read several at a time, as a distant storage takes long to answer;
 * where a connection costs more than a few answers, only if there are so many
 * that connections of their own are worth it. */
enum { READERS_MAX = 8, REFS_A_READER = 8 };

/* The refs there are, by time. */
struct refs {
    struct repo *repo; /* borrowed */
    struct seen_look look;
    struct ref_entry {
        struct ref_name parsed;
        char name[NAME_MAX_LEN];
        struct backup_state state;
        bool is_marked; /* in retired/, rightly or not */
        bool is_read;
    } * entries;
    size_t n, room;
};

static void
refs_done(struct refs *r)
{
    free(r->entries);
    seen_look_done(&r->look);
}

static void
add_entry(struct refs *r, const char *name, const struct ref_name *parsed,
          const struct store_stat *stat)
{
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        r->entries = xrealloc(r->entries, r->room * sizeof(r->entries[0]));
    }
    struct ref_entry *to = &r->entries[r->n++];
    *to = (struct ref_entry){
        .parsed = *parsed,
        .state = {.ref = *parsed, .stored_ns = stat->mtime_ns}};
    memcpy(to->name, name, strlen(name) + 1);
}

static int
note_ref(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct ref_name parsed;

    (void)e;
    if (name_parse_ref(name, &parsed))
        add_entry(cookie, name, &parsed, stat);
    return 0;
}

static int
note_retired(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct ref_name parsed;

    (void)e;
    if (name_parse_retired(name, &parsed))
        add_entry(cookie, name, &parsed, stat);
    return 0;
}

static int
by_time(const void *a, const void *b)
{
    const struct ref_entry *x = a, *y = b;

    if (x->parsed.time_ns != y->parsed.time_ns)
        return x->parsed.time_ns < y->parsed.time_ns ? -1 : 1;
    return memcmp(x->parsed.id, y->parsed.id, NAME_ID_BYTES);
}

/* Retired is what maintenance has signed to be.  A mark that is damaged
 * hides no backup. */
static int
check_mark(struct refs *refs, struct gather *early,
           const struct ref_entry *mark, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(RETIRED_MAX_BYTES);
    struct repo *r = refs->repo;
    struct ref_name parsed = mark->parsed;
    struct err why = {0};

    struct ref_entry *found =
        bsearch(mark, refs->entries, refs->n, sizeof(*mark), by_time);
    if (!found)
        return 0;
    found->is_marked = true;
    if (gather_get(early, r->store, mark->name, &bytes, &why) == -1) {
        if (why.code == ERR_NOENT || why.code == ERR_LIMIT)
            return 0; /* removed since, with its ref; or it is none */
        *e = why;
        return -1;
    }
    if (retired_unpack(bytes.p, bytes.len, mark->name, &r->config, &parsed,
                       &why) == 0)
        found->state.retired_ns = mark->state.stored_ns;
    return 0;
}

static int
check_marks(struct refs *refs, const struct refs *marks, struct err *e)
{
    for (size_t i = 0; i < marks->n && refs->n > 0; i += GATHER_MAX) {
        CLEANUP(gather_done) struct gather early = {0};
        size_t end = u64_min(i + GATHER_MAX, marks->n);
        for (size_t k = i; k < end; k++)
            gather_add(&early, refs->repo->store, marks->entries[k].name,
                       RETIRED_MAX_BYTES);
        gather_run(&early, 0);
        for (size_t k = i; k < end; k++)
            if (check_mark(refs, &early, &marks->entries[k], e) == -1)
                return -1;
    }
    return 0;
}

static int
job_lost(void *arg, struct err *e)
{
    const struct refs *refs = arg;

    return lost_refresh(refs->repo->lost, e);
}

static int
job_refs(void *arg, struct err *e)
{
    struct refs *refs = arg;

    if (store_list(refs->repo->store, "refs/", note_ref, refs, e) == -1)
        return err_wrap(e, "cannot list the backups");
    return 0;
}

static int
job_retired(void *arg, struct err *e)
{
    struct refs *marks = arg;

    if (store_list(marks->repo->store, "retired/", note_retired, marks, e) ==
        -1)
        return err_wrap(e, "cannot list which backups are retired");
    return 0;
}

/* What repair has put out of use is not there. */
static void
drop_lost(struct refs *refs)
{
    size_t kept = 0;

    for (size_t i = 0; i < refs->n; i++)
        if (!lost_has(refs->repo->lost, LOST_REF, refs->entries[i].parsed.id))
            refs->entries[kept++] = refs->entries[i];
    refs->n = kept;
}

static int
list_refs(struct repo *r, struct refs *out, struct err *e)
{
    CLEANUP(refs_done) struct refs marks = {.repo = r};
    struct store_job jobs[] = {{.fn = job_lost, .arg = out},
                               {.fn = job_refs, .arg = out},
                               {.fn = job_retired, .arg = &marks}};

    out->repo = r;
    seen_look_begin(&out->look, "refs/");
    if (store_together(r->store, jobs, ARRAY_LEN(jobs), e) == -1)
        return -1;
    drop_lost(out);
    if (out->n > 0)
        qsort(out->entries, out->n, sizeof(out->entries[0]), by_time);
    return check_marks(out, &marks, e);
}

/* What this host knows is held against them. */
static void
miss_refs(struct repo *r, struct refs *refs)
{
    for (size_t i = 0; i < refs->n; i++) {
        const struct ref_entry *x = &refs->entries[i];
        seen_look_add(&refs->look, &x->parsed,
                      x->state.retired_ns ? SEEN_RETIRED
                      : x->is_marked      ? SEEN_LISTED
                      : x->is_read        ? SEEN_READ
                                          : SEEN_UNMARKED);
    }
    seen_compare(r, &refs->look, SEEN_MAX_ASKED, NULL);
}

static int
open_ref(struct repo *r, struct ref_entry *entry, struct manifest **out,
         struct err *e)
{
    const char *name = entry->name;
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct ref_head head = {0};
    uint8_t id[NAME_ID_BYTES];

    if (store_get_all(r->store, name, &bytes, e) == -1)
        return -1;
    if (ref_open_head(bytes.p, bytes.len, name, &r->config, &head, e) == -1 ||
        ref_open_body(bytes.p, bytes.len, &r->keys, &body, e) == -1 ||
        manifest_unpack(body.p, body.len, &m, e) == -1)
        return -1;
    if (!hex_decode(m->id, id, sizeof(id)) ||
        memcmp(id, head.name.id, sizeof(id)) != 0 ||
        m->time_ns != head.name.time_ns)
        return err_set(e, ERR_CORRUPT, "its manifest is of another backup");
    m->ns = head.name.ns;
    memcpy(m->machine_tag, head.name.machine, sizeof(m->machine_tag));
    entry->state.late =
        sync_is_late(&r->config, head.sync_ns, entry->state.stored_ns);
    *out = STEAL(m);
    return 0;
}

/* 1 and *out, 0 if it was removed since it was listed, -1. */
static int
read_ref(struct repo *r, struct ref_entry *entry, struct manifest **out,
         struct err *e)
{
    if (open_ref(r, entry, out, e) == 0)
        return 1;
    if (e->code != ERR_NOENT)
        return err_wrap(e, "%s", entry->name);
    err_clear(e);
    return 0;
}

/* What the name of a ref says of a backup that our keys don't open. */
static struct manifest *
sealed_manifest(const struct ref_name *name)
{
    struct manifest *m = manifest_new();

    hex_encode(name->id, NAME_ID_BYTES, m->id);
    m->time_ns = name->time_ns;
    m->sealed = true;
    m->ns = name->ns;
    memcpy(m->machine_tag, name->machine, sizeof(m->machine_tag));
    return m;
}

/* One that is being read. */
struct reading {
    struct repo *repo;
    struct ref_entry *entry;
    int rc; /* as read_ref */
    struct manifest *m;
    struct err why;
};

static int
read_job(void *arg, int failed, struct err *e)
{
    struct reading *x = arg;

    (void)failed;
    (void)e; /* it is told in its turn */
    x->rc = read_ref(x->repo, x->entry, &x->m, &x->why);
    if (x->rc == -1 && x->why.code == ERR_KEY) {
        x->m = sealed_manifest(&x->entry->parsed);
        x->rc = 1;
    }
    return 0;
}

struct survey {
    backup_survey_fn *fn;
    void *cookie;
    struct err damage; /* the first */
    size_t damaged;
};

static int
tell(struct survey *s, const struct reading *x, struct err *e)
{
    x->entry->is_read = x->rc == 1;
    if (x->rc == 1)
        return s->fn(s->cookie, x->m, &x->entry->state, e);
    if (x->rc == -1 && x->why.code != ERR_CORRUPT) {
        *e = x->why;
        return -1;
    }
    if (x->rc == -1 && s->damaged++ == 0)
        s->damage = x->why;
    return 0;
}

/* `n` of them, at once where there is a pool. */
static int
read_some(struct repo *r, struct pool *pool, struct ref_entry *entries,
          size_t n, struct survey *s, struct err *e)
{
    struct reading some[READERS_MAX] = {0};
    struct err never = {0};
    int rc = 0;

    struct group *g = pool ? group_new(pool, READERS_MAX) : NULL;
    for (size_t i = 0; i < n; i++) {
        some[i].repo = r;
        some[i].entry = &entries[i];
        if (g)
            group_run(g, read_job, &some[i]);
        else
            (void)read_job(&some[i], 0, &never);
    }
    if (g)
        (void)group_wait(g, &never);
    group_free(g);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = tell(s, &some[i], e);
    for (size_t i = 0; i < n; i++)
        manifest_free(some[i].m);
    return rc;
}

int
backup_survey(struct repo *r, backup_survey_fn *fn, void *cookie, struct err *e)
{
    CLEANUP(refs_done) struct refs refs = {0};
    struct survey s = {.fn = fn, .cookie = cookie};

    if (list_refs(r, &refs, e) == -1)
        return -1;
    size_t worth = store_width(r->store) > 1 ? refs.n : refs.n / REFS_A_READER;
    size_t at_a_time = u64_max(1, u64_min(READERS_MAX, worth));
    CLEANUP(pool_freep)
    struct pool *pool = at_a_time > 1 ? pool_new((unsigned)at_a_time) : NULL;
    for (size_t i = 0; i < refs.n; i += at_a_time)
        if (read_some(r, pool, refs.entries + i, u64_min(at_a_time, refs.n - i),
                      &s, e) == -1)
            return -1;
    miss_refs(r, &refs);
    if (s.damaged == 0)
        return 0;
    *e = s.damage;
    return err_wrap(e, "%zu of %zu backups can't be listed", s.damaged, refs.n);
}

struct plain_list {
    backup_list_fn *fn;
    void *cookie;
};

static int
list_good(void *cookie, const struct manifest *m, const struct backup_state *s,
          struct err *e)
{
    struct plain_list *l = cookie;

    return s->retired_ns || s->late ? 0 : l->fn(l->cookie, m, e);
}

int
backup_list(struct repo *r, backup_list_fn *fn, void *cookie, struct err *e)
{
    struct plain_list l = {fn, cookie};

    return backup_survey(r, list_good, &l, e);
}

/* ---- find ------------------------------------------------------------ */

static int
no_such(const char *name, struct err *e)
{
    (void)err_set(e, ERR_NOENT, "there is no backup \"%s\"", name);
    return err_hint(e, "\"vmkeep list\" shows those there are");
}

static int
find_id(struct repo *r, struct refs *refs, const char *name,
        struct manifest **out, struct err *e)
{
    struct ref_entry *found = NULL;

    if (strlen(name) > BACKUP_ID_LEN || !hex_is(name))
        return no_such(name, e);
    for (size_t i = 0; i < refs->n; i++) {
        char hex[BACKUP_ID_LEN + 1];
        hex_encode(refs->entries[i].parsed.id, NAME_ID_BYTES, hex);
        if (strncmp(hex, name, strlen(name)) != 0)
            continue;
        if (found)
            return err_set(e, ERR_USAGE,
                           "\"%s\" is the start of more than one backup's id; "
                           "give more of it",
                           name);
        found = &refs->entries[i];
    }
    int rc = found ? read_ref(r, found, out, e) : 0;
    return rc == 1 ? 0 : rc == 0 ? no_such(name, e) : -1;
}

/*
 * The newest not after `until` whose machine is `machine` (NULL: any).  A ref
 * that can't be read could be the one: then we can't tell.
 */
static int
find_newest(struct repo *r, struct refs *refs, const char *machine,
            int64_t until_ns, const char *name, struct manifest **out,
            struct err *e)
{
    struct err sealed = {0}; /* why the newest such can't be opened */

    for (size_t i = refs->n; i > 0; i--) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        struct ref_entry *entry = &refs->entries[i - 1];
        if (entry->parsed.time_ns > until_ns || entry->state.retired_ns)
            continue;
        int rc = read_ref(r, entry, &m, e);
        if (rc == -1 && e->code == ERR_KEY) {
            if (sealed.code == ERR_OK)
                sealed = *e;
            err_clear(e);
            continue;
        }
        if (rc == -1) {
            (void)err_hint(e, "name the backup by its id");
            return -1;
        }
        if (m && !entry->state.late &&
            (!machine || strcmp(m->machine, machine) == 0 ||
             strcmp(m->uuid, machine) == 0)) {
            *out = STEAL(m);
            return 0;
        }
    }
    if (sealed.code == ERR_OK)
        return no_such(name, e);
    *e = sealed;
    return err_wrap(e, "there is no backup \"%s\" that can be opened", name);
}

struct find {
    struct repo *repo;
    struct refs refs;
    const char *name;
    struct manifest *found;
};

static void
find_done(struct find *f)
{
    refs_done(&f->refs);
    manifest_free(f->found);
}

static int
find_listed(struct find *f, struct err *e)
{
    CLEANUP(freep) char *machine = NULL;
    const char *name = f->name, *at = strrchr(name, '@');
    int64_t until_ns = INT64_MAX;

    if (strcmp(name, "latest") == 0)
        return find_newest(f->repo, &f->refs, NULL, until_ns, name, &f->found,
                           e);
    if (!at)
        return find_id(f->repo, &f->refs, name, &f->found, e);
    machine = xstrndup(name, (size_t)(at - name));
    if (strcmp(at + 1, "latest") != 0 && !clock_parse_utc(at + 1, &until_ns))
        return err_set(e, ERR_USAGE,
                       "\"%s\" is no time; write it like "
                       "2026-11-22T10:00 (UTC), or \"latest\"",
                       at + 1);
    return find_newest(f->repo, &f->refs, machine, until_ns, name, &f->found,
                       e);
}

int
backup_find(struct repo *r, const char *name, struct manifest **out,
            struct err *e)
{
    CLEANUP(find_done) struct find f = {.repo = r, .name = name};

    if (list_refs(r, &f.refs, e) == -1)
        return -1;
    miss_refs(r, &f.refs);
    if (find_listed(&f, e) == -1)
        return -1;
    *out = STEAL(f.found);
    return 0;
}

static int
job_find(void *arg, struct err *e)
{
    return find_listed(arg, e);
}

/* What is wrong with it is told to who looks something up. */
static int
job_index(void *arg, struct err *e)
{
    const struct find *f = arg;
    struct err ignored = {0};

    (void)e;
    (void)index_refresh_rest(f->repo->index, &ignored);
    return 0;
}

int
backup_find_to_read(struct repo *r, const char *name, struct manifest **out,
                    struct err *e)
{
    CLEANUP(find_done) struct find f = {.repo = r, .name = name};
    struct store_job jobs[] = {{.fn = job_find, .arg = &f},
                               {.fn = job_index, .arg = &f}};

    if (store_width(r->store) == 1)
        return backup_find(r, name, out, e);
    if (list_refs(r, &f.refs, e) == -1)
        return -1;
    miss_refs(r, &f.refs);
    if (store_together(r->store, jobs, ARRAY_LEN(jobs), e) == -1)
        return -1;
    *out = STEAL(f.found);
    return 0;
}
