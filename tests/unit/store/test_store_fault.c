/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/store_mem.h"

struct fixture {
    struct store_clock clock;
    struct store *mem, *st;
};

static int
setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    f->mem = store_mem_new(&f->clock);
    f->st = store_fault_new(f->mem);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->st);
    store_close(f->mem);
    free(f);
    return 0;
}

/* ---- one call each: its code, 0 if it worked -------------------------- */

static enum err_code
put(struct store *st, const char *name, const char *text)
{
    struct err e = {0};

    return store_put(st, name, text, strlen(text), &e) == 0 ? ERR_OK : e.code;
}

static enum err_code
put_in(struct fixture *f, const char *name)
{
    return put(f->st, name, "12345678");
}

static enum err_code
get(struct fixture *f, const char *name)
{
    char out[8];
    struct err e = {0};

    return store_get(f->st, name, 0, out, 8, &e) == 0 ? ERR_OK : e.code;
}

static enum err_code
look(struct fixture *f, const char *name)
{
    struct store_stat s;
    struct err e = {0};

    return store_stat(f->st, name, &s, &e) == -1 ? e.code : ERR_OK;
}

static enum err_code
drop(struct fixture *f, const char *name)
{
    struct err e = {0};

    return store_remove(f->st, name, &e) == 0 ? ERR_OK : e.code;
}

static int
add_name(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    (void)stat, (void)e;
    buf_printf(cookie, "%s ", name);
    return 0;
}

static enum err_code
list(struct store *st, const char *prefix, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    struct err e = {0};
    int rc = store_list(st, prefix, add_name, &b, &e);

    assert_string_equal(buf_text(&b), want);
    return rc == 0 ? ERR_OK : e.code;
}

/* What is really there: the object's text, or NULL. */
static void
expect_inside(struct fixture *f, const char *name, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    struct err e = {0};
    int rc = store_get_all(f->mem, name, &b, &e);

    assert_int_equal(rc, want ? 0 : -1);
    if (want)
        assert_string_equal(buf_text(&b), want);
}

static void
plan(struct fixture *f, struct store_fault fault)
{
    store_fault_set(f->st, &fault);
}

/* ---- counting --------------------------------------------------------- */

static void
every_call_is_one_operation(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    struct err e = {0};

    assert_int_equal(store_fault_count(f->st), 0);
    assert_int_equal(put_in(f, "a"), ERR_OK);
    assert_int_equal(get(f, "a"), ERR_OK);
    assert_int_equal(store_get_all(f->st, "a", &b, &e), 0);
    assert_int_equal(look(f, "a"), ERR_OK);
    assert_int_equal(list(f->st, "", "a "), ERR_OK);
    assert_int_equal(drop(f, "a"), ERR_OK);
    assert_int_equal(store_fault_count(f->st), 6);
    assert_int_equal(drop(f, "a"), ERR_NOENT); /* this too */
    assert_int_equal(store_fault_count(f->st), 7);
    assert_int_equal(store_fault_hits(f->st), 0);
}

static void
only_the_kinds_and_names_asked_for_count(void **state)
{
    struct fixture *f = *state;

    plan(f, (struct store_fault){.ops = STORE_OP_CHANGES, .prefix = "refs/"});
    assert_int_equal(put_in(f, "refs/a"), ERR_OK);
    assert_int_equal(put_in(f, "packs/a"), ERR_OK);
    assert_int_equal(get(f, "refs/a"), ERR_OK);
    assert_int_equal(list(f->st, "refs/", "refs/a "), ERR_OK);
    assert_int_equal(drop(f, "refs/a"), ERR_OK);
    assert_int_equal(store_fault_count(f->st), 2);
    store_fault_set(f->st, NULL);
    assert_int_equal(store_fault_count(f->st), 0);
}

/* ---- when ------------------------------------------------------------- */

static void
the_planned_operation_fails_and_no_other(void **state)
{
    struct fixture *f = *state;

    plan(f, (struct store_fault){.at = 3, .ops = STORE_OP_PUT});
    assert_int_equal(put_in(f, "1"), ERR_OK);
    assert_int_equal(put_in(f, "2"), ERR_OK);
    assert_int_equal(get(f, "1"), ERR_OK);
    assert_int_equal(store_fault_hits(f->st), 0);
    assert_int_equal(put_in(f, "3"), ERR_STORE);
    assert_int_equal(put_in(f, "4"), ERR_OK);
    assert_int_equal(store_fault_hits(f->st), 1);
    list(f->mem, "", "1 2 4 ");
}

