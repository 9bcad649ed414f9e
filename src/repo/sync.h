/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync: what a writer knows of maintenance, and since when
 * (docs/design/repository.md, "The writer's protocol").
 *
 * A sync puts a marker into the store and reads back its time S, by the
 * storage's clock, then loads what is condemned, then the index.  What a
 * backup relies on is safe until S + L: so its ref must be in the store by
 * then.
 *
 * Threads:   sync_condemned from many at once; all else from one at a time.
 */
#ifndef REPO_SYNC_H
#define REPO_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "repo/name.h"

struct config;
struct err;
struct repo;
struct sync;

struct sync *sync_new(struct repo *r); /* borrows it */
void sync_free(struct sync *s);        /* NULL is allowed */

/* The backup that the new one inherits from, by its id in HEX, before the
 * first sync_now.  ERR_NOENT if there is none, or none that may be relied on:
 * retired, or published too late. */
int sync_set_base(struct sync *s, const char *id, struct err *e);

int sync_now(struct sync *s, struct err *e);

/* S of the last sync. */
int64_t sync_time_ns(const struct sync *s);
/* How long ago it began, by our own clocks: whichever says more. */
int64_t sync_age_ns(const struct sync *s);
/* Was the pack condemned at any sync so far? */
bool sync_condemned(struct sync *s, const uint8_t sum[32]);

/* The base, if there is one that was still good at the last sync; else NULL. */
const uint8_t *sync_base(const struct sync *s);
/* Has the base, good or not, a volume of which this is the root? */
bool sync_base_has(const struct sync *s, const uint8_t gid[16]);
/* Was there one, and now it has been retired? */
bool sync_base_lost(const struct sync *s);
/* Nothing relies on the base any more. */
void sync_drop_base(struct sync *s);

/* Was a ref that says S put so late, at `stored_ns`, that it can't be relied
 * on? */
bool sync_is_late(const struct config *c, int64_t sync_ns, int64_t stored_ns);

#endif
