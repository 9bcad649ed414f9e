/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print: strangers' text made fit for a terminal.
 *
 * Names of machines, files and disks come from guests and other hosts; an
 * escape sequence among them must not reach the terminal.  What is printable in
 * the user's locale stays, all else becomes \xNN.
 */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <jansson.h>
#include <stddef.h>

struct buf;

/* The caller frees it. */
char *print_fit(const char *text);

/* Columns that the text takes on a terminal; it must be fit. */
size_t print_width(const char *text);

/* Appends the text, which must be fit; if it is wider than `width` columns it
 * is cut and ends in "..". */
void print_cut(struct buf *out, const char *text, size_t width);

/* Appends the text in lines of at most `width` columns, broken at blanks, each
 * after the first starting with `indent` blanks.  Line feeds in it stay. */
void print_wrap(struct buf *out, const char *text, size_t indent, size_t width);

/* A JSON string, escaped like print_fit if the text is no UTF-8. */
json_t *print_json(const char *text);

#endif
