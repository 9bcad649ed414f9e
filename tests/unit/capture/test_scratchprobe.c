/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/scratchprobe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/helper.h"

enum { SHORT_MS = 200, LONG_MS = 20000, NAP_MS = 10 };

static char folder[64];
static const char hang[] = "TEST_HANG"; /* a file: while it is there */

/* In place of libc's, for a disk that hangs. */
int
fdatasync(int fd)
{
    const char *path = getenv(hang);

    (void)fd;
    while (path && access(path, F_OK) == 0)
        (void)poll(NULL, 0, NAP_MS);
    return 0;
}

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/test_probe.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* nothing may be left in it */
}

static void
assert_starts(const char *dir, int hold, struct scratchprobe **out)
{
    struct err e = {0};

    if (scratchprobe_start(dir, hold, out, &e) == -1)
        fail_msg("%s", e.msg);
}

static void
a_folder_answers(void **state)
{
    CLEANUP(scratchprobe_freep) struct scratchprobe *p = NULL;
    struct err e = {0};

    (void)state;
    assert_starts(folder, -1, &p);
    assert_true(scratchprobe_wait(p, deadline_in_ms(LONG_MS)));
    assert_true(scratchprobe_wait(p, deadline_in_ms(0))); /* and has for good */
    assert_int_equal(scratch_answers(folder, -1, &e), 0);
}

/* What cannot be written to does not hang. */
static void
an_error_is_an_answer(void **state)
{
    CLEANUP(freep) char *none = xasprintf("%s/none", folder);
    struct err e = {0};

    (void)state;
    assert_int_equal(scratch_answers(none, -1, &e), 0);
    assert_int_equal(scratch_answers("/proc", -1, &e), 0);
    assert_int_equal(scratch_answers("", -1, &e), 0);
}

static void
a_path_may_be_too_long(void **state)
{
    CLEANUP(freep) char *path = xcalloc(1, 10001);
    struct scratchprobe *p = NULL;
    struct err e = {0};

    (void)state;
    memset(path, 'x', 10000);
    assert_int_equal(scratchprobe_start(path, -1, &p, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_null(p);
}

static bool
is_closed(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, LONG_MS) == 1 && (p.revents & POLLHUP);
}

/* One that hangs, until it does not; what it holds stays open so long. */
static void
a_folder_hangs(void **state)
{
    CLEANUP(freep) char *path = xasprintf("%s/hang", folder);
    struct scratchprobe *p = NULL;
    int held[2] = {-1, -1};

    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_not_equal(fd, -1);
    fd_close(&fd);
    assert_int_equal(setenv(hang, path, 1), 0);
    assert_int_equal(pipe2(held, O_CLOEXEC), 0);
    assert_starts(folder, held[1], &p);
    fd_close(&held[1]);
    for (int i = 0; i < 3; i++)
        assert_false(scratchprobe_wait(p, deadline_in_ms(SHORT_MS)));
    struct pollfd open_still = {.fd = held[0], .events = POLLIN};
    assert_int_equal(poll(&open_still, 1, 0), 0);
    assert_int_equal(unlink(path), 0);
    assert_true(scratchprobe_wait(p, deadline_in_ms(LONG_MS)));
    assert_true(is_closed(held[0]));
    scratchprobe_free(p);
    fd_close(&held[0]);
    assert_int_equal(unsetenv(hang), 0);
}

/* Whoever gives up does not wait; the process ends when it can. */
static void
one_that_hangs_is_left(void **state)
{
    CLEANUP(freep) char *path = xasprintf("%s/hang", folder);
    struct scratchprobe *p = NULL;
    int held[2] = {-1, -1};

    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_not_equal(fd, -1);
    fd_close(&fd);
    assert_int_equal(setenv(hang, path, 1), 0);
    assert_int_equal(pipe2(held, O_CLOEXEC), 0);
    assert_starts(folder, held[1], &p);
    fd_close(&held[1]);
    assert_false(scratchprobe_wait(p, deadline_in_ms(SHORT_MS)));
    scratchprobe_free(p);
    assert_int_equal(unlink(path), 0);
    assert_true(is_closed(held[0]));
    fd_close(&held[0]);
    assert_int_equal(unsetenv(hang), 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_answers),
        cmocka_unit_test(an_error_is_an_answer),
        cmocka_unit_test(a_path_may_be_too_long),
        cmocka_unit_test(a_folder_hangs),
        cmocka_unit_test(one_that_hangs_is_left),
    };
    int status = 0;

    if (helper_main(argc, argv, &status))
        return status;
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
