/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aead: sealed bytes: AES-256-GCM with a random nonce (NIST SP 800-38D).
 *
 * Sealed bytes are nonce[12] ‖ ciphertext ‖ tag[16].  The associated data is
 * authenticated with them but not in them.  A key should seal few messages:
 * nearly every key of vmkeep belongs to one object.
 *
 * Threads:   from any number at once.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AEAD_KEY_BYTES = 32,
    AEAD_NONCE_BYTES = 12,
    AEAD_TAG_BYTES = 16,
    AEAD_OVERHEAD = AEAD_NONCE_BYTES + AEAD_TAG_BYTES,
    AEAD_MAX_BYTES = 1 << 30 /* of one message: our own limit */
};

/* `out` has len + AEAD_OVERHEAD bytes and does not overlap `p`. */
void aead_seal(const uint8_t key[AEAD_KEY_BYTES], const void *aad,
               size_t aad_len, const void *p, size_t len, uint8_t *out);

/*
 * `out` has sealed_len - AEAD_OVERHEAD bytes and does not overlap `sealed`.
 * False if it was not sealed by this key with this associated data, or is too
 * short or long for a message; `out` must not be used then.
 */
bool aead_open(const uint8_t key[AEAD_KEY_BYTES], const void *aad,
               size_t aad_len, const uint8_t *sealed, size_t sealed_len,
               uint8_t *out);

#endif
