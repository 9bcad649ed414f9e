/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

/* What is swept: a pack, then a ref to it, and the old ref is removed. */
struct script {
    bool ref_first; /* the mistake that a sweep must find */
    unsigned runs, checks, unmet;
    unsigned met[3][3]; /* by what and then */
};

static int
prepare(void *cookie, struct store *inner, struct err *e)
{
    (void)cookie;
    return store_put(inner, "refs/old", "pack0", 5, e);
}

static int
run(void *cookie, struct store *st, struct err *e)
{
    struct script *s = cookie;

    s->runs++;
    if (s->ref_first && store_put(st, "refs/new", "pack1", 5, e) == -1)
        return -1;
    if (store_put(st, "packs/pack1", "12345678", 8, e) == -1)
        return -1;
    if (!s->ref_first && store_put(st, "refs/new", "pack1", 5, e) == -1)
        return -1;
    return store_remove(st, "refs/old", e);
}

/* A whole ref names a whole pack; and there is always a ref. */
static int
check(void *cookie, struct store *inner, const struct store_fault *f, int rc,
      struct err *e)
{
    struct script *s = cookie;
    struct store_stat ref = {0}, pack = {0}, old = {0};

    s->checks++;
    if (f->at == 0) {
        s->unmet++;
        assert_int_equal(rc, 0);
    } else {
        s->met[f->what][f->then]++;
        assert_int_equal(rc, -1);
    }
    if (store_stat(inner, "refs/new", &ref, e) == -1 ||
        store_stat(inner, "packs/pack1", &pack, e) == -1 ||
        store_stat(inner, "refs/old", &old, e) == -1)
        return -1;
    if (ref.size_bytes == 5 && pack.size_bytes != 8)
        return err_set(e, ERR_CORRUPT, "a ref without its pack");
    if (ref.size_bytes != 5 && old.size_bytes != 5)
        return err_set(e, ERR_CORRUPT, "no ref");
    return 0;
}

static void
every_operation_meets_every_fault(void **state)
{
    struct script s = {0};
    struct store_sweep sweep = {
        .prepare = prepare, .run = run, .check = check, .cookie = &s};
    uint64_t rounds = 0;
    struct err e = {0};

    (void)state;
    if (store_sweep(&sweep, &rounds, &e) == -1)
        fail_msg("%s", e.msg);
    assert_int_equal(rounds, 9 * (3 + 1));
    assert_int_equal(s.runs, rounds);
    assert_int_equal(s.checks, rounds);
    assert_int_equal(s.unmet, 9);
    for (int i = 0; i < 9; i++)
        assert_int_equal(s.met[i / 3][i % 3], 3);
}

static void
only_the_operations_asked_for(void **state)
{
    struct script s = {0};
    struct store_sweep sweep = {.prepare = prepare,
                                .run = run,
                                .cookie = &s,
                                .ops = STORE_OP_PUT,
                                .prefix = "refs/"};
    uint64_t rounds = 0;
    struct err e = {0};

    (void)state;
    assert_int_equal(store_sweep(&sweep, &rounds, &e), 0);
    assert_int_equal(rounds, 9 * (1 + 1));
}

/* Of the three operations each fault meets at least one, all three are met. */
static void
a_sample_meets_different_operations(void **state)
{
    struct script s = {0};
    struct store_sweep sweep = {.prepare = prepare,
                                .run = run,
                                .check = check,
                                .cookie = &s,
                                .step = 2};
    uint64_t rounds = 0;
    struct err e = {0};

    (void)state;
    assert_int_equal(store_sweep(&sweep, &rounds, &e), 0);
    assert_int_equal(rounds, 5 * (2 + 1) + 4 * (1 + 1)); /* 1 and 3; 2 */
    for (int i = 0; i < 9; i++)
        assert_int_equal(s.met[i / 3][i % 3], i % 2 ? 1 : 2);
}

static int
see_time(void *cookie, struct store *st, struct err *e)
{
    struct store_stat stat = {0};

    (void)cookie;
    if (store_stat(st, "refs/old", &stat, e) != 1)
        return -1;
    assert_int_equal(stat.mtime_ns, 77);
    return 0;
}

static void
the_clock_may_be_the_tests_own(void **state)
{
    struct store_clock clock = {77};
    struct store_sweep sweep = {
        .prepare = prepare, .run = see_time, .clock = &clock};
    struct err e = {0};

    (void)state;
    assert_int_equal(store_sweep(&sweep, NULL, &e), 0);
}

static void
a_mistake_is_found_and_the_fault_is_named(void **state)
{
    struct script s = {.ref_first = true};
    struct store_sweep sweep = {
        .prepare = prepare, .run = run, .check = check, .cookie = &s};
    struct err e = {0};

    (void)state;
    assert_int_equal(store_sweep(&sweep, NULL, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg,
                        "failure at operation 2, once: a ref without its pack");
}

static int
fail_always(void *cookie, struct store *st, struct err *e)
{
    (void)cookie, (void)st;
    return err_set(e, ERR_LIMIT, "never");
}

static void
what_fails_without_a_fault_is_an_error(void **state)
{
    struct store_sweep sweep = {.run = fail_always};
    struct err e = {0};

    (void)state;
    assert_int_equal(store_sweep(&sweep, NULL, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "failed without a fault: never"));
}

static int
fail_prepare(void *cookie, struct store *st, struct err *e)
{
    (void)cookie, (void)st;
    return err_set(e, ERR_LIMIT, "not prepared");
}

static void
what_cannot_be_prepared_is_an_error(void **state)
{
    struct script s = {0};
    struct store_sweep sweep = {
        .prepare = fail_prepare, .run = run, .cookie = &s};
    struct err e = {0};

    (void)state;
    assert_int_equal(store_sweep(&sweep, NULL, &e), -1);
    assert_non_null(strstr(e.msg, "not prepared"));
    assert_int_equal(s.runs, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_meets_every_fault),
        cmocka_unit_test(only_the_operations_asked_for),
        cmocka_unit_test(a_sample_meets_different_operations),
        cmocka_unit_test(the_clock_may_be_the_tests_own),
        cmocka_unit_test(a_mistake_is_found_and_the_fault_is_named),
        cmocka_unit_test(what_fails_without_a_fault_is_an_error),
        cmocka_unit_test(what_cannot_be_prepared_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
