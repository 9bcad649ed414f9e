/* SPDX-License-Identifier: Apache-2.0 */
/*
 * underway: the backups that are being made on this host right now, as their
 * intent records tell (intent.h), and how to end one.
 */
#ifndef CAPTURE_UNDERWAY_H
#define CAPTURE_UNDERWAY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

struct err;
struct intent;

/* The records, an array of *out_n that is the caller's, to be freed with
 * underway_free.  One that cannot be read is left out. */
int underway_list(struct intent ***out, size_t *out_n, struct err *e);
void underway_free(struct intent **list, size_t n);

/*
 * Ask the process that makes the backup to give it up, and wait until the guest
 * is as it was before.  If that takes until `patience`, or the process is gone
 * already, its guard does it: *out_killed.  ERR_TIMEOUT if `end` passes too;
 * ERR_DENIED.
 */
int underway_abort(const struct intent *in, struct deadline patience,
                   struct deadline end, bool *out_killed, struct err *e);

#endif
