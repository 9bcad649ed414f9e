/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/mem.h"

static const char units[] = "KMGTPE";

enum { FRACTION_DIGITS = 6 };

void
text_size(uint64_t bytes, char *out)
{
    double v = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(out, TEXT_SIZE_LEN, "%u B", (unsigned)bytes);
        return;
    }
    for (; v >= 1023.5 && units[unit + 1]; unit++)
        v /= 1024;
    (void)snprintf(out, TEXT_SIZE_LEN, v < 999.5 ? "%.3g %ciB" : "%.0f %ciB", v,
                   units[unit]);
}

/* Reads one digit or more and moves past them; false if none or too many. */
static bool
take_number(const char **at, uint64_t *out)
{
    uint64_t v = 0;

    if (!isdigit((unsigned char)**at))
        return false;
    for (; isdigit((unsigned char)**at); (*at)++)
        if (!u64_mul(v, 10, &v) || !u64_add(v, (uint64_t)(**at - '0'), &v))
            return false;
    *out = v;
    return true;
}

/* Reads "k", "KiB", "B" or nothing, and moves past it. */
static uint64_t
take_unit(const char **at)
{
    const char *unit =
        **at ? strchr(units, toupper((unsigned char)**at)) : NULL;
    uint64_t factor = 1;

    if (unit) {
        factor <<= 10 * (unit - units + 1);
        (*at)++;
        if (**at == 'i')
            (*at)++;
    }
    if (**at == 'B')
        (*at)++;
    return factor;
}

bool
text_parse_u64(const char *text, uint64_t *out)
{
    uint64_t v = 0;

    if (!take_number(&text, &v) || *text)
        return false;
    *out = v;
    return true;
}

bool
text_parse_size(const char *text, uint64_t *out)
{
    uint64_t whole = 0, part = 0, scale = 1, v = 0;

    if (!take_number(&text, &whole))
        return false;
    if (*text == '.') {
        const char *first = ++text;
        if (!take_number(&text, &part) || text - first > FRACTION_DIGITS)
            return false;
        for (; first < text; first++)
            scale *= 10;
    }
    bool spaced = *text == ' ';
    while (*text == ' ')
        text++;
    if (spaced && !*text)
        return false;
    uint64_t factor = take_unit(&text);
    if (*text || (factor == 1 && scale > 1)) /* there is no half byte */
        return false;
    /* part / scale of the factor, rounded down, without an overflow. */
    part = factor / scale * part + factor % scale * part / scale;
    if (!u64_mul(whole, factor, &v) || !u64_add(v, part, &v))
        return false;
    *out = v;
    return true;
}

char *
text_quote(const char *s, size_t max)
{
    struct buf b = buf_of(SIZE_MAX / 8);

    for (size_t i = 0; s[i]; i++) {
        unsigned char c = (unsigned char)s[i];
        if (i == max) {
            buf_printf(&b, "...");
            break;
        }
        if (c < 0x20 || c > 0x7e || c == '\\')
            buf_printf(&b, "\\x%02x", c);
        else
            buf_u8(&b, c);
    }
    (void)buf_text(&b);
    return (char *)b.p;
}

bool
text_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
text_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

unsigned
text_distance(const char *a, const char *b)
{
    size_t n = strlen(b);
    CLEANUP(freep) unsigned *row = xcalloc(n + 1, sizeof(*row));

    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}