static void
a_fault_may_stay(void **state)
{
    struct fixture *f = *state;

    plan(f, (struct store_fault){.at = 2,
                                 .ops = STORE_OP_PUT,
                                 .prefix = "p/",
                                 .then = STORE_THEN_AGAIN});
    assert_int_equal(put_in(f, "p/1"), ERR_OK);
    assert_int_equal(put_in(f, "p/2"), ERR_STORE);
    assert_int_equal(put_in(f, "p/3"), ERR_STORE);
    assert_int_equal(put_in(f, "q/1"), ERR_OK);
    assert_int_equal(get(f, "p/1"), ERR_OK);
    assert_int_equal(store_fault_hits(f->st), 2);
    store_fault_set(f->st, NULL);
    assert_int_equal(put_in(f, "p/2"), ERR_OK);
}

static void
after_a_crash_nothing_is_done(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f->mem, "old", "12345678"), ERR_OK);
    plan(f, (struct store_fault){.at = 2,
                                 .ops = STORE_OP_PUT,
                                 .prefix = "p/",
                                 .then = STORE_THEN_CRASH});
    assert_int_equal(put_in(f, "p/1"), ERR_OK);
    assert_int_equal(put_in(f, "p/2"), ERR_STORE);
    assert_int_equal(put_in(f, "q/1"), ERR_STORE);
    assert_int_equal(get(f, "old"), ERR_STORE);
    assert_int_equal(look(f, "old"), ERR_STORE);
    assert_int_equal(drop(f, "old"), ERR_STORE);
    assert_int_equal(list(f->st, "", ""), ERR_STORE);
    assert_int_equal(store_fault_hits(f->st), 6);
    list(f->mem, "", "old p/1 ");
}

/* ---- what ------------------------------------------------------------- */

static void
a_failure_does_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put_in(f, "a"), ERR_OK);
    plan(f, (struct store_fault){.at = 1, .then = STORE_THEN_AGAIN});
    assert_int_equal(put_in(f, "b"), ERR_STORE);
    assert_int_equal(get(f, "a"), ERR_STORE);
    assert_int_equal(look(f, "a"), ERR_STORE);
    assert_int_equal(list(f->st, "", ""), ERR_STORE);
    assert_int_equal(drop(f, "a"), ERR_STORE);
    list(f->mem, "", "a ");
}

static void
a_cut_does_half(void **state)
{
    struct fixture *f = *state;
    char out[9] = "--------";
    struct err e = {0};

    assert_int_equal(put_in(f, "a"), ERR_OK);
    plan(f, (struct store_fault){
                .at = 1, .what = STORE_FAULT_CUT, .then = STORE_THEN_AGAIN});
    assert_int_equal(put_in(f, "b"), ERR_STORE);
    expect_inside(f, "b", "1234");
    assert_int_equal(store_get(f->st, "a", 0, out, 8, &e), -1);
    assert_int_equal(e.code, ERR_STORE);
    assert_string_equal(out, "1234----");
    assert_int_equal(put(f->mem, "c", "x"), ERR_OK);
    assert_int_equal(put(f->mem, "d", "x"), ERR_OK);
    assert_int_equal(list(f->st, "", "a b "), ERR_STORE);
    assert_int_equal(drop(f, "a"), ERR_STORE);
    expect_inside(f, "a", "12345678");
}

static void
a_lost_reply_hides_what_was_done(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put_in(f, "a"), ERR_OK);
    plan(f, (struct store_fault){.at = 1,
                                 .what = STORE_FAULT_NO_REPLY,
                                 .then = STORE_THEN_AGAIN});
    assert_int_equal(put_in(f, "b"), ERR_STORE);
    assert_int_equal(put_in(f, "b"), ERR_EXISTS); /* the second try */
    expect_inside(f, "b", "12345678");
    assert_int_equal(list(f->st, "", "a b "), ERR_STORE);
    assert_int_equal(drop(f, "a"), ERR_STORE);
    assert_int_equal(drop(f, "a"), ERR_NOENT);
    list(f->mem, "", "b ");
}

