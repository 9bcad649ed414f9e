/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intent: the record of what a capture is about to do to a guest, written
 * before the first thing is done and removed after the last is undone.
 *
 * It says how the guest was before; what has to be undone is seen by looking
 * at the guest.  The file lies in the runtime folder, which does not survive a
 * reboot: neither does the guest.  Its holder (worker or guard) has it locked;
 * a record that nobody holds is carried out by reconcile.h.
 */
#ifndef CAPTURE_INTENT_H
#define CAPTURE_INTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capture/labels.h"

struct err;
struct machine;

struct intent_disk {
    char *qdev; /* QOM path of the device */
    char *node; /* that it uses when we are not there */
};

struct intent {
    char run[LABEL_RUN_LEN + 1];
    char *machine; /* name, for messages */
    char *socket;  /* its monitor */
    pid_t pid;     /* its process, with the start time for good; 0: unknown */
    uint64_t start_time;
    pid_t worker; /* the process that makes the backup, likewise */
    uint64_t worker_start_time;
    bool was_running;
    bool window_open; /* we may have stopped the guest and not resumed it */
    bool had_background_snapshot; /* migration capabilities as they were */
    bool had_events;
    char *snapshot; /* tag of our internal snapshot, "" if there is to be none:
                       then it is all that there is to be undone */
    char *bitmap;  /* name of the tracking bitmaps that it adds (tracking.h), or
                      with `snapshot` what the names of the snapshots begin with
                      that stay for the next one; "": there are none */
    char *agent;   /* socket of the guest agent that may have frozen the file
                      systems for us, "" if none has */
    char *scratch; /* folder of the scratch files, "" if there are to be none */
    char *nbd_path; /* our NBD server's socket, "" if it is not to be ours */
    struct intent_disk *disks;
    size_t n_disks;

    char *path;  /* of the record */
    int lock_fd; /* held while somebody looks after the guest, or -1 */
    int hold_fd; /* borrowed: see scratchprobe_start; or -1 */
};

/* For the machine as it is now, with a new run.  Nothing is written yet. */
struct intent *intent_new(const struct machine *m);
void intent_free(struct intent *in); /* drops the lock; NULL is allowed */
void intent_freep(struct intent **in);
void intent_add_disk(struct intent *in, const char *qdev, const char *node);

/* Write or rewrite the record; the first time also locks it. */
int intent_save(struct intent *in, struct err *e);

/* Everything is undone: no record any more. */
void intent_remove(struct intent *in);

/* Where QEMU shows the disk of that number by FUSE, if it does: a file beside
 * the record, which must have been saved.  To be freed. */
char *intent_mount(const struct intent *in, size_t disk);
/* Nothing is mounted there any more: remove all those files. */
void intent_remove_mounts(const struct intent *in);

/* Keep beside the record, in a file RUN.intent.why, why the guard could not
 * carry it out; intent_remove removes that too. */
void intent_note_failure(const struct intent *in, const char *why);

/* The record as text and back, for passing to the guard.  To be freed. */
char *intent_format(const struct intent *in);
int intent_parse(const char *text, struct intent **out, struct err *e);

/*
 * Read and lock the record in the file `path`: 1 and *out, or 0 if somebody
 * holds it or it has gone meanwhile.
 */
int intent_claim(const char *path, struct intent **out, struct err *e);

/* Read the record without holding it; somebody may remove it at any moment. */
int intent_read(const char *path, struct intent **out, struct err *e);

/* Is the machine's process still the one that the record means?  And that of
 * the worker?  (Not the guard's.) */
bool intent_machine_lives(const struct intent *in);
bool intent_worker_lives(const struct intent *in);

/* The folder of records and sockets: $VMKEEP_RUNTIME_DIR, else /run/vmkeep for
 * root, else $XDG_RUNTIME_DIR/vmkeep, else /tmp/vmkeep-UID; made if missing.
 * To be freed. */
int runtime_dir(char **out, struct err *e);

#endif
