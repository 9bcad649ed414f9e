/* SPDX-License-Identifier: Apache-2.0 */
#include "conformance.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/store.h"
#include "work/pool.h"

struct fixture {
    const struct conformance_backend *backend;
    struct store *st;
    void *own;
};

static int
setup(void **state)
{
    const struct conformance_backend *b = *state;
    struct fixture *f = xcalloc(1, sizeof(*f));

    f->backend = b;
    f->st = b->make(&f->own);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    f->backend->destroy(f->st, f->own);
    free(f);
    return 0;
}

static struct store *
store_of(void **state)
{
    return ((struct fixture *)*state)->st;
}

/* ---- steps that must go well, or fail in one way ---------------------- */

static void
put(struct store *st, const char *name, const void *p, size_t len)
{
    struct err e = {0};

    if (store_put(st, name, p, len, &e) != 0)
        fail_msg("%s", e.msg);
}

static void
put_text(struct store *st, const char *name, const char *text)
{
    put(st, name, text, strlen(text));
}

static void
expect_content(struct store *st, const char *name, const void *p, size_t len)
{
    CLEANUP(buf_done) struct buf b = buf_of(1 << 26);
    struct err e = {0};

    if (store_get_all(st, name, &b, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(b.len, len);
    if (len)
        assert_memory_equal(b.p, p, len);
}

static void
expect_text(struct store *st, const char *name, const char *text)
{
    expect_content(st, name, text, strlen(text));
}

static void
expect_error(int rc, const struct err *e, enum err_code code, const char *about)
{
    assert_int_equal(rc, -1);
    if (e->code != code)
        fail_msg("%s instead of %s: %s", err_code_name(e->code),
                 err_code_name(code), e->msg);
    if (!strstr(e->msg, about))
        fail_msg("'%s' does not say '%s'", e->msg, about);
}

static void
expect_no_object(struct store *st, const char *name)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct store_stat s = {.size_bytes = 77};
    uint8_t byte = 0;
    struct err e = {0};

    expect_error(store_get(st, name, 0, &byte, 1, &e), &e, ERR_NOENT, name);
    e = (struct err){0};
    expect_error(store_get(st, name, 0, &byte, 0, &e), &e, ERR_NOENT, name);
    e = (struct err){0};
    expect_error(store_get_all(st, name, &b, &e), &e, ERR_NOENT, name);
    e = (struct err){0};
    assert_int_equal(store_stat(st, name, &s, &e), 0);
    assert_int_equal(s.size_bytes, 77);
    expect_error(store_remove(st, name, &e), &e, ERR_NOENT, name);
}

/* Bytes that say where they are, so that a shift is seen. */
static uint8_t *
pattern(size_t len, unsigned seed)
{
    uint8_t *p = xmalloc(len + 1);

    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16 ^ seed);
    return p;
}

/* ---- listings as text: "name=size " sorted ---------------------------- */

struct names {
    char *list[4096];
    size_t n;
};

static int
add_name(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct names *l = cookie;

    if (l->n == ARRAY_LEN(l->list))
        return err_set(e, ERR_LIMIT, "too many names for this test");
    l->list[l->n++] =
        xasprintf("%s=%llu", name, (unsigned long long)stat->size_bytes);
    return 0;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
names_done(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->list[i]);
}

static int
list_as_text(struct store *st, const char *prefix, char **out, struct err *e)
{
    CLEANUP(names_done) struct names l = {0};
    struct buf text = buf_of(1 << 20);

    if (store_list(st, prefix, add_name, &l, e) != 0)
        return -1;
    qsort(l.list, l.n, sizeof(l.list[0]), compare_names);
    for (size_t i = 0; i < l.n; i++)
        buf_printf(&text, "%s ", l.list[i]);
    (void)buf_text(&text);
    *out = (char *)text.p;
    return 0;
}

static char *
listing(struct store *st, const char *prefix)
{
    char *text = NULL;
    struct err e = {0};

    if (list_as_text(st, prefix, &text, &e) == -1)
        fail_msg("%s", e.msg);
    return text;
}

static void
expect_listing(struct store *st, const char *prefix, const char *want)
{
    CLEANUP(freep) char *got = listing(st, prefix);

    assert_string_equal(got, want);
}

/* ---- writing and reading ---------------------------------------------- */

