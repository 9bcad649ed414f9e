/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/seen.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/cachedir.h"
#include "repo/lost.h"
#include "repo/notice.h"
#include "repo/repo_internal.h"
#include "repo/seenfile.h"
#include "store/store.h"

#define NS_PER_S INT64_C(1000000000)
#define KEEP_MAX_S (INT64_C(3650) * 24 * 3600)

struct seen {
    const struct keyring *keys; /* borrowed */
    char *dir;                  /* or NULL */
    struct seenfile file;
    pthread_mutex_t lock;          /* guards the one below */
    struct vanished_list vanished; /* by the listings so far */
};

struct seen *
seen_new(const char *dir, const char *address, const struct keyring *k)
{
    struct seen *s = xcalloc(1, sizeof(*s));

    (void)pthread_mutex_init(&s->lock, NULL);
    s->keys = k;
    if (!dir || !(k->has & KEY_META))
        return s;
    s->dir = xstrdup(dir);
    seenfile_init(&s->file, address, k);
    return s;
}

void
seen_free(struct seen *s)
{
    if (!s)
        return;
    vanished_list_done(&s->vanished);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

size_t
seen_vanished(struct seen *s)
{
    if (!s)
        return 0;
    (void)pthread_mutex_lock(&s->lock);
    size_t n = s->vanished.n;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

void
vanished_list_done(struct vanished_list *l)
{
    free(l->items);
    *l = (struct vanished_list){0};
}

/* ---- listings ---------------------------------------------------------- */

void
seen_look_begin(struct seen_look *l, const char *prefix)
{
    *l = (struct seen_look){.begun_ns = clock_wall_ns()};
    (void)snprintf(l->prefix, sizeof(l->prefix), "%s", prefix);
}

void
seen_look_add(struct seen_look *l, const struct ref_name *ref,
              enum seen_how how)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->refs = xrealloc(l->refs, l->room * sizeof(l->refs[0]));
    }
    l->refs[l->n++] = (struct seen_ref){*ref, how};
}

void
seen_look_done(struct seen_look *l)
{
    free(l->refs);
    *l = (struct seen_look){0};
}

static const struct seen_ref *
find_listed(const struct seen_look *l, const struct ref_name *ref)
{
    return l->n == 0
               ? NULL
               : bsearch(ref, l->refs, l->n, sizeof(l->refs[0]), seen_by_ref);
}

static bool
was_listed_for(const struct seen_look *l, const struct ref_name *ref)
{
    char name[NAME_MAX_LEN];

    name_ref(ref, name);
    return text_starts(name, l->prefix);
}

/* ---- how long what was seen counts -------------------------------------- */

/*
 * No ref goes, with its mark, sooner after it was seen.  The mark that was not
 * seen then may have been put V before.  0: not even that is sure.
 */
static int64_t
keep_ns(const struct config *c)
{
    int64_t s = config_ref_s(c) + c->grace_s - c->visibility_s -
                (int64_t)SEEN_CLOCK_DOUBT_S;

    return s <= 0 ? 0 : (s < KEEP_MAX_S ? s : KEEP_MAX_S) * NS_PER_S;
}

/* Does it still say something?  Not if it was seen in the future, as then one
 * of the times is wrong. */
static bool
counts(const struct repo *r, const struct seen_known *k, int64_t now_ns)
{
    return k->last_ns - now_ns <= SEEN_CLOCK_DOUBT_S * NS_PER_S &&
           now_ns - k->last_ns < keep_ns(&r->config);
}

/* ---- what is missing ------------------------------------------------------
 */

struct findings {
    struct vanished_list vanished;
    size_t room;
    struct seen_look retired; /* for its list: they had gone in good order */
};

static void
findings_done(struct findings *f)
{
    vanished_list_done(&f->vanished);
    seen_look_done(&f->retired);
}

