/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live: save a running machine, RAM, devices and disks of one instant, while
 * it keeps running (docs/design/capture.md).
 *
 * The guest is paused for milliseconds.  Whatever fails, the backup fails and
 * the guest goes on as before: a guard process sees to it even if this one is
 * killed, and reconcile.h if the guard is killed too.
 */
#ifndef CAPTURE_LIVE_H
#define CAPTURE_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "work/progress.h"

struct cancel;
struct err;
struct manifest;
struct qmp;
struct machine;
struct repo;

enum {
    CAPTURE_MAX_PAUSE_MS = 10000,
    CAPTURE_CBW_TIMEOUT_S = 5,
    CAPTURE_MIN_FREE_BYTES = 256 << 20,
    CAPTURE_MAX_WARNINGS = 16
};

#define CAPTURE_SCRATCH_DIR "/var/tmp"

struct capture_options {
    const char *scratch_dir;    /* local; NULL: CAPTURE_SCRATCH_DIR */
    uint64_t max_pause_ms;      /* longer: abort, resume; 0: the default */
    unsigned cbw_timeout_s;     /* longest added write stall; 0: default */
    uint64_t scratch_bytes;     /* what the guest may overwrite; 0: no limit */
    uint64_t min_free_bytes;    /* to be left in scratch_dir; 0: the default */
    bool no_tracking;           /* read all of each disk, and leave no bitmap */
    bool keep_bitmaps;          /* in the images that can, over a restart */
    const char *const *exclude; /* names of disks to be left out,
                                   NULL-terminated; NULL: none */
    const char *agent;     /* socket of the guest agent; NULL: look for it */
    uint64_t freeze_ms;    /* for the agent to freeze; 0: the default */
    progress_fn *progress; /* or NULL */
    void *progress_cookie;
};

/* What the disks of a backup are like to the guest that finds them. */
#define CAPTURE_FULL "full" /* it goes on, RAM and disks are of one instant */
#define CAPTURE_FROZEN "frozen" /* as after sync and a clean halt */
#define CAPTURE_CRASH "crash"   /* as after a power cut */

/* Where the guest's pause went, in microseconds. */
struct capture_pause {
    uint64_t total_us;          /* from QEMU's STOP event to its RESUME event */
    uint64_t stop_us;           /* QEMU's `stop`: drain and flush */
    uint64_t arm_us;            /* the disks' copy-before-write filters */
    uint64_t ram_us;            /* the next two, and resuming */
    uint64_t populate_us;       /* of that: every page of RAM is touched */
    uint64_t protect_us;        /* devices are saved, RAM is write-protected */
    uint64_t least_us, most_us; /* what was to be expected of its RAM */
};

/* How a disk was read. */
struct capture_disk {
    char *name;
    const char *why_full; /* all of it was read, because; NULL: what changed */
    uint64_t read_bytes;  /* over NBD, so without holes */
    uint64_t size_bytes;
    bool excluded; /* it was not read at all, as was asked for */
};

struct capture_result {
    struct manifest *manifest;  /* of the published backup */
    struct capture_disk *disks; /* the writable ones */
    size_t n_disks;
    struct capture_pause pause;
    const char *consistency; /* one of the above */
    uint64_t frozen_us;      /* how long its file systems were */
    uint64_t duration_ns;
    uint64_t disks_ns, memory_ns; /* of that: they were read, and stored */
    char *warnings[CAPTURE_MAX_WARNINGS];
    size_t n_warnings;
};

/*
 * Back up the machine that `socket`, a QMP UNIX socket, belongs to.  On success
 * *out is to be freed with capture_result_done.  ERR_UNSUP with the reason if
 * the machine cannot be captured live; ERR_USAGE if it has no such disk as is
 * to be left out.
 */
int capture_live(struct repo *r, const char *socket,
                 const struct capture_options *o, struct cancel *cancel,
                 struct capture_result *out, struct err *e);
void capture_result_done(struct capture_result *r);

#endif
