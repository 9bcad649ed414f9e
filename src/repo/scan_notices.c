/* SPDX-License-Identifier: Apache-2.0 */
/* What maintenance says that it did, for checker.h: so that what it removed is
 * not taken for damage.  Only what it has signed counts. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/notice.h"
#include "repo/repo_internal.h"
#include "repo/scan.h"
#include "store/store.h"

#define NS_PER_S INT64_C(1000000000)

/* 1, 0 if it is gone meanwhile or does not count, with why, -1. */
static int
get(struct scan *s, const char *name, struct buf *out, struct err *why,
    struct err *e)
{
    if (store_get_all(s->repo->store, name, out, why) == 0)
        return 1;
    if (why->code == ERR_NOENT || why->code == ERR_LIMIT)
        return 0;
    *e = *why;
    return -1;
}

/* Backups and maintenance stop at a list that they can't read, and a backup
 * whose mark is damaged is not retired. */
static void
report(struct scan *s, const char *name, const struct err *why,
       const char *remedy)
{
    if (why->code != ERR_CORRUPT && why->code != ERR_LIMIT &&
        why->code != ERR_UNSUP)
        return;
    CLEANUP(freep) char *text = xasprintf("%s; %s", why->msg, remedy);
    scan_fault(s, &(struct check_fault){
                      .what = CHECK_NOTICE, .name = name, .why = text});
}

static int
note_list(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONDEMNED_MAX_BYTES);
    CLEANUP(condemned_done) struct condemned list = {0};
    struct scan *s = cookie;
    uint8_t id[NAME_ID_BYTES];
    struct err why = {0};
    int64_t time_ns = 0;

    (void)stat;
    if (!name_parse_condemned(name, &time_ns, id))
        return 0;
    int rc = get(s, name, &bytes, &why, e);
    if (rc == 1 && condemned_unpack(bytes.p, bytes.len, name, &s->repo->keys,
                                    &s->repo->config, &list, &why) == 0)
        for (size_t i = 0; i < list.n; i++)
            if (list.entries[i].kind <= CONDEMNED_META)
                (void)gidset_add(&s->condemned, list.entries[i].sum);
    if (!s->noticed)
        report(s, name, &why,
               "backups and prune stop at it: remove it while no prune runs, "
               "and run \"vmkeep repair\"");
    return rc == -1 ? -1 : 0;
}

static int
note_mark(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(RETIRED_MAX_BYTES);
    struct scan *s = cookie;
    struct ref_name named, ref;
    struct err why = {0};

    if (!name_parse_retired(name, &named))
        return 0;
    int rc = get(s, name, &bytes, &why, e);
    if (rc == -1)
        return -1;
    bool counts = rc == 1 && retired_unpack(bytes.p, bytes.len, name,
                                            &s->repo->config, &ref, &why) == 0;
    if (!counts)
        report(s, name, &why, "remove it, and forget the backup again");
    if (s->n_marks == s->room_marks) {
        s->room_marks = s->room_marks ? 2 * s->room_marks : 64;
        s->marks = xrealloc(s->marks, s->room_marks * sizeof(s->marks[0]));
    }
    s->marks[s->n_marks++] = (struct scan_mark){named, stat->mtime_ns, counts};
    return 0;
}

/* Each run of maintenance leaves a marker until a later one removes it. */
static int
note_session(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(SESSION_MAX_BYTES);
    struct scan *s = cookie;
    uint8_t id[NAME_ID_BYTES];
    struct session session;
    struct err ignored = {0};
    int64_t time_ns = 0;
    uint32_t writer = 0;

    if (!name_parse_session(name, &writer, &time_ns, id) ||
        writer != SESSION_MAINTENANCE || stat->mtime_ns <= s->maintained_ns)
        return 0;
    int rc = get(s, name, &bytes, &ignored, e);
    if (rc == 1 && session_unpack(bytes.p, bytes.len, name, &s->repo->config,
                                  &session, &ignored) == 0)
        s->maintained_ns = stat->mtime_ns;
    return rc == -1 ? -1 : 0;
}

int
scan_condemned(struct scan *s, struct err *e)
{
    if (store_list(s->repo->store, "cond/", note_list, s, e) == -1)
        return err_wrap(e, "cannot list what is condemned");
    return 0;
}

int
scan_notices(struct scan *s, struct err *e)
{
    struct store *st = s->repo->store;

    if (scan_condemned(s, e) == -1 ||
        store_list(st, "retired/", note_mark, s, e) == -1 ||
        store_list(st, "sess/", note_session, s, e) == -1)
        return err_wrap(e, "cannot list what maintenance did");
    s->noticed = true;
    return 0;
}

static bool
has_ref(const struct scan *s, const struct ref_name *mark)
{
    char name[NAME_MAX_LEN];

    name_ref(mark, name);
    for (size_t i = 0; i < s->inventory.refs.n; i++)
        if (strcmp(s->inventory.refs.objects[i].name, name) == 0)
            return true;
    return false;
}

int
scan_was_retired(const struct scan *s, const struct ref_name *ref,
                 int64_t stored_ns)
{
    const struct config *c = &s->repo->config;
    int64_t until_ns =
        s->maintained_ns +
        ((int64_t)c->window_s + (int64_t)c->visibility_s) * NS_PER_S;

    /* It was there when that ref was put, and maintenance has not run since. */
    if (s->maintained_ns == 0 || stored_ns > until_ns)
        return 0;
    for (size_t i = 0; i < s->n_marks; i++) {
        const struct ref_name *mark = &s->marks[i].ref;
        if (s->marks[i].counts && mark->ns == ref->ns &&
            mark->time_ns <= ref->time_ns &&
            memcmp(mark->machine, ref->machine, NAME_TAG_BYTES) == 0 &&
            !has_ref(s, mark))
            return 1;
    }
    return -1; /* the mark goes some time after its ref */
}

bool
scan_is_marked(const struct scan *s, const struct ref_name *ref)
{
    for (size_t i = 0; i < s->n_marks; i++)
        if (memcmp(s->marks[i].ref.id, ref->id, NAME_ID_BYTES) == 0)
            return true;
    return false;
}

int64_t
scan_retired_ns(const struct scan *s, const struct ref_name *ref)
{
    for (size_t i = 0; i < s->n_marks; i++)
        if (s->marks[i].counts &&
            memcmp(s->marks[i].ref.id, ref->id, NAME_ID_BYTES) == 0)
            return s->marks[i].stored_ns;
    return 0;
}
