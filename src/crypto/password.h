/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password: a key out of what a person can remember: Argon2id (RFC 9106), one
 * lane.  Its cost is stored beside what the key opens, so it can be raised
 * later; a stranger may have written it, so it has limits.
 */
#ifndef CRYPTO_PASSWORD_H
#define CRYPTO_PASSWORD_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum {
    PASSWORD_SALT_BYTES = 16,
    PASSWORD_KEY_BYTES = 32,
    PASSWORD_MAX_LEN = 4096,
    PASSWORD_MAX_PASSES = 32,
    PASSWORD_MAX_KIB = 1 << 20, /* 1 GiB */
    PASSWORD_MIN_KIB = 8
};

struct password_cost {
    uint32_t passes;
    uint32_t memory_kib;
    uint8_t salt[PASSWORD_SALT_BYTES];
};

/* What we ask today (3 passes over 64 MiB), with a new random salt. */
struct password_cost password_cost_new(void);

/* ERR_UNSUP if the cost is out of bounds, ERR_USAGE for a password that is
 * empty or longer than PASSWORD_MAX_LEN, ERR_LIMIT if memory is out. */
int password_derive(const struct password_cost *cost, const char *password,
                    uint8_t out[PASSWORD_KEY_BYTES], struct err *e);

#endif
