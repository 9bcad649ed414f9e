/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box: bytes that one key pair can open and anybody can seal to: libsodium's
 * sealed box (X25519, XSalsa20-Poly1305, an ephemeral key of its own each).
 */
#ifndef CRYPTO_BOX_H
#define CRYPTO_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOX_SECRET_BYTES = 32, BOX_PUBLIC_BYTES = 32, BOX_OVERHEAD = 48 };

/* Any 32 random bytes are a secret key; this is its public half. */
void box_public(const uint8_t secret[BOX_SECRET_BYTES],
                uint8_t out[BOX_PUBLIC_BYTES]);

/* `out` has len + BOX_OVERHEAD bytes.  False if the public key is none (a
 * point of small order, which only a stranger would choose). */
bool box_seal(const uint8_t key[BOX_PUBLIC_BYTES], const void *p, size_t len,
              uint8_t *out);

/* `out` has sealed_len - BOX_OVERHEAD bytes.  False if it was not sealed to
 * this key or is damaged. */
bool box_open(const uint8_t secret[BOX_SECRET_BYTES], const uint8_t *sealed,
              size_t sealed_len, uint8_t *out);

#endif
