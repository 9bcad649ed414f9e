/* SPDX-License-Identifier: Apache-2.0 */
#include "work/pool.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../base/dies.h"
#include "base/err.h"
#include "base/mem.h"

enum { JOBS = 5000 };

static int
count(void *arg, int failed, struct err *e)
{
    (void)failed;
    (void)e;
    atomic_fetch_add((atomic_uint *)arg, 1);
    return 0;
}

static void
every_job_runs_once(void **state)
{
    static atomic_uint ran[JOBS];
    struct err e = {0};

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(3);
    CLEANUP(group_freep) struct group *g = group_new(p, 7);
    for (size_t i = 0; i < JOBS; i++)
        group_run(g, count, &ran[i]);
    assert_int_equal(group_wait(g, &e), 0);
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(ran[i], 1);
    assert_false(group_failed(g));
}

static void
a_pool_has_the_threads_asked_for(void **state)
{
    CLEANUP(pool_freep) struct pool *three = pool_new(3);
    cpu_set_t set;

    (void)state;
    assert_int_equal(pool_threads(three), 3);
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    CLEANUP(pool_freep) struct pool *all = pool_new(0);
    assert_int_equal(pool_threads(all), CPU_COUNT(&set));

    /* One core left to this thread, and so to the process's next pool. */
    cpu_set_t one;
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &set))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    CLEANUP(pool_freep) struct pool *confined = pool_new(0);
    assert_int_equal(pool_threads(confined), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

static int
meet(void *arg, int failed, struct err *e)
{
    (void)failed;
    (void)e;
    (void)pthread_barrier_wait(arg);
    return 0;
}

/* Hangs unless as many jobs as threads are under way at once. */
static void
threads_work_side_by_side(void **state)
{
    pthread_barrier_t all_here;
    struct err e = {0};

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(4);
    CLEANUP(group_freep) struct group *g = group_new(p, 4);
    assert_int_equal(pthread_barrier_init(&all_here, NULL, 4), 0);
    for (unsigned i = 0; i < 4 * 50; i++)
        group_run(g, meet, &all_here);
    assert_int_equal(group_wait(g, &e), 0);
    assert_int_equal(pthread_barrier_destroy(&all_here), 0);
}

struct order {
    unsigned next;
    bool wrong;
};

struct numbered {
    struct order *order;
    unsigned number;
};

static int
in_turn(void *arg, int failed, struct err *e)
{
    struct numbered *n = arg;

    (void)failed;
    (void)e;
    if (n->order->next++ != n->number)
        n->order->wrong = true;
    return 0;
}

static void
one_thread_keeps_the_order(void **state)
{
    static struct numbered n[JOBS];
    struct order order = {0};
    struct err e = {0};

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(1);
    CLEANUP(group_freep) struct group *g = group_new(p, 100);
    for (unsigned i = 0; i < JOBS; i++) {
        n[i] = (struct numbered){&order, i};
        group_run(g, in_turn, &n[i]);
    }
    assert_int_equal(group_wait(g, &e), 0);
    assert_false(order.wrong);
    assert_int_equal(order.next, JOBS);
}

static void
a_full_group_makes_its_sender_wait(void **state)
{
    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(2);
    for (unsigned max = 1; max <= 16; max *= 4) {
        atomic_uint done = 0;
        CLEANUP(group_freep) struct group *g = group_new(p, max);
        for (unsigned i = 1; i <= JOBS; i++) {
            group_run(g, count, &done);
            /* A job counts before the group knows that it ended, so that
             * this can only err to the safe side. */
            assert_true(i - atomic_load(&done) <= max);
        }
    }
}

static atomic_uint told, not_told;

static int
fail_unless_told(void *arg, int failed, struct err *e)
{
    atomic_fetch_add(failed ? &told : &not_told, 1);
    if (failed)
        return 0;
    return err_set(e, ERR_STORE, "job %s", (const char *)arg);
}

static void
the_first_error_is_kept_and_told_to_the_rest(void **state)
{
    struct err e = {0};

    (void)state;
    told = not_told = 0;
    CLEANUP(pool_freep) struct pool *p = pool_new(1);
    CLEANUP(group_freep) struct group *g = group_new(p, 10);
    group_run(g, fail_unless_told, "one");
    for (unsigned i = 0; i < 20; i++)
        group_run(g, fail_unless_told, "later");
    assert_int_equal(group_wait(g, &e), -1);
    assert_int_equal(e.code, ERR_STORE);
    assert_string_equal(e.msg, "job one");
    assert_int_equal(not_told, 1);
    assert_int_equal(told, 20);
    assert_true(group_failed(g));
    /* It stays: for the next wait, and for jobs that come later. */
    group_run(g, fail_unless_told, "much later");
    err_clear(&e);
    assert_int_equal(group_wait(g, &e), -1);
    assert_string_equal(e.msg, "job one");
    assert_int_equal(told, 21);
}

static int
always_fail(void *arg, int failed, struct err *e)
{
    (void)failed;
    return err_set(e, ERR_IO, "%s", (const char *)arg);
}

static void
of_several_errors_one_is_kept_whole(void **state)
{
    struct err e = {0};

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(4);
    CLEANUP(group_freep) struct group *g = group_new(p, 50);
    for (unsigned i = 0; i < JOBS; i++)
        group_run(g, always_fail, i % 2 ? "aaaaaaaaaaaaaaaa" : "bbbbbbbb");
    assert_int_equal(group_wait(g, &e), -1);
    assert_true(strcmp(e.msg, "aaaaaaaaaaaaaaaa") == 0 ||
                strcmp(e.msg, "bbbbbbbb") == 0);
}

static void
a_later_error_does_not_replace_the_first(void **state)
{
    struct err e = {0};

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(1);
    CLEANUP(group_freep) struct group *g = group_new(p, 2);
    group_run(g, always_fail, "first");
    group_run(g, always_fail, "second");
    assert_int_equal(group_wait(g, &e), -1);
    assert_string_equal(e.msg, "first");
}

static void
groups_do_not_share_their_errors(void **state)
{
    struct err e = {0};
    atomic_uint done = 0;

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(2);
    CLEANUP(group_freep) struct group *bad = group_new(p, 4);
    CLEANUP(group_freep) struct group *good = group_new(p, 4);
    for (unsigned i = 0; i < 100; i++) {
        group_run(bad, always_fail, "x");
        group_run(good, count, &done);
    }
    assert_int_equal(group_wait(good, &e), 0);
    assert_int_equal(done, 100);
    assert_int_equal(group_wait(bad, &e), -1);
    assert_false(group_failed(good));
}

static void
a_group_can_be_used_again(void **state)
{
    struct err e = {0};
    atomic_uint done = 0;

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(2);
    CLEANUP(group_freep) struct group *g = group_new(p, 2);
    assert_int_equal(group_wait(g, &e), 0); /* nothing to wait for */
    for (unsigned round = 1; round <= 100; round++) {
        group_run(g, count, &done);
        group_run(g, count, &done);
        group_run(g, count, &done);
        assert_int_equal(group_wait(g, &e), 0);
        assert_int_equal(done, 3 * round);
    }
}

static void
freeing_a_group_waits_for_its_jobs(void **state)
{
    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(2);
    for (unsigned round = 0; round < 200; round++) {
        atomic_uint done = 0;
        struct group *g = group_new(p, 10);
        for (unsigned i = 0; i < 10; i++)
            group_run(g, count, &done);
        group_free(g);
        assert_int_equal(done, 10);
    }
    group_free(NULL);
    pool_free(NULL);
}

struct sender {
    struct group *g;
    atomic_uint *done;
};

static void
send_many(void *arg)
{
    struct sender *s = arg;

    for (unsigned i = 0; i < JOBS; i++)
        group_run(s->g, count, s->done);
}

static void
many_threads_may_send_to_one_group(void **state)
{
    struct err e = {0};
    atomic_uint done = 0;
    struct thread *t[4];

    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(2);
    CLEANUP(group_freep) struct group *g = group_new(p, 3);
    struct sender s = {g, &done};
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        t[i] = thread_start(send_many, &s);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        thread_join(t[i]);
    assert_int_equal(group_wait(g, &e), 0);
    assert_int_equal(done, 4 * JOBS);
}

static void
wait_for_group(void *arg)
{
    struct err e = {0};

    (void)group_wait(arg, &e);
}

static void
send_one(void *arg)
{
    const struct sender *s = arg;

    group_run(s->g, count, s->done);
}

/* One job's end concerns those who wait for room and those who wait for the
 * end of all: some of them hang if it wakes one only. */
static void
the_end_of_a_job_wakes_all_who_wait(void **state)
{
    (void)state;
    CLEANUP(pool_freep) struct pool *p = pool_new(1);
    for (unsigned round = 1; round <= 300; round++) {
        pthread_barrier_t gate;
        atomic_uint done = 0;
        struct thread *t[4];
        CLEANUP(group_freep) struct group *g = group_new(p, 1);
        struct sender s = {g, &done};

        assert_int_equal(pthread_barrier_init(&gate, NULL, 2), 0);
        group_run(g, meet, &gate);
        for (size_t i = 0; i < ARRAY_LEN(t); i++)
            t[i] = i % 2 ? thread_start(send_one, &s)
                         : thread_start(wait_for_group, g);
        for (unsigned i = 0; i < round % 8; i++)
            (void)sched_yield(); /* let them come to wait, now and then */
        (void)pthread_barrier_wait(&gate);
        for (size_t i = 0; i < ARRAY_LEN(t); i++)
            thread_join(t[i]);
        wait_for_group(g);
        assert_int_equal(done, 2);
        assert_int_equal(pthread_barrier_destroy(&gate), 0);
    }
}

static void
set_flag(void *arg)
{
    *(int *)arg = 1; /* joining makes it visible: no atomic needed */
}

static void
a_thread_of_ones_own_runs_and_is_joined(void **state)
{
    int flag = 0;

    (void)state;
    thread_join(thread_start(set_flag, &flag));
    assert_int_equal(flag, 1);
    thread_join(NULL);
}

static int
fail_without_a_word(void *arg, int failed, struct err *e)
{
    (void)arg;
    (void)failed;
    (void)e;
    return -1;
}

static int
succeed_with_an_error(void *arg, int failed, struct err *e)
{
    (void)arg;
    (void)failed;
    (void)err_set(e, ERR_IO, "forgotten");
    return 0;
}

static void
run_alone(pool_fn *fn)
{
    struct err e = {0};
    CLEANUP(pool_freep) struct pool *p = pool_new(1);
    CLEANUP(group_freep) struct group *g = group_new(p, 1);

    group_run(g, fn, NULL);
    (void)group_wait(g, &e);
}

static void
lose_an_error(void)
{
    run_alone(fail_without_a_word);
}

static void
forget_an_error(void)
{
    run_alone(succeed_with_an_error);
}

static void
without_room(void)
{
    (void)group_new(pool_new(1), 0);
}

static void
what_would_lose_an_error_is_our_bug(void **state)
{
    (void)state;
    assert_int_equal(signal_of(lose_an_error), SIGABRT);
    assert_int_equal(signal_of(forget_an_error), SIGABRT);
    assert_int_equal(signal_of(without_room), SIGABRT);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_lose_an_error_is_our_bug),
        cmocka_unit_test(every_job_runs_once),
        cmocka_unit_test(a_pool_has_the_threads_asked_for),
        cmocka_unit_test(threads_work_side_by_side),
        cmocka_unit_test(one_thread_keeps_the_order),
        cmocka_unit_test(a_full_group_makes_its_sender_wait),
        cmocka_unit_test(the_first_error_is_kept_and_told_to_the_rest),
        cmocka_unit_test(of_several_errors_one_is_kept_whole),
        cmocka_unit_test(a_later_error_does_not_replace_the_first),
        cmocka_unit_test(groups_do_not_share_their_errors),
        cmocka_unit_test(a_group_can_be_used_again),
        cmocka_unit_test(freeing_a_group_waits_for_its_jobs),
        cmocka_unit_test(many_threads_may_send_to_one_group),
        cmocka_unit_test(the_end_of_a_job_wakes_all_who_wait),
        cmocka_unit_test(a_thread_of_ones_own_runs_and_is_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
