/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live_internal: one live capture under way, as its steps share it.
 *
 * In order: preflight (looks only), prepare (nothing that the guest notices),
 * window (the guest is paused), pull (it runs again), and in any case
 * live_disarm.
 */
#ifndef CAPTURE_LIVE_INTERNAL_H
#define CAPTURE_LIVE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/labels.h"
#include "capture/live.h"

struct backup_writer;
struct cancel;
struct disk;
struct drainer;
struct err;
struct guard;
struct intent;
struct machine;
struct manifest;
struct qmp;
struct ramspool;
struct repo;

/* One writable disk. */
struct live_disk {
    const struct disk *disk; /* of the machine; borrowed */
    char scratch[LABEL_MAX];
    char filter[LABEL_MAX];
    char access[LABEL_MAX];
    char export[LABEL_MAX];
};

struct live {
    struct repo *repo;                     /* borrowed */
    const struct capture_options *options; /* borrowed */
    struct cancel *cancel;                 /* borrowed */
    struct capture_result *result;         /* borrowed */
    struct qmp *qmp;
    struct machine *machine;
    struct live_disk *disks;
    size_t n_disks;

    const char *scratch_dir; /* borrowed */
    uint64_t max_pause_ms;
    unsigned cbw_timeout_s;

    struct intent *intent; /* from here on there may be something to undo */
    struct guard *guard;
    struct drainer *drainer;
    struct ramspool *spool;
    int stream[2]; /* our end, QEMU's end until it is passed */

    int64_t instant_ns; /* t0, wall clock: QEMU's STOP event */
    struct backup_writer *backup;
    struct manifest *manifest;
    uint64_t total_bytes, done_bytes; /* for progress */
};

/* live_preflight.c: can it be captured live?  Fills machine and disks. */
int live_preflight(struct live *l, struct err *e);

/* live_prepare.c: scratch, NBD server, stream, guard, drainer. */
int live_prepare(struct live *l, struct err *e);

/* live_window.c: stop, arm, start the RAM stream, and the guest runs again. */
int live_window(struct live *l, struct err *e);

/* live_pull.c: disks and RAM into the repository, into l->manifest. */
int live_pull(struct live *l, struct err *e);

/* Keeps a warning for the result; takes the text. */
void live_warn(struct live *l, char *text);
void live_progress(struct live *l, const char *phase, const char *what);

#endif
