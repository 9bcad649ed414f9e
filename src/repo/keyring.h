/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyring: the keys that a person or a machine holds (docs/format/keys.md).
 *
 * Nobody needs all of them.  The owner of the password has them all; a
 * hypervisor host, a maintenance host and a machine that may only restore get
 * bundles with fewer (the `has` bits say which).
 *
 *   admin         signs the config and what changes it
 *   id, meta      K_id names objects, K_meta seals what maintenance reads;
 *                 together the keys of a domain
 *   restore       opens every backup
 *   namespace     opens the backups of one namespace
 *   maintenance   signs what allows deletion
 *   writer        signs a host's backups
 *
 * A keyring also remembers the config of the repository when it was made, so
 * that a store can't show its owner an older one.
 */
#ifndef REPO_KEYRING_H
#define REPO_KEYRING_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct cursor;
struct err;
struct hash_key;

enum {
    KEY_BYTES = 32,
    KEYRING_ID_BYTES = 16,
    KEYRING_MAX_BYTES = 64 << 10, /* as bytes */
    KEYRING_MAX_RECORDS = 256
};

enum keyring_has {
    KEY_ADMIN = 1 << 0,
    KEY_ID = 1 << 1,
    KEY_RESTORE = 1 << 2,
    KEY_NAMESPACE = 1 << 3,
    KEY_MAINTENANCE = 1 << 4,
    KEY_WRITER = 1 << 5,
    KEY_META = 1 << 6,

    KEY_DOMAIN = KEY_ID | KEY_META,
    KEY_ALL = (1 << 7) - 1
};

struct keyring {
    unsigned has;
    uint8_t repo_id[KEYRING_ID_BYTES]; /* of the repository it belongs to */
    uint8_t admin_public[KEY_BYTES];   /* pins the config; always there */
    uint8_t admin_seed[KEY_BYTES];
    uint16_t domain; /* the number of the two keys that follow; 0: none */
    uint8_t k_id[KEY_BYTES], k_meta[KEY_BYTES];
    uint8_t restore_secret[KEY_BYTES];
    uint32_t ns; /* the namespace whose key follows, and the writer's */
    uint8_t ns_secret[KEY_BYTES];
    uint8_t maintenance_seed[KEY_BYTES];
    uint32_t writer; /* the number of the key that follows */
    uint8_t writer_seed[KEY_BYTES];
    uint32_t config_generation; /* the config it was made with, and its */
    uint8_t config_sum[32];     /* SHA-256; all zero: none is remembered */
    struct hash_key *id_key;    /* owned; k_id made ready */
};

/* A new repository's: all keys, all random. */
void keyring_make(struct keyring *k);
/* Wipes. */
void keyring_done(struct keyring *k);

/* Another one with only those of k's keys, all of which it must have.  *out is
 * to be keyring_done. */
void keyring_part(const struct keyring *k, unsigned has, struct keyring *out);

/* The key pair of namespace n, which follows from the restore secret: whoever
 * opens all backups can always hand it out. */
void keyring_namespace(const struct keyring *k, uint32_t n,
                       uint8_t out_secret[KEY_BYTES]);
/* The key pair that recovery keys are sealed to, from the admin's seed. */
void keyring_escrow(const struct keyring *k, uint8_t out_secret[KEY_BYTES]);

/* The clear text of a key bundle. */
void keyring_pack(const struct keyring *k, struct buf *out);
/* *out is to be keyring_done in any case.  ERR_CORRUPT, ERR_UNSUP. */
int keyring_unpack(const void *p, size_t len, struct keyring *out,
                   struct err *e);

/*
 * A key for one purpose out of K_meta: BLAKE2b-512(K_meta, label ‖ context),
 * the label (at most 16 bytes) padded with zeros to 16; `context` has at most
 * 64 bytes.
 */
void keyring_derive(const struct keyring *k, const char *label,
                    const void *context, size_t len, uint8_t out[64]);

/* What a machine is called in the names of its refs: from its identity (UUID,
 * else name), so that the store does not learn it.  8 bytes. */
void machine_tag(const struct keyring *k, const char *identity, uint8_t out[8]);

#endif
