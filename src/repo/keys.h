/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys: who may open a repository and for what: making keys for others,
 * listing and removing them, changing a password (docs/design/keys.md).
 *
 * A key here is a bundle: the keys of one role under one password.  Whoever
 * copied a bundle and knows its password keeps what is in it: removing it, or
 * changing its password, revokes nothing.
 *
 * Failures:  every change either has happened or has not; one that was reported
 *            as failed may have happened.  What opened the repository before a
 *            failure opens it after, or its successor does.
 */
#ifndef REPO_KEYS_H
#define REPO_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "repo/bundle.h"
#include "repo/role.h"

struct err;
struct repo;

enum { KEY_ID_LEN = 2 * NAME_ID_BYTES };

struct key_info {
    char id[KEY_ID_LEN + 1];
    uint8_t kind, role; /* as in struct bundle_info */
    int64_t created_ns;
    bool is_ours;      /* else it belongs to another repository, or can't be
                        * read: what an interrupted init left */
    bool is_current;   /* it opened the repository */
    uint32_t writer;   /* 0: may not write */
    bool reads;        /* may open backups */
    const char *ns;    /* the namespace it is confined to; NULL: none */
    const char *label; /* a stranger's text: quote it */
};

/* Of the key that opened the repository. */
uint8_t repo_role(const struct repo *r);

/* What a namespace is called; NULL if it is not known.  Borrowed. */
const char *repo_namespace(const struct repo *r, uint32_t ns);

/* Each key, in no order; `info` and its texts are borrowed. */
typedef int key_list_fn(void *cookie, const struct key_info *info,
                        struct err *e);
int repo_key_list(struct repo *r, key_list_fn *fn, void *cookie, struct err *e);

struct key_request {
    enum role role;
    const char *ns;    /* of a host (NULL: "default") or restore key (NULL:
                        * all); one that does not exist is made for a host */
    bool reads;        /* a host may also open its namespace's backups */
    const char *label; /* NULL: none */
    const char *password;
    const struct password_cost *cost; /* NULL: today's */
};

/* ERR_KEY if this is no admin's key; ERR_USAGE; ERR_NOENT for a restore key of
 * a namespace that there is not. */
int repo_key_check(const struct repo *r, const struct key_request *q,
                   struct err *e); /* whatever the password */
int repo_key_add(struct repo *r, const struct key_request *q,
                 char out_id[KEY_ID_LEN + 1], struct err *e);

/* A new recovery key; the older ones work on. */
int repo_recovery_add(struct repo *r, char out[RECOVERY_TEXT_LEN],
                      char out_id[KEY_ID_LEN + 1], struct err *e);

/* The newest recovery key there is, once more.  ERR_NOENT if there is none. */
int repo_recovery(struct repo *r, char out[RECOVERY_TEXT_LEN],
                  char out_id[KEY_ID_LEN + 1], struct err *e);

/*
 * Remove the key that this id, or the start of one, means.  ERR_USAGE if it is
 * that of the last admin who needs no recovery key, or ambiguous; ERR_NOENT;
 * ERR_KEY if this is no admin's key.
 */
int repo_key_remove(struct repo *r, const char *id, char out_id[KEY_ID_LEN + 1],
                    struct err *e);

/*
 * The same keys under another password, then the old bundle is removed: 1.  0
 * if the storage did not let it be removed (`why`): both passwords open it.
 * ERR_USAGE if it is opened by a recovery key.
 */
int repo_key_change_password(struct repo *r, const char *password,
                             const struct password_cost *cost,
                             char out_id[KEY_ID_LEN + 1], struct err *why,
                             struct err *e);

#endif
