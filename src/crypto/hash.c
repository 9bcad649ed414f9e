/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/hash.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/mem.h"
#include "crypto/crypto_internal.h"

struct hash_key {
    EVP_MAC_CTX *ready; /* keyed, nothing hashed yet; copied for each use */
};

void
hash_sha256(const void *p, size_t len, uint8_t out[HASH_BYTES])
{
    const struct library *lib = library_get();

    library_must(EVP_Digest(p, len, out, NULL, lib->sha256, NULL) == 1);
}

struct hash_key *
hash_key_new(const uint8_t key[HASH_KEY_BYTES])
{
    const struct library *lib = library_get();
    struct hash_key *k = xcalloc(1, sizeof(*k));
    char digest[] = "SHA2-256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string("digest", digest, 0),
        OSSL_PARAM_construct_end(),
    };

    k->ready = EVP_MAC_CTX_new(lib->hmac);
    library_must(k->ready);
    library_must(EVP_MAC_init(k->ready, key, HASH_KEY_BYTES, params) == 1);
    return k;
}

void
hash_key_free(struct hash_key *k)
{
    if (!k)
        return;
    EVP_MAC_CTX_free(k->ready);
    free(k);
}

void
hash_keyed(const struct hash_key *k, uint8_t type, const void *p, size_t len,
           uint8_t out[HASH_BYTES])
{
    EVP_MAC_CTX *c = EVP_MAC_CTX_dup(k->ready);
    size_t n = 0;

    library_must(c);
    library_must(EVP_MAC_update(c, &type, 1) == 1);
    library_must(EVP_MAC_update(c, p, len) == 1);
    library_must(EVP_MAC_final(c, out, &n, HASH_BYTES) == 1);
    library_must(n == HASH_BYTES);
    EVP_MAC_CTX_free(c);
}

void
hash_derive(const uint8_t key[HASH_KEY_BYTES], const void *p, size_t len,
            uint8_t out[HASH_DERIVED_BYTES])
{
    (void)library_get();
    library_must(crypto_generichash(out, HASH_DERIVED_BYTES, p, len, key,
                                    HASH_KEY_BYTES) == 0);
}
