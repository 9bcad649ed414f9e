/* SPDX-License-Identifier: Apache-2.0 */
/* check: assertions about calls that fail with a struct err. */
#ifndef TEST_REPO_CHECK_H
#define TEST_REPO_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

/* `call` uses an `e` that is made here. */
#define assert_ok(call)                                         \
    do {                                                        \
        struct err e_ = {0};                                    \
        struct err *e = &e_;                                    \
        if ((call) == -1)                                       \
            fail_msg("%s: %s", err_code_name(e_.code), e_.msg); \
    } while (0)

/* It fails with this code, and the message holds this text. */
#define assert_fails(call, want_code, text)                     \
    do {                                                        \
        struct err e_ = {0};                                    \
        struct err *e = &e_;                                    \
        if ((call) != -1)                                       \
            fail_msg("%s", "it did not fail");                  \
        if (e_.code != (want_code) || !strstr(e_.msg, text))    \
            fail_msg("%s: %s", err_code_name(e_.code), e_.msg); \
    } while (0)

/* Bytes that compress to about half, without a zero byte in every other. */
static inline void
fill_random(uint8_t *p, size_t len, uint64_t seed)
{
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    for (size_t i = 0; i < len; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        p[i] = i % 4 < 2 ? (uint8_t)(s | 1) : (uint8_t)(i % 4);
    }
}

#endif
