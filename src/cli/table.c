/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/print.h"

enum { GAP = 2 };

struct table {
    const struct column *columns;
    size_t n_columns;
    char **cells; /* row by row, the titles first */
    size_t n_cells;
    size_t room;
};

struct table *
table_new(const struct column *columns, size_t n)
{
    assert(n > 0 && n <= TABLE_MAX_COLUMNS);
    struct table *t = xcalloc(1, sizeof(*t));

    t->columns = columns;
    t->n_columns = n;
    for (size_t i = 0; i < n; i++)
        table_cell(t, columns[i].title);
    return t;
}

void
table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

void
table_freep(struct table **t)
{
    table_free(*t);
}

void
table_cell(struct table *t, const char *text)
{
    if (t->n_cells == t->room) {
        t->room = t->room * 2 + t->n_columns;
        t->cells = xrealloc(t->cells, t->room * sizeof(*t->cells));
    }
    t->cells[t->n_cells++] = print_fit(*text ? text : "-");
}

void
table_cell_size(struct table *t, uint64_t bytes)
{
    char size[TEXT_SIZE_LEN];

    text_size(bytes, size);
    table_cell(t, size);
}

void
table_cell_time(struct table *t, int64_t wall_ns)
{
    char time[CLOCK_TEXT_LEN];

    clock_format_local(wall_ns, time);
    table_cell(t, time);
}

size_t
table_rows(const struct table *t)
{
    return t->n_cells / t->n_columns - 1;
}

/* The widest column that can still give, or n_columns. */
static size_t
widest(const struct table *t, const size_t *widths)
{
    size_t best = t->n_columns;

    for (size_t i = 0; i < t->n_columns; i++) {
        if (!t->columns[i].shrinks || widths[i] <= TABLE_LEAST_WIDTH)
            continue;
        if (best == t->n_columns || widths[i] > widths[best])
            best = i;
    }
    return best;
}

static void
measure(const struct table *t, size_t limit, size_t *widths)
{
    size_t total = (t->n_columns - 1) * GAP;

    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = print_width(t->cells[i]);
        if (w > widths[i % t->n_columns])
            widths[i % t->n_columns] = w;
    }
    for (size_t i = 0; i < t->n_columns; i++)
        total += widths[i];
    for (; limit > 0 && total > limit; total--) {
        size_t i = widest(t, widths);
        if (i == t->n_columns)
            return;
        widths[i]--;
    }
}

static void
print_row(const struct table *t, char *const *cells, const size_t *widths,
          struct buf *out)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        size_t w = print_width(cells[i]);
        size_t pad = w < widths[i] ? widths[i] - w : 0;
        bool last = i + 1 == t->n_columns;
        if (t->columns[i].right)
            buf_printf(out, "%*s", (int)pad, "");
        print_cut(out, cells[i], widths[i]);
        if (!last) /* no blanks at the end of a line */
            buf_printf(out, "%*s", (int)(GAP + (t->columns[i].right ? 0 : pad)),
                       "");
    }
}

void
table_print(const struct table *t, size_t width, bool bold, struct buf *out)
{
    size_t widths[TABLE_MAX_COLUMNS] = {0};

    assert(t->n_cells % t->n_columns == 0);
    measure(t, width, widths);
    for (size_t i = 0; i < t->n_cells; i += t->n_columns) {
        bool title = bold && i == 0;
        buf_printf(out, "%s", title ? "\033[1m" : "");
        print_row(t, t->cells + i, widths, out);
        buf_printf(out, "%s\n", title ? "\033[0m" : "");
    }
}
