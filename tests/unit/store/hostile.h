/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of hostile servers share: a row is one operation on a server
 * that misbehaves in one way.  Whoever includes this defines open_server and
 * run.
 */
#ifndef TESTS_STORE_HOSTILE_H
#define TESTS_STORE_HOSTILE_H

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "server.h"
#include "soon.h"
#include "store/store.h"
#include "work/cancel.h"
#include "work/pool.h"

#ifdef __SANITIZE_ADDRESS__
enum { MEMORY_MAX_KIB = 600 << 10 }; /* it keeps 256 MiB of what was freed */
#else
enum { MEMORY_MAX_KIB = 200 << 10 };
#endif
enum { HOUR_MS = 3600000, ROWS_MAX = 256 };

enum op { OPEN, GET, ALL, STAT, PUT, PUT_NEW, REMOVE, LIST };

struct row {
    const char *name; /* of the server, and so of what it does */
    enum op op;
    enum err_code code; /* ERR_OK: it works all the same */
    const char *about;  /* in the message */
};

static struct server server;

/* With the patience of a moment, or of hours. */
static int open_server(const char *name, bool patiently, struct store **out,
                       struct err *e);
/* Its results are right, if it has any. */
static int run(enum op op, struct store *st, struct err *e);

static int
count(void *cookie, const char *name, const struct store_stat *stat,
      struct err *e)
{
    (void)name, (void)stat, (void)e;
    ++*(int *)cookie;
    return 0;
}

static int
run_remove(struct store *st, struct err *e)
{
    struct store_stat s = {0};
    int rc = store_remove(st, "a/one", e);

    if (rc == 0)
        assert_int_equal(store_stat(st, "a/one", &s, e), 0);
    return rc;
}

static int
run_stat(struct store *st, uint64_t size_bytes, struct err *e)
{
    struct store_stat s = {0};
    int rc = store_stat(st, "a/one", &s, e);

    assert_true(rc != 1 || s.size_bytes == size_bytes);
    return rc == 1 ? 0 : -1;
}

static void
check_row(void **state)
{
    const struct row *r = *state;
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};
    int rc = open_server(r->name, false, &st, &e);

    if (r->op != OPEN && rc != 0)
        fail_msg("%s", e.msg);
    if (r->op != OPEN)
        rc = run(r->op, st, &e);
    if (rc == 0 && r->code == ERR_OK)
        return;
    if (rc == 0)
        fail_msg("it worked");
    if (e.code != r->code || (r->about && !strstr(e.msg, r->about)))
        fail_msg("%s: %s", err_code_name(e.code), e.msg);
    assert_null(strstr(e.msg, "SKTEST")); /* the key */
    for (const char *s = e.msg; *s; s++)
        assert_true(*s >= 0x20 && *s < 0x7f);
}

/* ---- a cancel ------------------------------------------------------------ */

/* Reading from this store takes hours, unless it is cut short. */
static void
is_cut_short(const char *name, const char *about)
{
    CLEANUP(store_closep) struct store *st = NULL;
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct err e = {0};

    if (open_server(name, true, &st, &e) == -1)
        fail_msg("%s", e.msg);
    store_set_cancel(st, c);
    struct thread *t = thread_start(raise_soon, c);
    assert_int_equal(run(GET, st, &e), -1);
    thread_join(t);
    assert_int_equal(e.code, ERR_STORE);
    if (!strstr(e.msg, about))
        fail_msg("%s", e.msg);
    /* And what comes later has no longer. */
    e = (struct err){0};
    assert_int_equal(run(GET, st, &e), -1);
    assert_non_null(strstr(e.msg, "interrupted"));
    store_set_cancel(st, NULL);
}

/* What a run leaves behind can still be removed. */
static void
what_works_goes_on_after_a_cancel(void **state)
{
    CLEANUP(store_closep) struct store *st = NULL;
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct err e = {0};

    (void)state;
    assert_int_equal(open_server("fine", true, &st, &e), 0);
    store_set_cancel(st, c);
    cancel_raise(c);
    if (store_put(st, "d/left", "x", 1, &e) == -1 ||
        store_remove(st, "d/left", &e) == -1)
        fail_msg("%s", e.msg);
    store_set_cancel(st, NULL);
}

static void
memory_stayed_bounded(void **state)
{
    struct rusage u;

    (void)state;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    assert_true(u.ru_maxrss < MEMORY_MAX_KIB);
}

/* All rows, then those tests, then what all have in common. */
static int
test_hostile(char **script, const struct row *rows, size_t n_rows,
             const struct CMUnitTest *others, size_t n_others)
{
    static const struct CMUnitTest common[] = {
        cmocka_unit_test(what_works_goes_on_after_a_cancel),
        cmocka_unit_test(memory_stayed_bounded),
    };
    struct CMUnitTest tests[ROWS_MAX] = {0};
    size_t n = 0;

    if (n_rows + n_others + ARRAY_LEN(common) > ROWS_MAX ||
        !server_start(&server, script)) {
        (void)fprintf(stderr, "%s\n", server.text);
        return 1;
    }
    for (; n < n_rows; n++) {
        const void *row = &rows[n];
        tests[n] =
            (struct CMUnitTest){.name = rows[n].name, .test_func = check_row};
        memcpy(&tests[n].initial_state, &row, sizeof(row));
    }
    for (size_t i = 0; i < n_others; i++)
        tests[n++] = others[i];
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        tests[n++] = common[i];
    int failed = _cmocka_run_group_tests(script[0], tests, n, NULL, NULL);
    server_stop(&server);
    return failed;
}

#endif
