/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/crypto_internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct library library; /* written once, read-only from then on */

void
library_must(bool ok)
{
    if (!ok) {
        fputs("vmkeep: a call into the crypto libraries failed\n", stderr);
        abort();
    }
}

static void
load(void)
{
    library_must(sodium_init() >= 0);
    library.sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    library.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    library.gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    library.xts = EVP_CIPHER_fetch(NULL, "AES-256-XTS", NULL);
    library_must(library.sha256 && library.hmac && library.gcm && library.xts);
}

const struct library *
library_get(void)
{
    (void)pthread_once(&once, load);
    return &library;
}
