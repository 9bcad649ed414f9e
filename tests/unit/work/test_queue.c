/* SPDX-License-Identifier: Apache-2.0 */
#include "work/queue.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../base/dies.h"
#include "base/mem.h"
#include "work/pool.h"

enum { ITEMS = 20000, THREADS = 4 };

/* What the items point to; item[i] is i. */
static char item[ITEMS];

/* Assertions of cmocka belong to the main thread: others count. */
static atomic_uint mistakes;

static void
first_in_first_out_round_the_ring(void **state)
{
    struct queue *q = queue_new(3);
    size_t in = 0, out = 0;

    (void)state;
    for (size_t step = 0; step < 100; step++) {
        for (size_t n = step % 4; n > 0 && in - out < 3; n--)
            assert_true(queue_push(q, item + in++));
        for (size_t n = step / 4 % 4; n > 0 && out < in; n--)
            assert_ptr_equal(queue_pop(q), item + out++);
    }
    while (out < in)
        assert_ptr_equal(queue_try_pop(q), item + out++);
    assert_true(out > 50);
    queue_free(q);
}

static void
trying_does_not_wait(void **state)
{
    struct queue *q = queue_new(1);

    (void)state;
    assert_null(queue_try_pop(q));
    assert_true(queue_push(q, item));
    assert_ptr_equal(queue_try_pop(q), item);
    assert_null(queue_try_pop(q));
    queue_free(q);
}

static void
a_closed_queue_yields_what_is_left(void **state)
{
    struct queue *q = queue_new(4);

    (void)state;
    assert_true(queue_push(q, item));
    assert_true(queue_push(q, item + 1));
    queue_close(q);
    queue_close(q);
    assert_false(queue_push(q, item + 2));
    assert_ptr_equal(queue_pop(q), item);
    assert_false(queue_push(q, item + 2));
    assert_ptr_equal(queue_try_pop(q), item + 1);
    assert_null(queue_pop(q));
    assert_null(queue_pop(q));
    assert_null(queue_try_pop(q));
    queue_free(q);
}

struct bounded {
    struct queue *q;
    size_t capacity;
    atomic_size_t asked; /* pops begun */
};

/* The n-th push can only end once n - capacity pops have begun. */
static void
push_all(void *arg)
{
    struct bounded *b = arg;

    for (size_t i = 0; i < ITEMS; i++) {
        mistakes += !queue_push(b->q, item + i);
        mistakes += i + 1 > atomic_load(&b->asked) + b->capacity;
    }
    queue_close(b->q);
}

static void
a_full_queue_makes_its_sender_wait(void **state)
{
    (void)state;
    mistakes = 0;
    for (size_t capacity = 1; capacity <= 64; capacity *= 8) {
        struct bounded b = {queue_new(capacity), capacity, 0};
        struct thread *t = thread_start(push_all, &b);
        size_t n = 0;

        for (;;) {
            atomic_fetch_add(&b.asked, 1);
            const void *got = queue_pop(b.q);
            if (!got)
                break;
            assert_ptr_equal(got, item + n++);
        }
        assert_int_equal(n, ITEMS);
        thread_join(t);
        queue_free(b.q);
    }
    assert_int_equal(mistakes, 0);
}

struct crowd {
    struct queue *q;
    atomic_size_t next;
    atomic_uchar seen[ITEMS];
};

static void
crowd_push(void *arg)
{
    struct crowd *c = arg;

    for (;;) {
        size_t i = atomic_fetch_add(&c->next, 1);
        if (i >= ITEMS)
            return;
        mistakes += !queue_push(c->q, item + i);
    }
}

static void
crowd_pop(void *arg)
{
    struct crowd *c = arg;

    for (;;) {
        const char *got = queue_pop(c->q);
        if (!got)
            return;
        atomic_fetch_add(&c->seen[got - item], 1);
    }
}

static void
among_many_threads_each_item_arrives_once(void **state)
{
    static struct crowd c;
    struct thread *push[THREADS], *pop[THREADS];

    (void)state;
    mistakes = 0;
    c.q = queue_new(5);
    for (size_t i = 0; i < THREADS; i++) {
        push[i] = thread_start(crowd_push, &c);
        pop[i] = thread_start(crowd_pop, &c);
    }
    for (size_t i = 0; i < THREADS; i++)
        thread_join(push[i]);
    queue_close(c.q);
    for (size_t i = 0; i < THREADS; i++)
        thread_join(pop[i]);
    assert_int_equal(mistakes, 0);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(c.seen[i], 1);
    queue_free(c.q);
}

static void
push_one_too_many(void *arg)
{
    mistakes += queue_push(arg, item + 1);
}

static void
pop_nothing(void *arg)
{
    mistakes += queue_pop(arg) != NULL;
}

/* Some hang if closing does not wake every one of them.  Now and then they are
 * given the time to come to wait. */
static void
closing_wakes_all_who_wait(void **state)
{
    (void)state;
    mistakes = 0;
    for (unsigned round = 0; round < 200; round++) {
        struct thread *push[THREADS], *pop[THREADS];
        struct queue *full = queue_new(1), *empty = queue_new(1);

        assert_true(queue_push(full, item));
        for (size_t i = 0; i < THREADS; i++) {
            push[i] = thread_start(push_one_too_many, full);
            pop[i] = thread_start(pop_nothing, empty);
        }
        for (unsigned i = 0; i < round % 16; i++)
            (void)sched_yield();
        queue_close(full);
        queue_close(empty);
        for (size_t i = 0; i < THREADS; i++) {
            thread_join(push[i]);
            thread_join(pop[i]);
        }
        assert_ptr_equal(queue_pop(full), item);
        queue_free(full);
        queue_free(empty);
    }
    assert_int_equal(mistakes, 0);
}

static void
push_null(void)
{
    (void)queue_push(queue_new(1), NULL);
}

static void
free_with_an_item(void)
{
    struct queue *q = queue_new(1);

    (void)queue_push(q, item);
    queue_free(q);
}

static void
without_room(void)
{
    (void)queue_new(0);
}

static void
what_would_lose_an_item_is_our_bug(void **state)
{
    (void)state;
    assert_int_equal(signal_of(push_null), SIGABRT);
    assert_int_equal(signal_of(free_with_an_item), SIGABRT);
    assert_int_equal(signal_of(without_room), SIGABRT);
    queue_free(NULL);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out_round_the_ring),
        cmocka_unit_test(trying_does_not_wait),
        cmocka_unit_test(a_closed_queue_yields_what_is_left),
        cmocka_unit_test(a_full_queue_makes_its_sender_wait),
        cmocka_unit_test(among_many_threads_each_item_arrives_once),
        cmocka_unit_test(closing_wakes_all_who_wait),
        cmocka_unit_test(what_would_lose_an_item_is_our_bug),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
