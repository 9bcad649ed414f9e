/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static const struct column columns[] = {{.title = "NAME", .shrinks = true},
                                        {.title = "SIZE", .right = true},
                                        {.title = "PATH", .shrinks = true}};

static void
prints(const struct table *t, size_t width, bool bold, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(10000);

    table_print(t, width, bold, &b);
    assert_string_equal(buf_text(&b), want);
}

static struct table *
two_rows(void)
{
    struct table *t = table_new(columns, ARRAY_LEN(columns));

    table_cell(t, "web-01");
    table_cell_size(t, 1536);
    table_cell(t, "/srv/images/web-01.qcow2");
    table_cell(t, "a-machine-with-a-long-name");
    table_cell_size(t, 7);
    table_cell(t, "");
    return t;
}

static void
cells_are_aligned(void **state)
{
    CLEANUP(table_freep) struct table *t = two_rows();

    (void)state;
    assert_int_equal(table_rows(t), 2);
    prints(t, 0, false,
           "NAME                           SIZE  PATH\n"
           "web-01                      1.5 KiB  /srv/images/web-01.qcow2\n"
           "a-machine-with-a-long-name      7 B  -\n");
}

static void
the_widest_column_shrinks_first(void **state)
{
    CLEANUP(table_freep) struct table *t = two_rows();

    (void)state;
    prints(t, 60, false,
           "NAME                          SIZE  PATH\n"
           "web-01                     1.5 KiB  /srv/images/web-01.qcow2\n"
           "a-machine-with-a-long-n..      7 B  -\n");
    prints(t, 40, false,
           "NAME               SIZE  PATH\n"
           "web-01          1.5 KiB  /srv/images/w..\n"
           "a-machine-wi..      7 B  -\n");
}

static void
nothing_shrinks_for_ever(void **state)
{
    CLEANUP(table_freep) struct table *t = two_rows();

    (void)state;
    prints(t, 1, false,
           "NAME         SIZE  PATH\n"
           "web-01    1.5 KiB  /srv/i..\n"
           "a-mach..      7 B  -\n");
}

static void
only_the_titles_are_bold(void **state)
{
    CLEANUP(table_freep) struct table *t = table_new(columns, 2);

    (void)state;
    table_cell(t, "x");
    table_cell(t, "y");
    prints(t, 0, true, "\033[1mNAME  SIZE\033[0m\nx        y\n");
}

static void
strangers_cells_are_made_fit(void **state)
{
    CLEANUP(table_freep) struct table *t = table_new(columns, 1);

    (void)state;
    table_cell(t, "\033[31mred");
    prints(t, 0, false, "NAME\n\\x1b[31mred\n");
}

static void
an_empty_table_has_titles(void **state)
{
    CLEANUP(table_freep) struct table *t = table_new(columns, 2);

    (void)state;
    assert_int_equal(table_rows(t), 0);
    prints(t, 0, false, "NAME  SIZE\n");
}

static void
many_rows_and_local_times(void **state)
{
    static const struct column time[] = {{.title = "TIME"}};
    CLEANUP(table_freep) struct table *t = table_new(time, 1);
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);

    (void)state;
    for (int64_t i = 0; i < 1000; i++)
        table_cell_time(t, i * 1000000000);
    assert_int_equal(table_rows(t), 1000);
    table_print(t, 0, false, &b);
    assert_int_equal(b.len,
                     strlen("TIME\n") + 1000 * strlen("1970-01-01 00:00:00\n"));
    assert_non_null(strstr(buf_text(&b), "1970-01-01 00:16:39\n"));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_aligned),
        cmocka_unit_test(the_widest_column_shrinks_first),
        cmocka_unit_test(nothing_shrinks_for_ever),
        cmocka_unit_test(only_the_titles_are_bold),
        cmocka_unit_test(strangers_cells_are_made_fit),
        cmocka_unit_test(an_empty_table_has_titles),
        cmocka_unit_test(many_rows_and_local_times),
    };

    (void)setenv("TZ", "UTC", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