static void
objects_of_many_sizes_come_back(void **state)
{
    static const size_t sizes[] = {0,    1,     511,     512,    4095,
                                   4096, 65537, 1 << 20, 5000003};
    struct store *st = store_of(state);

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        CLEANUP(freep) char *name = xasprintf("sizes/%zu", sizes[i]);
        CLEANUP(freep) uint8_t *p = pattern(sizes[i], (unsigned)i);
        struct store_stat s = {0};
        struct err e = {0};
        put(st, name, p, sizes[i]);
        expect_content(st, name, p, sizes[i]);
        assert_int_equal(store_stat(st, name, &s, &e), 1);
        assert_int_equal(s.size_bytes, sizes[i]);
    }
}

static void
an_empty_store_has_nothing(void **state)
{
    expect_no_object(store_of(state), "a");
    expect_no_object(store_of(state), "a/b/c/d");
    expect_listing(store_of(state), "", "");
    expect_listing(store_of(state), "refs/", "");
    expect_listing(store_of(state), "refs/a/b/", "");
}

static void
an_object_is_never_replaced(void **state)
{
    struct store *st = store_of(state);
    struct store_stat before = {0}, after = {0};
    struct err e = {0};

    put_text(st, "a/one", "first");
    assert_int_equal(store_stat(st, "a/one", &before, &e), 1);
    expect_error(store_put(st, "a/one", "second", 6, &e), &e, ERR_EXISTS,
                 "a/one");
    e = (struct err){0};
    expect_error(store_put(st, "a/one", "first", 5, &e), &e, ERR_EXISTS,
                 "a/one");
    expect_text(st, "a/one", "first");
    e = (struct err){0};
    assert_int_equal(store_stat(st, "a/one", &after, &e), 1);
    assert_int_equal(before.mtime_ns, after.mtime_ns);
    expect_listing(st, "", "a/one=5 ");
}

static void
ranges_are_exact(void **state)
{
    struct store *st = store_of(state);
    CLEANUP(freep) uint8_t *p = pattern(10000, 7);
    static const size_t ranges[][2] = {
        {0, 1}, {0, 10000}, {1, 9999}, {9999, 1}, {4095, 2}, {10000, 0}, {5, 0},
    };

    put(st, "r/x", p, 10000);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        size_t at = ranges[i][0], len = ranges[i][1];
        uint8_t out[10001];
        struct err e = {0};
        memset(out, 0xee, sizeof(out));
        assert_int_equal(store_get(st, "r/x", at, out, len, &e), 0);
        if (len)
            assert_memory_equal(out, p + at, len);
        assert_int_equal(out[len], 0xee);
    }
}

static void
a_range_past_the_end_is_corruption(void **state)
{
    struct store *st = store_of(state);
    static const struct {
        uint64_t at;
        size_t len;
    } bad[] = {
        {0, 6},       {5, 1},          {4, 2},          {6, 0},
        {1000000, 1}, {UINT64_MAX, 1}, {UINT64_MAX, 6}, {INT64_MAX, 5},
    };

    put_text(st, "r/short", "12345");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t out[8];
        struct err e = {0};
        expect_error(store_get(st, "r/short", bad[i].at, out, bad[i].len, &e),
                     &e, ERR_CORRUPT, "r/short");
    }
}

static void
get_all_appends(void **state)
{
    struct store *st = store_of(state);
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct err e = {0};

    put_text(st, "x/a", "one");
    put_text(st, "x/b", "two");
    assert_int_equal(store_get_all(st, "x/a", &b, &e), 0);
    assert_int_equal(store_get_all(st, "x/b", &b, &e), 0);
    assert_string_equal(buf_text(&b), "onetwo");
}

static void
get_all_keeps_to_the_limit(void **state)
{
    struct store *st = store_of(state);
    CLEANUP(buf_done) struct buf b = buf_of(5);
    struct err e = {0};

    put_text(st, "x/a", "123");
    assert_int_equal(store_get_all(st, "x/a", &b, &e), 0);
    expect_error(store_get_all(st, "x/a", &b, &e), &e, ERR_LIMIT, "x/a");
    assert_string_equal(buf_text(&b), "123");
    assert_false(b.overflow);
    put_text(st, "x/b", "45");
    e = (struct err){0};
    assert_int_equal(store_get_all(st, "x/b", &b, &e), 0);
    assert_string_equal(buf_text(&b), "12345");
}

