/* SPDX-License-Identifier: Apache-2.0 */
#include "work/cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../base/dies.h"
#include "base/err.h"
#include "base/mem.h"
#include "work/pool.h"

static bool
readable(const struct cancel *c)
{
    struct pollfd p = {.fd = cancel_fd(c), .events = POLLIN};

    return poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

static void
it_is_not_raised_at_the_start(void **state)
{
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct err e = {0};

    (void)state;
    assert_false(cancel_raised(c));
    assert_false(readable(c));
    assert_int_equal(cancel_check(c, &e), 0);
    assert_int_equal(e.code, ERR_OK);
    assert_true(fcntl(cancel_fd(c), F_GETFD) & FD_CLOEXEC);
}

static void
once_raised_it_stays_raised(void **state)
{
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct err e = {0};
        cancel_raise(c);
        assert_true(cancel_raised(c));
        assert_true(readable(c));
        assert_true(readable(c)); /* polling does not use it up */
        assert_int_equal(cancel_check(c, &e), -1);
        assert_int_equal(e.code, ERR_CANCELED);
        assert_string_equal(e.msg, "interrupted");
    }
}

static void
raising_never_blocks_and_keeps_errno(void **state)
{
    static const uint64_t all = UINT64_MAX - 1;
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();

    (void)state;
    /* As full as an eventfd can be: the next write to it fails. */
    assert_int_equal(write(cancel_fd(c), &all, sizeof(all)), sizeof(all));
    errno = ENOSPC;
    cancel_raise(c);
    assert_int_equal(errno, ENOSPC);
    assert_true(cancel_raised(c));
    assert_true(readable(c));
}

static struct cancel *for_handler;

static void
on_signal(int number)
{
    (void)number;
    cancel_raise(for_handler);
}

static void
a_signal_handler_may_raise_it(void **state)
{
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct sigaction act = {.sa_handler = on_signal}, before;

    (void)state;
    for_handler = c;
    assert_int_equal(sigaction(SIGUSR1, &act, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_true(cancel_raised(c));
    assert_true(readable(c));
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void
raise_it(void *arg)
{
    cancel_raise(arg);
}

/* Without a time-out: if it did not wake, this would hang. */
static void
it_wakes_a_thread_in_poll(void **state)
{
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct pollfd p = {.fd = cancel_fd(c), .events = POLLIN};

    (void)state;
    struct thread *t = thread_start(raise_it, c);
    while (poll(&p, 1, -1) == -1)
        assert_int_equal(errno, EINTR);
    assert_true(cancel_raised(c)); /* before the descriptor told of it */
    thread_join(t);
}

static void
wait_for_it(void *arg)
{
    const struct cancel *c = arg;

    while (!cancel_raised(c))
        ;
}

static void
it_is_seen_by_all_threads(void **state)
{
    CLEANUP(cancel_freep) struct cancel *c = cancel_new();
    struct thread *t[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        t[i] = thread_start(i == 2 ? raise_it : wait_for_it, c);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        thread_join(t[i]);
}

static void
freeing_closes_the_descriptor(void **state)
{
    struct cancel *c = cancel_new();
    int fd = cancel_fd(c);

    (void)state;
    cancel_free(c);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    {
        CLEANUP(cancel_freep) struct cancel *scoped = cancel_new();
        fd = cancel_fd(scoped);
    }
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    cancel_free(NULL);
}

static void
without_descriptors(void)
{
    struct rlimit none = {0};

    (void)setrlimit(RLIMIT_NOFILE, &none);
    (void)cancel_new();
}

static void
what_cannot_be_stopped_does_not_start(void **state)
{
    (void)state;
    assert_int_equal(signal_of(without_descriptors), SIGABRT);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_not_raised_at_the_start),
        cmocka_unit_test(once_raised_it_stays_raised),
        cmocka_unit_test(raising_never_blocks_and_keeps_errno),
        cmocka_unit_test(a_signal_handler_may_raise_it),
        cmocka_unit_test(it_wakes_a_thread_in_poll),
        cmocka_unit_test(it_is_seen_by_all_threads),
        cmocka_unit_test(freeing_closes_the_descriptor),
        cmocka_unit_test(what_cannot_be_stopped_does_not_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
