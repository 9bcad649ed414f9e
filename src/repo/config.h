/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: what everybody who uses a repository must agree on
 * (docs/format/repository.md, "config"): its identity, what features it uses,
 * the times of the protocol, and the public keys of those who take part.
 *
 * It is public and signed by the admin key, whose public half every key bundle
 * pins: a store can't replace it by one of its own.
 *
 * It never changes: a change is a whole new config of the next generation under
 * a name of its own, made from the one before.  What a key bundle remembers
 * keeps the store from showing its owner one that is older than the bundle.
 */
#ifndef REPO_CONFIG_H
#define REPO_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/keyring.h"

struct buf;
struct err;

enum {
    CONFIG_MAX_BYTES = 1 << 20,
    CONFIG_MAX_KEYS = 4096,
    CONFIG_MAX_NAME = 64,
    CONFIG_WRITER_LEVEL = 1 /* what this vmkeep is, against `min_writer` */
};

enum config_hash { CONFIG_HASH_HMAC_SHA256 = 1 };

enum config_role {
    ROLE_RESTORE = 1,     /* X25519: every backup is sealed to it */
    ROLE_NAMESPACE = 2,   /* X25519: and to its namespace */
    ROLE_MAINTENANCE = 3, /* Ed25519 */
    ROLE_WRITER = 4       /* Ed25519; may write backups */
};

struct config_key {
    uint8_t role; /* one that is not known is kept and not used */
    uint8_t flags;
    uint16_t domain;
    uint32_t number; /* of the namespace, of the writer */
    uint32_t ns;     /* of a writer: where its backups are; else 0 */
    uint8_t public[KEY_BYTES];
};

/* What people call a namespace: sealed under K_meta, for the store is not to
 * know. */
struct config_name {
    uint32_t ns;
    char name[CONFIG_MAX_NAME + 1];
};

struct config {
    uint16_t domain; /* the one that writers use now */
    uint8_t repo_id[KEYRING_ID_BYTES];
    int64_t created_ns;
    uint32_t generation;  /* 0, and one more with each change */
    uint8_t previous[32]; /* SHA-256 of the config that it changed, or 0 */
    uint64_t ro_compat;   /* bits unknown here: read only */
    uint64_t gc_compat;   /* bits unknown here: no maintenance */
    uint8_t hash;
    uint8_t chunker;     /* of new volumes */
    uint32_t min_writer; /* older vmkeeps must not write */
    uint32_t lease_s, visibility_s, window_s, grace_s, age_s;
    uint8_t admin_public[KEY_BYTES];
    struct config_key *keys; /* owned */
    size_t n_keys;
    struct config_name *names; /* owned; there once it has been checked */
    size_t n_names;
    uint8_t *sealed_names; /* owned; as they were stored */
    size_t sealed_len, names_at;
};

/* For a new repository with these keys. */
void config_make(struct config *c, const struct keyring *k, int64_t now_ns);
void config_done(struct config *c);

/* Signed by k's admin key. */
void config_pack(const struct config *c, const struct keyring *k,
                 struct buf *out);

/* Structure only: *out is to be config_done in any case.  ERR_CORRUPT,
 * ERR_UNSUP. */
int config_unpack(const void *p, size_t len, struct config *out, struct err *e);

/* Is it signed by the admin that `k` trusts, and of k's repository?  Then its
 * names are opened. */
int config_check(const void *p, size_t len, struct config *c,
                 const struct keyring *k, struct err *e);

/* The key of that role and number; NULL if there is none. */
const struct config_key *config_key(const struct config *c,
                                    enum config_role role, uint32_t number);

/* Maintenance removes a ref no earlier than so many seconds after it was
 * retired, and the mark that says so no earlier than a grace after that. */
int64_t config_ref_s(const struct config *c);

/* The lowest number that no key of that role has. */
uint32_t config_free_number(const struct config *c, enum config_role role);
/* ERR_LIMIT if there are too many. */
int config_add_key(struct config *c, const struct config_key *key,
                   struct err *e);

/* 1 and the namespace's number, 0 if there is none of that name. */
int config_namespace(const struct config *c, const char *name, uint32_t *out);
/* NULL if it has none. */
const char *config_namespace_name(const struct config *c, uint32_t ns);
/* ERR_USAGE if the name is none: letters, digits and ._-, at most
 * CONFIG_MAX_NAME. */
int config_name_namespace(struct config *c, uint32_t ns, const char *name,
                          struct err *e);

#endif