static void
times_do_not_go_back(void **state)
{
    struct store *st = store_of(state);
    int64_t last = 0;

    for (int i = 0; i < 20; i++) {
        CLEANUP(freep) char *name = xasprintf("t/%d", i);
        struct store_stat s = {0};
        struct err e = {0};
        put_text(st, name, "x");
        assert_int_equal(store_stat(st, name, &s, &e), 1);
        assert_true(s.mtime_ns > 0);
        assert_true(s.mtime_ns >= last);
        last = s.mtime_ns;
    }
}

/* ---- names ------------------------------------------------------------ */

static void
a_bad_name_is_refused_by_every_call(void **state)
{
    struct store *st = store_of(state);
    CLEANUP(freep) char *long_name = xcalloc(1, STORE_NAME_MAX + 2);
    memset(long_name, 'a', STORE_NAME_MAX + 1);
    const char *bad[] = {
        "",         "/",      "/a",   "a/",  "a//b",  ".",     "..",
        "../a",     "a/../b", "a/.b", ".a",  "A",     "a b",   "a\nb",
        "\xc3\xa4", "a\\b",   "a:b",  "tmp", "tmp/a", "a/./b", long_name,
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(buf_done) struct buf b = buf_of(100);
        struct store_stat s;
        uint8_t byte = 0;
        struct err e = {0};
        expect_error(store_put(st, bad[i], "x", 1, &e), &e, ERR_USAGE, "'");
        e = (struct err){0};
        expect_error(store_get(st, bad[i], 0, &byte, 1, &e), &e, ERR_USAGE,
                     "'");
        e = (struct err){0};
        expect_error(store_get_all(st, bad[i], &b, &e), &e, ERR_USAGE, "'");
        e = (struct err){0};
        expect_error(store_stat(st, bad[i], &s, &e), &e, ERR_USAGE, "'");
        e = (struct err){0};
        expect_error(store_remove(st, bad[i], &e), &e, ERR_USAGE, "'");
    }
    expect_listing(st, "", "");
}

static void
every_good_name_is_taken(void **state)
{
    struct store *st = store_of(state);
    char longest[STORE_NAME_MAX + 1] = {0}, deepest[STORE_NAME_MAX + 1] = {0};
    memset(longest, 'z', STORE_NAME_MAX);
    for (size_t i = 0; i < STORE_NAME_MAX - 1; i++)
        deepest[i] = i % 2 ? '/' : 'd';
    const char *good[] = {"config", "a.b",     "0",           "-",
                          "_",      "refs/-x", "refs/a..b",   "tmp2",
                          "x/tmp",  "tmp.a/b", "packs/d/00/", longest,
                          deepest};

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CLEANUP(freep)
        char *name = xasprintf("%s%s", good[i],
                               good[i][strlen(good[i]) - 1] == '/' ? "f" : "");
        put_text(st, name, name);
        expect_text(st, name, name);
    }
    CLEANUP(freep) char *all = listing(st, "");
    assert_non_null(strstr(all, longest));
    assert_non_null(strstr(all, deepest));
    assert_non_null(strstr(all, "tmp.a/b="));
    assert_non_null(strstr(all, "x/tmp="));
}

static void
a_folder_is_no_object(void **state)
{
    put_text(store_of(state), "packs/d/one", "x");
    expect_no_object(store_of(state), "packs");
    expect_no_object(store_of(state), "packs/d");
    expect_text(store_of(state), "packs/d/one", "x");
}

/* ---- listing ---------------------------------------------------------- */

static void
listing_is_by_whole_components(void **state)
{
    struct store *st = store_of(state);

    put_text(st, "config", "12");
    put_text(st, "refs/a/1", "1");
    put_text(st, "refs/a/2", "22");
    put_text(st, "refs/ab/1", "333");
    put_text(st, "refs2/x", "4444");
    put_text(st, "packs/d/00/x", "");
    expect_listing(st, "",
                   "config=2 packs/d/00/x=0 refs/a/1=1 refs/a/2=2 "
                   "refs/ab/1=3 refs2/x=4 ");
    expect_listing(st, "refs/", "refs/a/1=1 refs/a/2=2 refs/ab/1=3 ");
    expect_listing(st, "refs/a/", "refs/a/1=1 refs/a/2=2 ");
    expect_listing(st, "packs/", "packs/d/00/x=0 ");
    expect_listing(st, "refs/b/", "");
    expect_listing(st, "ref/", "");
}

