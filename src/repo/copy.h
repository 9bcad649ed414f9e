/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy: backups of one repository into another one, which has other keys
 * (docs/design/copy.md).
 *
 * What objects are called and how they are sealed follows from a repository's
 * keys, so none can be taken over as it is: each is opened, which verifies it,
 * cut, hashed and sealed anew.  Only what the target lacks is stored.  Of a
 * machine of which the target has a copy already, only where the two backups
 * of the source differ is read at all.
 *
 * A copy shows the instant of its original and notes where that is, by the
 * repository in which it was first made: a copy of a copy is of that one too.
 * Its id follows from that and the target's K_meta, so that who may only write
 * there finds what he has copied.
 *
 * What was stored of a copy that was given up is found by the next one, as
 * that of any backup is.
 */
#ifndef REPO_COPY_H
#define REPO_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "repo/manifest.h"
#include "work/progress.h"

struct cancel;
struct err;
struct repo;

/* ---- what to copy ---------------------------------------------------- */

struct copy_selection {
    const char *const *names; /* of backups, as backup_find takes them */
    size_t n_names;           /* 0: all that are good */
    const char *const *machines;
    size_t n_machines; /* without names: only of these (names or UUIDs) */
    uint64_t last;     /* without names: of each machine the newest; 0: all */
};

enum copy_state {
    COPY_NOT_CHOSEN,
    COPY_WANTED,
    COPY_THERE,    /* the target has it */
    COPY_FORGOTTEN /* the target had it, and it was retired there: it is only
                    * copied again if it is named */
};

struct copy_item {
    char id[BACKUP_ID_LEN + 1];    /* in the source */
    char there[BACKUP_ID_LEN + 1]; /* of a good copy in the target; or "" */
    struct manifest_origin origin;
    int64_t time_ns;
    char *machine, *uuid;   /* owned */
    uint8_t machine_tag[8]; /* in the source, which with the next is one */
    uint32_t ns;
    uint64_t size_bytes; /* of all volumes */
    enum copy_state state;
};

struct copy_plan {
    struct copy_item *items; /* owned; by time, the oldest first */
    size_t n, room;
    size_t sealed;             /* backups that the source's key does not open */
    struct err source, target; /* why some could not be listed, or ERR_OK */
};

/*
 * ERR_USAGE if both are one repository, or a name is ambiguous; ERR_KEY if the
 * target's key may not write, or the source's opens no backup; ERR_NOENT for a
 * name or machine of which there is none.  *out is to be copy_plan_done in any
 * case.
 */
int copy_plan_make(struct repo *from, struct repo *to,
                   const struct copy_selection *s, struct copy_plan *out,
                   struct err *e);
void copy_plan_done(struct copy_plan *p);

/* ---- copying --------------------------------------------------------- */

struct copy_options {
    progress_fn *progress; /* or NULL */
    void *progress_cookie;
};

struct copy_result {
    char id[BACKUP_ID_LEN + 1];   /* in the target */
    char base[BACKUP_ID_LEN + 1]; /* the copy that it was made against: ids in
                                   * the target; or "" */
    uint64_t read_bytes, new_bytes, stored_bytes; /* as in backup_stats, of
                                                   * which the first were read
                                                   * from the source */
    struct err damage; /* what it was to be made against was damaged, in the
                        * source or in the target, so all was copied */
};

/*
 * Copy item `i` of the plan, which knows of it afterwards.  ERR_CORRUPT names
 * an object of the source that is damaged; nothing has been published then.
 */
int copy_backup(struct repo *from, struct repo *to, struct copy_plan *p,
                size_t i, const struct copy_options *o, struct cancel *cancel,
                struct copy_result *out, struct err *e);

#endif
