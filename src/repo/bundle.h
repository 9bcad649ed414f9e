/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle: a keyring as an object of the store, sealed under a password
 * (docs/format/keys.md).  There may be many: one a password, one a role.
 */
#ifndef REPO_BUNDLE_H
#define REPO_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/password.h"
#include "repo/name.h"

struct buf;
struct err;
struct keyring;

enum { BUNDLE_MAX_BYTES = 256 << 10, BUNDLE_MAX_LABEL = 255 };

enum bundle_kind {
    BUNDLE_PASSWORD = 1,
    BUNDLE_SEALED_BOX = 2 /* to a host's X25519 key: reserved */
};

/* What can be read without opening it. */
struct bundle_info {
    uint8_t kind; /* may be one that is not known here */
    int64_t created_ns;
    char label[BUNDLE_MAX_LABEL + 1]; /* a stranger's text: quote it */
    struct password_cost cost;        /* of BUNDLE_PASSWORD */
};

/* `label` is for people ("recovery", a host's name).  Appends to `out`, and
 * says which name the bytes must have. */
int bundle_pack(const struct keyring *k, const char *password,
                const struct password_cost *cost, const char *label,
                int64_t now_ns, struct buf *out, uint8_t out_id[NAME_ID_BYTES],
                struct err *e);

/* ERR_CORRUPT, ERR_UNSUP. */
int bundle_info(const void *p, size_t len, struct bundle_info *out,
                struct err *e);

/* 1 and *out (to be keyring_done), 0 if the password does not open it or it is
 * not of the kind that a password opens, -1. */
int bundle_open(const void *p, size_t len, const char *password,
                struct keyring *out, struct err *e);

#endif
