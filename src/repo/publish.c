/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a backup one whose objects are all stored: the last step
 * (docs/design/repository.md, "The way in").
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "crypto/hash.h"
#include "repo/index.h"
#include "repo/manifest.h"
#include "repo/manifest_format.h"
#include "repo/ref.h"
#include "repo/relied.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "repo/seen.h"
#include "repo/sync.h"
#include "store/store.h"
#include "store/store_together.h"
#include "work/cancel.h"

int
publish_each_root(struct repo *r, const struct manifest *m, publish_root_fn *fn,
                  void *cookie, struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];
    struct object_name name;

    for (size_t i = 0; i < m->n_volumes; i++) {
        const struct volume_root *root = &m->volumes[i].root;
        if (bytes_are_zero(root->h, sizeof(root->h)))
            continue;
        object_name_of(root->h, &name);
        if (index_find(r->index, name.id, at) == 0)
            return err_set(e, ERR_USAGE,
                           "volume \"%s\" is not in this repository",
                           m->volumes[i].name);
        if (fn(cookie, root->levels, name.id, &at[0], e) == -1)
            return -1;
    }
    return 0;
}

#define NS_PER_S INT64_C(1000000000)

struct roots {
    struct relied *relied;
    struct ref_root *roots; /* owned; room for all volumes */
    size_t n;
};

static void
roots_done(struct roots *r)
{
    free(r->roots);
}

/* What the ref names keeps the volumes' objects alive; their packs must be in
 * the store. */
static int
note_root(void *cookie, uint8_t level, const uint8_t gid[GID_BYTES],
          const struct location *at, struct err *e)
{
    struct roots *r = cookie;
    struct ref_root *ref = &r->roots[r->n++];

    (void)e;
    if (!relied_may_need(r->relied, gid))
        relied_add(r->relied, at, gid);
    ref->level = level;
    memcpy(ref->gid, gid, GID_BYTES);
    return 0;
}

struct newest {
    char name[NAME_MAX_LEN];
    struct seen_look look;
};

static void
newest_done(struct newest *n)
{
    seen_look_done(&n->look);
}

static int
note_newest(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct newest *n = cookie;
    struct ref_name parsed;

    (void)stat;
    (void)e;
    if (!name_parse_ref(name, &parsed))
        return 0;
    seen_look_add(&n->look, &parsed, SEEN_LISTED);
    if (strcmp(name, n->name) > 0)
        memcpy(n->name, name, strlen(name) + 1);
    return 0;
}

/* The machine's last ref, so that one that the store hides is missed. */
static int
hash_previous(struct repo *r, struct ref_head *head, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    CLEANUP(newest_done) struct newest newest = {0};
    char prefix[NAME_MAX_LEN];

    name_ref(&head->name, prefix);
    strrchr(prefix, '/')[1] = '\0';
    seen_look_begin(&newest.look, prefix);
    if (store_list(r->store, prefix, note_newest, &newest, e) == -1)
        return -1;
    seen_compare(r, &newest.look, SEEN_MAX_ASKED, NULL);
    if (!newest.name[0])
        return 0;
    if (store_get_all(r->store, newest.name, &bytes, e) == -1)
        return -1;
    hash_sha256(bytes.p, bytes.len, head->previous);
    return 0;
}

/* This host has seen it.  How late a listing may show it is counted from
 * then on, so that then must not be long ago. */
static void
remember(struct repo *r, struct seen_look *l, const struct ref_name *ref)
{
    if (clock_wall_ns() - l->begun_ns < SEEN_CLOCK_DOUBT_S * NS_PER_S)
        seen_look_add(l, ref, SEEN_READ);
    seen_compare(r, l, 0, NULL);
    seen_look_done(l);
}

struct last_look {
    struct repo *repo;
    struct ref_head *head;
    struct relied *relied;
};

static int
job_previous(void *arg, struct err *e)
{
    const struct last_look *l = arg;

    return hash_previous(l->repo, l->head, e);
}

static int
job_relied(void *arg, struct err *e)
{
    const struct last_look *l = arg;

    return RULE(there) ? relied_check(l->relied, l->repo->store, e) : 0;
}

int
publish_backup(struct repo *r, const struct manifest *m, struct relied *relied,
               const struct sync *sync, struct cancel *cancel, struct err *e)
{
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
    CLEANUP(buf_done) struct buf ref = buf_of(REF_MAX_BYTES);
    CLEANUP(roots_done)
    struct roots roots = {.relied = relied,
                          .roots =
                              xcalloc(m->n_volumes, sizeof(struct ref_root))};
    struct ref_head head = {.name = {.ns = r->keys.ns, .time_ns = m->time_ns},
                            .writer = r->keys.writer,
                            .sync_ns = sync_time_ns(sync)};
    struct last_look look = {r, &head, relied};
    struct store_job jobs[] = {{.fn = job_previous, .arg = &look},
                               {.fn = job_relied, .arg = &look}};
    const uint8_t *base = sync_base(sync);
    struct store_stat stat = {0};
    struct seen_look seen;
    char name[NAME_MAX_LEN];

    if (!hex_decode(m->id, head.name.id, NAME_ID_BYTES) || m->time_ns < 0)
        return err_set(e, ERR_USAGE, "the backup has no proper id or time");
    if (base)
        memcpy(head.base, base, sizeof(head.base));
    machine_tag(&r->keys, m->uuid[0] ? m->uuid : m->machine, head.name.machine);
    if (manifest_pack(m, &body, e) == -1 ||
        publish_each_root(r, m, note_root, &roots, e) == -1 ||
        store_together(r->store, jobs, ARRAY_LEN(jobs), e) == -1 ||
        ref_pack(&head, roots.roots, roots.n, body.p, body.len, &r->keys,
                 &r->config, &ref, e) == -1 ||
        cancel_check(cancel, e) == -1)
        return -1;
    name_ref(&head.name, name);
    seen_look_begin(&seen, name);
    if (store_put_new(r->store, name, ref.p, ref.len, e) == -1)
        return -1;
    int there = store_stat(r->store, name, &stat, e);
    if (there == 0)
        return err_set(e, ERR_STORE, "%s, just stored, is gone", name);
    if (there == -1)
        return -1;
    if (sync_is_late(&r->config, head.sync_ns, stat.mtime_ns))
        return 0;
    remember(r, &seen, &head.name);
    return 1;
}
