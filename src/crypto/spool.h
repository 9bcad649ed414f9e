/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool: encryption of temporary files, at random access.
 *
 * AES-256-XTS (IEEE 1619) on units of 4096 bytes, the tweak being the unit's
 * number: no room beside the data is needed and any unit can be rewritten.
 * The key is random, lives in memory only and is gone with the cipher, so what
 * is left on the disk is noise.  Nothing is authenticated: a spool is for a
 * local, nameless file, not for anything that is kept.
 *
 * Threads:   a cipher may be used by any number at once.
 */
#ifndef CRYPTO_SPOOL_H
#define CRYPTO_SPOOL_H

#include <stdint.h>

enum { SPOOL_UNIT_BYTES = 4096, SPOOL_KEY_BYTES = 64 };

struct spool_cipher;

struct spool_cipher *spool_cipher_new(void);
/* With a random key that another process made and shares with us; copied. */
struct spool_cipher *spool_cipher_of_key(const uint8_t key[SPOOL_KEY_BYTES]);
void spool_cipher_free(struct spool_cipher *c); /* wipes; NULL is allowed */
void spool_cipher_freep(struct spool_cipher **c);

/* One unit from `in` to `out`, which may be the same memory. */
void spool_encrypt(struct spool_cipher *c, uint64_t unit_no,
                   const uint8_t in[SPOOL_UNIT_BYTES],
                   uint8_t out[SPOOL_UNIT_BYTES]);
void spool_decrypt(struct spool_cipher *c, uint64_t unit_no,
                   const uint8_t in[SPOOL_UNIT_BYTES],
                   uint8_t out[SPOOL_UNIT_BYTES]);

#endif
