/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static const struct option_spec save_options[] = {
    {"all", 'a', NULL, "everything"},
    {"to", 't', "DIR", "where to"},
    {"method", 0, "METHOD", "how"},
    {NULL, 0, NULL, NULL}};

static const struct command save = {.name = "save",
                                    .operands = "NAME [NAME]",
                                    .options = save_options,
                                    .min_operands = 1,
                                    .max_operands = 2};
static const struct command plain = {.name = "plain", .operands = ""};
static const struct command *const table[] = {&save, &plain, NULL};

enum { MAX_ARGC = 16 };

struct parsed {
    struct args args;
    struct err e;
    int r;
};

/* Splits `line` at blanks, in place, into argv, and parses it. */
static struct parsed
parse(char *line, char **argv)
{
    struct parsed p = {0};
    char *save_ptr = NULL;
    int argc = 0;

    for (char *w = strtok_r(line, " ", &save_ptr); w;
         w = strtok_r(NULL, " ", &save_ptr))
        argv[argc++] = w;
    p.r = args_parse(argc, argv, table, &p.args, &p.e);
    return p;
}

#define PARSE(text)                   \
    __extension__({                   \
        static char line_[] = text;   \
        static char *argv_[MAX_ARGC]; \
        parse(line_, argv_);          \
    })

static void
refused(struct parsed p, const char *message)
{
    assert_int_equal(p.r, -1);
    assert_int_equal(p.e.code, ERR_USAGE);
    assert_string_equal(p.e.msg, message);
    args_done(&p.args);
}

static void
a_command_with_all_it_takes(void **state)
{
    struct parsed p = PARSE("vmkeep save -a one --to=/x --method live two");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_ptr_equal(p.args.command, &save);
    assert_int_equal(p.args.n_operands, 2);
    assert_string_equal(p.args.operands[0], "one");
    assert_string_equal(p.args.operands[1], "two");
    assert_true(args_has(&p.args, "all"));
    assert_string_equal(args_value(&p.args, "to"), "/x");
    assert_string_equal(args_value(&p.args, "method"), "live");
    assert_null(args_value(&p.args, "repo"));
    args_done(&p.args);
}

static void
global_options_stand_before_and_after(void **state)
{
    struct parsed p = PARSE("vmkeep -r /a --json save one -v --repo /b -v -q");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_string_equal(args_value(&p.args, "repo"), "/b");
    assert_int_equal(args_count(&p.args, "repo"), 2);
    assert_int_equal(args_count(&p.args, "verbose"), 2);
    assert_true(args_has(&p.args, "json"));
    assert_true(args_has(&p.args, "quiet"));
    assert_false(args_has(&p.args, "no-progress"));
    assert_int_equal(p.args.n_operands, 1);
    args_done(&p.args);
}

static void
short_options_may_be_joined(void **state)
{
    struct parsed p = PARSE("vmkeep save -qat/x one");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_true(args_has(&p.args, "quiet"));
    assert_true(args_has(&p.args, "all"));
    assert_string_equal(args_value(&p.args, "to"), "/x");
    args_done(&p.args);
}

static void
two_dashes_end_the_options(void **state)
{
    struct parsed p = PARSE("vmkeep save -- --all -x");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_false(args_has(&p.args, "all"));
    assert_int_equal(p.args.n_operands, 2);
    assert_string_equal(p.args.operands[0], "--all");
    args_done(&p.args);
}

static void
nothing_at_all_is_no_error(void **state)
{
    struct parsed p = PARSE("vmkeep");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_null(p.args.command);
    args_done(&p.args);
}

static void
commands_options_do_not_stand_before_it(void **state)
{
    (void)state;
    refused(PARSE("vmkeep --all save one"),
            "there is no option --all; see `vmkeep --help`");
}

