/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/meter.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/signals.h"

#define S UINT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)

static void
line_is(const struct meter_view *v, size_t width, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);

    meter_print(v, width, &b);
    assert_string_equal(buf_text(&b), want);
}

static void
a_line_says_how_far_and_how_long(void **state)
{
    struct meter_view v = {"web-01", "read", "vda", {.n = 0}};

    (void)state;
    line_is(&v, 0, "web-01  read vda");
    gauge_update(&v.gauge, 0, 0, 0);
    gauge_update(&v.gauge, S, MIB, 0);
    line_is(&v, 0, "web-01  read vda  1 MiB  1 MiB/s");
    gauge_update(&v.gauge, 2 * S, 2 * MIB, 10 * MIB);
    line_is(&v, 0, "web-01  read vda  20%  2 MiB of 10 MiB  1 MiB/s  ETA 0:08");
    line_is(&v, 20, "web-01  read vda  ..");
    v.what = "";
    line_is(&v, 0, "web-01  read  20%  2 MiB of 10 MiB  1 MiB/s  ETA 0:08");
}

static const struct option_spec *
global(const char *name)
{
    const struct option_spec *spec = global_options;

    while (strcmp(spec->name, name) != 0)
        spec++;
    return spec;
}

/* What fn writes to `fd`, which is a pipe as long as fn runs. */
static void
capture(int fd, void (*fn)(struct cli *), struct cli *c, char *out, size_t room)
{
    int both[2], saved = dup(fd);

    assert_int_equal(pipe(both), 0);
    assert_int_equal(dup2(both[1], fd), fd);
    signals_init(false);
    fn(c);
    assert_int_equal(dup2(saved, fd), fd);
    (void)close(both[1]);
    ssize_t n = read(both[0], out, room - 1);
    out[n > 0 ? n : 0] = '\0';
    (void)close(both[0]);
    (void)close(saved);
}

/* Who has asked before the end gets an answer. */
static void
ask_by_signal(struct cli *c)
{
    struct meter *m = meter_start(c, "web\n01");
    const struct progress p = {"read", "v\033da", MIB, 4 * MIB};

    meter_progress(m, &p);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    signals_done(); /* now it has been heard */
    meter_stop(m);
}

static void
ask_too_late(struct cli *c)
{
    struct meter *m = meter_start(c, "web-01");
    const struct progress p = {"read", "vda", MIB, 4 * MIB};

    meter_progress(m, &p);
    meter_stop(m);
    /* These have the numbers of the meter's own: nobody writes there. */
    int fds[] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    signals_done();
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        eventfd_t count = 0;
        assert_int_equal(eventfd_read(fds[i], &count), -1);
        (void)close(fds[i]);
    }
}

static void
a_signal_asks_for_a_line(void **state)
{
    struct cli c = {.out = {.quiet = true}};
    char text[1000];

    (void)state;
    capture(STDERR_FILENO, ask_by_signal, &c, text, sizeof(text));
    assert_string_equal(text, "web\\x0a01  read v\\x1bda  25%  1 MiB of 4 MiB  "
                              "0 B/s\n");
}

static void
programs_get_a_line_of_json(void **state)
{
    struct given given = {global("no-progress"), NULL};
    struct cli c = {.args = {.given = &given, .n_given = 1},
                    .out = {.json = true}};
    char text[1000];

    (void)state;
    capture(STDOUT_FILENO, ask_by_signal, &c, text, sizeof(text));
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "type")),
                        "progress");
    assert_string_equal(json_string_value(json_object_get(j, "subject")),
                        "web\\x0a01");
    assert_int_equal(json_integer_value(json_object_get(j, "done_bytes")), MIB);
    assert_int_equal(json_integer_value(json_object_get(j, "percent")), 25);
    json_decref(j);
}

static void
without_a_terminal_it_is_silent(void **state)
{
    struct cli c = {.out = {.json = false}};
    char text[1000];

    (void)state;
    capture(STDERR_FILENO, ask_too_late, &c, text, sizeof(text));
    assert_string_equal(text, "");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_how_far_and_how_long),
        cmocka_unit_test(a_signal_asks_for_a_line),
        cmocka_unit_test(programs_get_a_line_of_json),
        cmocka_unit_test(without_a_terminal_it_is_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
