/* SPDX-License-Identifier: Apache-2.0 */
/* golden: what is in the repository of tests/golden/repository-v1. */
#ifndef TEST_REPO_GOLDEN_H
#define TEST_REPO_GOLDEN_H

#include "check.h"

enum { GOLDEN_BACKUPS = 3, GOLDEN_BYTES = (8 << 20) + 40960 };

/* 2026-11-22T10:00:00Z and a second later. */
static inline int64_t
golden_time(int i)
{
    return (INT64_C(1795341600) + i) * 1000000000 + 5;
}

/* The blocks in which the last one, an increment, differs from the one before:
 * one of them is zero in it. */
static const uint32_t GOLDEN_BLOCKS[] = {1, 5, 9, 10, 256};

/* GOLDEN_BYTES, to be freed: zeros, text, and what does not compress. */
static inline uint8_t *
golden_content(int i)
{
    uint8_t *p = xcalloc(1, GOLDEN_BYTES);

    for (int k = 0; k < 70000; k++)
        p[k] = (uint8_t)('a' + k % 17);
    fill_random(p + 1048576, 6000, 1);
    fill_random(p + (8 << 20), 5000, i == 0 ? 2 : 3);
    for (size_t k = 0; i == 2 && k < ARRAY_LEN(GOLDEN_BLOCKS); k++)
        fill_random(p + (size_t)GOLDEN_BLOCKS[k] * 4096, 4096, 10 + k);
    if (i == 2)
        memset(p + (size_t)GOLDEN_BLOCKS[1] * 4096, 0, 4096);
    return p;
}

#endif
