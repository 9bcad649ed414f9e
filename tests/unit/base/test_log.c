/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* stderr is a socket of packets while a test runs, so that each write(2) is
 * told apart from the next. */
static int reader = -1, real_stderr = -1;

static int
divert(void **state)
{
    int s[2] = {-1, -1};

    (void)state;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   s) == -1)
        return -1;
    real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    (void)dup2(s[1], STDERR_FILENO);
    (void)close(s[1]);
    reader = s[0];
    return 0;
}

static int
put_back(void **state)
{
    (void)state;
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(reader);
    log_set_level(LOG_WARNING);
    return 0;
}

/* What the oldest write(2) wrote, "" if there was none. */
static const char *
written(void)
{
    static char text[2 * LOG_LINE_MAX];
    ssize_t n = read(reader, text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void
each_level_has_its_word(void **state)
{
    (void)state;
    log_set_level(LOG_DEBUG);
    log_error("machine=%s disk=%d", "db1", 2);
    assert_string_equal(written(), "vmkeep: error: machine=db1 disk=2\n");
    log_warning("x");
    assert_string_equal(written(), "vmkeep: warning: x\n");
    log_info("x");
    assert_string_equal(written(), "vmkeep: x\n");
    log_debug("x");
    assert_string_equal(written(), "vmkeep: debug: x\n");
    assert_string_equal(written(), "");
}

static void
warnings_are_the_least_at_the_start(void **state)
{
    (void)state;
    assert_int_equal(log_get_level(), LOG_WARNING);
    log_info("not seen");
    log_debug("not seen");
    assert_string_equal(written(), "");
    log_warning("seen");
    assert_string_equal(written(), "vmkeep: warning: seen\n");
}

static void
a_level_drops_what_is_above(void **state)
{
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};

    (void)state;
    for (int max = LOG_ERROR; max <= LOG_DEBUG; max++) {
        log_set_level((enum log_level)max);
        assert_int_equal(log_get_level(), max);
        log_error("x");
        log_warning("x");
        log_info("x");
        log_debug("x");
        for (int i = 0; i <= max; i++) {
            char want[64];
            (void)snprintf(want, sizeof(want), "vmkeep: %sx\n", words[i]);
            assert_string_equal(written(), want);
        }
        assert_string_equal(written(), "");
    }
}

static void
one_fact_stays_one_line(void **state)
{
    (void)state;
    log_error("name=%s", "a\nvmkeep: error: forged\r\x1b[2J\x7f\t\xc3\xa4");
    assert_string_equal(
        written(),
        "vmkeep: error: name=a?vmkeep: error: forged??[2J??\xc3\xa4\n");
    assert_string_equal(written(), "");
}

static void
a_long_line_is_cut_and_still_ends(void **state)
{
    char text[2 * LOG_LINE_MAX];

    (void)state;
    memset(text, 'y', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    log_error("%s", text);
    const char *line = written();
    assert_int_equal(strlen(line), LOG_LINE_MAX);
    assert_string_equal(line + LOG_LINE_MAX - 3, "yy\n");
    assert_string_equal(written(), "");
}

static void
errno_is_kept(void **state)
{
    (void)state;
    (void)close(STDERR_FILENO); /* so that writing fails */
    errno = ENOSPC;
    log_error("x");
    assert_int_equal(errno, ENOSPC);
    log_debug("dropped");
    assert_int_equal(errno, ENOSPC);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(warnings_are_the_least_at_the_start,
                                        divert, put_back),
        cmocka_unit_test_setup_teardown(each_level_has_its_word, divert,
                                        put_back),
        cmocka_unit_test_setup_teardown(a_level_drops_what_is_above, divert,
                                        put_back),
        cmocka_unit_test_setup_teardown(one_fact_stays_one_line, divert,
                                        put_back),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_still_ends,
                                        divert, put_back),
        cmocka_unit_test_setup_teardown(errno_is_kept, divert, put_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
