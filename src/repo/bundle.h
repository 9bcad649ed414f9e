/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle: a keyring as an object of the store, sealed under a password or a
 * recovery key (docs/format/keys.md).  There may be many: one a password.
 *
 * Its note says what it is for.  It is sealed under K_meta: whoever holds any
 * key of the repository can read it, and the store can't; one that opens says
 * that the bundle belongs to this repository.
 */
#ifndef REPO_BUNDLE_H
#define REPO_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/password.h"
#include "repo/name.h"
#include "repo/recovery.h"

struct buf;
struct err;
struct keyring;

enum { BUNDLE_MAX_BYTES = 64 << 10, BUNDLE_MAX_LABEL = 255 };

enum bundle_kind {
    BUNDLE_PASSWORD = 1,
    BUNDLE_SEALED_BOX = 2, /* to a host's X25519 key: reserved */
    BUNDLE_RECOVERY = 3    /* opened by a recovery key */
};

/* What can be read without any key; nothing of it is authenticated. */
struct bundle_info {
    uint8_t kind; /* may be one that is not known here */
    uint8_t role; /* enum role, or one that is not known here */
    int64_t created_ns;
    struct password_cost cost; /* of BUNDLE_PASSWORD */
};

struct bundle_note {
    uint32_t ns;     /* 0: not of one namespace */
    uint32_t writer; /* 0: may not write */
    bool reads;      /* opens backups: of its namespace, or all */
    char label[BUNDLE_MAX_LABEL + 1]; /* a stranger's text: quote it */
};

/* How a bundle is made: by a password and its cost, or by a recovery code
 * (then the keyring must hold the admin's seed). */
struct bundle_lock {
    const char *password;
    const struct password_cost *cost;
    const uint8_t *recovery; /* RECOVERY_BYTES; NULL: by the password */
};

/* `k` must have K_meta.  `label` is for people ("pve-03").  Appends to `out`,
 * and says which name the bytes must have. */
int bundle_pack(const struct keyring *k, uint8_t role, const char *label,
                const struct bundle_lock *lock, int64_t now_ns, struct buf *out,
                uint8_t out_id[NAME_ID_BYTES], struct err *e);

/* ERR_CORRUPT, ERR_UNSUP. */
int bundle_info(const void *p, size_t len, struct bundle_info *out,
                struct err *e);

/* 1 and *out, 0 if it belongs to another repository, or another domain of
 * keys, -1. */
int bundle_note(const void *p, size_t len, const struct keyring *k,
                struct bundle_note *out, struct err *e);

/* 1 and *out (to be keyring_done), 0 if the password or recovery key does not
 * open it or it is not of the kind that it opens, -1. */
int bundle_open(const void *p, size_t len, const char *password,
                struct keyring *out, struct err *e);

/* 1 and the code that opens it; 0 if it is none for a recovery key, or this
 * admin can't open the box that it is in; -1. */
int bundle_recovery(const void *p, size_t len, const struct keyring *k,
                    uint8_t out[RECOVERY_BYTES], struct err *e);

#endif
