/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static const struct command backup = {.name = "backup"};
static const struct command list = {.name = "list"};
static const struct command restore = {.name = "restore"};
static const struct command *const table[] = {&backup, &list, &restore, NULL};

static void
commands_are_found_by_their_whole_name(void **state)
{
    (void)state;
    assert_ptr_equal(command_find(table, "list"), &list);
    assert_null(command_find(table, "lis"));
    assert_null(command_find(table, "List"));
    assert_null(command_find(table, ""));
}

static void
suggests(const char *word, const char *want)
{
    const char *got = command_suggest(table, word);

    if (want) {
        assert_non_null(got);
        assert_string_equal(got, want);
    } else {
        assert_null(got);
    }
}

static void
typing_errors_are_guessed(void **state)
{
    (void)state;
    suggests("bakcup", "backup");
    suggests("lsit", "list");
    suggests("restroe", "restore");
    suggests("res", "restore");
    suggests("BACKUP", NULL);
    suggests("entirely", NULL);
    suggests("", NULL);
}

static void
the_words_of_other_programs_are_known(void **state)
{
    (void)state;
    suggests("snapshots", "list");
    suggests("domains", "machines");
    suggests("version", "--version");
}

/* Every letter and name once: a command may not have one of its own. */
static void
global_options_are_distinct(void **state)
{
    (void)state;
    for (const struct option_spec *a = global_options; a->name; a++) {
        assert_non_null(a->help);
        for (const struct option_spec *b = a + 1; b->name; b++) {
            assert_string_not_equal(a->name, b->name);
            assert_true(a->letter == 0 || a->letter != b->letter);
        }
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_found_by_their_whole_name),
        cmocka_unit_test(typing_errors_are_guessed),
        cmocka_unit_test(the_words_of_other_programs_are_known),
        cmocka_unit_test(global_options_are_distinct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