static void
what_failed_adds_nothing_to_a_buffer(void **state)
{
    struct fixture *f = *state;
    static const enum store_fault_what whats[] = {
        STORE_FAULT_FAIL, STORE_FAULT_CUT, STORE_FAULT_NO_REPLY};

    assert_int_equal(put_in(f, "a"), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(whats); i++) {
        CLEANUP(buf_done) struct buf b = buf_of(100);
        struct err e = {0};
        plan(f, (struct store_fault){.at = 1, .what = whats[i]});
        buf_add(&b, "zz", 2);
        assert_int_equal(store_get_all(f->st, "a", &b, &e), -1);
        assert_int_equal(e.code, ERR_STORE);
        assert_string_equal(buf_text(&b), "zz");
    }
}

static void
a_flipped_bit_is_no_failure(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(100);
    char out[9] = {0};
    struct err e = {0};

    assert_int_equal(put(f->st, "a", "aaaaaaaa"), ERR_OK);
    plan(f, (struct store_fault){.at = 1,
                                 .what = STORE_FAULT_FLIP,
                                 .then = STORE_THEN_AGAIN,
                                 .bit = 8 * 9 + 1}); /* wraps around */
    assert_int_equal(store_get(f->st, "a", 0, out, 8, &e), 0);
    assert_string_equal(out, "acaaaaaa");
    assert_int_equal(store_get(f->st, "a", 0, out, 0, &e), 0);
    buf_add(&b, "zz", 2);
    assert_int_equal(store_get_all(f->st, "a", &b, &e), 0);
    assert_string_equal(buf_text(&b), "zzacaaaaaa");
    assert_int_equal(put_in(f, "b"), ERR_OK); /* does not count */
    assert_int_equal(store_fault_count(f->st), 3);
    expect_inside(f, "a", "aaaaaaaa");
}

static void
a_truncated_object_seems_to_end(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(100);
    char out[8];
    struct err e = {0};

    assert_int_equal(put_in(f, "a"), ERR_OK);
    plan(f, (struct store_fault){.at = 1,
                                 .what = STORE_FAULT_SHORT,
                                 .then = STORE_THEN_AGAIN,
                                 .keep = 5});
    assert_int_equal(store_get(f->st, "a", 0, out, 5, &e), 0);
    assert_int_equal(get(f, "a"), ERR_CORRUPT);
    assert_int_equal(store_get(f->st, "a", 5, out, 1, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "only 5 bytes"));
    assert_int_equal(get(f, "none"), ERR_NOENT);
    buf_add(&b, "zz", 2);
    e = (struct err){0};
    assert_int_equal(store_get_all(f->st, "a", &b, &e), 0);
    assert_string_equal(buf_text(&b), "zz12345");
}

static void
add_one(void *cookie)
{
    ++*(int *)cookie;
}

static void
the_hook_is_called_at_the_fault(void **state)
{
    struct fixture *f = *state;
    int calls = 0;

    plan(f, (struct store_fault){.at = 2,
                                 .what = STORE_FAULT_NO_REPLY,
                                 .then = STORE_THEN_CRASH,
                                 .hook = add_one,
                                 .cookie = &calls});
    (void)put_in(f, "a");
    assert_int_equal(calls, 0);
    (void)put_in(f, "b");
    assert_int_equal(calls, 1);
    (void)put_in(f, "c");
    assert_int_equal(calls, 1);
}

static jmp_buf out_of_here;

static void
jump(void *cookie)
{
    (void)cookie;
    longjmp(out_of_here, 1); /* NOLINT */
}

/* No lock is held then, so a test may leave what it tests for good. */
static void
the_hook_may_leave(void **state)
{
    struct fixture *f = *state;

    plan(f, (struct store_fault){.at = 1, .hook = jump});
    if (setjmp(out_of_here) == 0) { /* NOLINT */
        (void)put_in(f, "a");
        fail_msg("the hook came back");
    }
    assert_int_equal(put_in(f, "b"), ERR_OK);
}

/* ---- lag -------------------------------------------------------------- */

enum { LAG = 100 };

static void
new_objects_are_listed_late_but_read_at_once(void **state)
{
    struct fixture *f = *state;
    unsigned early = 0, late = 0;

    store_fault_set_lag(f->st, &f->clock, LAG, 1);
    for (int i = 0; i < 50; i++) {
        CLEANUP(freep) char *name = xasprintf("%02d/x", i);
        CLEANUP(freep) char *prefix = xasprintf("%02d/", i);
        CLEANUP(freep) char *all = xasprintf("%s ", name);
        CLEANUP(buf_done) struct buf b = buf_of(100);
        struct err e = {0};
        assert_int_equal(put_in(f, name), ERR_OK);
        assert_int_equal(get(f, name), ERR_OK);
        f->clock.now_ns += LAG / 2;
        assert_int_equal(store_list(f->st, prefix, add_name, &b, &e), 0);
        early += b.len > 0;
        late += b.len == 0;
        f->clock.now_ns += LAG / 2;
        assert_int_equal(list(f->st, prefix, all), ERR_OK);
    }
    assert_true(early > 5);
    assert_true(late > 5);
}

