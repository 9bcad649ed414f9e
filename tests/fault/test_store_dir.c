/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store in a folder under a file layer that fails or crashes at every
 * call that changes something.
 *
 * This program starts itself under the shim, as a child that puts, lists, gets
 * and removes objects, says what it was told was done, and goes on after
 * failures.  Then it looks at what is there: every object that can be seen is
 * whole, what was done is there, what failed is not, and a second run without
 * faults works.
 */
#include <dirent.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/folder.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "fault_run.h"
#include "store/store.h"

enum { OBJECT_MAX = 200000 };

static const struct object {
    const char *name;
    size_t len;
} objects[] = {
    {"config", 100},        {"packs/d/00/one", OBJECT_MAX},
    {"packs/d/00/two", 1},  {"packs/d/01/three", 70000},
    {"refs/host/empty", 0}, {"index/gone", 5000},
};
static const char removed[] = "index/gone";

static void
content(const struct object *o, uint8_t *out)
{
    for (size_t i = 0; i < o->len; i++)
        out[i] = (uint8_t)(i * 7 + i / 251 + o->len);
}

/* ---- the child -------------------------------------------------------- */

static int
put_one(struct store *st, const struct object *o)
{
    static uint8_t p[OBJECT_MAX];
    struct err e = {0};

    content(o, p);
    if (store_put(st, o->name, p, o->len, &e) == -1 && e.code != ERR_EXISTS) {
        (void)dprintf(1, "failed put %s: %s %s\n", o->name,
                      err_code_name(e.code), e.msg);
        return 1;
    }
    (void)dprintf(1, "done put %s\n", o->name);
    if (e.code == ERR_EXISTS)
        (void)dprintf(1, "found %s\n", o->name);
    return 0;
}

static int
ignore_name(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    (void)cookie, (void)name, (void)stat, (void)e;
    return 0;
}

/* A folder that someone else removes meanwhile is made again. */
static int
child_remaking(const char *path)
{
    CLEANUP(freep) char *folder = path_join(path, "a");
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};

    return store_create(path, &st, &e) == -1 ||
           store_put(st, "a/x", "1", 1, &e) == -1 ||
           store_remove(st, "a/x", &e) == -1 || rmdir(folder) == -1 ||
           store_put(st, "a/y", "1", 1, &e) == -1;
}

static int
child(const char *path)
{
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};
    int rc = 0;

    if (access(path, F_OK) == 0 ? store_open(path, &st, &e) == -1
                                : store_create(path, &st, &e) == -1) {
        (void)dprintf(1, "failed create: %s %s\n", err_code_name(e.code),
                      e.msg);
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(objects); i++)
        rc |= put_one(st, &objects[i]);
    if (store_list(st, "", ignore_name, NULL, &e) == -1) {
        (void)dprintf(1, "failed list: %s\n", e.msg);
        rc = 1;
    }
    e = (struct err){0};
    if (store_remove(st, removed, &e) == 0 || e.code == ERR_NOENT) {
        (void)dprintf(1, "done remove %s\n", removed);
    } else {
        (void)dprintf(1, "failed remove %s: %s %s\n", removed,
                      err_code_name(e.code), e.msg);
        rc = 1;
    }
    return rc;
}

/* ---- running it ------------------------------------------------------- */

struct fixture {
    char *folder; /* that of the store is "s" in it */
    const char *child;
    struct buf output;
    struct fault_outcome outcome;
};

static unsigned total_runs;

static int
setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    f->folder = folder_new();
    f->child = "child";
    f->output = buf_of(1 << 20);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    folder_free(f->folder);
    buf_done(&f->output);
    free(f);
    return 0;
}

/* Run the child where the last one ran; returns what it said. */
static const char *
run_again(struct fixture *f, struct fault_run r)
{
    CLEANUP(freep) char *path = path_join(f->folder, "s");
    const char *const argv[] = {"/proc/self/exe", f->child, path, NULL};
    struct err e = {0};

    r.argv = argv;
    if (!r.under)
        r.under = f->folder;
    buf_reset(&f->output);
    if (fault_run(&r, &f->outcome, &f->output, &e) == -1)
        fail_msg("%s", e.msg);
    total_runs++;
    return buf_text(&f->output);
}