static void
near_misses_are_named(void **state)
{
    (void)state;
    refused(PARSE("vmkeep sav one"),
            "there is no command 'sav'; did you mean `vmkeep save`?");
    refused(PARSE("vmkeep xyzzy"),
            "there is no command 'xyzzy'; `vmkeep help` lists them");
    refused(PARSE("vmkeep save --metod live x"),
            "there is no option --metod; did you mean --method?");
    refused(PARSE("vmkeep save --verbsoe x"),
            "there is no option --verbsoe; did you mean --verbose?");
    refused(PARSE("vmkeep save --completely-else x"),
            "there is no option --completely-else; see `vmkeep save --help`");
    refused(PARSE("vmkeep --json save -ax"),
            "there is no option -x; see `vmkeep save --help`");
    refused(PARSE("vmkeep save --json -xa one"),
            "there is no option -x; see `vmkeep save --help`");
    /* An abbreviation of two. */
    refused(PARSE("vmkeep save --ve x"),
            "there is no option --ve; did you mean --verbose or --version?");
}

static void
values_must_be_there_or_not(void **state)
{
    (void)state;
    refused(PARSE("vmkeep save x --to"),
            "--to needs a value: --to DIR; see `vmkeep save --help`");
    refused(PARSE("vmkeep save x -t"),
            "--to needs a value: --to DIR; see `vmkeep save --help`");
    refused(PARSE("vmkeep save x --all=yes"),
            "--all takes no value; see `vmkeep save --help`");
}

static void
a_password_is_not_repeated(void **state)
{
    struct parsed p = PARSE("vmkeep save x --password=hunter2");

    (void)state;
    assert_int_equal(p.r, -1);
    assert_null(strstr(p.e.msg, "hunter2"));
    assert_non_null(strstr(p.e.msg, "vmkeep help password"));
    args_done(&p.args);
}

static void
strange_bytes_do_not_pass(void **state)
{
    (void)state;
    refused(PARSE("vmkeep \033[2J"), "there is no command '\\x1b[2J'; `vmkeep "
                                     "help` lists them");
    refused(PARSE("vmkeep save -\001"),
            "there is no option -\\x01; see `vmkeep save --help`");
}

static void
operands_are_counted(void **state)
{
    (void)state;
    refused(PARSE("vmkeep save"),
            "something is missing; usage: vmkeep save NAME [NAME]");
    refused(PARSE("vmkeep save a b c d"),
            "'c' is one argument too many; usage: vmkeep save NAME [NAME]");
    refused(PARSE("vmkeep plain x"),
            "'x' is one argument too many; usage: vmkeep plain");
}

static void
help_needs_no_operands(void **state)
{
    struct parsed p = PARSE("vmkeep save --help");
    struct parsed q = PARSE("vmkeep plain x -h");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_true(args_has(&p.args, "help"));
    assert_int_equal(q.r, 0);
    args_done(&p.args);
    args_done(&q.args);
}

static void
json_is_seen_before_all_is_understood(void **state)
{
    char *yes[] = {(char[]){"vmkeep"}, (char[]){"xyz"}, (char[]){"--json"}};
    char *no[] = {(char[]){"vmkeep"}, (char[]){"--"}, (char[]){"--json"}};

    (void)state;
    assert_true(args_want_json(3, yes));
    assert_false(args_want_json(2, yes));
    assert_false(args_want_json(3, no));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_with_all_it_takes),
        cmocka_unit_test(global_options_stand_before_and_after),
        cmocka_unit_test(short_options_may_be_joined),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(nothing_at_all_is_no_error),
        cmocka_unit_test(commands_options_do_not_stand_before_it),
        cmocka_unit_test(near_misses_are_named),
        cmocka_unit_test(values_must_be_there_or_not),
        cmocka_unit_test(a_password_is_not_repeated),
        cmocka_unit_test(strange_bytes_do_not_pass),
        cmocka_unit_test(operands_are_counted),
        cmocka_unit_test(help_needs_no_operands),
        cmocka_unit_test(json_is_seen_before_all_is_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
