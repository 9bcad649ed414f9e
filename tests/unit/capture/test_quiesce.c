/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/quiesce.h"

#include <poll.h>
#include <time.h>

#include "../qemu/fake_agent.h"
#include "qemu/agent.h"

/* Time stands still here but for waits in vain, which are cut short: some of
 * these agents never answer. */
enum { REAL_MS = 700 };
static _Atomic long long now_ms = 1000000;

int
clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    *t = (struct timespec){.tv_sec = now_ms / 1000,
                           .tv_nsec = now_ms % 1000 * 1000000};
    return 0;
}

int
poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec real = {0, REAL_MS * 1000000L};

    if (timeout < 0)
        return ppoll(fds, n, NULL, NULL);
    int ready = n > 0 ? ppoll(fds, n, &real, NULL) : 0;
    if (ready == 0)
        now_ms += timeout;
    return ready;
}

/* What quiesce_begin says of an agent that behaves so: 1, 0 and *why, or -1 and
 * *e.  *a is the connection. */
static int
begin(struct fake_agent *f, struct agent **a, char **why, struct err *e)
{
    *a = NULL;
    *why = NULL;
    err_clear(e);
    return quiesce_begin(f->path, QUIESCE_FREEZE_MS, a, why, e);
}

static void
frozen_and_thawed(void **state)
{
    struct fake_agent *f = fake_start(NULL);
    struct agent *a = NULL;
    CLEANUP(freep) char *why = NULL;
    struct err e = {0};
    bool held = false;

    (void)state;
    assert_int_equal(begin(f, &a, &why, &e), 1);
    assert_true(f->frozen);
    assert_null(why);
    assert_works(quiesce_end(&a, &held, &e), &e);
    assert_null(a);
    assert_true(held);
    assert_false(f->frozen);
    fake_stop(f);
}

/* ---- not frozen, and known not to be --------------------------------------
 */

static bool
is_silent(struct fake_agent *f)
{
    (void)f;
    return true;
}

static bool
has_no_status(struct fake_agent *f)
{
    if (!fake_is(f, STATUS))
        return false;
    fake_say(f, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": "
                "\"status is not known\"}}\n");
    return true;
}

static bool
refuses_to_freeze(struct fake_agent *f)
{
    if (!fake_is(f, FREEZE))
        return false;
    fake_say(f, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"hook "
                "failed\"}}\n");
    return true;
}

/* As qemu-ga in a guest without file systems. */
static bool
freezes_none(struct fake_agent *f)
{
    if (!fake_is(f, FREEZE))
        return false;
    f->frozen = true;
    fake_say(f, "{\"return\": 0}\n");
    return true;
}

static bool
only_says_so(struct fake_agent *f)
{
    if (!fake_is(f, FREEZE))
        return false;
    fake_say(f, "{\"return\": 2}\n");
    return true;
}

static bool
counts_badly(struct fake_agent *f)
{
    if (!fake_is(f, FREEZE))
        return false;
    f->frozen = true;
    fake_say(f, "{\"return\": \"two\"}\n");
    return true;
}

/* It answers when we have given up, and is frozen then. */
static bool
freezes_late(struct fake_agent *f)
{
    if (!fake_is(f, FREEZE))
        return false;
    (void)poll(&(struct pollfd){.fd = f->fd, .events = POLLIN}, 1, -1);
    f->frozen = true;
    fake_say(f, "{\"return\": 2}\n");
    return true;
}

/* The first few thaws do nothing. */
static bool
thaws_at_last(struct fake_agent *f)
{
    if (fake_is(f, FREEZE)) {
        f->frozen = true;
        fake_say(f, "{\"return\": 2, \"and\": \"more\"}\n");
        return true;
    }
    if (!fake_is(f, THAW) || f->left-- <= 0)
        return false;
    fake_say(f, "{\"error\": {\"desc\": \"busy\"}}\n");
    return true;
}

