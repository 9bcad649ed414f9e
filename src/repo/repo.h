/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repo: an encrypted, deduplicated, content-addressed repository in a store.
 *
 * Formats:   docs/format/.
 * Ownership: a repo borrows its store, which must outlive it.
 * Threads:   a repo may be used by many threads at once.
 * Trust:     the store is hostile: nothing it returns is used before it has
 *            been authenticated, and every size is checked against a limit.
 */
#ifndef REPO_REPO_H
#define REPO_REPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"

struct buf;
struct cancel;
struct err;
struct manifest;
struct password_cost;
struct repo;
struct store;

enum { REPO_ID_LEN = 32 }; /* hexadecimal digits */

/*
 * Make a repository in the empty store `st`, opened by `password` from then
 * on; trying one takes `cost` (NULL: what is usual today).  ERR_EXISTS if there
 * is one, or if the place is not empty.
 */
int repo_init(struct store *st, const char *password,
              const struct password_cost *cost, struct err *e);

/*
 * Opening in two steps, for who asks for the password only once there is
 * something to open.  The first reads what needs no key: ERR_NOREPO, or
 * ERR_NOENT if not even the place is there.  The second may be tried again with
 * another password; `key_id` is as for repo_open_by.
 */
struct repo_door;
int repo_find(struct store *st, struct repo_door **out, struct err *e);
int repo_enter(struct repo_door *d, const char *password, const char *key_id,
               struct repo **out, struct err *e);
void repo_door_free(struct repo_door *d); /* NULL is allowed */
void repo_door_freep(struct repo_door **d);

/* Both: ERR_NOREPO, ERR_KEY (wrong password), ERR_UNSUP (made by a newer
 * vmkeep). */
int repo_open(struct store *st, const char *password, struct repo **out,
              struct err *e);
/* The same by the one key that this id, or the start of one, means: it takes
 * a tenth of a second for each key that is tried.  NULL: all are.  A recovery
 * key is always taken. */
int repo_open_by(struct store *st, const char *password, const char *key_id,
                 struct repo **out, struct err *e);
/* Waits for what was read ahead and is wanted by nobody any more: no operation
 * of the store is under way for it then. */
void repo_settle(struct repo *r);
void repo_close(struct repo *r); /* NULL is allowed */
void repo_closep(struct repo **r);

/* Keep the index in the folder `dir` between runs (repo/segcache.h): large ones
 * need neither memory nor to be fetched every time; and which backups were seen
 * (repo/seen.h).  NULL: the index in temporary files, and nothing is known of
 * backups.  To be called before anything else is done with the repository, if
 * at all. */
void repo_use_cache(struct repo *r, const char *dir);

/* So many backups that this host has seen, and that nobody forgot, were missing
 * when backups were listed; at most SEEN_MAX_ASKED are looked for at a time. */
size_t repo_vanished(const struct repo *r);

/* 32 hexadecimal digits that never change; borrowed. */
const char *repo_id(const struct repo *r);

/* ---- backups --------------------------------------------------------- */

struct backup_writer;

struct backup_stats {
    uint64_t read_bytes;   /* submitted as data */
    uint64_t new_bytes;    /* of what was not in the repository before: chunks
                            * of it, and the nodes of the trees above them */
    uint64_t stored_bytes; /* what the new ones take in the store */
};

struct backup_options {
    uint64_t memory_bytes; /* limit on slots in flight; 0: 64 MiB.  Packs that
                            * wait for the store take up to 140 MB more */
    unsigned threads;      /* 0: one a core */
    int level;             /* zstd level 1..9; 0: 1 */
    uint8_t chunker;       /* of its volumes, by docs/format/tree.md; 0: what
                            * the repository's config says */
    int no_verify;         /* nonzero: what was sealed is not opened again and
                            * compared before it is uploaded */
    int nodes_anew;        /* nonzero: nodes are stored even if there are such;
                            * those that were read turned out to be damaged */
    const char *base;      /* id of the backup whose objects the new one takes
                            * over unseen (roots of its volumes), or NULL */
};

/* Start a backup.  ERR_NOENT if the base can't be built upon: it is retired,
 * gone, or was published too late; begin without one then.  `cancel` is
 * borrowed until it is committed or abandoned. */
int backup_begin(struct repo *r, const struct backup_options *o,
                 struct cancel *cancel, struct backup_writer **out,
                 struct err *e);
void backup_get_stats(struct backup_writer *b, struct backup_stats *out);

/*
 * Make everything durable, then publish `m` as the backup; its stats are
 * filled in, and should the host have been suspended for longer than a backup
 * may take to publish, `m` gets a new id.  All volumes must have ended.  *b is
 * freed and NULL afterwards, also on failure, and then nothing has been
 * published.  ERR_STORE also if a pack that the backup relies on, or
 * an object below a volume that it took over, has gone.
 */
int backup_commit(struct backup_writer **b, struct manifest *m, struct err *e);
/* Give up; what was uploaded is unreferenced and harmless.  For CLEANUP. */
void backup_abandonp(struct backup_writer **b);

/* What the repository knows of a backup beside its manifest. */
struct backup_state {
    struct ref_name ref;
    int64_t stored_ns;  /* when it was published, by the storage's clock */
    int64_t retired_ns; /* when it was retired; 0: it is not */
    bool late;          /* published too late to be relied on: what it needs
                         * may have been removed meanwhile */
};

/* Each backup, also those that are retired or late, as backup_list does. */
typedef int backup_survey_fn(void *cookie, const struct manifest *m,
                             const struct backup_state *s, struct err *e);
int backup_survey(struct repo *r, backup_survey_fn *fn, void *cookie,
                  struct err *e);

/*
 * Each good backup's manifest, oldest first.  `m` is borrowed; it may be
 * `sealed`.  A backup that can't be read does not end the listing: the others
 * are given, then it fails with ERR_CORRUPT, naming the first such.
 */
typedef int backup_list_fn(void *cookie, const struct manifest *m,
                           struct err *e);
int backup_list(struct repo *r, backup_list_fn *fn, void *cookie,
                struct err *e);

/*
 * The one backup that `name` means: an id, a prefix of it that is unique,
 * "latest", "MACHINE@latest", "MACHINE@TIME" (the newest not after that UTC
 * time).  MACHINE is a name or UUID.  Only an id finds those that are retired
 * or were published too late.  ERR_NOENT; ERR_USAGE if ambiguous; ERR_CORRUPT
 * if a backup that can't be read could be the one; ERR_KEY if the key that
 * opened the repository can't open it.  The newest is the newest of those that
 * the key opens.
 */
int backup_find(struct repo *r, const char *name, struct manifest **out,
                struct err *e);
/* The same for who will read what is in it: where the storage is distant, the
 * index is loaded meanwhile. */
int backup_find_to_read(struct repo *r, const char *name, struct manifest **out,
                        struct err *e);

#endif
