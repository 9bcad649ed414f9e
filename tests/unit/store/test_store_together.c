/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_together.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "store/store_internal.h"

enum { JOBS = 20, GIVE_UP_S = 30 };

/* What the jobs of one test share. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned under_way, most, begun;
    unsigned wanted;      /* at a time, before any ends */
    unsigned order[JOBS]; /* in which they began */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER};

struct task {
    unsigned number;
    bool fails;
};

static int
work(void *arg, struct err *e)
{
    const struct task *t = arg;
    struct timespec end;

    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += GIVE_UP_S;
    (void)pthread_mutex_lock(&seen.lock);
    seen.order[seen.begun++] = t->number;
    if (++seen.under_way > seen.most)
        seen.most = seen.under_way;
    (void)pthread_cond_broadcast(&seen.changed);
    while (seen.most < seen.wanted &&
           pthread_cond_timedwait(&seen.changed, &seen.lock, &end) == 0)
        continue;
    seen.under_way--;
    (void)pthread_mutex_unlock(&seen.lock);
    return t->fails ? err_set(e, ERR_STORE, "task %u failed", t->number) : 0;
}

static int
run(unsigned width, unsigned wanted, struct task *tasks, struct store_job *jobs,
    size_t n, struct err *e)
{
    const struct store_ops ops = {.width = width};
    struct store st = {.ops = &ops};

    for (size_t i = 0; i < n; i++) {
        tasks[i].number = (unsigned)i;
        jobs[i] = (struct store_job){.fn = work, .arg = &tasks[i]};
    }
    seen.under_way = seen.most = seen.begun = 0;
    seen.wanted = wanted;
    return store_together(&st, jobs, n, e);
}

static void
one_after_the_other_where_it_is_near(void **state)
{
    struct task tasks[JOBS] = {0};
    struct store_job jobs[JOBS];
    struct err e = {0};

    (void)state;
    for (unsigned width = 0; width < 2; width++) {
        assert_int_equal(run(width, 1, tasks, jobs, JOBS, &e), 0);
        assert_int_equal(seen.most, 1);
        for (unsigned i = 0; i < JOBS; i++) {
            assert_int_equal(seen.order[i], i);
            assert_int_equal(jobs[i].rc, 0);
        }
    }
}

static void
at_the_same_time_where_it_is_distant(void **state)
{
    static const unsigned cases[][3] = {/* width, jobs, at a time */
                                        {2, JOBS, 2},
                                        {8, JOBS, 8},
                                        {8, 3, 3},
                                        {100, JOBS, STORE_TOGETHER_MAX}};
    struct task tasks[JOBS] = {0};
    struct store_job jobs[JOBS];
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const unsigned *c = cases[i];
        assert_int_equal(run(c[0], c[2], tasks, jobs, c[1], &e), 0);
        assert_int_equal(seen.most, c[2]);
        assert_int_equal(seen.begun, c[1]);
    }
    assert_int_equal(run(8, 0, tasks, jobs, 0, &e), 0);
}

/* The error is of the first in the array, whoever was faster. */
static void
the_first_failure_is_told(void **state)
{
    struct store_job jobs[JOBS];
    struct err e = {0};

    (void)state;
    for (unsigned width = 1; width <= 8; width += 7) {
        struct task tasks[JOBS] = {
            [2] = {.fails = true}, [3] = {.fails = true}};
        assert_int_equal(run(width, width == 1 ? 1 : 4, tasks, jobs, JOBS, &e),
                         -1);
        assert_string_equal(e.msg, "task 2 failed");
        assert_int_equal(jobs[1].rc, 0);
        assert_int_equal(jobs[2].rc, -1);
        assert_true(seen.begun >= 3);
        e = (struct err){0};
    }
}

static void
none_begins_after_a_failure(void **state)
{
    struct task tasks[JOBS] = {{.fails = true}};
    struct store_job jobs[JOBS];
    struct err e = {0};

    (void)state;
    assert_int_equal(run(1, 1, tasks, jobs, JOBS, &e), -1);
    assert_int_equal(seen.begun, 1);
    for (unsigned i = 1; i < JOBS; i++)
        assert_int_equal(jobs[i].rc, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other_where_it_is_near),
        cmocka_unit_test(at_the_same_time_where_it_is_distant),
        cmocka_unit_test(the_first_failure_is_told),
        cmocka_unit_test(none_begins_after_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