static void
crash_consistent(void **state)
{
    static const struct {
        bool (*odd)(struct fake_agent *);
        const char *part;
        unsigned freezes;
    } cases[] = {
        {is_silent, "does not answer", 0},
        {has_no_status, "status is not known", 0},
        {refuses_to_freeze, "hook failed", 1},
        {freezes_none, "froze none", 1},
        {only_says_so, "froze none", 1},
        {counts_badly, "not a number", 1},
        {freezes_late, "does not answer", 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_agent *f = fake_start(cases[i].odd);
        struct agent *a = NULL;
        CLEANUP(freep) char *why = NULL;
        struct err e = {0};
        int rc = begin(f, &a, &why, &e);
        if (rc != 0 || !strstr(why, cases[i].part))
            fail_msg("%zu: %d %s %s", i, rc, why ? why : "", e.msg);
        assert_null(a);
        assert_int_equal(f->told[FREEZE], cases[i].freezes);
        assert_false(f->frozen);
        fake_stop(f);
    }
}

static void
frozen_by_somebody_else(void **state)
{
    struct fake_agent *f = fake_start(NULL);
    struct agent *a = NULL;
    CLEANUP(freep) char *why = NULL;
    struct err e = {0};

    (void)state;
    f->frozen = true;
    assert_int_equal(begin(f, &a, &why, &e), 0);
    assert_non_null(strstr(why, "somebody else"));
    assert_true(f->frozen);
    assert_int_equal(f->told[THAW], 0);
    fake_stop(f);
}

static void
thawed_before_we_thaw(void **state)
{
    struct fake_agent *f = fake_start(NULL);
    struct agent *a = NULL;
    CLEANUP(freep) char *why = NULL;
    struct err e = {0};
    bool held = true;

    (void)state;
    assert_int_equal(begin(f, &a, &why, &e), 1);
    f->frozen = false; /* as Windows does after ten seconds */
    assert_works(quiesce_end(&a, &held, &e), &e);
    assert_false(held);
    fake_stop(f);
}

static void
a_thaw_is_tried_again(void **state)
{
    struct fake_agent *f = fake_start(thaws_at_last);
    struct agent *a = NULL;
    CLEANUP(freep) char *why = NULL;
    struct err e = {0};
    bool held = false;

    (void)state;
    f->left = 3;
    assert_int_equal(begin(f, &a, &why, &e), 1);
    assert_works(quiesce_end(&a, &held, &e), &e);
    assert_false(f->frozen);
    assert_int_equal(f->told[THAW], 4);
    fake_stop(f);
}

/* ---- nobody knows ----------------------------------------------------------
 */

/* From the freeze on. */
static bool
dies_frozen(struct fake_agent *f)
{
    if (fake_is(f, FREEZE))
        f->frozen = true;
    return f->frozen;
}

static bool
never_thaws(struct fake_agent *f)
{
    if (!fake_is(f, THAW))
        return false;
    fake_say(f, "{\"return\": 2}\n");
    return true;
}

static void
what_nobody_knows_is_an_error(void **state)
{
    struct fake_agent *f = fake_start(dies_frozen);
    struct agent *a = NULL;
    CLEANUP(freep) char *why = NULL;
    CLEANUP(freep) char *none = NULL;
    struct err e = {0};
    bool held = true;

    (void)state;
    assert_int_equal(begin(f, &a, &why, &e), -1);
    assert_non_null(strstr(e.msg, "may be frozen"));
    assert_null(a);
    fake_stop(f);

    f = fake_start(never_thaws);
    assert_int_equal(begin(f, &a, &none, &e), 1);
    assert_fails(quiesce_end(&a, &held, &e), &e, ERR_QEMU, "they still are");
    assert_null(a);
    assert_true(f->told[THAW] > 2);
    fake_stop(f);
}

/* ---- whoever comes after ---------------------------------------------------
 */

static void
left_frozen(void **state)
{
    struct fake_agent *f = fake_start(thaws_at_last);
    struct err e = {0};

    (void)state;
    f->frozen = true;
    f->left = 2;
    assert_works(quiesce_thaw(f->path, &e), &e);
    assert_false(f->frozen);
    assert_int_equal(f->told[THAW], 3);
    assert_works(quiesce_thaw(f->path, &e), &e);
    assert_int_equal(f->told[THAW], 3); /* there was nothing to be done */
    fake_stop(f);
}

/* The first client's hang is not the last word. */
static bool
wakes_up(struct fake_agent *f)
{
    return f->n_clients < 3;
}

static void
an_agent_that_wakes_up(void **state)
{
    struct fake_agent *f = fake_start(wakes_up);
    struct agent *a = NULL;
    struct err e = {0};

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_fails(agent_open(f->path, 100, &a, &e), &e, ERR_TIMEOUT, "");
    f->frozen = true;
    assert_works(quiesce_thaw(f->path, &e), &e);
    assert_false(f->frozen);
    fake_stop(f);
}

static void
left_frozen_for_good(void **state)
{
    struct fake_agent *f = fake_start(is_silent);
    struct err e = {0};

    (void)state;
    assert_fails(quiesce_thaw(f->path, &e), &e, ERR_TIMEOUT, "fsfreeze -u");
    fake_stop(f);
    assert_fails(quiesce_thaw("/nowhere/ga", &e), &e, ERR_NOENT,
                 "may be frozen");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_and_thawed),
        cmocka_unit_test(crash_consistent),
        cmocka_unit_test(frozen_by_somebody_else),
        cmocka_unit_test(thawed_before_we_thaw),
        cmocka_unit_test(a_thaw_is_tried_again),
        cmocka_unit_test(what_nobody_knows_is_an_error),
        cmocka_unit_test(left_frozen),
        cmocka_unit_test(an_agent_that_wakes_up),
        cmocka_unit_test(left_frozen_for_good),
    };

    return cmocka_run_group_tests_name("quiesce", tests, NULL, NULL);
}
