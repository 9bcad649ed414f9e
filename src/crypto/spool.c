/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/spool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rand.h"
#include "crypto/crypto_internal.h"
#include "crypto/wipe.h"

enum { XTS_TWEAK_BYTES = 16 };

/* Keying a context costs as much as a unit, so keyed ones are kept. */
struct keyed {
    struct keyed *next;
    EVP_CIPHER_CTX *both[2]; /* [0] decrypts, [1] encrypts */
};

struct spool_cipher {
    uint8_t key[SPOOL_KEY_BYTES];
    pthread_mutex_t lock; /* guards `idle` */
    struct keyed *idle;
};

struct spool_cipher *
spool_cipher_new(void)
{
    uint8_t key[SPOOL_KEY_BYTES];

    rand_bytes(key, sizeof(key));
    struct spool_cipher *c = spool_cipher_of_key(key);
    wipe(key, sizeof(key));
    return c;
}

struct spool_cipher *
spool_cipher_of_key(const uint8_t key[SPOOL_KEY_BYTES])
{
    struct spool_cipher *c = xcalloc(1, sizeof(*c));

    memcpy(c->key, key, sizeof(c->key));
    (void)pthread_mutex_init(&c->lock, NULL);
    return c;
}

void
spool_cipher_free(struct spool_cipher *c)
{
    if (!c)
        return;
    while (c->idle) {
        struct keyed *k = c->idle;
        c->idle = k->next;
        EVP_CIPHER_CTX_free(k->both[0]);
        EVP_CIPHER_CTX_free(k->both[1]);
        free(k);
    }
    (void)pthread_mutex_destroy(&c->lock);
    wipe_free(c, sizeof(*c));
}

void
spool_cipher_freep(struct spool_cipher **c)
{
    spool_cipher_free(*c);
}

static struct keyed *
keyed_new(struct spool_cipher *c)
{
    const struct library *lib = library_get();
    struct keyed *k = xcalloc(1, sizeof(*k));

    for (int i = 0; i < 2; i++) {
        k->both[i] = EVP_CIPHER_CTX_new();
        library_must(k->both[i]);
        library_must(EVP_CipherInit_ex2(k->both[i], lib->xts, c->key, NULL, i,
                                        NULL) == 1);
    }
    return k;
}

static struct keyed *
take(struct spool_cipher *c)
{
    (void)pthread_mutex_lock(&c->lock);
    struct keyed *k = c->idle;
    if (k)
        c->idle = k->next;
    (void)pthread_mutex_unlock(&c->lock);
    return k ? k : keyed_new(c);
}

static void
give_back(struct spool_cipher *c, struct keyed *k)
{
    (void)pthread_mutex_lock(&c->lock);
    k->next = c->idle;
    c->idle = k;
    (void)pthread_mutex_unlock(&c->lock);
}

static void
run(struct spool_cipher *c, int encrypt, uint64_t unit_no, const uint8_t *in,
    uint8_t *out)
{
    struct keyed *k = take(c);
    EVP_CIPHER_CTX *ctx = k->both[encrypt];
    uint8_t tweak[XTS_TWEAK_BYTES] = {0};
    int n = 0;

    put_le64(tweak, unit_no);
    library_must(EVP_CipherInit_ex2(ctx, NULL, NULL, tweak, encrypt, NULL) ==
                 1);
    library_must(EVP_CipherUpdate(ctx, out, &n, in, SPOOL_UNIT_BYTES) == 1);
    library_must(n == SPOOL_UNIT_BYTES);
    give_back(c, k);
}

void
spool_encrypt(struct spool_cipher *c, uint64_t unit_no,
              const uint8_t in[SPOOL_UNIT_BYTES], uint8_t out[SPOOL_UNIT_BYTES])
{
    run(c, 1, unit_no, in, out);
}

void
spool_decrypt(struct spool_cipher *c, uint64_t unit_no,
              const uint8_t in[SPOOL_UNIT_BYTES], uint8_t out[SPOOL_UNIT_BYTES])
{
    run(c, 0, unit_no, in, out);
}
