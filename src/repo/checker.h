/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checker: is everything in the repository that its backups need, and is it
 * what it must be?  Nothing is changed.
 *
 * Always:    keys, refs and their chain, refs that this host has seen
 *            (repo/seen.h), index segments against the tables of the packs
 *            they name, every pack listed at its size, every node of every
 *            backup opened and hashed, every leaf in a pack that is there.
 * With data: the chosen packs are read whole: their SHA-256, and each object
 *            opened, decompressed and hashed again.
 *
 * Memory:    bounded whatever the size of the repository: a few packs, one
 *            index segment, CHECK_ROUND_OBJECTS capabilities; and 20 to 40
 *            bytes for each 8 MiB that are different from all others.
 * Threads:   packs are checked on workers; callbacks come from the caller's
 *            thread.
 */
#ifndef REPO_CHECKER_H
#define REPO_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#include "work/progress.h"

struct cancel;
struct err;
struct repo;

enum { CHECK_ROUND_OBJECTS = 5 << 17, CHECK_MAX_STORE_ERRORS = 100 };

/* What is wrong. */
enum check_what {
    CHECK_KEY,      /* a key bundle */
    CHECK_RECORD,   /* a record of what is lost */
    CHECK_NOTICE,   /* what maintenance says: a list of condemned packs, a mark
                     * that a backup is retired */
    CHECK_SEGMENT,  /* an index segment */
    CHECK_PACK,     /* a pack as a whole: damaged, gone, can't be read */
    CHECK_OBJECT,   /* an object in a pack */
    CHECK_REF,      /* a backup's ref or manifest */
    CHECK_HIDDEN,   /* a ref that must have been there is not */
    CHECK_VANISHED, /* a ref that this host has seen is not there any more */
    CHECK_EXTENT    /* a part of a volume that can't be restored */
};

/* All text is borrowed for the call; "" where it does not apply. */
struct check_fault {
    enum check_what what;
    const char *name;    /* of the object in the store */
    const char *object;  /* id of the object in the pack, hexadecimal */
    const char *backup;  /* id */
    const char *machine; /* a stranger's text, as the next */
    const char *volume;
    uint64_t offset, len;     /* in bytes of the volume, of CHECK_EXTENT */
    int64_t time_ns, seen_ns; /* of the backup, when it was last seen: of
                               * CHECK_VANISHED */
    const char *why;
    bool is_note; /* not damage: maintenance may have done it */
};
typedef void check_fault_fn(void *cookie, const struct check_fault *f);

/* "key", "index", "extent": stable words for JSON. */
const char *check_what_name(enum check_what what);

enum check_read { CHECK_READ_NONE, CHECK_READ_ALL, CHECK_READ_SOME };

struct check_subset {
    enum check_read read;
    uint64_t parts, of; /* part 1..of by the names of packs, if of > 0 */
    uint64_t bytes;     /* else about so many, chosen at random, if > 0 */
    double percent;     /* else so much of all, chosen at random */
};

/* "10%", "1/7", "20G".  ERR_USAGE. */
int check_parse_subset(const char *text, struct check_subset *out,
                       struct err *e);

struct check_options {
    struct check_subset data;
    unsigned threads; /* 0: one a core */
    check_fault_fn *fault;
    void *fault_cookie;
    progress_fn *progress; /* may be NULL */
    void *progress_cookie;
};

struct check_result {
    uint64_t faults;
    uint64_t notes; /* what may be damage, or maintenance's doing */
    uint64_t backups, backups_damaged;
    uint64_t backups_closed; /* this key opens no more of them than the ref */
    uint64_t segments, packs, pack_bytes;
    uint64_t objects;                /* in the tables of the packs */
    uint64_t read_packs, read_bytes; /* whole */
    uint64_t opened_objects;         /* of these, and hashed again */
    uint64_t nodes;                  /* of trees */
    uint64_t lost_bytes;             /* of volumes, over all backups */
    uint64_t quarantined;            /* put out of use by repair */
    uint64_t vanished;               /* backups that this host has seen */
    uint64_t leftover_packs;         /* in no index: of a backup that was
                                      * given up, or of one under way */
};

/* 0 also if there are faults.  ERR_CANCELED; ERR_STORE if the storage can't be
 * listed, or fails again and again. */
int check_repo(struct repo *r, const struct check_options *o,
               struct cancel *cancel, struct check_result *out, struct err *e);

#endif
