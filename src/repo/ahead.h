/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead: a volume read from begin to end, in order, with several slots under
 * way at a time: a distant storage takes long to begin each read, and a slot
 * needs the processor once it is here.  Those behind them are read already too,
 * as they are stored, as slots that began together end together, and the line
 * would be idle until the next ones come.
 *
 * Memory:    AHEAD_SLOTS slots of 8 MiB, less for small volumes; and what
 *            FETCH_CACHE_BYTES is for.
 * Threads:   one at a time; as many of its own as slots, and one.
 */
#ifndef REPO_AHEAD_H
#define REPO_AHEAD_H

#include <stdint.h>

struct ahead;
struct err;
struct volume_reader;

enum { AHEAD_SLOTS = 8, AHEAD_EXPECTED = 8 /* slots behind them */ };

/* Of the volume that `v` (borrowed) reads; begins at once. */
struct ahead *ahead_new(struct volume_reader *v);
/* Waits for what is under way.  NULL is allowed. */
void ahead_free(struct ahead *a);
void ahead_freep(struct ahead **a);

/* As volume_next_slot and volume_read_slot have it; good until the next call.
 */
struct ahead_slot {
    uint64_t index;
    const uint8_t *data;
    const uint64_t *marked;
};

/* The next slot that is not all zeros: 1, or 0 if there is none.  What failed
 * is told when its turn comes, and ends it. */
int ahead_next(struct ahead *a, struct ahead_slot *out, struct err *e);

#endif