static const char *
run(struct fixture *f, struct fault_run r)
{
    folder_free(f->folder);
    f->folder = folder_new();
    return run_again(f, r);
}

static bool
said(const struct fixture *f, const char *done, const char *name)
{
    CLEANUP(freep) char *line = xasprintf("%s %s\n", done, name);

    return strstr((const char *)f->output.p, line) != NULL;
}

static int
count_temporaries(const struct fixture *f)
{
    CLEANUP(freep) char *path = path_join(f->folder, "s/tmp");
    DIR *d = opendir(path);
    int n = 0;

    if (!d)
        return 0;
    while (readdir(d)) /* NOLINT(concurrency-mt-unsafe) */
        n++;
    (void)closedir(d);
    return n - 2;
}

/* ---- looking at what it left ------------------------------------------ */

struct seen {
    bool object[ARRAY_LEN(objects)];
    struct store *st;
};

/* Everything that is listed is one of ours and whole. */
static int
see(void *cookie, const char *name, const struct store_stat *stat,
    struct err *e)
{
    static uint8_t want[OBJECT_MAX];
    CLEANUP(buf_done) struct buf got = buf_of(OBJECT_MAX);
    struct seen *s = cookie;
    size_t i = 0;

    while (i < ARRAY_LEN(objects) && strcmp(objects[i].name, name) != 0)
        i++;
    if (i == ARRAY_LEN(objects))
        return err_set(e, ERR_CORRUPT, "%s is not ours", name);
    if (store_get_all(s->st, name, &got, e) == -1)
        return -1;
    content(&objects[i], want);
    if (got.len != objects[i].len || stat->size_bytes != got.len ||
        (got.len && memcmp(got.p, want, got.len) != 0))
        return err_set(e, ERR_CORRUPT, "%s is not whole", name);
    s->object[i] = true;
    return 0;
}

static struct seen
look(const struct fixture *f)
{
    CLEANUP(freep) char *path = path_join(f->folder, "s");
    CLEANUP(store_closep) struct store *st = NULL;
    struct seen s = {0};
    struct err e = {0};

    if (store_open(path, &st, &e) == -1) {
        assert_int_equal(e.code, ERR_NOENT); /* it was not even made */
        return s;
    }
    s.st = st;
    if (store_list(st, "", see, &s, &e) == -1)
        fail_msg("%s", e.msg);
    s.st = NULL;
    return s;
}

/*
 * `exact`: a failure leaves nothing behind.  With a crash, or with a reply
 * that was lost, what was not reported may be there, but then whole.
 */
static void
check(const struct fixture *f, bool exact)
{
    struct seen s = look(f);
    bool was_removed = said(f, "done remove", removed);

    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        const char *name = objects[i].name;
        bool done = said(f, "done put", name);
        if (strcmp(name, removed) == 0) {
            if (was_removed && s.object[i])
                fail_msg("%s was removed, and is there", name);
            continue;
        }
        if (done && !s.object[i])
            fail_msg("%s was put, and is not there", name);
        if (exact && !done && s.object[i])
            fail_msg("%s failed, and is there", name);
    }
}

static void
expect_complete(const struct fixture *f)
{
    struct seen s = look(f);

    for (size_t i = 0; i < ARRAY_LEN(objects); i++)
        assert_int_equal(s.object[i], strcmp(objects[i].name, removed) != 0);
}

/* ---- sweeps ----------------------------------------------------------- */

struct sweep {
    struct fault_run plan;
    bool exact;    /* see check */
    bool crashes;  /* the child must have died, else have reported it */
    bool harmless; /* neither: nothing may have failed */
    int temporaries_max;
};

static void
sweep_once(struct fixture *f, const struct sweep *w, uint64_t n)
{
    struct fault_run r = w->plan;

    r.at = n;
    (void)run(f, r);
    if (f->outcome.faults == 0 || w->harmless)
        assert_int_equal(f->outcome.exit_code, 0);
    else if (w->crashes)
        assert_int_equal(f->outcome.signal, SIGKILL);
    else
        assert_int_equal(f->outcome.exit_code, 1);
    check(f, w->exact);
    assert_true(count_temporaries(f) <= w->temporaries_max);
}