static void
a_bad_prefix_is_refused(void **state)
{
    static const char *const bad[] = {"refs", "/",   "../",   "refs//", "a",
                                      "/a/",  "./",  "tmp/",  "A/",     ".a/",
                                      "a b/", "a/.", "tmp/a/"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct names l = {0};
        struct err e = {0};
        expect_error(store_list(store_of(state), bad[i], add_name, &l, &e), &e,
                     ERR_USAGE, bad[i]);
        assert_int_equal(l.n, 0);
    }
}

static int
same_as_stat(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct store_stat s = {0};

    if (store_stat(cookie, name, &s, e) != 1)
        return err_set(e, ERR_NOENT, "%s is listed but not there", name);
    assert_int_equal(s.size_bytes, stat->size_bytes);
    assert_int_equal(s.mtime_ns, stat->mtime_ns);
    return 0;
}

static void
listing_and_stat_agree(void **state)
{
    struct store *st = store_of(state);
    struct err e = {0};

    put_text(st, "a/b", "12345");
    put_text(st, "c", "");
    if (store_list(st, "", same_as_stat, st, &e) == -1)
        fail_msg("%s", e.msg);
}

static int
fail_at_second(void *cookie, const char *name, const struct store_stat *stat,
               struct err *e)
{
    unsigned *n = cookie;

    (void)name, (void)stat;
    return ++*n == 2 ? err_set(e, ERR_CANCELED, "enough") : 0;
}

static void
the_callback_ends_the_listing(void **state)
{
    struct store *st = store_of(state);
    unsigned n = 0;
    struct err e = {0};

    put_text(st, "a/1", "x");
    put_text(st, "a/2", "x");
    put_text(st, "b/1", "x");
    put_text(st, "b/2", "x");
    expect_error(store_list(st, "", fail_at_second, &n, &e), &e, ERR_CANCELED,
                 "enough");
    assert_int_equal(n, 2);
}

static int
copy_and_remove(void *cookie, const char *name, const struct store_stat *stat,
                struct err *e)
{
    CLEANUP(freep) char *copy = xasprintf("new-%s", name);

    (void)stat;
    if (strncmp(name, "old/", 4) != 0)
        return 0; /* one of the copies: may be seen */
    if (store_put(cookie, copy, "y", 1, e) == -1)
        return -1;
    return store_remove(cookie, name, e);
}

static void
the_callback_may_use_the_store(void **state)
{
    struct store *st = store_of(state);
    struct err e = {0};

    for (int i = 0; i < 120; i++) {
        CLEANUP(freep) char *name = xasprintf("old/%d/%d", i % 3, i);
        put_text(st, name, "x");
    }
    if (store_list(st, "", copy_and_remove, st, &e) == -1)
        fail_msg("%s", e.msg);
    expect_listing(st, "old/", "");
    CLEANUP(freep) char *copies = listing(st, "new-old/");
    size_t n = 0;
    for (const char *s = copies; *s; s++)
        n += *s == ' ';
    assert_int_equal(n, 120);
}

enum { LARGE = 1200, FILLERS = 8 }; /* more than a page of any protocol */

struct filler {
    struct store *st;
    int from;
};

static int
fill(void *arg, int failed, struct err *e)
{
    const struct filler *f = arg;

    (void)failed;
    for (int i = f->from; i < LARGE; i += FILLERS) {
        CLEANUP(freep) char *name = xasprintf("l/%04d", i);
        if (store_put(f->st, name, "x", 1, e) == -1)
            return -1;
    }
    return 0;
}

static void
a_large_listing_is_complete(void **state)
{
    CLEANUP(pool_freep) struct pool *pool = pool_new(FILLERS);
    CLEANUP(group_freep) struct group *g = group_new(pool, FILLERS);
    CLEANUP(buf_done) struct buf want = buf_of(1 << 20);
    struct filler f[FILLERS];
    struct err e = {0};

    for (int i = 0; i < FILLERS; i++) {
        f[i] = (struct filler){.st = store_of(state), .from = i};
        group_run(g, fill, &f[i]);
    }
    if (group_wait(g, &e) == -1)
        fail_msg("%s", e.msg);
    for (int i = 0; i < LARGE; i++)
        buf_printf(&want, "l/%04d=1 ", i);
    expect_listing(store_of(state), "", buf_text(&want));
}

/* ---- removing --------------------------------------------------------- */

