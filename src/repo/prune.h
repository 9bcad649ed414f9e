/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prune: free the space of what no backup needs any more
 * (docs/design/repository.md, "Maintenance").
 *
 * It takes at least two runs: the first condemns, a later one, when the grace
 * time of the config has passed, removes what is still not needed.  Any number
 * of runs, backups and restores may work at the same time.
 */
#ifndef REPO_PRUNE_H
#define REPO_PRUNE_H

#include <stdbool.h>
#include <stdint.h>

struct cancel;
struct err;
struct repo;

struct prune_options {
    bool dry_run; /* look, and say what would be done */
    /* At most so many bytes are copied out of packs that are mostly garbage. */
    uint64_t max_repack_bytes;
};

struct prune_result {
    uint64_t backups, retired;           /* refs; of these, retired ones */
    uint64_t objects, live_bytes;        /* alive, each counted once */
    uint64_t packs, pack_bytes;          /* all that were there */
    uint64_t deleted, deleted_bytes;     /* packs */
    uint64_t pardoned;                   /* condemned, and needed again */
    uint64_t condemned, condemned_bytes; /* by this run */
    uint64_t waiting, waiting_bytes;     /* condemned earlier, grace not over */
    int64_t due_ns; /* when the first of them can be removed, 0: none */
    uint64_t repacked, repacked_bytes; /* packs emptied; bytes copied */
    uint64_t refs_deleted;             /* retired long enough ago */
    uint64_t index_merged;             /* segments that others replace */
    uint64_t denied;                   /* removals that the storage refused */
};

/*
 * One run.  ERR_KEY without the maintenance key.  ERR_CORRUPT if anything it
 * must know can't be read, ERR_STORE if the storage's clock is in doubt: then
 * nothing is removed.
 */
int repo_prune(struct repo *r, const struct prune_options *o,
               struct cancel *cancel, struct prune_result *out, struct err *e);

#endif