/* For every N, as said at the top. */
static void
sweep(struct fixture *f, const struct sweep *w)
{
    uint64_t n = 0;
    uint64_t faults = 0;

    do {
        sweep_once(f, w, ++n);
        faults = f->outcome.faults;
        struct fault_run again = {.lacks = w->plan.lacks};
        const char *text = run_again(f, again);
        if (f->outcome.exit_code != 0)
            fail_msg("after a fault at call %d: %s", (int)n, text);
        expect_complete(f);
        assert_true(count_temporaries(f) <= w->temporaries_max);
    } while (faults > 0);
    assert_true(n >= ARRAY_LEN(objects)); /* all but the empty one met one */
}

static void
a_call_that_fails(void **state)
{
    sweep(*state, &(struct sweep){.plan = {.what = "fail"}, .exact = true});
}

static void
a_disk_that_fills_up_or_dies(void **state)
{
    /* Cleaning up fails too, so temporaries and what was just published (but
     * could not be made durable) may stay. */
    sweep(*state,
          &(struct sweep){
              .plan = {.what = "fail", .error = "ENOSPC", .forever = true},
              .temporaries_max = (int)ARRAY_LEN(objects)});
}

static void
a_call_whose_success_is_not_told(void **state)
{
    sweep(*state,
          &(struct sweep){.plan = {.what = "done"}, .temporaries_max = 1});
}

static void
a_short_write_is_nothing(void **state)
{
    sweep(*state, &(struct sweep){
                      .plan = {.what = "short"},
                      .exact = true,
                      .harmless = true,
                  });
}

static void
an_interrupted_write_is_nothing(void **state)
{
    sweep(*state, &(struct sweep){
                      .plan = {.error = "EINTR", .calls = "write"},
                      .exact = true,
                      .harmless = true,
                  });
}

static void
a_crash_before_a_call(void **state)
{
    sweep(*state, &(struct sweep){.plan = {.what = "crash"},
                                  .crashes = true,
                                  .temporaries_max = 1});
}

static void
a_crash_amid_a_write(void **state)
{
    sweep(*state, &(struct sweep){
                      .plan = {.what = "crash-half", .calls = "write,fsync"},
                      .crashes = true,
                      .temporaries_max = 1});
}

static void
a_crash_after_a_call(void **state)
{
    sweep(*state, &(struct sweep){.plan = {.what = "crash-after"},
                                  .crashes = true,
                                  .temporaries_max = 1});
}

/* Without renameat2(RENAME_NOREPLACE), as on NFS. */
static void
links_instead_of_renames(void **state)
{
    static const char lacks[] = "renameat2:EINVAL";

    sweep(*state, &(struct sweep){.plan = {.what = "crash", .lacks = lacks},
                                  .crashes = true,
                                  .temporaries_max = 1});
    /* The last call for an object removes its temporary name: that it fails
     * is no failure of the put, so the others are swept. */
    sweep(*state, &(struct sweep){
                      .plan = {.what = "fail",
                               .lacks = lacks,
                               .calls = "open,write,fsync,utimes,link,mkdir"},
                      .exact = true});
}

/* ---- single points ---------------------------------------------------- */

static void
a_link_whose_reply_was_lost_is_ours(void **state)
{
    struct fixture *f = *state;
    struct fault_run r = {.at = 1,
                          .forever = true,
                          .calls = "link",
                          .what = "done",
                          .error = "EEXIST",
                          .lacks = "renameat2:EOPNOTSUPP"};

    (void)run(f, r);
    assert_int_equal(f->outcome.exit_code, 0);
    assert_int_equal(f->outcome.faults, ARRAY_LEN(objects));
    assert_int_equal(count_temporaries(f), 0);
    assert_false(said(f, "found", "config"));
    expect_complete(f);
}

static void
neither_rename_nor_link_is_said_so(void **state)
{
    struct fixture *f = *state;
    struct fault_run r = {.lacks = "renameat2:EINVAL,link:EPERM"};
    const char *text = run(f, r);

    assert_int_equal(f->outcome.exit_code, 1);
    assert_non_null(strstr(text, "can neither rename without replacing"));
    assert_non_null(strstr(text, "failed put config: storage "));
    assert_int_equal(count_temporaries(f), 0);
}