static void
a_removed_object_is_gone(void **state)
{
    struct store *st = store_of(state);
    struct err e = {0};

    put_text(st, "a/1", "one");
    put_text(st, "a/2", "two");
    assert_int_equal(store_remove(st, "a/1", &e), 0);
    expect_no_object(st, "a/1");
    expect_listing(st, "", "a/2=3 ");
    expect_text(st, "a/2", "two");
    put_text(st, "a/1", "new");
    expect_text(st, "a/1", "new");
}

static void
objects_outlive_the_handle(void **state)
{
    struct fixture *f = *state;
    struct store_stat before = {0}, after = {0};
    struct err e = {0};

    put_text(f->st, "a/1", "one");
    put_text(f->st, "b", "");
    assert_int_equal(store_stat(f->st, "a/1", &before, &e), 1);
    f->st = f->backend->reopen(f->st, f->own);
    expect_listing(f->st, "", "a/1=3 b=0 ");
    expect_text(f->st, "a/1", "one");
    assert_int_equal(store_stat(f->st, "a/1", &after, &e), 1);
    assert_int_equal(before.mtime_ns, after.mtime_ns);
    expect_error(store_put(f->st, "a/1", "two", 3, &e), &e, ERR_EXISTS, "a/1");
}

/* ---- threads ---------------------------------------------------------- */

enum { RACERS = 8, RACES = 10, RACE_BYTES = 20000 };

struct racer {
    struct store *st;
    int who, race;
    int won; /* 1, or 0 for ERR_EXISTS */
};

static int
race(void *arg, int failed, struct err *e)
{
    struct racer *r = arg;
    CLEANUP(freep) char *same = xasprintf("race/%d", r->race);
    CLEANUP(freep) char *mine = xasprintf("own/%d/%d", r->race, r->who);
    uint8_t p[RACE_BYTES];

    (void)failed;
    memset(p, r->who + 1, sizeof(p));
    if (store_put(r->st, mine, p, sizeof(p), e) == -1)
        return -1;
    r->won = store_put(r->st, same, p, sizeof(p), e) == 0;
    if (!r->won && e->code != ERR_EXISTS)
        return -1;
    err_clear(e);
    memset(p, 0, sizeof(p));
    if (store_get(r->st, same, 0, p, sizeof(p), e) == -1)
        return -1;
    for (size_t i = 1; i < sizeof(p); i++)
        if (p[i] == 0 || p[i] != p[0])
            return err_set(e, ERR_CORRUPT, "%s is mixed", same);
    return 0;
}

static void
one_of_many_writers_wins(void **state)
{
    CLEANUP(pool_freep) struct pool *pool = pool_new(RACERS);

    for (int n = 0; n < RACES; n++) {
        CLEANUP(group_freep) struct group *g = group_new(pool, RACERS);
        struct racer r[RACERS];
        struct err e = {0};
        int wins = 0, winner = -1;
        for (int i = 0; i < RACERS; i++) {
            r[i] = (struct racer){.st = store_of(state), .who = i, .race = n};
            group_run(g, race, &r[i]);
        }
        if (group_wait(g, &e) == -1)
            fail_msg("%s", e.msg);
        for (int i = 0; i < RACERS; i++) {
            wins += r[i].won;
            winner = r[i].won ? i : winner;
        }
        assert_int_equal(wins, 1);
        CLEANUP(freep) char *name = xasprintf("race/%d", n);
        uint8_t first = 0;
        assert_int_equal(store_get(store_of(state), name, 0, &first, 1, &e), 0);
        assert_int_equal(first, winner + 1);
    }
    CLEANUP(freep) char *own = listing(store_of(state), "own/");
    size_t n = 0;
    for (const char *s = own; *s; s++)
        n += *s == ' ';
    assert_int_equal(n, RACERS * RACES);
}

struct churner {
    struct store *st;
    int who;
};

/* Makes and removes objects beside those that a listing must show. */
static int
churn(void *arg, int failed, struct err *e)
{
    struct churner *c = arg;

    (void)failed;
    for (int i = 0; i < 20; i++) {
        CLEANUP(freep) char *name = xasprintf("a/%d-%d", c->who, i);
        CLEANUP(freep) char *all = NULL;
        if (store_put(c->st, name, "x", 1, e) == -1 ||
            store_remove(c->st, name, e) == -1)
            return -1;
        if (i % 10)
            continue;
        if (list_as_text(c->st, "a/", &all, e) == -1)
            return -1;
        if (!strstr(all, "a/stay1=1 ") || !strstr(all, "a/stay2=1 "))
            return err_set(e, ERR_STORE, "not listed: %s", all);
    }
    return 0;
}

