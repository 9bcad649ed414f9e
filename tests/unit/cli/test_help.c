/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/outcome.h"
#include "cli/print.h"

static const struct option_spec options[] = {
    {"to", 't', "DIR",
     "where to write what comes out of it, which may be "
     "much and needs more than one line"},
    {"an-option-with-a-very-long-name", 0, "VALUE", "short"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {{"vmkeep save x --to /y", "saves x"},
                                          {NULL, NULL}};

static const struct command save = {.name = "save",
                                    .operands = "NAME",
                                    .summary = "save a thing",
                                    .text = "First.\n\nSecond paragraph.",
                                    .options = options,
                                    .examples = examples,
                                    .min_operands = 1,
                                    .max_operands = 1};
static const struct command bare = {
    .name = "bare", .operands = "", .summary = "nothing more", .text = "Text."};
static const struct command *const table[] = {&save, &bare, NULL};

static void
no_line_is_too_long(const char *text)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        assert_true(n <= 79);
        if (n > 0)
            assert_int_not_equal(p[n - 1], ' ');
        p += n + (p[n] == '\n');
    }
}

static void
a_command_is_explained(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100000);

    (void)state;
    help_command(&save, &b);
    const char *text = buf_text(&b);
    assert_ptr_equal(
        text, strstr(text, "vmkeep save: save a thing\n\n"
                           "usage: vmkeep save [OPTION...] NAME\n\n"
                           "First.\n\nSecond paragraph.\n\n"
                           "Options:\n"
                           "  -t, --to DIR              where to write what"));
    assert_non_null(strstr(text, "\n      --an-option-with-a-very-long-name "
                                 "VALUE\n                            short\n"));
    assert_non_null(strstr(text, "\nExamples:\n  vmkeep save x --to /y\n"
                                 "      saves x\n"));
    assert_non_null(strstr(text, "-r, --repo REPO"));
    no_line_is_too_long(text);
}

static void
a_command_without_anything_is_explained(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100000);

    (void)state;
    help_command(&bare, &b);
    assert_non_null(strstr(buf_text(&b), "usage: vmkeep bare [OPTION...]\n"));
    assert_null(strstr(buf_text(&b), "\nOptions:"));
    assert_null(strstr(buf_text(&b), "Examples:"));
}

static void
the_overview_names_everything(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100000);

    (void)state;
    help_overview(table, &b);
    const char *text = buf_text(&b);
    assert_non_null(strstr(text, "\n  save              save a thing\n"));
    assert_non_null(strstr(text, "\n  bare              nothing more\n"));
    assert_non_null(strstr(text, "vmkeep init"));
    for (const struct help_topic *t = help_topics; t->name; t++)
        assert_non_null(strstr(text, t->name));
    no_line_is_too_long(text);
}

static void
every_topic_says_something(void **state)
{
    (void)state;
    for (const struct help_topic *t = help_topics; t->name; t++) {
        CLEANUP(buf_done) struct buf b = buf_of(100000);
        help_topic(t, &b);
        assert_true(b.len > 200);
        no_line_is_too_long(buf_text(&b));
    }
}

static void
the_exit_codes_are_all_there(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100000);

    (void)state;
    help_exit_codes(&b);
    for (const struct outcome_row *r = outcome_rows; r->meaning; r++)
        assert_non_null(strstr(buf_text(&b), r->meaning));
    assert_non_null(strstr(buf_text(&b), "\n  130  interrupted"));
}

static void
programs_get_the_whole_table(void **state)
{
    json_t *j = help_json(table);
    const json_t *list = json_object_get(j, "commands");
    const json_t *first = json_array_get(list, 0);
    const json_t *option = json_array_get(json_object_get(first, "options"), 0);

    (void)state;
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(first, "name")),
                        "save");
    assert_string_equal(json_string_value(json_object_get(option, "letter")),
                        "t");
    assert_string_equal(json_string_value(json_object_get(option, "arg")),
                        "DIR");
    option = json_array_get(json_object_get(first, "options"), 1);
    assert_null(json_object_get(option, "letter"));
    assert_true(json_array_size(json_object_get(j, "options")) > 5);
    assert_true(json_array_size(json_object_get(j, "exit_codes")) > 5);
    json_decref(j);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_explained),
        cmocka_unit_test(a_command_without_anything_is_explained),
        cmocka_unit_test(the_overview_names_everything),
        cmocka_unit_test(every_topic_says_something),
        cmocka_unit_test(the_exit_codes_are_all_there),
        cmocka_unit_test(programs_get_the_whole_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
