/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machinestate: the migration stream of a backup, made whole again.
 *
 * The volume "state" is the stream without its pages; the volumes "ram/NAME"
 * are the pages.
 */
#ifndef RESTORE_MACHINESTATE_H
#define RESTORE_MACHINESTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cancel;
struct err;
struct manifest;
struct repo;

/* Takes the stream's bytes in order. */
typedef int machinestate_fn(void *cookie, const uint8_t *p, size_t len,
                            struct err *e);
/* Called with each part of RAM that is done. */
typedef void machinestate_progress_fn(void *cookie, uint64_t bytes);

/* Has the backup RAM and device state at all? */
bool machinestate_exists(const struct manifest *m);
/* Of all RAM blocks. */
uint64_t machinestate_ram_bytes(const struct manifest *m);

int machinestate_write(struct repo *r, const struct manifest *m,
                       machinestate_fn *fn, machinestate_progress_fn *progress,
                       void *cookie, struct cancel *cancel, struct err *e);

#endif
