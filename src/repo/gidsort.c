/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidsort.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "repo/object.h"

enum { FEW = 64, VALUES = 256 };

static bool
is_less(const uint8_t *a, const uint8_t *b)
{
    uint64_t x = get_be64(a), y = get_be64(b);

    return x != y ? x < y : get_be64(a + 8) < get_be64(b + 8);
}

/* A length that the compiler knows makes it a few instructions. */
static inline void
copy(uint8_t *to, const uint8_t *from, size_t each)
{
    if (each == GID_BYTES)
        memcpy(to, from, GID_BYTES);
    else
        memcpy(to, from, each);
}

static void
sort_few(uint8_t *p, size_t n, size_t each)
{
    uint8_t one[GIDSORT_MAX_BYTES];

    for (size_t i = 1; i < n; i++) {
        size_t to = i;
        if (!is_less(p + i * each, p + (i - 1) * each))
            continue;
        copy(one, p + i * each, each);
        for (; to > 0 && is_less(one, p + (to - 1) * each); to--)
            copy(p + to * each, p + (to - 1) * each, each);
        copy(p + to * each, one, each);
    }
}

static void
swap(uint8_t *a, uint8_t *b, size_t each)
{
    uint8_t one[GIDSORT_MAX_BYTES];

    copy(one, a, each);
    copy(a, b, each);
    copy(b, one, each);
}

/* NOLINTBEGIN(misc-no-recursion): at most GID_BYTES deep */
static void sort(uint8_t *p, size_t n, size_t each, size_t at);

/* By the bytes from `at` on; those before are the same. */
static void
sort_many(uint8_t *p, size_t n, size_t each, size_t at)
{
    size_t next[VALUES], end[VALUES] = {0};

    for (size_t i = 0; i < n; i++)
        end[p[i * each + at]]++;
    for (size_t v = 0, sum = 0; v < VALUES; v++) {
        next[v] = sum;
        sum += end[v];
        end[v] = sum;
    }
    for (size_t v = 0; v < VALUES; v++)
        while (next[v] < end[v]) {
            uint8_t *one = p + next[v] * each;
            if (one[at] == v)
                next[v]++;
            else
                swap(one, p + next[one[at]]++ * each, each);
        }
    for (size_t v = 0, first = 0; at + 1 < GID_BYTES && v < VALUES; v++) {
        sort(p + first * each, end[v] - first, each, at + 1);
        first = end[v];
    }
}

static void
sort(uint8_t *p, size_t n, size_t each, size_t at)
{
    if (n > FEW)
        sort_many(p, n, each, at);
    else
        sort_few(p, n, each);
}

/* NOLINTEND(misc-no-recursion) */

void
gidsort(void *records, size_t n, size_t each)
{
    assert(each >= GID_BYTES && each <= GIDSORT_MAX_BYTES);
    sort(records, n, each, 0);
}
