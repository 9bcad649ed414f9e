/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: names for bytes, and keys out of keys.
 *
 * SHA-256 names what is public, HMAC-SHA256 under a secret key names what is
 * not (both run on the CPU's SHA instructions), and keyed BLAKE2b-512 derives
 * further keys and ids from one secret.
 *
 * Threads:   all functions, and a struct hash_key, from any number at once.
 */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_BYTES = 32, HASH_KEY_BYTES = 32, HASH_DERIVED_BYTES = 64 };

void hash_sha256(const void *p, size_t len, uint8_t out[HASH_BYTES]);

/* A key made ready for many hashes. */
struct hash_key;
struct hash_key *hash_key_new(const uint8_t key[HASH_KEY_BYTES]);
void hash_key_free(struct hash_key *k); /* wipes; NULL is allowed */

/* HMAC-SHA256(key, type ‖ bytes): `type` keeps different kinds apart. */
void hash_keyed(const struct hash_key *k, uint8_t type, const void *p,
                size_t len, uint8_t out[HASH_BYTES]);

/* BLAKE2b-512(key = key, message). */
void hash_derive(const uint8_t key[HASH_KEY_BYTES], const void *p, size_t len,
                 uint8_t out[HASH_DERIVED_BYTES]);

#endif
