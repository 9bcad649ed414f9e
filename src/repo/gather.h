/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather: small objects that will be asked for one after the other, read at
 * the same time.
 *
 * Where the store answers at once nothing is read ahead: each is read when it
 * is asked for, and only if it is.
 *
 * Bounds:  at most GATHER_MAX.
 * Threads: one at a time.
 */
#ifndef REPO_GATHER_H
#define REPO_GATHER_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "repo/name.h"
#include "store/store_together.h"

struct store;

enum { GATHER_MAX = STORE_TOGETHER_MAX };

struct gathered {
    struct store *store; /* borrowed */
    char name[NAME_MAX_LEN];
    struct buf bytes;
    struct err err; /* if it could not be read */
};

struct gather {
    struct gathered items[GATHER_MAX];
    size_t n;
};

/* For CLEANUP, too; one that is zeroed is empty. */
void gather_done(struct gather *g);

/* Read it with the others, if there is room and it is worth it.  Borrows the
 * store. */
void gather_add(struct gather *g, struct store *st, const char *name,
                size_t max_bytes);
/* Jobs that read what was added since `from`, for store_together; returns how
 * many.  There is room for GATHER_MAX. */
size_t gather_jobs(struct gather *g, size_t from, struct store_job *jobs);
/* The same, done. */
void gather_run(struct gather *g, size_t from);

/* As store_get_all into `out`, which is empty: what was read, or now. */
int gather_get(struct gather *g, struct store *st, const char *name,
               struct buf *out, struct err *e);

#endif
