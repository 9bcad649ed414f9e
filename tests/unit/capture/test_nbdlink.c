/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/nbdlink.h"
#include "work/cancel.h"

enum { TOO_LONG_S = 60, LONG_MS = TOO_LONG_S * 2000, SHORT_MS = 600 };

/* A socket at which nobody answers, as the kernel accepts for them. */
struct box {
    struct sockaddr_un at;
    int listener;
    struct cancel *cancel;
    unsigned ticks;    /* that came */
    unsigned patience; /* that are allowed; 0: any number */
};

static int
tick(void *cookie, struct err *e)
{
    struct box *b = cookie;

    return ++b->ticks == b->patience ? err_set(e, ERR_QEMU, "enough") : 0;
}

static int
set_up(void **state)
{
    struct box *b = xcalloc(1, sizeof(*b));

    b->at.sun_family = AF_UNIX;
    (void)snprintf(b->at.sun_path, sizeof(b->at.sun_path),
                   "/tmp/vmkeep-nbdlink-%d", getpid());
    (void)unlink(b->at.sun_path);
    b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(
        bind(b->listener, (struct sockaddr *)&b->at, sizeof(b->at)), 0);
    assert_int_equal(listen(b->listener, 4), 0);
    b->cancel = cancel_new();
    (void)alarm(TOO_LONG_S);
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    struct box *b = *state;

    (void)alarm(0);
    (void)close(b->listener);
    (void)unlink(b->at.sun_path);
    cancel_free(b->cancel);
    free(b);
    return 0;
}

static enum err_code
open_for(struct box *b, uint64_t stall_ms)
{
    const struct nbdlink_patience p = {tick, b, b->cancel, stall_ms};
    struct nbdlink *n = NULL;
    struct err e = {0};

    assert_int_equal(
        nbdlink_open(b->at.sun_path, "disk", "base:allocation", &p, &n, &e),
        -1);
    assert_null(n);
    return e.code;
}

static void
who_says_nothing_hangs(void **state)
{
    assert_int_equal(open_for(*state, SHORT_MS), ERR_TIMEOUT);
    assert_true(((struct box *)*state)->ticks > 0);
}

static void
the_caller_may_end_the_wait(void **state)
{
    struct box *b = *state;

    b->patience = 2;
    assert_int_equal(open_for(b, LONG_MS), ERR_QEMU);
    assert_int_equal(b->ticks, 2);
}

static void
the_user_may_end_the_wait(void **state)
{
    struct box *b = *state;

    cancel_raise(b->cancel);
    assert_int_equal(open_for(b, LONG_MS), ERR_CANCELED);
    assert_int_equal(b->ticks, 0);
}

static void
who_hangs_up_is_gone(void **state)
{
    struct box *b = *state;

    (void)shutdown(b->listener, SHUT_RDWR);
    (void)close(b->listener);
    b->listener = -1;
    assert_int_equal(open_for(b, LONG_MS), ERR_IO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_says_nothing_hangs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_caller_may_end_the_wait, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_user_may_end_the_wait, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_hangs_up_is_gone, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
