/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/store.h"

static int64_t
mtime_of(struct store *st, const char *name)
{
    struct store_stat s = {0};
    struct err e = {0};

    assert_int_equal(store_stat(st, name, &s, &e), 1);
    return s.mtime_ns;
}

static void
times_are_those_of_the_clock(void **state)
{
    struct store_clock clock = {.now_ns = -5};
    CLEANUP(store_closep) struct store *st = store_mem_new(&clock);
    struct err e = {0};

    (void)state;
    assert_int_equal(store_put(st, "a", "x", 1, &e), 0);
    clock.now_ns = 1000;
    assert_int_equal(store_put(st, "b", "x", 1, &e), 0);
    clock.now_ns = 2000;
    assert_true(mtime_of(st, "a") == -5);
    assert_true(mtime_of(st, "b") == 1000);
}

static void
without_a_clock_it_is_now(void **state)
{
    CLEANUP(store_closep) struct store *st = store_mem_new(NULL);
    struct err e = {0};

    (void)state;
    int64_t before = clock_wall_ns();
    assert_int_equal(store_put(st, "a", "x", 1, &e), 0);
    assert_true(mtime_of(st, "a") >= before);
    assert_true(mtime_of(st, "a") <= clock_wall_ns());
}

static void
the_caller_may_reuse_the_buffer(void **state)
{
    CLEANUP(store_closep) struct store *st = store_mem_new(NULL);
    char text[] = "one", out[3];
    struct err e = {0};

    (void)state;
    assert_int_equal(store_put(st, "a", text, 3, &e), 0);
    memset(text, 'x', 3);
    assert_int_equal(store_get(st, "a", 0, out, 3, &e), 0);
    assert_memory_equal(out, "one", 3);
}

static void
damage_replaces_the_content_only(void **state)
{
    struct store_clock clock = {.now_ns = 7};
    CLEANUP(store_closep) struct store *st = store_mem_new(&clock);
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct err e = {0};

    (void)state;
    assert_int_equal(store_put(st, "a", "before", 6, &e), 0);
    clock.now_ns = 8;
    assert_int_equal(store_mem_replace(st, "a", "bad", 3), 1);
    assert_int_equal(store_get_all(st, "a", &b, &e), 0);
    assert_string_equal(buf_text(&b), "bad");
    assert_true(mtime_of(st, "a") == 7);
    assert_int_equal(store_mem_replace(st, "a", NULL, 0), 1);
    buf_reset(&b);
    assert_int_equal(store_get_all(st, "a", &b, &e), 0);
    assert_int_equal(b.len, 0);
}

static void
what_is_not_there_cannot_be_damaged(void **state)
{
    CLEANUP(store_closep) struct store *st = store_mem_new(NULL);
    struct store_stat s;
    struct err e = {0};

    (void)state;
    assert_int_equal(store_mem_replace(st, "a", "x", 1), 0);
    assert_int_equal(store_stat(st, "a", &s, &e), 0);
}

static int
add_name(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    (void)stat, (void)e;
    buf_printf(cookie, "%s ", name);
    return 0;
}

static void
listings_are_in_the_order_of_names(void **state)
{
    CLEANUP(store_closep) struct store *st = store_mem_new(NULL);
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    static const char *const names[] = {"m", "b/2", "z", "a", "b/1", "b-", "c"};
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(store_put(st, names[i], "x", 1, &e), 0);
    assert_int_equal(store_list(st, "", add_name, &b, &e), 0);
    assert_string_equal(buf_text(&b), "a b- b/1 b/2 c m z ");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_those_of_the_clock),
        cmocka_unit_test(without_a_clock_it_is_now),
        cmocka_unit_test(the_caller_may_reuse_the_buffer),
        cmocka_unit_test(damage_replaces_the_content_only),
        cmocka_unit_test(what_is_not_there_cannot_be_damaged),
        cmocka_unit_test(listings_are_in_the_order_of_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
