/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room that make up repo.h and volume.h share. */
#ifndef REPO_REPO_INTERNAL_H
#define REPO_REPO_INTERNAL_H

#include "repo/config.h"
#include "repo/keyring.h"
#include "repo/name.h"
#include "repo/node.h"
#include "repo/repo.h"
#include "repo/volume.h"

struct fetch;
struct gather;
struct index;
struct location;
struct bundle_lock;
struct lost;
struct relied;
struct sealer;
struct seen;
struct store;
struct sync;

struct repo {
    struct store *store; /* borrowed */
    struct keyring keys;
    struct config config;        /* the newest */
    uint8_t config_sum[32];      /* SHA-256 of it, as stored */
    char key_name[NAME_MAX_LEN]; /* the bundle that the password opened */
    uint8_t key_role;            /* as it says: enum role */
    struct index *index;
    struct lost *lost;
    struct seen *seen; /* or NULL */
    struct fetch *fetch;
    char id[REPO_ID_LEN + 1];
};

/* Pack `k` as bundle, see that it opens, and store it; `out_name` has
 * NAME_MAX_LEN bytes. */
int bundle_store(struct store *st, const struct keyring *k, uint8_t role,
                 const char *label, const struct bundle_lock *lock,
                 char *out_name, struct err *e);

/* ---- unlock.c, for repo.c and keys.c --------------------------------- */

struct store *door_store(const struct repo_door *d);
/* From the password to the keys and the config.  ERR_KEY.  `key_id` as in
 * repo_open_by. */
int door_unlock(struct repo_door *d, struct repo *r, const char *password,
                const char *key_id, struct err *e);
/* Read the newest config there is, again. */
int repo_read_config(struct repo *r, struct err *e);

enum { MAX_BUNDLES = 1024 };

struct bundle_names {
    char (*names)[NAME_MAX_LEN];
    size_t n;
};
int bundle_names_get(struct store *st, struct bundle_names *out, struct err *e);
void bundle_names_done(struct bundle_names *b);

/* The bytes of a bundle, which may be among those read already (NULL: none
 * are); ERR_CORRUPT if they are not what its name says. */
int bundle_get(struct store *st, struct gather *early, const char *name,
               struct buf *out, struct err *e);

/* ---- backup.c, for volume_write.c ------------------------------------ */

/* What a slot's job works with; one a thread. */
struct seat {
    struct seat *next;
    struct sealer *sealer;
};
struct seat *backup_take_seat(struct backup_writer *b);
void backup_give_seat(struct backup_writer *b, struct seat *s);

unsigned backup_threads(const struct backup_writer *b);

/* A volume of the backup has begun, has ended. */
void backup_volume_begun(struct backup_writer *b);
void backup_volume_ended(struct backup_writer *b);
/* How its volumes are cut: the chunker, and its secret. */
uint8_t backup_chunker(const struct backup_writer *b, uint64_t *out_seed);

/* Was the backup begun on one that has a volume of this root? */
bool backup_base_has(const struct backup_writer *b,
                     const uint8_t h[CAPABILITY_BYTES]);
struct repo *backup_repo(const struct backup_writer *b);

/* A slot's memory, for a caller to fill: 1.  While there are too many it waits,
 * or, if not told to, returns 0. */
int backup_take_slot(struct backup_writer *b, bool wait, struct slot **out,
                     struct err *e);
void backup_give_slot(struct backup_writer *b, struct slot *s);

/* This root was made by this backup, with all that is below it. */
void backup_note_root(struct backup_writer *b,
                      const uint8_t h[CAPABILITY_BYTES]);

/* Have a worker run fn(s), as soon as one is free. */
void backup_run(struct backup_writer *b, void (*fn)(struct slot *s),
                struct slot *s);

/* The backup has failed: the first error is the one it fails with. */
void backup_fail(struct backup_writer *b, const struct err *e);
/* With that error, or ERR_CANCELED. */
int backup_check(struct backup_writer *b, struct err *e);

void backup_count_read(struct backup_writer *b, uint64_t bytes);

/* Store the object unless the repository has it; either way, its name. */
int backup_store_leaf(struct backup_writer *b, struct sealer *s, const void *p,
                      size_t len, uint8_t out_h[CAPABILITY_BYTES],
                      struct err *e);
int backup_store_node(struct backup_writer *b, struct sealer *s, struct node *n,
                      uint8_t out_h[CAPABILITY_BYTES], struct err *e);

/* ---- volume_base.c, for volume_write.c ------------------------------- */

/* ERR_CORRUPT if anything below the root was in a pack that is lost: who takes
 * it over unseen would never bring it back.  Free where nothing is lost. */
int base_check_lost(struct repo *r, const struct volume_root *root,
                    struct err *e);

/* ---- publish.c, for backup.c and rescue.c ---------------------------- */

/* The root of a volume that has something in it, and a place of it. */
typedef int publish_root_fn(void *cookie, uint8_t level,
                            const uint8_t gid[GID_BYTES],
                            const struct location *at, struct err *e);
/* Each of `m`, until fn fails.  ERR_USAGE if one is in no index. */
int publish_each_root(struct repo *r, const struct manifest *m,
                      publish_root_fn *fn, void *cookie, struct err *e);

/*
 * All objects of `m` are durable and in the index: check that they and what
 * the backup relies on are still there, then put its ref.  1, or 0 if it was
 * put too late to be relied on: sync again and give it another id.
 */
int publish_backup(struct repo *r, const struct manifest *m,
                   struct relied *relied, const struct sync *sync,
                   struct cancel *cancel, struct err *e);

/* ---- rescue.c, for backup.c ------------------------------------------ */

/*
 * Store again what the backup relies on and maintenance has condemned, unless
 * it is elsewhere too.  1 if something was stored, and then all has to be
 * looked at again; 0 if not.
 */
int rescue_condemned(struct repo *r, struct relied *relied, struct sync *sync,
                     struct cancel *cancel, struct err *e);

/* Rely on every object below the roots of `m`.  ERR_STORE if one is gone. */
int rescue_rely_on_all(struct repo *r, const struct manifest *m,
                       struct relied *relied, struct sync *sync,
                       struct cancel *cancel, struct err *e);

#endif
