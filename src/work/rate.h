/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate: at most so many bytes a second, by the time of day, for all who share
 * it, in one process or in several.
 *
 * Who is about to move bytes takes them first and waits until it is his turn;
 * what nobody took is lost but for RATE_BURST_MS, so that a pause is not made
 * up for by a flood.  Pieces of rate_piece bytes keep the flow even.
 *
 * Threads:   any number at once; they take turns.
 */
#ifndef WORK_RATE_H
#define WORK_RATE_H

#include <stddef.h>
#include <stdint.h>

struct cancel;
struct err;
struct rate;

enum {
    RATE_BURST_MS = 100,
    RATE_MIN_BYTES = 16 << 10, /* a second: with less, servers give up on us */
    RATE_MAX_WINDOWS = 16,
    RATE_PIECE_MIN = 4 << 10,
    RATE_PIECE_MAX = 64 << 10
};

#define RATE_SHARED_PREFIX "/dev/fd/"

/*
 * "2M", "08:00-18:00=2M", "08:00-18:00=2M,22:00-06:00=unlimited,20M": bytes a
 * second (binary units, as text_parse_size) for windows of the day, local time,
 * and, without a window, for the rest of it, which is unlimited else.  Of
 * windows that overlap the first counts.  Or the RATE_SHARED_PREFIX and the
 * number of a descriptor by rate_share, which another process of this program
 * has inherited: they take turns.  `what` names the option.  ERR_USAGE, ERR_IO.
 */
int rate_parse(const char *text, const char *what, struct rate **out,
               struct err *e);
void rate_free(struct rate *r); /* NULL is allowed */

/* A descriptor for another process of this program, closed on exec; it is r's.
 * Before anybody takes of r.  ERR_IO. */
int rate_share(struct rate *r, int *out_fd, struct err *e);

/* What to move at a time; SIZE_MAX where there is no limit now.  NULL: none. */
size_t rate_piece(struct rate *r);

/* `bytes` are about to be moved, or were: when that may be, or the next may
 * follow, by the monotonic clock; 0: now. */
uint64_t rate_take(struct rate *r, size_t bytes);

/* Take them and wait.  A cancel that is raised (or NULL: none) ends the wait,
 * and those that follow: there is little time left.  NULL is no limit. */
void rate_wait(struct rate *r, size_t bytes, const struct cancel *c);

/* What was taken so far, and how long all who took it waited. */
void rate_counts(struct rate *r, uint64_t *out_bytes, uint64_t *out_waited_ns);

#endif
