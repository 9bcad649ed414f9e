/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/checked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

#define ID "0123456789abcdef"

static char *
folder_new(void)
{
    char *path = xstrdup("/tmp/vmkeep-checked-XXXXXX");

    assert_non_null(mkdtemp(path));
    return path;
}

static void
folder_end(char *folder)
{
    CLEANUP(freep) char *inner = path_join(folder, ID);
    CLEANUP(freep) char *file = path_join(inner, "checked");

    (void)chmod(inner, 0700);
    (void)unlink(file);
    (void)rmdir(inner);
    (void)rmdir(folder);
    free(folder);
}

static void
nothing_is_known_at_first(void **state)
{
    char *folder = folder_new();
    struct checked c = {.last[CHECKED_DATA].time_ns = 7};

    (void)state;
    checked_read(folder, ID, &c);
    assert_int_equal(c.last[CHECKED_STRUCTURE].time_ns, 0);
    assert_int_equal(c.last[CHECKED_DATA].time_ns, 0);
    c.last[CHECKED_DATA].time_ns = 7;
    checked_read(NULL, ID, &c);
    assert_int_equal(c.last[CHECKED_DATA].time_ns, 0);
    checked_note(NULL, ID, CHECKED_DATA, 0); /* and does nothing */
    folder_end(folder);
}

static void
each_kind_is_kept_by_itself(void **state)
{
    char *folder = folder_new();
    struct checked c, again;
    int64_t before = clock_wall_ns();

    (void)state;
    checked_note(folder, ID, CHECKED_DATA, 3);
    checked_read(folder, ID, &c);
    assert_int_equal(c.last[CHECKED_STRUCTURE].time_ns, 0);
    assert_true(c.last[CHECKED_DATA].time_ns >= before);
    assert_int_equal(c.last[CHECKED_DATA].faults, 3);
    checked_note(folder, ID, CHECKED_STRUCTURE, 0);
    checked_read(folder, ID, &again);
    assert_int_equal(again.last[CHECKED_DATA].time_ns,
                     c.last[CHECKED_DATA].time_ns);
    assert_int_equal(again.last[CHECKED_DATA].faults, 3);
    assert_true(again.last[CHECKED_STRUCTURE].time_ns >= before);
    assert_int_equal(again.last[CHECKED_STRUCTURE].faults, 0);
    folder_end(folder);
}

static void
what_cannot_be_written_is_no_failure(void **state)
{
    char *folder = folder_new();
    CLEANUP(freep) char *file = path_join(folder, "file");
    struct checked c;
    struct err e = {0};

    (void)state;
    assert_int_equal(file_publish(file, "x", 1, &e), 0);
    checked_note(file, ID, CHECKED_DATA, 0); /* a file is no folder */
    checked_read(file, ID, &c);
    assert_int_equal(c.last[CHECKED_DATA].time_ns, 0);
    (void)unlink(file);
    folder_end(folder);
}

static void
only_sense_is_taken(void **state)
{
    static const char *const bad[] = {
        "x",
        "data",
        "data ",
        "data 5",
        "data 5 \n",
        "data 5 1",
        "data 5 x\n",
        "data -5 1\n",
        "data 5  1\n",
        "data 9223372036854775808 0\n",
        "data 99999999999999999999999999999999 0\n",
        "data 5 99999999999999999999999999999999\n",
        "other 5 1\n",
        "data 5 1\n\n",
        "data 5 1\ndata 6 2",
    };
    struct checked c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        c.last[CHECKED_DATA].time_ns = 7;
        if (checked_parse(bad[i], &c))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(c.last[CHECKED_DATA].time_ns, 0);
    }
    assert_true(checked_parse("", &c));
    assert_true(
        checked_parse("structure 9223372036854775807 0\ndata 5 12\n", &c));
    assert_true(c.last[CHECKED_STRUCTURE].time_ns == INT64_MAX);
    assert_int_equal(c.last[CHECKED_DATA].time_ns, 5);
    assert_int_equal(c.last[CHECKED_DATA].faults, 12);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(each_kind_is_kept_by_itself),
        cmocka_unit_test(what_cannot_be_written_is_no_failure),
        cmocka_unit_test(only_sense_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
