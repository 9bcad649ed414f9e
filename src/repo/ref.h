/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ref: the object that makes a backup one (docs/format/manifest.md).
 *
 *   head        clear: which machine and when, who wrote it, what came before
 *   roots       sealed for maintenance: the ids that keep its objects alive
 *   seals       the body's key, once for each key pair that may read it
 *   body        sealed: the manifest
 *   signature   of the writer, over all of it
 *
 * Trust:     ref_unpack and ref_open take any bytes.
 */
#ifndef REPO_REF_H
#define REPO_REF_H

#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"
#include "repo/object.h"

struct buf;
struct config;
struct err;
struct keyring;

enum {
    REF_MAX_BYTES = 24 << 20,
    REF_BODY_MAX_BYTES = 16 << 20,
    REF_MAX_ROOTS = 4096,
    REF_MAX_SEALS = 64
};

struct ref_head {
    struct ref_name name;
    uint32_t writer;             /* number of the key that signed */
    uint8_t base[NAME_ID_BYTES]; /* the backup it was made against, or 0 */
    uint8_t previous[32];        /* SHA-256 of the machine's last ref, or 0 */
    int64_t sync_ns;             /* storage's time of the writer's last sync
                                  * marker; 0: it made none */
};

struct ref_root {
    uint8_t level;
    uint8_t gid[GID_BYTES];
};

/* Appends the bytes.  Seals the body to the restore key and to the namespace
 * of `head->name.ns`. */
int ref_pack(const struct ref_head *head, const struct ref_root *roots,
             size_t n_roots, const void *body, size_t body_len,
             const struct keyring *k, const struct config *config,
             struct buf *out, struct err *e);

/* The head, once the signature has been found right, and the name that the
 * head says is the one the object has. */
int ref_open_head(const void *p, size_t len, const char *name,
                  const struct config *config, struct ref_head *out,
                  struct err *e);

/* What maintenance needs; *out is the caller's to free.  After ref_open_head.
 */
int ref_open_roots(const void *p, size_t len, const struct keyring *k,
                   struct ref_root **out, size_t *out_n, struct err *e);

/* Appends the body.  ERR_KEY if no key in `k` opens it.  After
 * ref_open_head. */
int ref_open_body(const void *p, size_t len, const struct keyring *k,
                  struct buf *out, struct err *e);

#endif
