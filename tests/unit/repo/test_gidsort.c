/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidsort.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "check.h"
#include "repo/object.h"

static uint64_t
next_random(uint64_t *x)
{
    *x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
    return *x;
}

/* Ids of which only so many bits are not fixed, in bytes here and there. */
static void
make_gid(uint64_t *x, uint64_t mask, uint8_t gid[GID_BYTES])
{
    put_be64(gid, next_random(x) & mask);
    put_be64(gid + 8, next_random(x) & mask);
}

static int
by_gid(const void *a, const void *b)
{
    return memcmp(a, b, GID_BYTES);
}

static int
by_all(const void *a, const void *b)
{
    return memcmp(a, b, 28);
}

/* Against qsort: the ids in the same order, and the same records. */
static void
try_sort(size_t n, size_t each, uint64_t mask)
{
    CLEANUP(freep) uint8_t *mine = xcalloc(n + 1, each);
    uint64_t x = 88172645463325252u + n;

    for (size_t i = 0; i < n; i++) {
        make_gid(&x, mask, mine + i * each);
        for (size_t k = GID_BYTES; k < each; k++)
            mine[i * each + k] = (uint8_t)next_random(&x);
    }
    memset(mine + n * each, 0x5a, each); /* not to be touched */
    CLEANUP(freep) uint8_t *theirs = xmemdup(mine, (n + 1) * each);

    gidsort(mine, n, each);
    qsort(theirs, n, each, by_gid);
    for (size_t i = 0; i <= n; i++)
        assert_memory_equal(mine + i * each, theirs + i * each, GID_BYTES);
    if (each != 28)
        return;
    qsort(mine, n, each, by_all);
    qsort(theirs, n, each, by_all);
    assert_memory_equal(mine, theirs, (n + 1) * each);
}

static void
it_sorts_any_number(void **state)
{
    (void)state;
    for (size_t n = 0; n < 100; n++) {
        try_sort(n, GID_BYTES, UINT64_MAX);
        try_sort(n, 28, UINT64_MAX);
    }
    try_sort(50000, GID_BYTES, UINT64_MAX);
    try_sort(50000, 28, UINT64_MAX);
    try_sort(5000, GIDSORT_MAX_BYTES, UINT64_MAX);
}

/* Ids that somebody made up: all the same but for a few bits. */
static void
it_sorts_what_is_not_random(void **state)
{
    (void)state;
    try_sort(5000, GID_BYTES, 0);
    try_sort(5000, 28, 0);
    try_sort(5000, 28, 1);
    try_sort(5000, GID_BYTES, UINT64_C(0x0300000000000003));
    try_sort(5000, 28, UINT64_C(0x0000000f00000000));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_sorts_any_number),
        cmocka_unit_test(it_sorts_what_is_not_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