static void
note_vanished(struct findings *f, const struct seen_known *k, bool unlisted)
{
    struct vanished_list *l = &f->vanished;

    if (l->n == f->room) {
        f->room = f->room ? 2 * f->room : 16;
        l->items = xrealloc(l->items, f->room * sizeof(l->items[0]));
    }
    l->items[l->n++] = (struct vanished){k->ref, k->last_ns, unlisted};
}

/* 1: there is a mark that maintenance has signed, 0: there is none, -1: that
 * could not be found out. */
static int
ask_for_mark(const struct repo *r, const struct ref_name *ref)
{
    CLEANUP(buf_done) struct buf b = buf_of(RETIRED_MAX_BYTES);
    struct ref_name says = {0};
    char name[NAME_MAX_LEN];
    struct err e = {0};

    name_retired(ref, name);
    if (store_get_all(r->store, name, &b, &e) == 0 &&
        retired_unpack(b.p, b.len, name, &r->config, &says, &e) == 0)
        return 1;
    return e.code == ERR_NOENT || e.code == ERR_LIMIT || e.code == ERR_CORRUPT
               ? 0
               : -1;
}

/* One that the listing lacks.  By names a storage shows at once what is there;
 * only listings may be late.  -1 if it can't be asked. */
static int
ask(const struct repo *r, const struct seen_look *l, const struct seen_known *k,
    struct findings *f)
{
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];
    struct err e = {0};

    name_ref(&k->ref, name);
    int there = store_stat(r->store, name, &stat, &e);
    if (there == -1)
        return -1;
    int64_t late_ns =
        ((int64_t)r->config.visibility_s + SEEN_CLOCK_DOUBT_S) * NS_PER_S;
    if (there == 1) {
        if (l->begun_ns - k->last_ns > late_ns)
            note_vanished(f, k, true);
        return 0;
    }
    int marked = ask_for_mark(r, &k->ref);
    if (marked == 1)
        seen_look_add(&f->retired, &k->ref, SEEN_RETIRED);
    /* It may have taken us long to come here. */
    else if (marked == 0 && counts(r, k, clock_wall_ns()))
        note_vanished(f, k, false);
    return marked == -1 ? -1 : 0;
}

/* Another command may have seen it since this one listed. */
static bool
is_missing(const struct repo *r, const struct seen_look *l,
           const struct seen_known *k, int64_t now_ns)
{
    return k->last_ns <= l->begun_ns && counts(r, k, now_ns) &&
           !find_listed(l, &k->ref) && was_listed_for(l, &k->ref);
}

static void
judge(const struct repo *r, const struct seen_look *l,
      const struct seen_memory *m, size_t max_asked, struct findings *f)
{
    int64_t now_ns = clock_wall_ns();
    struct err ignored = {0};
    size_t asked = 0;

    for (size_t i = 0; i < m->n && asked < max_asked; i++) {
        const struct seen_known *k = &m->refs[i];
        if (!is_missing(r, l, k, now_ns))
            continue;
        if (asked++ == 0 && lost_refresh(r->lost, &ignored) == -1)
            break;
        if (!lost_has(r->lost, LOST_REF, k->ref.id) && ask(r, l, k, f) == -1)
            break;
    }
    if (f->retired.n > 0)
        qsort(f->retired.refs, f->retired.n, sizeof(f->retired.refs[0]),
              seen_by_ref);
}

/* ---- what is remembered ----------------------------------------------------
 */

static int
newest_first(const void *a, const void *b)
{
    const struct seen_known *x = a, *y = b;

    return (x->ref.time_ns < y->ref.time_ns) -
           (x->ref.time_ns > y->ref.time_ns);
}

static void
keep_newest(struct seen_memory *m)
{
    if (m->n <= SEEN_MAX_REFS)
        return;
    qsort(m->refs, m->n, sizeof(m->refs[0]), newest_first);
    m->n = SEEN_MAX_REFS;
}

