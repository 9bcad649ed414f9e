/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/box.h"

#include <sodium.h>

#include "crypto/crypto_internal.h"

_Static_assert(BOX_OVERHEAD == crypto_box_SEALBYTES, "overhead");
_Static_assert(BOX_SECRET_BYTES == crypto_box_SECRETKEYBYTES, "secret key");
_Static_assert(BOX_PUBLIC_BYTES == crypto_box_PUBLICKEYBYTES, "public key");

void
box_public(const uint8_t secret[BOX_SECRET_BYTES],
           uint8_t out[BOX_PUBLIC_BYTES])
{
    (void)library_get();
    library_must(crypto_scalarmult_base(out, secret) == 0);
}

bool
box_seal(const uint8_t key[BOX_PUBLIC_BYTES], const void *p, size_t len,
         uint8_t *out)
{
    (void)library_get();
    return crypto_box_seal(out, p, len, key) == 0;
}

bool
box_open(const uint8_t secret[BOX_SECRET_BYTES], const uint8_t *sealed,
         size_t sealed_len, uint8_t *out)
{
    uint8_t public[BOX_PUBLIC_BYTES];

    if (sealed_len < BOX_OVERHEAD)
        return false;
    box_public(secret, public);
    return crypto_box_seal_open(out, sealed, sealed_len, public, secret) == 0;
}
