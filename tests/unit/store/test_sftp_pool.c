/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who gets which connection, and what becomes of those who share one, on
 * tests/remote/sftpserver.py.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "server.h"
#include "soon.h"
#include "standin.h"
#include "work/cancel.h"
#include "work/pool.h"

enum { CALLERS = 24, TURNS = 20, ONE_BYTES = 100000, MUCH_BYTES = 1000000 };

static struct server server;

static struct store *
open_world(const char *name, bool patiently)
{
    struct store *st = NULL;
    struct err e = {0};

    if (standin_open(server.text, name, patiently, &st, &e) == -1)
        fail_msg("%s", e.msg);
    return st;
}

/* ---- callers ------------------------------------------------------------- */

struct caller {
    struct store *store;
    unsigned number;
    int rc;
    struct err err;
    struct thread *thread;
};

static void
fill(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 7 + i / 256 + seed);
}

/* So many at a time; their number that failed, and an error of theirs. */
static unsigned
call(struct store *st, void (*fn)(void *), struct err *e)
{
    struct caller callers[CALLERS] = {0};
    unsigned failed = 0;

    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.store = st, .number = i};
        callers[i].thread = thread_start(fn, &callers[i]);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        thread_join(callers[i].thread);
        if (callers[i].rc == -1)
            *e = callers[i].err;
        failed += callers[i].rc == -1;
    }
    return failed;
}

static void
must_all_work(struct store *st, void (*fn)(void *))
{
    struct err e = {0};
    unsigned failed = call(st, fn, &e);

    if (failed > 0)
        fail_msg("%u of %d failed: %s", failed, (int)CALLERS, e.msg);
}

/* A look, a small object there and back, and its removal. */
static int
ask_once(struct caller *c, unsigned turn)
{
    CLEANUP(buf_done) struct buf back = buf_of(ONE_BYTES);
    CLEANUP(freep)
    char *name = xasprintf("s/%u/%u", c->number, turn);
    struct store_stat s = {0};
    uint8_t p[300];

    fill(p, sizeof(p), c->number * TURNS + turn);
    if (store_stat(c->store, "a/one", &s, &c->err) != 1 ||
        s.size_bytes != ONE_BYTES ||
        store_put(c->store, name, p, sizeof(p), &c->err) == -1 ||
        store_get_all(c->store, name, &back, &c->err) == -1 ||
        back.len != sizeof(p) || memcmp(back.p, p, sizeof(p)) != 0)
        return -1;
    return store_remove(c->store, name, &c->err);
}

static void
ask(void *arg)
{
    struct caller *c = arg;

    for (unsigned i = 0; i < TURNS && c->rc == 0; i++)
        c->rc = ask_once(c, i);
}

/* Some that ask meanwhile, and some that move much. */
static void
move(void *arg)
{
    struct caller *c = arg;
    CLEANUP(freep) uint8_t *p = xmalloc(MUCH_BYTES);
    CLEANUP(freep) uint8_t *back = xmalloc(MUCH_BYTES);
    CLEANUP(freep) char *name = xasprintf("m/%u", c->number);

    if (c->number % 4 == 0) {
        c->rc = ask_once(c, 0);
        return;
    }
    fill(p, MUCH_BYTES, c->number);
    c->rc = store_put(c->store, name, p, MUCH_BYTES, &c->err);
    if (c->rc == 0)
        c->rc = store_get(c->store, name, 0, back, MUCH_BYTES, &c->err);
    if (c->rc == 0 && memcmp(p, back, MUCH_BYTES) != 0)
        c->rc = -1;
}

static void
read_one(void *arg)
{
    struct caller *c = arg;
    CLEANUP(freep) uint8_t *p = xmalloc(ONE_BYTES);

    c->rc = store_get(c->store, "a/one", 0, p, ONE_BYTES, &c->err);
}