/* False: it is not to be remembered any more. */
static bool
renew(const struct repo *r, const struct seen_look *l, const struct findings *f,
      int64_t now_ns, struct seen_known *k)
{
    const struct seen_ref *seen = find_listed(l, &k->ref);

    if (!counts(r, k, now_ns) || lost_has(r->lost, LOST_REF, k->ref.id) ||
        find_listed(&f->retired, &k->ref) ||
        (seen && seen->how == SEEN_RETIRED))
        return false;
    if (seen && seen->how != SEEN_LISTED && l->begun_ns > k->last_ns)
        k->last_ns = l->begun_ns;
    return true;
}

/* What was known, and what was seen now. */
static void
apply(const struct repo *r, const struct seen_look *l, const struct findings *f,
      struct seen_memory *m)
{
    int64_t now_ns = clock_wall_ns();
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        if (renew(r, l, f, now_ns, &m->refs[i]))
            m->refs[n++] = m->refs[i];
    m->n = n;
    for (size_t i = 0; i < l->n; i++) {
        const struct seen_known now = {l->refs[i].ref, l->begun_ns};
        if (l->refs[i].how == SEEN_READ && counts(r, &now, now_ns) &&
            !lost_has(r->lost, LOST_REF, now.ref.id) &&
            (i == 0 || seen_by_ref(&l->refs[i - 1], &now) != 0) &&
            (n == 0 ||
             !bsearch(&now, m->refs, n, sizeof(m->refs[0]), seen_by_ref)))
            seen_memory_add(m, &now.ref, now.last_ns);
    }
    keep_newest(m);
}

static void
remember(const struct repo *r, const struct seen_look *l,
         const struct findings *f)
{
    const struct seen *s = r->seen;
    CLEANUP(seen_memory_done) struct seen_memory m = {0};
    bool any = false; /* else there is no need for a folder */

    for (size_t i = 0; i < l->n && !any; i++)
        any = l->refs[i].how == SEEN_READ;
    CLEANUP(fd_closep) int dir = cachedir_open(s->dir, s->keys, any);

    if (dir == -1 || !seenfile_lock(dir))
        return;
    seenfile_load(&s->file, dir, &m);
    size_t before = m.n;
    apply(r, l, f, &m);
    if (m.n > 0 || before > 0)
        seenfile_save(&s->file, dir, &m);
}

/* ---- all of it --------------------------------------------------------------
 */

/* What this listing says takes the place of what an earlier one did. */
static void
note_all(struct seen *s, const struct seen_look *l, const struct findings *f)
{
    struct vanished_list all = {0};

    (void)pthread_mutex_lock(&s->lock);
    all.items =
        xcalloc(s->vanished.n + f->vanished.n + 1, sizeof(all.items[0]));
    for (size_t i = 0; i < s->vanished.n; i++)
        if (!was_listed_for(l, &s->vanished.items[i].ref))
            all.items[all.n++] = s->vanished.items[i];
    for (size_t i = 0; i < f->vanished.n; i++)
        all.items[all.n++] = f->vanished.items[i];
    vanished_list_done(&s->vanished);
    s->vanished = all;
    (void)pthread_mutex_unlock(&s->lock);
}

void
seen_compare(struct repo *r, struct seen_look *l, size_t max_asked,
             struct vanished_list *out)
{
    CLEANUP(findings_done) struct findings f = {0};
    CLEANUP(seen_memory_done) struct seen_memory m = {0};
    struct seen *s = r->seen;

    if (out)
        *out = (struct vanished_list){0};
    if (!s || !s->dir || keep_ns(&r->config) == 0)
        return;
    if (l->n > 0)
        qsort(l->refs, l->n, sizeof(l->refs[0]), seen_by_ref);
    CLEANUP(fd_closep) int dir = cachedir_open(s->dir, s->keys, false);
    if (dir != -1)
        seenfile_load(&s->file, dir, &m);
    judge(r, l, &m, max_asked, &f);
    remember(r, l, &f);
    note_all(s, l, &f);
    if (out) {
        *out = f.vanished;
        f.vanished = (struct vanished_list){0};
    }
}
