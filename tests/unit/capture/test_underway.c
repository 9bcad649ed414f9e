/* SPDX-License-Identifier: Apache-2.0 */
/* underway with processes that hold records, obey or do not. */
#include "capture/underway.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "capture/intent.h"
#include "qemu/machine.h"

enum { SOON_MS = 300, LONG_MS = 30000 };

static char folder[64];

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/test_underway.XXXXXX");
    return mkdtemp(folder) ? setenv("VMKEEP_RUNTIME_DIR", folder, 1) : -1;
}

static int
remove_folder(void **state)
{
    CLEANUP(freep) char *command = xasprintf("rm -r %s", folder);

    (void)state;
    return system(command); /* NOLINT(cert-env33-c) */
}

static struct intent *record;

static void
obey(int number)
{
    (void)number;
    intent_remove(record);
    _exit(130);
}

static void
hold_record(bool obeys, int ready)
{
    const struct machine m = {.name = (char *)(uintptr_t) "web",
                              .socket = (char *)(uintptr_t) "/run/web.qmp",
                              .pid = getppid()};
    struct err e = {0};

    record = intent_new(&m);
    (void)signal(SIGTERM, obeys ? obey : SIG_IGN);
    if (intent_save(record, &e) == -1 || write(ready, "", 1) != 1)
        _exit(1);
    for (;;)
        (void)pause();
}

/* A process that makes a backup, and its record. */
static pid_t
start_worker(bool obeys)
{
    int ready[2] = {-1, -1};
    char byte = 0;

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0)
        hold_record(obeys, ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    return pid;
}

static struct intent **
list_one(void)
{
    struct intent **all = NULL;
    size_t n = 0;
    struct err e = {0};

    assert_int_equal(underway_list(&all, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_string_equal(all[0]->machine, "web");
    return all;
}

static int
abort_it(const struct intent *in, uint64_t patience_ms, uint64_t end_ms,
         bool *killed, struct err *e)
{
    return underway_abort(in, deadline_in_ms(patience_ms),
                          deadline_in_ms(end_ms), killed, e);
}

static void
nothing(void **state)
{
    struct intent **all = NULL;
    size_t n = 1;
    struct err e = {0};

    (void)state;
    CLEANUP(freep) char *junk = xasprintf("%s/0123.intent", folder);
    assert_int_equal(file_publish(junk, "{}", 2, &e), 0);
    assert_int_equal(underway_list(&all, &n, &e), 0);
    assert_int_equal(n, 0); /* what cannot be read is left out */
    underway_free(all, n);
    (void)unlink(junk);
}

static void
one_that_obeys(void **state)
{
    pid_t pid = start_worker(true);
    struct intent **all = list_one();
    bool killed = true;
    struct err e = {0};
    int status = 0;

    (void)state;
    assert_int_equal(all[0]->worker, pid);
    assert_true(intent_worker_lives(all[0]));
    assert_int_equal(abort_it(all[0], LONG_MS, LONG_MS, &killed, &e), 0);
    assert_false(killed);
    assert_int_equal(waitpid(pid, &status, WNOHANG), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 130);
    assert_false(intent_worker_lives(all[0]));
    underway_free(all, 1);
}

/* It is killed; nobody takes its record away, and that is said. */
static void
one_that_does_not(void **state)
{
    pid_t pid = start_worker(false);
    struct intent **all = list_one();
    bool killed = false;
    struct err e = {0};
    int status = 0;

    (void)state;
    assert_int_equal(abort_it(all[0], SOON_MS, 2 * SOON_MS, &killed, &e), -1);
    assert_true(killed);
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_non_null(strstr(e.msg, "web"));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    /* Now it is gone from the start; then its guard is done. */
    err_clear(&e);
    killed = false;
    intent_remove(all[0]);
    assert_int_equal(abort_it(all[0], LONG_MS, LONG_MS, &killed, &e), 0);
    assert_true(killed);
    underway_free(all, 1);
}

/* Another process has got the number: it is left alone. */
static void
another_process(void **state)
{
    pid_t pid = start_worker(true);
    struct intent **all = list_one();
    bool killed = false;
    struct err e = {0};

    (void)state;
    all[0]->worker_start_time++;
    assert_false(intent_worker_lives(all[0]));
    assert_int_equal(abort_it(all[0], SOON_MS, SOON_MS, &killed, &e), -1);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    (void)kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    underway_free(all, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing),
        cmocka_unit_test(one_that_obeys),
        cmocka_unit_test(one_that_does_not),
        cmocka_unit_test(another_process),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
