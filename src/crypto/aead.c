/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"

#include <assert.h>
#include <string.h>

#include "base/rand.h"
#include "crypto/crypto_internal.h"

void
aead_seal(const uint8_t key[AEAD_KEY_BYTES], const void *aad, size_t aad_len,
          const void *p, size_t len, uint8_t *out)
{
    const struct library *lib = library_get();
    uint8_t *ct = out + AEAD_NONCE_BYTES;
    int n = 0;

    assert(len <= AEAD_MAX_BYTES && aad_len <= AEAD_MAX_BYTES);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    library_must(c);
    rand_bytes(out, AEAD_NONCE_BYTES);
    library_must(EVP_EncryptInit_ex2(c, lib->gcm, key, out, NULL) == 1);
    library_must(EVP_EncryptUpdate(c, NULL, &n, aad, (int)aad_len) == 1);
    library_must(EVP_EncryptUpdate(c, ct, &n, p, (int)len) == 1);
    library_must(n == (int)len);
    library_must(EVP_EncryptFinal_ex(c, ct + len, &n) == 1);
    library_must(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES,
                                     ct + len) == 1);
    EVP_CIPHER_CTX_free(c);
}

bool
aead_open(const uint8_t key[AEAD_KEY_BYTES], const void *aad, size_t aad_len,
          const uint8_t *sealed, size_t sealed_len, uint8_t *out)
{
    const struct library *lib = library_get();
    uint8_t tag[AEAD_TAG_BYTES];
    int n = 0;

    if (sealed_len < AEAD_OVERHEAD || sealed_len > AEAD_MAX_BYTES)
        return false;
    size_t len = sealed_len - AEAD_OVERHEAD;
    const uint8_t *ct = sealed + AEAD_NONCE_BYTES;
    memcpy(tag, ct + len, sizeof(tag));

    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    library_must(c);
    library_must(EVP_DecryptInit_ex2(c, lib->gcm, key, sealed, NULL) == 1);
    library_must(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES,
                                     tag) == 1);
    library_must(EVP_DecryptUpdate(c, NULL, &n, aad, (int)aad_len) == 1);
    library_must(EVP_DecryptUpdate(c, out, &n, ct, (int)len) == 1);
    bool ok = EVP_DecryptFinal_ex(c, out + len, &n) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}