static void
listings_stand_changes(void **state)
{
    CLEANUP(pool_freep) struct pool *pool = pool_new(4);
    CLEANUP(group_freep) struct group *g = group_new(pool, 4);
    struct churner c[4];
    struct err e = {0};

    put_text(store_of(state), "a/stay1", "x");
    put_text(store_of(state), "a/stay2", "x");
    for (int i = 0; i < 4; i++) {
        c[i] = (struct churner){.st = store_of(state), .who = i};
        group_run(g, churn, &c[i]);
    }
    if (group_wait(g, &e) == -1)
        fail_msg("%s", e.msg);
    expect_listing(store_of(state), "", "a/stay1=1 a/stay2=1 ");
}

/* Whatever the answer, all objects are as they were. */
static void
trying_to_overwrite_changes_nothing(void **state)
{
    struct store *st = store_of(state);

    put_text(st, "refs/old", "history");
    put_text(st, "sess/own", "marker");
    (void)store_try_overwrite(st, "sess/own", "marker", 6, "refs/old");
    (void)store_try_overwrite(st, "sess/own", "marker", 6, "refs/none");
    expect_text(st, "refs/old", "history");
    expect_text(st, "sess/own", "marker");
    expect_listing(st, "", "refs/old=7 sess/own=6 ");
    assert_int_equal(store_try_overwrite(st, "../own", "marker", 6, "refs/old"),
                     STORE_UNKNOWN);
}

/* ---- the table -------------------------------------------------------- */

#define CONFORMANCE_TEST(f)   \
    {                         \
        .name = #f, .fn = (f) \
    }

static const struct {
    const char *name;
    void (*fn)(void **state);
    bool reopens;
} tests[] = {
    CONFORMANCE_TEST(objects_of_many_sizes_come_back),
    CONFORMANCE_TEST(an_empty_store_has_nothing),
    CONFORMANCE_TEST(an_object_is_never_replaced),
    CONFORMANCE_TEST(ranges_are_exact),
    CONFORMANCE_TEST(a_range_past_the_end_is_corruption),
    CONFORMANCE_TEST(get_all_appends),
    CONFORMANCE_TEST(get_all_keeps_to_the_limit),
    CONFORMANCE_TEST(times_do_not_go_back),
    CONFORMANCE_TEST(a_bad_name_is_refused_by_every_call),
    CONFORMANCE_TEST(every_good_name_is_taken),
    CONFORMANCE_TEST(a_folder_is_no_object),
    CONFORMANCE_TEST(listing_is_by_whole_components),
    CONFORMANCE_TEST(a_bad_prefix_is_refused),
    CONFORMANCE_TEST(listing_and_stat_agree),
    CONFORMANCE_TEST(the_callback_ends_the_listing),
    CONFORMANCE_TEST(the_callback_may_use_the_store),
    CONFORMANCE_TEST(a_large_listing_is_complete),
    CONFORMANCE_TEST(a_removed_object_is_gone),
    {.name = "objects_outlive_the_handle",
     .fn = objects_outlive_the_handle,
     .reopens = true},
    CONFORMANCE_TEST(one_of_many_writers_wins),
    CONFORMANCE_TEST(listings_stand_changes),
    CONFORMANCE_TEST(trying_to_overwrite_changes_nothing),
};

int
conformance_run(const struct conformance_backend *b, size_t n)
{
    struct CMUnitTest *all = xcalloc(n * ARRAY_LEN(tests), sizeof(*all));
    size_t total = 0;

    for (size_t i = 0; i < n * ARRAY_LEN(tests); i++) {
        const struct conformance_backend *which = &b[i / ARRAY_LEN(tests)];
        size_t t = i % ARRAY_LEN(tests);
        if (tests[t].reopens && !which->reopen)
            continue;
        all[total] = (struct CMUnitTest){
            .name = xasprintf("%s: %s", which->name, tests[t].name),
            .test_func = tests[t].fn,
            .setup_func = setup,
            .teardown_func = teardown,
        };
        memcpy(&all[total++].initial_state, &which, sizeof(void *));
    }
    int failed =
        _cmocka_run_group_tests("store conformance", all, total, NULL, NULL);
    for (size_t i = 0; i < total; i++) {
        char *name = NULL;
        memcpy(&name, &all[i].name, sizeof(name));
        free(name);
    }
    free(all);
    return failed;
}
