/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session: the repository that a command works on, opened.
 *
 * It is looked for before anybody is asked for a password.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <stdbool.h>

struct cancel;
struct cli;
struct err;
struct password_cost;
struct repo;
struct repo_door;
struct secret;
struct store;

struct session {
    struct store *store;
    struct repo_door *door; /* until it is open */
    struct repo *repo;
};

/* By -r or VMKEEP_REPOSITORY, borrowed; NULL and ERR_USAGE if neither is. */
const char *session_address(const struct cli *c, struct err *e);

/* 1 if there is a repository, and its door; 0 if there is none, and the store
 * of *out if at least the place is there; -1.  To be freed with session_done.
 */
int session_probe(const char *address, struct session *out, struct err *e);

/* The password for the repository, which is to be made or there. */
int session_ask(const struct cli *c, const char *address, bool is_new,
                struct secret *out, struct err *e);

/* A new password beside it, by the options of cmd_key.c. */
int session_ask_new(const struct cli *c, const char *subject,
                    struct secret *out, struct err *e);

/* What trying a new password is to cost: as usual, but for --pbkdf-memory or
 * VMKEEP_PBKDF_MEMORY. */
int session_cost(const struct cli *c, struct password_cost *out, struct err *e);

/* ERR_NOREPO, ERR_KEY.  To be freed with session_done in any case. */
int session_open(const struct cli *c, struct session *out, struct err *e);
/* A second one, by the options of cmd_copy.c: the same for that one.  --to has
 * been given. */
int session_open_to(const struct cli *c, struct session *out, struct err *e);
/* The first for a command that can do without: 1, or 0 if no repository is
 * named or its password is not at hand without asking, -1. */
int session_open_quietly(const struct cli *c, struct session *out,
                         struct err *e);
/* Where what can be fetched again is kept; NULL: nowhere.  The caller frees it.
 */
char *session_cache(void);
/* A warning, and true, if backups that this host has seen were missing when
 * the repository's were listed. */
bool session_miss(struct cli *c, const struct session *s);
void session_done(struct session *s); /* for CLEANUP */

/* From now on signals raise `c`, and that cuts short what waits for the
 * storage. */
void session_arm(struct session *s, struct cancel *c);
/* No more.  `rc` and `e` are how it went: a failure of the storage that `c` has
 * brought about is an interruption.  Returns `rc`. */
int session_disarm(struct session *s, struct cancel *c, int rc, struct err *e);

#endif
