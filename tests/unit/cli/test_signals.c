/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signals.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/outcome.h"
#include "work/cancel.h"
#include "work/pool.h"

static const int stops[] = {SIGINT, SIGTERM, SIGHUP};

/* Lets fn run in a process of its own; how that ended, as waitpid says, and
 * what it wrote to stderr. */
static int
in_child(void (*fn)(int), int argument, char *said, size_t room)
{
    int both[2], status = 0;

    assert_int_equal(pipe(both), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(both[1], STDERR_FILENO);
        (void)close(both[0]);
        (void)alarm(60); /* a test that fails may wait for ever */
        fn(argument);
        _exit(99);
    }
    (void)close(both[1]);
    ssize_t n = read(both[0], said, room - 1);
    said[n > 0 ? n : 0] = '\0';
    (void)close(both[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
wait_for_ever(int number)
{
    signals_init(false);
    (void)kill(getpid(), number);
    for (;;)
        (void)pause();
}

static void
at_first_they_end_the_program(void **state)
{
    char said[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stops); i++) {
        int status = in_child(wait_for_ever, stops[i], said, sizeof(said));
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), OUTCOME_INTERRUPTED);
        assert_string_equal(said, "\nvmkeep: interrupted\n");
    }
}

static void
end_as_json(int number)
{
    signals_init(true);
    (void)kill(getpid(), number);
    for (;;)
        (void)pause();
}

static void
the_end_is_told_in_json(void **state)
{
    char said[200];

    (void)state;
    (void)in_child(end_as_json, SIGTERM, said, sizeof(said));
    assert_string_equal(said, "{\"type\":\"error\",\"code\":\"canceled\","
                              "\"exit\":130,\"message\":\"interrupted\"}\n");
}

/* Twice the signal, and it still runs and comes to its own end. */
static void
finish_first(int number)
{
    struct cancel *c = cancel_new();
    struct pollfd p = {.fd = cancel_fd(c), .events = POLLIN};

    signals_init(false);
    signals_raise(c);
    (void)kill(getpid(), number);
    /* Nothing here is interrupted: the signal is another thread's. */
    if (poll(&p, 1, -1) != 1 || !cancel_raised(c))
        _exit(1);
    (void)kill(getpid(), number);
    signals_done();
    _exit(42);
}

static void
a_careful_command_comes_to_its_own_end(void **state)
{
    char said[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stops); i++) {
        int status = in_child(finish_first, stops[i], said, sizeof(said));
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
        assert_non_null(strstr(said, "interrupted, putting everything right"));
    }
}

static void
careful_and_then_no_more(int number)
{
    struct cancel *c = cancel_new();

    signals_init(false);
    signals_raise(c);
    signals_raise(NULL);
    (void)kill(getpid(), number);
    for (;;)
        (void)pause();
}

static void
after_it_they_end_the_program_again(void **state)
{
    char said[200];

    (void)state;
    int status = in_child(careful_and_then_no_more, SIGINT, said, sizeof(said));
    assert_int_equal(WEXITSTATUS(status), OUTCOME_INTERRUPTED);
}

static void
ignored_by_the_caller(int number)
{
    (void)signal(number, SIG_IGN);
    signals_init(false);
    (void)kill(getpid(), number);
    signals_done();
    _exit(42);
}

static void
what_the_caller_ignores_stays_ignored(void **state)
{
    char said[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stops); i++) {
        int status =
            in_child(ignored_by_the_caller, stops[i], said, sizeof(said));
        assert_int_equal(WEXITSTATUS(status), 42);
        assert_string_equal(said, "");
    }
}

static void
usr1_is_counted(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t count = 0;

    (void)state;
    signals_init(false);
    assert_int_equal(kill(getpid(), SIGUSR1), 0); /* nobody counts: no harm */
    signals_done();
    signals_count_usr1(fd);
    signals_init(false);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    signals_done();
    assert_int_equal(eventfd_read(fd, &count), 0);
    assert_int_equal(count, 1);
    signals_count_usr1(-1);
    (void)close(fd);
}

/* Whoever writes to a pipe without a reader gets an error instead. */
static void
a_broken_pipe_does_not_kill(void **state)
{
    int both[2];

    (void)state;
    signals_init(false);
    assert_int_equal(pipe(both), 0);
    (void)close(both[0]);
    assert_int_equal(write(both[1], "x", 1), -1);
    (void)close(both[1]);
    signals_done();
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_first_they_end_the_program),
        cmocka_unit_test(the_end_is_told_in_json),
        cmocka_unit_test(a_careful_command_comes_to_its_own_end),
        cmocka_unit_test(after_it_they_end_the_program_again),
        cmocka_unit_test(what_the_caller_ignores_stays_ignored),
        cmocka_unit_test(usr1_is_counted),
        cmocka_unit_test(a_broken_pipe_does_not_kill),
    };

    (void)signal(SIGHUP, SIG_DFL); /* under nohup it is ignored */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
