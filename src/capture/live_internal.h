/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live_internal: one live capture under way, as its steps share it.
 *
 * In order: preflight (looks only), begin (the repository), prepare (nothing
 * that the guest notices), window (the guest is paused), pull (it runs again);
 * and in any case it is all undone.
 */
#ifndef CAPTURE_LIVE_INTERNAL_H
#define CAPTURE_LIVE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "capture/copied.h"
#include "capture/labels.h"
#include "capture/live.h"
#include "capture/tracking.h"

struct backup_writer;
struct cancel;
struct disk;
struct drainer;
struct err;
struct guard;
struct intent;
struct machine;
struct manifest;
struct qcow2_layers;
struct qcow2_snapshot;
struct qmp;
struct ramspool;
struct repo;
struct savevm;
struct volume_root;

/*
 * QEMU 7.2.22 (10.0 does not) returns what the guest has written since, and no
 * error, if a read of a snapshot-access node begins in a part that has been
 * copied before a write and goes on into one that has not.  So where that may
 * be, no read crosses a border between two parts (docs/design/versions.md).
 */
enum { CBW_PART_BYTES = 65536 };

/* See FILTER_PARTS: this is twice as many, in the largest clusters there are.
 */
#define CAPTURE_DISK_MAX_BYTES (UINT64_C(1) << 48)

/* One writable disk. */
struct live_disk {
    const struct disk *disk; /* of the machine; borrowed */
    char scratch[LABEL_MAX];
    char filter[LABEL_MAX];
    char access[LABEL_MAX];
    char export[LABEL_MAX];
    int scratch_fd; /* that file, or -1 */
    struct copied copied;

    /* Either the same disk in the backup that this one is built on, borrowed
     * from live.base, and a bitmap of what has changed; or why not. */
    const struct volume_root *base;
    char base_bitmap[TRACKING_NAME_MAX]; /* what was written since */
    char changed[LABEL_MAX];
    const char *why_full;
    char bitmap[TRACKING_NAME_MAX]; /* for the next one */
    uint64_t read_bytes;
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
    uint64_t min_free_bytes;   /* in the scratch folder */
    struct deadline next_look; /* of live_tend */
    bool gave_migration_back;

    struct deadline window_end;  /* of the pause, while there is one */
    int64_t setup_ns, active_ns; /* what QEMU said of its migration, or 0 */

    struct intent *intent; /* from here on there may be something to undo */
    struct guard *guard;
    struct drainer *drainer;
    struct ramspool *spool;
    int stream[2]; /* our end, QEMU's end until it is passed */

    bool by_fuse;   /* disks are read by FUSE and not by NBD */
    bool arms_late; /* the filters are made in the pause */

    struct savevm *savevm; /* of that method only */
    bool disks_only;       /* of the method disk */
    bool looks_only;       /* for ability.h: `begin` begins no backup */
    char *agent;           /* then: socket of the guest agent, or NULL */

    int64_t instant_ns; /* t0, wall clock: QEMU's STOP event */
    struct backup_writer *backup;
    struct manifest *base; /* that it is built on, or NULL */
    struct manifest *manifest;
    bool tracked;                     /* the disks have bitmaps that name it */
    uint64_t total_bytes, done_bytes; /* for progress */
};

/* A method of capture; each step as the comment at the top says. */
struct capture_way {
    const char *method; /* "live", "savevm", "disk" */
    int (*preflight)(struct live *l, struct err *e);
    /* Makes l->backup; NULL: one that is built on none. */
    int (*begin)(struct live *l, struct err *e);
    int (*prepare)(struct live *l, struct err *e);
    int (*window)(struct live *l, struct err *e);
    int (*pull)(struct live *l, struct err *e);
    /* The backup is published: remove what was kept for it. */
    void (*settle)(struct live *l);
};
extern const struct capture_way live_way, savevm_way, disk_way;
int capture_by(const struct capture_way *way, struct repo *r,
               const char *socket, const struct capture_options *o,
               struct cancel *cancel, struct capture_result *out,
               struct err *e);

/* live.c: releases what it owns.  Nothing must be left to be undone. */
void live_done(struct live *l);

/* savevm.c */
void savevm_free(struct savevm *s); /* NULL is allowed */
/* The image of disk number i, as it was opened last. */
const struct qcow2_layers *savevm_layers(const struct savevm *s, size_t i);

/* savevm_tracking.c: the same by snapshots of the disks that stay in their
 * images until the next backup; see live_tracking.c. */
int savevm_begin_backup(struct live *l, struct err *e);
void savevm_name_tracking(struct live *l);
/* At the instant, the guest stands still.  A QEMU that cannot is a warning. */
void savevm_take_tracking(struct live *l);
void savevm_settle_tracking(struct live *l);
/* The snapshot that disk number i is compared with, in the image as it was
 * opened last; NULL if there is none (any more). */
const struct qcow2_snapshot *savevm_base_snapshot(const struct live *l,
                                                  size_t i);