static void
the_lag_of_a_name_is_always_the_same(void **state)
{
    struct fixture *f = *state;
    struct buf seen[2] = {buf_of(1000), buf_of(1000)};
    CLEANUP(buf_done) struct buf other = buf_of(1000);
    struct err e = {0};

    for (int i = 0; i < 30; i++) {
        CLEANUP(freep) char *name = xasprintf("%d", i);
        assert_int_equal(put_in(f, name), ERR_OK);
    }
    f->clock.now_ns = LAG / 2;
    store_fault_set_lag(f->st, &f->clock, LAG, 5);
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_list(f->st, "", add_name, &seen[i], &e), 0);
    assert_string_equal(buf_text(&seen[0]), buf_text(&seen[1]));
    store_fault_set_lag(f->st, &f->clock, LAG, 6);
    assert_int_equal(store_list(f->st, "", add_name, &other, &e), 0);
    assert_string_not_equal(buf_text(&seen[0]), buf_text(&other));
    buf_done(&seen[0]);
    buf_done(&seen[1]);
}

static void
removed_objects_are_listed_for_a_while(void **state)
{
    struct fixture *f = *state;
    unsigned ghosts = 0;

    for (int i = 0; i < 50; i++) {
        CLEANUP(freep) char *name = xasprintf("%02d/x", i);
        CLEANUP(freep) char *prefix = xasprintf("%02d/", i);
        CLEANUP(buf_done) struct buf b = buf_of(100);
        struct err e = {0};
        assert_int_equal(put_in(f, name), ERR_OK);
        f->clock.now_ns += LAG;
        store_fault_set_lag(f->st, &f->clock, LAG, 1);
        assert_int_equal(drop(f, name), ERR_OK);
        assert_int_equal(get(f, name), ERR_NOENT);
        f->clock.now_ns += LAG / 2;
        assert_int_equal(store_list(f->st, prefix, add_name, &b, &e), 0);
        ghosts += b.len > 0;
        f->clock.now_ns += LAG / 2;
        assert_int_equal(list(f->st, prefix, ""), ERR_OK);
    }
    assert_true(ghosts > 5);
    assert_true(ghosts < 45);
}

static void
what_was_put_again_is_listed_once(void **state)
{
    struct fixture *f = *state;

    store_fault_set_lag(f->st, &f->clock, LAG, 1);
    for (int i = 0; i < 20; i++) {
        CLEANUP(freep) char *name = xasprintf("%02d/x", i);
        CLEANUP(freep) char *prefix = xasprintf("%02d/", i);
        CLEANUP(freep) char *once = xasprintf("%s ", name);
        f->clock.now_ns = 0;
        assert_int_equal(put_in(f, name), ERR_OK);
        assert_int_equal(drop(f, name), ERR_OK);
        assert_int_equal(put_in(f, name), ERR_OK);
        for (; f->clock.now_ns < LAG; f->clock.now_ns++) {
            CLEANUP(buf_done) struct buf b = buf_of(100);
            struct err e = {0};
            assert_int_equal(store_list(f->st, prefix, add_name, &b, &e), 0);
            assert_true(b.len == 0 || strcmp(buf_text(&b), once) == 0);
        }
        assert_int_equal(list(f->st, prefix, once), ERR_OK);
    }
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_call_is_one_operation),
        TEST(only_the_kinds_and_names_asked_for_count),
        TEST(the_planned_operation_fails_and_no_other),
        TEST(a_fault_may_stay),
        TEST(after_a_crash_nothing_is_done),
        TEST(a_failure_does_nothing),
        TEST(a_cut_does_half),
        TEST(a_lost_reply_hides_what_was_done),
        TEST(what_failed_adds_nothing_to_a_buffer),
        TEST(a_flipped_bit_is_no_failure),
        TEST(a_truncated_object_seems_to_end),
        TEST(the_hook_is_called_at_the_fault),
        TEST(the_hook_may_leave),
        TEST(new_objects_are_listed_late_but_read_at_once),
        TEST(the_lag_of_a_name_is_always_the_same),
        TEST(removed_objects_are_listed_for_a_while),
        TEST(what_was_put_again_is_listed_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
