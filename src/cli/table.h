/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table: rows of cells in aligned columns, for people.
 *
 * A column is as wide as its widest cell, two blanks apart from the next.  If
 * that is wider than the terminal, the columns that may shrink do, the widest
 * first.  Cells are made fit to print; an empty one shows as "-".
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct table;

enum { TABLE_MAX_COLUMNS = 12, TABLE_LEAST_WIDTH = 8 };

struct column {
    const char *title;
    bool right;   /* numbers and sizes */
    bool shrinks; /* down to TABLE_LEAST_WIDTH */
};

/* `columns` is borrowed until table_free. */
struct table *table_new(const struct column *columns, size_t n);
void table_free(struct table *t); /* NULL is allowed */
void table_freep(struct table **t);

/* The next cell, row by row. */
void table_cell(struct table *t, const char *text);
void table_cell_size(struct table *t, uint64_t bytes);
void table_cell_time(struct table *t, int64_t wall_ns); /* local time */

size_t table_rows(const struct table *t);

/* All rows must be full.  `width` 0: as wide as it gets.  `bold`: the titles,
 * by an escape sequence. */
void table_print(const struct table *t, size_t width, bool bold,
                 struct buf *out);

#endif
