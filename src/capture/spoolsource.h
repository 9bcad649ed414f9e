/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spoolsource: a machine's RAM blocks and device state out of a spool into a
 * backup, as the volumes ram/NAME and state.
 *
 * Whatever way the machine was saved by, these volumes are cut the same, so
 * backups of one machine share what they have in common.
 */
#ifndef CAPTURE_SPOOLSOURCE_H
#define CAPTURE_SPOOLSOURCE_H

#include <stdint.h>

struct backup_writer;
struct cancel;
struct err;
struct manifest;
struct ramspool;

/* Called now and then with the RAM block, and how many bytes of all are done.
 */
typedef void spoolsource_progress_fn(void *cookie, const char *what,
                                     uint64_t done_bytes);

/* How much RAM there is. */
uint64_t spoolsource_bytes(const struct ramspool *spool);

/* All of the spool, which is whole and open; the volumes are added to `m`. */
int spoolsource_copy(struct ramspool *spool, struct backup_writer *b,
                     struct manifest *m, spoolsource_progress_fn *fn,
                     void *cookie, struct cancel *cancel, struct err *e);

#endif
