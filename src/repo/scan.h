/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan: the inside of checker.h, which repair.h needs too.
 *
 *   checker.c     the order of things, faults, subsets
 *   scan_refs.c   keys and refs
 *   scan_packs.c  index segments, tables and data of packs
 *   scan_trees.c  volumes: what objects they need, and which are lost
 */
#ifndef REPO_SCAN_H
#define REPO_SCAN_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "repo/checker.h"
#include "repo/gidmap.h"
#include "repo/gidset.h"
#include "repo/inventory.h"
#include "repo/manifest.h"
#include "repo/seen.h"
#include "repo/segment.h"
#include "work/pool.h"

enum { SCAN_UNINDEXED_MAX = 1 << 20 };

/* A fault, waiting to be told; all text owned. */
struct scan_fault {
    struct scan_fault *next;
    struct check_fault f;
};

struct scan_backup {
    char id[BACKUP_ID_LEN + 1];
    char ref[NAME_MAX_LEN];
    char *machine;
    struct manifest_volume *volumes;
    size_t n_volumes;
    uint8_t (*roots)[GID_BYTES]; /* of a backup that this key does not open */
    size_t n_roots;
    bool damaged;
    bool readable;      /* its ref, whose signature is right */
    bool late;          /* published too late to be relied on */
    int64_t retired_ns; /* 0: it is not */
};

/* A mark that a backup is retired. */
struct scan_mark {
    struct ref_name ref;
    int64_t stored_ns;
    bool counts; /* maintenance has signed it */
};

struct scan_segment {
    uint8_t id[NAME_ID_BYTES];
    bool damaged;
};

/* What a node says about a leaf, or a volume about a node. */
struct scan_cap {
    uint8_t h[CAPABILITY_BYTES];
    uint32_t plain_len; /* of a leaf */
};

struct scan {
    struct repo *repo;
    const struct check_options *options;
    struct cancel *cancel;
    struct check_result *result;
    struct inventory inventory;
    struct inventory_pack *missing; /* packs that an index names */
    size_t n_missing, room_missing;
    struct scan_segment *segments; /* as in the inventory */
    struct scan_backup *backups;
    size_t n_backups;
    uint8_t (*broken_refs)[NAME_ID_BYTES];
    size_t n_broken_refs;
    struct pool *pool;
    struct progress progress;
    uint64_t shown_ns;
    bool remembers; /* tell what this host has seen and is not there */
    struct seen_look look;

    size_t batch_from, batch_to; /* packs whose capabilities `caps` holds */
    struct gidmap caps;
    /* What maintenance did: packs that it has condemned, by the front of their
     * names; refs that are retired; when it last ran (0: never), by the
     * storage's clock. */
    struct gidset condemned;
    struct scan_mark *marks;
    size_t n_marks, room_marks;
    int64_t maintained_ns;
    bool noticed; /* all of this, once */

    struct gidset visited; /* nodes */
    struct gidset clean;   /* nodes below which nothing is lost */

    pthread_mutex_t
        lock;          /* guards all below, the result, and packs[].covered */
    struct gidset bad; /* damaged objects: id xor pack's name */
    struct gidset unindexed;
    struct scan_fault *faults, **last_fault;
    unsigned store_errors;
    struct err store_error;
    atomic_uint_fast64_t done_bytes;
};

void scan_init(struct scan *s, struct repo *r, const struct check_options *o,
               struct cancel *cancel, struct check_result *out);
void scan_done(struct scan *s);
/* All of check_repo, but for what it was made with. */
int scan_run(struct scan *s, struct err *e);

/* Note a fault; copies the text.  From any thread. */
void scan_fault(struct scan *s, const struct check_fault *f);
/* Tell those that were noted.  -1 if the storage fails too often, or at a
 * cancel.  From the caller's thread, with no lock held. */
int scan_tell(struct scan *s, const char *phase, struct err *e);
/* The storage failed to give something. */
void scan_store_error(struct scan *s, const struct err *e);

void scan_bad_key(const uint8_t pack[PACK_NAME_BYTES],
                  const uint8_t gid[GID_BYTES], uint8_t out[GID_BYTES]);

/* ---- scan_refs.c ----------------------------------------------------- */

int scan_keys(struct scan *s, struct err *e);
int scan_refs(struct scan *s, struct err *e);
/* Tell which backups this host has seen and are not there any more. */
void scan_vanished(struct scan *s);

/* ---- scan_notices.c -------------------------------------------------- */

/* What maintenance says that it did. */
int scan_notices(struct scan *s, struct err *e);
/* What it has condemned since, too. */
int scan_condemned(struct scan *s, struct err *e);
/* Is there a mark of its name, rightly or not? */
bool scan_is_marked(const struct scan *s, const struct ref_name *ref);
/* Since when the backup is retired, by the storage's clock; 0: it is not. */
int64_t scan_retired_ns(const struct scan *s, const struct ref_name *ref);
/* Was the ref that this one, stored then, names as its previous perhaps
 * retired and removed? 1: yes, 0: no, -1: nothing tells. */
int scan_was_retired(const struct scan *s, const struct ref_name *ref,
                     int64_t stored_ns);

/* ---- scan_packs.c ---------------------------------------------------- */

/* Is this pack out of use? */
bool scan_is_lost(const struct scan *s, const struct inventory_pack *p);

/* All index segments, and the tables of all packs. */
int scan_index(struct scan *s, struct err *e);
/* The packs that are chosen, whole. */
int scan_data(struct scan *s, struct err *e);
/* Tell which packs are not there any more, though they should be. */
int scan_missing(struct scan *s, struct err *e);

/* The table of a pack, from its front. */
int scan_read_table(struct scan *s, const struct inventory_pack *p,
                    struct pack_table *out, struct err *e);

/* ---- scan_trees.c ---------------------------------------------------- */

/* Into s->caps: the capabilities of the objects in the packs of the batch. */
int scan_collect(struct scan *s, struct err *e);
/* What can't be restored. */
int scan_trees(struct scan *s, struct err *e);

#endif
