/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair: makes a damaged repository usable again, without removing anything.
 *
 *   - objects that no sound index segment names are indexed again, from the
 *     tables of their packs;
 *   - what is whole in a damaged pack is copied to a new one, also where the
 *     pack's own table is gone, by the index and the backups' capabilities;
 *   - damaged and missing packs, damaged segments and refs that nobody can read
 *     are put out of use by a record (repo/lost.h).  So the next backup stores
 *     again what it finds lost, and older ones that need it are whole again.
 *
 * Order:     packs, index, record: at any point what is there is no worse than
 *            before.  It may run beside backups.
 */
#ifndef REPO_REPAIR_H
#define REPO_REPAIR_H

#include "repo/checker.h"

/* What was done, or would be. */
enum repair_did {
    REPAIR_INDEXED,    /* a pack's objects, that no index named */
    REPAIR_SALVAGED,   /* objects of a pack, into a new one */
    REPAIR_QUARANTINED /* put out of use */
};

struct repair_act {
    enum repair_did did;
    const char *name; /* of the object in the store; borrowed */
    uint64_t objects; /* indexed, salvaged */
    uint64_t lost_objects;
};
typedef void repair_act_fn(void *cookie, const struct repair_act *a);

const char *repair_did_name(enum repair_did did);

struct repair_options {
    bool dry_run;
    bool skip_data; /* only the index, missing packs, refs */
    unsigned threads;
    check_fault_fn *found; /* before; may be NULL, like all of these */
    check_fault_fn *left;  /* what can't be restored, afterwards */
    void *cookie;          /* of the three */
    repair_act_fn *act;
    progress_fn *progress;
    void *progress_cookie;
};

struct repair_result {
    struct check_result before;
    struct check_result after; /* structure only; zero in a dry run */
    uint64_t indexed_objects, salvaged_objects;
    uint64_t quarantined; /* packs, segments, refs */
    uint64_t stored_bytes;
};

/* ERR_KEY without the maintenance key; else as check_repo. */
int repair_repo(struct repo *r, const struct repair_options *o,
                struct cancel *cancel, struct repair_result *out,
                struct err *e);

#endif