static void
a_full_disk_is_named_wherever_it_shows(void **state)
{
    struct fixture *f = *state;
    static const char *const calls[] = {"open", "write", "fsync", "mkdir",
                                        "renameat2"};
    static const char *const full[] = {"ENOSPC", "EDQUOT"};

    for (size_t i = 0; i < ARRAY_LEN(calls) * ARRAY_LEN(full); i++) {
        CLEANUP(freep) char *path = NULL;
        struct fault_run r = {
            .at = 1, .calls = calls[i / 2], .error = full[i % 2]};
        folder_free(f->folder);
        f->folder = folder_new();
        path = path_join(f->folder, "s");
        assert_int_equal(mkdir(path, 0700), 0);
        const char *text = run_again(f, r);
        assert_int_equal(f->outcome.faults, 1);
        assert_non_null(strstr(text, ": storage "));
        assert_non_null(strstr(text, " free"));
        assert_non_null(strstr(text, "vmkeep prune"));
        assert_non_null(strstr(text, i % 2 ? "quota exceeded" : "No space"));
    }
}

/* ---- the order of calls ----------------------------------------------- */

/* What the child calls; with `at`, a failing one. */
static void
trace(struct fixture *f, struct fault_run r, struct buf *out)
{
    CLEANUP(folder_freep) char *other = folder_new();
    CLEANUP(freep) char *path = path_join(other, "trace");
    struct err e = {0};

    r.trace = path;
    (void)run(f, r);
    if (file_read(path, out, &e) == -1)
        fail_msg("%s", e.msg);
    (void)buf_text(out);
}

/* Finds `regex` at or behind *at, and moves *at behind it.  FOLDER in it is
 * the folder of the store, PARENT the one that it is in. */
static void
expect_next(const struct fixture *f, const char **at, const char *regex)
{
    const char *folder = strstr(regex, "FOLDER");
    const char *mark = folder ? folder : strstr(regex, "PARENT");
    size_t before = mark ? (size_t)(mark - regex) : strlen(regex);
    CLEANUP(freep)
    char *whole =
        xasprintf("%.*s%s%s%s", (int)before, regex, mark ? f->folder : "",
                  folder ? "/s" : "", mark ? mark + 6 : "");
    regmatch_t match;
    regex_t re;

    assert_int_equal(regcomp(&re, whole, REG_EXTENDED | REG_NEWLINE), 0);
    int rc = regexec(&re, *at, 1, &match, 0);
    regfree(&re);
    if (rc != 0)
        fail_msg("no '%s' in '%s'", whole, *at);
    *at += match.rm_eo;
}

static void
everything_is_synced_before_what_builds_on_it(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    trace(f, (struct fault_run){0}, &b);
    const char *at = buf_text(&b);

    /* The place itself, then every new folder in its own. */
    expect_next(f, &at, "mkdir FOLDER$");
    expect_next(f, &at, "fsync PARENT$");
    expect_next(f, &at, "renameat2 .* -> FOLDER/config$");
    expect_next(f, &at, "mkdir FOLDER/packs$");
    expect_next(f, &at, "fsync FOLDER$");
    expect_next(f, &at, "mkdir FOLDER/packs/d$");
    expect_next(f, &at, "fsync FOLDER/packs$");
    expect_next(f, &at, "mkdir FOLDER/packs/d/00$");
    expect_next(f, &at, "fsync FOLDER/packs/d$");
    /* The object: data, sync, time, name, time, sync. */
    expect_next(f, &at, "open FOLDER/tmp/[0-9]{8}t[0-9]{6}z-[0-9a-f]{16}$");
    expect_next(f, &at, "write FOLDER/tmp/");
    expect_next(f, &at, "fsync FOLDER/tmp/");
    expect_next(f, &at, "utimes FOLDER/tmp/");
    expect_next(f, &at, "renameat2 .* -> ");
    expect_next(f, &at, "FOLDER/packs/d/00/one$");
    expect_next(f, &at, "utimes FOLDER/packs/d/00/one$");
    expect_next(f, &at, "fsync FOLDER/packs/d/00$");
    /* A removal. */
    expect_next(f, &at, "unlink FOLDER/index/gone$");
    expect_next(f, &at, "fsync FOLDER/index$");
}

static unsigned
count_lines(const char *text, const char *word)
{
    unsigned n = 0;

    for (const char *s = strstr(text, word); s; s = strstr(s + 1, word))
        n++;
    return n;
}