/* How many connections the server tells of. */
static uint64_t
told(struct store *st, const char *name)
{
    struct store_stat s = {0};
    struct err e = {0};

    assert_int_equal(store_stat(st, name, &s, &e), 1);
    return s.size_bytes;
}

/* At a time. */
static uint64_t
most(struct store *st)
{
    return told(st, "most");
}

/* ---- who gets which ------------------------------------------------------ */

static void
those_who_ask_share_one(void **state)
{
    CLEANUP(store_closep) struct store *st = open_world("few-9", false);

    (void)state;
    must_all_work(st, ask);
    /* Sixteen share one; a second is made for the others. */
    assert_in_range(most(st), 1, 2);
}

static void
those_who_move_much_have_others(void **state)
{
    CLEANUP(store_closep) struct store *st = open_world("few-10", false);

    (void)state;
    must_all_work(st, move);
    assert_in_range(most(st), 3, 8);
}

static void
a_server_may_allow_few(void **state)
{
    static const char *const worlds[] = {"few-1", "few-2", "few-3"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(worlds); i++) {
        CLEANUP(store_closep) struct store *st = open_world(worlds[i], false);
        must_all_work(st, move);
        must_all_work(st, ask);
        assert_int_equal(most(st), i + 1);
        assert_in_range(told(st, "refused"), 0, 8); /* and no more are tried */
    }
}

static void
what_is_expected_is_made(void **state)
{
    CLEANUP(store_closep) struct store *st = open_world("few-11", false);

    (void)state;
    store_expect(st, 3);
    store_expect(st, 8); /* the first counts */
    for (int i = 0; i < 500 && most(st) < 3; i++)
        (void)poll(NULL, 0, 10);
    assert_int_equal(most(st), 3);
    must_all_work(st, move);
}

/* The test would last for hours. */
static void
what_is_expected_keeps_nobody(void **state)
{
    struct store *st = open_world("few-1-hang", true);
    struct store_stat s = {0};
    struct err e = {0};

    (void)state;
    store_expect(st, 8);
    assert_int_equal(store_stat(st, "a/one", &s, &e), 1);
    assert_int_equal(most(st), 1);
    store_close(st);
}

/* ---- what becomes of who shares one -------------------------------------- */

static void
a_break_is_survived_by_all(void **state)
{
    CLEANUP(store_closep) struct store *st = open_world("open-ends-x3", false);

    (void)state;
    must_all_work(st, read_one);
}

static void
nonsense_for_one_is_survived_by_all(void **state)
{
    CLEANUP(store_closep)
    struct store *st = open_world("open-other-id-x2", false);

    (void)state;
    must_all_work(st, read_one);
}

static void
a_cancel_ends_all(void **state)
{
    CLEANUP(store_closep) struct store *st = open_world("open-hangs", true);
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct err e = {0};

    (void)state;
    store_set_cancel(st, c);
    struct thread *t = thread_start(raise_soon, c);
    assert_int_equal(call(st, read_one, &e), CALLERS);
    thread_join(t);
    if (!strstr(e.msg, "interrupted"))
        fail_msg("%s", e.msg);
    store_set_cancel(st, NULL);
}

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_ask_share_one),
        cmocka_unit_test(those_who_move_much_have_others),
        cmocka_unit_test(a_server_may_allow_few),
        cmocka_unit_test(what_is_expected_is_made),
        cmocka_unit_test(what_is_expected_keeps_nobody),
        cmocka_unit_test(a_break_is_survived_by_all),
        cmocka_unit_test(nonsense_for_one_is_survived_by_all),
        cmocka_unit_test(a_cancel_ends_all),
    };
    char *script[] = {"sftpserver.py", NULL};

    (void)signal(SIGPIPE, SIG_IGN);
    if (argc > 3 && strcmp(argv[1], "--connect") == 0)
        return connect_to(argv[2], argv[3]);
    if (!server_start(&server, script)) {
        (void)fprintf(stderr, "%s\n", server.text);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(&server);
    return failed;
}
