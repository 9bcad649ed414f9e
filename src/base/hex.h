/* SPDX-License-Identifier: Apache-2.0 */
/* hex: bytes as lower-case hexadecimal text. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>

/* Writes 2 * len digits and a NUL to `out`. */
void hex_encode(const void *p, size_t len, char *out);

/* Exactly 2 * len digits into len bytes; false, `out` undefined, if not. */
bool hex_decode(const char *text, void *out, size_t len);

/* Is `text` made of lower-case hexadecimal digits only, and not empty? */
bool hex_is(const char *text);

#endif
