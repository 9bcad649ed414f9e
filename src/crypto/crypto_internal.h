/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two crypto libraries, made ready once.
 *
 * OpenSSL looks an algorithm up by name at each use unless it was fetched
 * before; that costs more than sealing a small object, so it is done here.
 * A failure of a library call that has no input of a stranger in it means
 * that memory is out or the installation is broken: library_must aborts.
 */
#ifndef CRYPTO_CRYPTO_INTERNAL_H
#define CRYPTO_CRYPTO_INTERNAL_H

#include <openssl/evp.h>
#include <stdbool.h>

struct library {
    EVP_MD *sha256;
    EVP_MAC *hmac;
    EVP_CIPHER *gcm; /* AES-256-GCM */
    EVP_CIPHER *xts; /* AES-256-XTS */
};

/* Both libraries are usable from then on; any thread, any number of times. */
const struct library *library_get(void);

void library_must(bool ok);

#endif
