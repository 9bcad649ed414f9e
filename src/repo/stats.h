/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: what backups hold, and what that takes in the store.
 *
 * Each tree is walked once; no data is read.  What is the same is counted once,
 * by sets of ids: up to STATS_EXACT_OBJECTS of them exactly, beyond that by a
 * sample (of ids with so many zero bits, which are as good as random), whose
 * sums are scaled up: right to a few in a thousand.
 */
#ifndef REPO_STATS_H
#define REPO_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "repo/gidmap.h"
#include "work/progress.h"

struct cancel;
struct err;
struct repo;

enum { STATS_EXACT_OBJECTS = 1 << 19 };

/* Objects counted once, however often they are met. */
struct tally {
    struct gidmap seen; /* plain length u32, stored length u32 */
    unsigned skip_bits; /* only ids that end in so many zero bits */
    uint64_t objects, plain_bytes, stored_bytes; /* of those */
};
struct tally tally_new(void);
void tally_done(struct tally *t);
/* Would tally_add take it?  False if it has it, or it is not of the sample. */
bool tally_wants(const struct tally *t, const uint8_t gid[GID_BYTES]);
void tally_add(struct tally *t, const uint8_t gid[GID_BYTES],
               uint32_t plain_len, uint32_t stored_len);

struct stats {
    uint64_t backups;
    uint64_t logical_bytes; /* sizes of all volumes */
    uint64_t data_bytes;    /* of these, what is not zero */
    uint64_t
        unique_bytes; /* leaves, each once: all of those that parts are of */
    uint64_t stored_bytes; /* what those take, compressed and sealed */
    uint64_t objects;      /* leaves */
    bool is_estimate;
};

/* One machine's; the name is borrowed. */
typedef int stats_machine_fn(void *cookie, const char *machine,
                             const struct stats *s, struct err *e);

struct stats_options {
    const char *const *machines; /* names or UUIDs; none: all */
    size_t n_machines;
    stats_machine_fn *machine;
    void *cookie;
    progress_fn *progress; /* may be NULL */
    void *progress_cookie;
};

/* *out: all of these machines together.  ERR_NOENT if one has no backup;
 * ERR_CORRUPT if a tree can't be read. */
int stats_repo(struct repo *r, const struct stats_options *o,
               struct cancel *cancel, struct stats *out, struct err *e);

#endif
