/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: numbers for people, numbers from people, and strangers' strings made
 * fit to print.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_SIZE_LEN = 16 };

/* "0 B", "512 B", "1.5 KiB", "64 MiB": three digits that count, 1000 to 1023
 * in full; out has TEXT_SIZE_LEN bytes. */
void text_size(uint64_t bytes, char *out);

/* "4096", "64k", "1.5G", "2 GiB": binary units, a fraction (of at most six
 * digits) only with a unit.  False, and *out untouched, if it is none. */
bool text_parse_size(const char *text, uint64_t *out);

/* A whole decimal number with nothing behind it.  False if it is none. */
bool text_parse_u64(const char *text, uint64_t *out);

/*
 * `s` with every byte that is not printable ASCII, and the backslash, written
 * as \xNN; at most `max` bytes of it, then "...".  The caller frees it.
 */
char *text_quote(const char *s, size_t max);

bool text_starts(const char *s, const char *prefix);
bool text_ends(const char *s, const char *suffix);

/* Edits to make one of the other, for "did you mean". */
unsigned text_distance(const char *a, const char *b);

#endif
