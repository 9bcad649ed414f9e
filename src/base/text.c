/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static const char units[] = "KMGTPE";

void
text_size(uint64_t bytes, char *out)
{
    double v = (double)bytes;
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(out, TEXT_SIZE_LEN, "%u B", (unsigned)bytes);
        return;
    }
    for (v /= 1024; v >= 1023.95 && units[unit + 1]; unit++)
        v /= 1024;
    (void)snprintf(out, TEXT_SIZE_LEN, "%.*f %ciB", v < 9.995 ? 2 : v < 99.95,
                   v, units[unit]);
}

bool
text_parse_u64(const char *text, uint64_t *out)
{
    char *end = NULL;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

bool
text_parse_size(const char *text, uint64_t *out)
{
    char *end = NULL;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    double v = strtod(text, &end);
    if (errno)
        return false;
    while (*end == ' ')
        end++;
    if (*end && *end != 'B') {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        if (!unit)
            return false;
        for (const char *u = units; u <= unit; u++)
            v *= 1024;
        end++;
        if (*end == 'i')
            end++;
    }
    if (*end == 'B')
        end++;
    if (*end || v >= 18446744073709551616.0)
        return false;
    *out = (uint64_t)v;
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

    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
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
