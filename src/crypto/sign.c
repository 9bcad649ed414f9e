/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/sign.h"

#include <sodium.h>

#include "crypto/crypto_internal.h"

_Static_assert(SIGN_BYTES == crypto_sign_BYTES, "signature");
_Static_assert(SIGN_SEED_BYTES == crypto_sign_SEEDBYTES, "seed");
_Static_assert(SIGN_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES, "public key");

void
sign_public(const uint8_t seed[SIGN_SEED_BYTES], uint8_t out[SIGN_PUBLIC_BYTES])
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES];

    (void)library_get();
    library_must(crypto_sign_seed_keypair(out, secret, seed) == 0);
    sodium_memzero(secret, sizeof(secret));
}

void
sign_make(const uint8_t seed[SIGN_SEED_BYTES], const void *p, size_t len,
          uint8_t out[SIGN_BYTES])
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    uint8_t public[crypto_sign_PUBLICKEYBYTES];

    (void)library_get();
    library_must(crypto_sign_seed_keypair(public, secret, seed) == 0);
    library_must(crypto_sign_detached(out, NULL, p, len, secret) == 0);
    sodium_memzero(secret, sizeof(secret));
}

bool
sign_check(const uint8_t key[SIGN_PUBLIC_BYTES], const void *p, size_t len,
           const uint8_t signature[SIGN_BYTES])
{
    (void)library_get();
    return crypto_sign_verify_detached(signature, p, len, key) == 0;
}
