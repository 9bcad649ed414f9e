/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dies.h"

enum { FULL = ERR_MSG_MAX - 1 };

/* n times 'x', for paths that are longer than a message. */
static const char *
xs(size_t n)
{
    static char text[2 * ERR_MSG_MAX];

    assert_true(n < sizeof(text));
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

static void
a_failure_is_one_line(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(err_set(&e, ERR_CORRUPT, "block %d of %s", 7, "vda"), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "block 7 of vda");
}

static void
a_long_message_is_cut_not_overrun(void **state)
{
    struct err e = {0};

    (void)state;
    (void)err_set(&e, ERR_IO, "%s", xs(ERR_MSG_MAX + 50));
    assert_int_equal(strlen(e.msg), FULL);
}

static void
errno_chooses_the_code_and_gives_the_cause(void **state)
{
    static const struct {
        int no;
        enum err_code code;
        const char *msg;
    } cases[] = {
        {ENOSPC, ERR_NOSPACE, "cannot write f: No space left on device"},
        {EDQUOT, ERR_NOSPACE, "cannot write f: Disk quota exceeded"},
        {EFBIG, ERR_NOSPACE, "cannot write f: File too large"},
        {EACCES, ERR_DENIED, "cannot write f: Permission denied"},
        {EPERM, ERR_DENIED, "cannot write f: Operation not permitted"},
        {EROFS, ERR_DENIED, "cannot write f: Read-only file system"},
        {ENOENT, ERR_NOENT, "cannot write f: No such file or directory"},
        {EEXIST, ERR_EXISTS, "cannot write f: File exists"},
        {ENOTEMPTY, ERR_EXISTS, "cannot write f: Directory not empty"},
        {ETIMEDOUT, ERR_TIMEOUT, "cannot write f: Connection timed out"},
        {EIO, ERR_STORE, "cannot write f: Input/output error"},
        {99999, ERR_STORE, "cannot write f: error number 99999"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e = {0};
        errno = cases[i].no;
        assert_int_equal(err_set_errno(&e, ERR_STORE, "cannot write %s", "f"),
                         -1);
        assert_int_equal(e.code, cases[i].code);
        assert_string_equal(e.msg, cases[i].msg);
    }
}

static void
a_long_path_does_not_push_out_the_cause(void **state)
{
    struct err e = {0};

    (void)state;
    errno = EIO;
    (void)err_set_errno(&e, ERR_IO, "cannot open %s", xs(ERR_MSG_MAX));
    assert_int_equal(strlen(e.msg), FULL);
    assert_non_null(strstr(e.msg, "xxx: Input/output error"));
    assert_memory_equal(e.msg, "cannot open xxx", 15);
}

static void
wrapping_puts_context_in_front(void **state)
{
    struct err e = {0};

    (void)state;
    (void)err_set(&e, ERR_NOENT, "no such key");
    assert_int_equal(err_wrap(&e, "header of %s", "p1"), -1);
    assert_int_equal(err_wrap(&e, "pack %d", 3), -1);
    assert_int_equal(e.code, ERR_NOENT);
    assert_string_equal(e.msg, "pack 3: header of p1: no such key");
    /* Its own message may be an argument. */
    (void)err_wrap(&e, "was \"%s\"", e.msg);
    assert_string_equal(e.msg, "was \"pack 3: header of p1: no such key\": "
                               "pack 3: header of p1: no such key");
}

static void
the_cause_outranks_the_context(void **state)
{
    struct err e = {0};

    (void)state;
    (void)err_set(&e, ERR_IO, "cause");
    (void)err_wrap(&e, "%s", xs(FULL - 7)); /* the last one to fit */
    assert_int_equal(strlen(e.msg), FULL);
    assert_string_equal(e.msg + FULL - 8, "x: cause");

    err_clear(&e);
    (void)err_set(&e, ERR_IO, "cause");
    (void)err_wrap(&e, "%s", xs(FULL - 6));
    assert_string_equal(e.msg, "cause");
    (void)err_wrap(&e, "%s", xs(2 * ERR_MSG_MAX - 1));
    assert_string_equal(e.msg, "cause");
}

static void
advice_goes_behind(void **state)
{
    struct err e = {0};

    (void)state;
    (void)err_set(&e, ERR_DENIED, "no userfaultfd");
    assert_int_equal(err_hint(&e, "run %s", "sysctl"), -1);
    assert_int_equal(e.code, ERR_DENIED);
    assert_string_equal(e.msg, "no userfaultfd; run sysctl");
}

static void
advice_is_cut_where_the_message_is_full(void **state)
{
    (void)state;
    for (size_t n = FULL - 4; n <= FULL; n++) {
        struct err e = {0};
        (void)err_set(&e, ERR_IO, "%s", xs(n));
        assert_int_equal(err_hint(&e, "%s", "advice"), -1);
        assert_memory_equal(e.msg, xs(n), n);
        assert_true(strlen(e.msg) <= FULL);
        if (n <= FULL - 3)
            assert_memory_equal(e.msg + n, "; a", 3);
    }
}

static void
a_cleared_error_can_be_set_again(void **state)
{
    struct err e = {0};

    (void)state;
    (void)err_set(&e, ERR_IO, "first");
    err_clear(&e);
    assert_int_equal(e.code, ERR_OK);
    assert_string_equal(e.msg, "");
    (void)err_set(&e, ERR_KEY, "second");
    assert_string_equal(e.msg, "second");
}

static void
every_code_has_its_own_word(void **state)
{
    (void)state;
    for (int a = ERR_OK; a <= ERR_QEMU; a++) {
        const char *name = err_code_name((enum err_code)a);
        assert_string_not_equal(name, "unknown");
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"),
                         strlen(name));
        for (int b = ERR_OK; b < a; b++)
            assert_string_not_equal(name, err_code_name((enum err_code)b));
    }
    assert_string_equal(err_code_name(ERR_CORRUPT), "corrupt");
    assert_string_equal(err_code_name((enum err_code)(ERR_QEMU + 1)),
                        "unknown");
}

static void
set_twice(void)
{
    struct err e = {0};

    (void)err_set(&e, ERR_IO, "first");
    (void)err_set(&e, ERR_IO, "second");
}

static void
set_errno_twice(void)
{
    struct err e = {0};

    (void)err_set(&e, ERR_IO, "first");
    (void)err_set_errno(&e, ERR_IO, "second");
}

static void
set_to_ok(void)
{
    struct err e = {0};

    (void)err_set(&e, ERR_OK, "nothing");
}

static void
wrap_nothing(void)
{
    struct err e = {0};

    (void)err_wrap(&e, "context");
}

static void
hint_at_nothing(void)
{
    struct err e = {0};

    (void)err_hint(&e, "advice");
}

static void
a_cause_is_never_lost_by_our_own_mistake(void **state)
{
    (void)state;
    assert_int_equal(signal_of(set_twice), SIGABRT);
    assert_int_equal(signal_of(set_errno_twice), SIGABRT);
    assert_int_equal(signal_of(set_to_ok), SIGABRT);
    assert_int_equal(signal_of(wrap_nothing), SIGABRT);
    assert_int_equal(signal_of(hint_at_nothing), SIGABRT);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_one_line),
        cmocka_unit_test(a_long_message_is_cut_not_overrun),
        cmocka_unit_test(errno_chooses_the_code_and_gives_the_cause),
        cmocka_unit_test(a_long_path_does_not_push_out_the_cause),
        cmocka_unit_test(wrapping_puts_context_in_front),
        cmocka_unit_test(the_cause_outranks_the_context),
        cmocka_unit_test(advice_goes_behind),
        cmocka_unit_test(advice_is_cut_where_the_message_is_full),
        cmocka_unit_test(a_cleared_error_can_be_set_again),
        cmocka_unit_test(every_code_has_its_own_word),
        cmocka_unit_test(a_cause_is_never_lost_by_our_own_mistake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