static void
what_exists_is_made_durable_before_it_is_said(void **state)
{
    struct fixture *f = *state;
    CLEANUP(folder_freep) char *other = folder_new();
    CLEANUP(freep) char *path = path_join(other, "trace");
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    struct err e = {0};

    /* The first dies between the name and its sync, the second finds it. */
    (void)run(f, (struct fault_run){
                     .at = 4, .calls = "renameat2", .what = "crash-after"});
    assert_int_equal(f->outcome.signal, SIGKILL);
    (void)run_again(f, (struct fault_run){.trace = path});
    assert_int_equal(f->outcome.exit_code, 0);
    assert_true(said(f, "found", "packs/d/01/three"));
    assert_int_equal(file_read(path, &b, &e), 0);
    const char *at = buf_text(&b);
    expect_next(f, &at, "fsync FOLDER/packs$");
    expect_next(f, &at, "fsync FOLDER/packs/d$");
    expect_next(f, &at, "fsync FOLDER/packs/d/01$");
    /* And none of those that exist was written first. */
    assert_int_equal(count_lines(buf_text(&b), " open "), 2);
}

static void
a_folder_made_again_is_synced_again(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);

    f->child = "remaking";
    trace(f, (struct fault_run){0}, &b);
    assert_int_equal(f->outcome.exit_code, 0);
    const char *at = buf_text(&b);
    expect_next(f, &at, "mkdir FOLDER/a$");
    expect_next(f, &at, "fsync FOLDER$");
    expect_next(f, &at, "rmdir FOLDER/a$");
    expect_next(f, &at, "mkdir FOLDER/a$");
    expect_next(f, &at, "fsync FOLDER$");
    expect_next(f, &at, "-> FOLDER/a/y$");
}

static void
a_folder_that_may_be_lost_is_removed(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *under = NULL;
    CLEANUP(freep) char *packs = NULL;

    folder_free(f->folder);
    f->folder = folder_new();
    under = path_join(f->folder, "s");
    packs = path_join(under, "packs");
    /* Syncs: config, its folder, and that folder again for packs/ in it. */
    (void)run_again(
        f, (struct fault_run){
               .at = 3, .calls = "fsync", .under = under, .forever = true});
    assert_true(said(f, "done put", "config"));
    assert_false(said(f, "done put", "packs/d/00/one"));
    assert_int_equal(access(packs, F_OK), -1);
}

static void
a_failed_sync_is_not_tried_again(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);

    /* 2: the data of the first object, after the place was made. */
    trace(f, (struct fault_run){.at = 2, .calls = "fsync,unlink"}, &b);
    const char *at = buf_text(&b);
    const char *line = at;
    expect_next(f, &at, "2 fsync FOLDER/tmp/.* !$");
    const char *name = strstr(line, "/s/tmp/");
    CLEANUP(freep) char *temp = xstrndup(name, strcspn(name, " "));
    expect_next(f, &at, "3 unlink FOLDER/tmp/");
    assert_int_equal(count_lines(buf_text(&b), temp), 2);
    assert_false(said(f, "done put", "config"));
    assert_int_equal(count_temporaries(f), 0);
}

int
main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_call_that_fails),
        TEST(a_disk_that_fills_up_or_dies),
        TEST(a_call_whose_success_is_not_told),
        TEST(a_short_write_is_nothing),
        TEST(an_interrupted_write_is_nothing),
        TEST(a_crash_before_a_call),
        TEST(a_crash_amid_a_write),
        TEST(a_crash_after_a_call),
        TEST(links_instead_of_renames),
        TEST(a_link_whose_reply_was_lost_is_ours),
        TEST(neither_rename_nor_link_is_said_so),
        TEST(a_full_disk_is_named_wherever_it_shows),
        TEST(everything_is_synced_before_what_builds_on_it),
        TEST(what_exists_is_made_durable_before_it_is_said),
        TEST(a_folder_made_again_is_synced_again),
        TEST(a_folder_that_may_be_lost_is_removed),
        TEST(a_failed_sync_is_not_tried_again),
    };

    if (argc == 3)
        return strcmp(argv[1], "child") == 0 ? child(argv[2])
                                             : child_remaking(argv[2]);
    /* A process that dies loses nothing that a disk would have kept. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 0); /* NOLINT */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)fprintf(stderr, "# the program ran %u times\n", total_runs);
    return failed;
}
