/* SPDX-License-Identifier: Apache-2.0 */
/* sign: Ed25519 signatures (RFC 8032); the secret key is its 32-byte seed. */
#ifndef CRYPTO_SIGN_H
#define CRYPTO_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIGN_SEED_BYTES = 32, SIGN_PUBLIC_BYTES = 32, SIGN_BYTES = 64 };

void sign_public(const uint8_t seed[SIGN_SEED_BYTES],
                 uint8_t out[SIGN_PUBLIC_BYTES]);
void sign_make(const uint8_t seed[SIGN_SEED_BYTES], const void *p, size_t len,
               uint8_t out[SIGN_BYTES]);
bool sign_check(const uint8_t key[SIGN_PUBLIC_BYTES], const void *p, size_t len,
                const uint8_t signature[SIGN_BYTES]);

#endif