/* live_preflight.c: can it be captured live?  Fills machine and disks. */
int live_preflight(struct live *l, struct err *e);
/* Parts of it.  Fill l->disks; is there room for the RAM in the scratch folder;
 * is QEMU's one migration free? */
int live_check_version(const struct live *l, struct err *e);
int live_look_at_iothreads(struct live *l, struct err *e);
/* When it is stopped, QEMU 10.0.13 and 11.1.2 may lose the interrupt of a
 * request of a disk in an I/O thread, and the guest waits for it for ever.  It
 * was seen under emulation, by stop and cont alone; not on 7.2.22
 * (docs/design/versions.md). */
int live_check_interrupts(const struct live *l, struct err *e);
int live_take_disks(struct live *l, struct err *e);
/* Is it to be left out? */
bool live_excludes(const struct live *l, const struct disk *d);
int live_check_scratch(const struct live *l, struct err *e);
int live_check_migration(const struct live *l, struct err *e);

/* live_estimate.c: how long the guest will stand still, into l->result->pause;
 * ERR_QEMU if that is longer than it may be for sure. */
int live_estimate(struct live *l, struct err *e);
/* The same from QEMU's list of RAM blocks ("info ramblock"): bytes in pages
 * small enough to count. */
uint64_t live_small_page_bytes(const char *ramblocks);

/* live_base.c: which backup the new one is built on. */
enum { CANDIDATES_MAX = 16 }; /* mostly there is 1 */
struct candidates {
    struct manifest *all[CANDIDATES_MAX]; /* newest first */
    size_t n;
};
void candidates_done(struct candidates *c);
/* All of each disk is read, that is why (borrowed). */
void live_all_full(struct live *l, const char *why);
/* The machine names that backup.  One that is gone or that we may not read is
 * none. */
int live_add_candidate(struct live *l, struct candidates *c, const char *id,
                       struct err *e);
/* Settles for each disk whether it is built on `base`, and if not why; true if
 * any is. */
typedef bool live_judge_fn(struct live *l, const struct manifest *base,
                           void *cookie);
/* Begins the backup (unless it looks only) on the first that is judged so, else
 * on none. */
int live_begin_on_best(struct live *l, struct candidates *c,
                       live_judge_fn *judge, void *cookie, struct err *e);
/* What it was built on turns out to be damaged: gives up what was stored of it,
 * and begins one that is built on none, and relies on none of the nodes that
 * are stored: what else of them is damaged nobody knows. */
int live_begin_anew(struct live *l, struct err *e);

/* live_tracking.c: begins the backup on the one before, where the bitmaps allow
 * it, and settles for each disk how it is read. */
int live_begin_backup(struct live *l, struct err *e);
/* Names the bitmaps in the record / adds them; they record nothing yet. */
void live_name_tracking(struct live *l);
int live_prepare_tracking(struct live *l, struct err *e);
/* At the instant: copy those of the base, let the new ones record.  One command
 * to be redeemed. */
int live_send_tracking(struct live *l, uint64_t *out_ticket, struct err *e);
/* The backup is published: remove those of all before. */
void live_settle_tracking(struct live *l);

/* live_prepare.c: scratch, NBD server, stream, guard, drainer. */
int live_prepare(struct live *l, struct err *e);

/* live_arm.c: the filters, through which a disk can be read as it was.  Made
 * before the pause, and put in front of the disks in it (which is the instant).
 * While QEMU touches all RAM, the disks are opened for reading. */
int live_add_filters(struct live *l, struct err *e);
int live_arm(struct live *l, struct err *e);
int live_start_stream(struct live *l, const char *uri, struct err *e);

/* live_fuse.c: reading the disks through exports of QEMU's that are files.
 * Slower than NBD, and no bitmaps; for a QEMU that no NBD client may leave. */
/* Does it work with this QEMU?  Before the guest is stopped. */
int live_try_fuse(struct live *l, struct err *e);
/* Disk number `disk` into the backup. */
int live_pull_by_fuse(struct live *l, size_t disk, struct err *e);

/* live_window.c: stop, arm, start the RAM stream, and the guest runs again. */
int live_window(struct live *l, struct err *e);
/* The length of the pause and its instant, by QEMU's STOP and RESUME events. */
void live_measure_by_events(struct live *l);

/* live_tend.c: to be called often while the guest runs and is read from.  -1 if
 * the backup must end now: what the guest was promised would be broken. */
int live_tend(struct live *l, struct err *e);
/* Of that: does what the guest overwrites take more room than it may? */
int live_check_room(const struct live *l, struct err *e);

/* live_pull.c: disks and RAM into the repository, into l->manifest. */
int live_pull(struct live *l, struct err *e);
/* All RAM blocks and the state from the spool, which is whole and open. */
int live_pull_spool(struct live *l, struct err *e);

/* Keeps a warning for the result; takes the text. */
void live_warn(struct live *l, char *text);
void live_progress(struct live *l, const char *phase, const char *what);

#endif
