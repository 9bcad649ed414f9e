/* SPDX-License-Identifier: Apache-2.0 */
/* bench: what several benchmarks need. */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/err.h"

/* Ends the program unless it went well. */
static inline void
must(int rc, const struct err *e)
{
    if (rc != -1)
        return;
    (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, e->msg);
    exit(1);
}

/* The id of 32 bytes that stands for `i`: as good as random (splitmix64), and
 * quicker than a hash. */
static inline void
make_id(uint64_t i, uint8_t id[32])
{
    for (unsigned k = 0; k < 4; k++) {
        uint64_t z = (i * 4 + k + 1) * UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        put_le64(id + (size_t)8 * k, z ^ z >> 31);
    }
}

#endif
