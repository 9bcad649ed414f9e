/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extract: one internal snapshot of a qcow2 image as an image of its own, which
 * `-loadvm` continues; and what snapshots an image has.
 *
 * The image may be one that a running QEMU writes to, or any copy of one that
 * was made meanwhile, however torn: what was complete as a snapshot before the
 * copy began, and was not deleted until it ended, is whole in it
 * (docs/design/savevm.md).  All tables are checked before anything is written,
 * the machine state is followed to its end, and the snapshot must still be in
 * the image when the last byte of it has been read.
 *
 * Threads: extract_snapshot and extract_look block; they use threads of their
 *          own.
 * Trust:   the image is hostile; see layers.h, qcow2/reader.h.
 * Errors:  ERR_NOENT if there is no such snapshot or it was deleted meanwhile;
 *          ERR_CORRUPT says what is missing or damaged; ERR_UNSUP for what
 *          cannot be read (encrypted, a file below that was not named);
 *          ERR_EXISTS if the target is there.
 */
#ifndef RESTORE_EXTRACT_H
#define RESTORE_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "qcow2/layers.h"
#include "work/progress.h"

struct cancel;
struct qcow2_snapshot;

enum { EXTRACT_MAX_WARNINGS = 4 };

struct extract_options {
    struct qcow2_layer_files files;
    const char *snapshot; /* its name, else its id */
    /* To be made.  Under another name until it is whole and durable; whatever
     * fails, nothing stays. */
    const char *target;
    bool unchecked; /* copy the machine state as it is, without following it */
    progress_fn *progress; /* or NULL; from several threads, one at a time */
    void *progress_cookie;
};

struct extract_result {
    char *name, *id; /* of the snapshot: any bytes */
    bool in_use;     /* somebody was writing to the image */
    uint64_t disk_bytes, vmstate_bytes;
    uint64_t read_bytes;    /* of the disk that are not holes, and the state */
    uint64_t written_bytes; /* data, without what is zero */
    uint64_t duration_ns;
    char *warnings[EXTRACT_MAX_WARNINGS];
    size_t n_warnings;
};

/*
 * The new image is version 3, has clusters as large as the old one's, stands on
 * no other file, and holds the snapshot as its active state and under its own
 * name, id and date, with the machine state if it has one.
 */
int extract_snapshot(const struct extract_options *o, struct cancel *cancel,
                     struct extract_result *out, struct err *e);
void extract_result_done(struct extract_result *r);

enum extract_state {
    EXTRACT_WHOLE,
    EXTRACT_DAMAGED, /* something is missing or makes no sense */
    EXTRACT_REFUSED, /* it cannot be read: encrypted, ... */
    EXTRACT_GONE     /* deleted while we looked */
};

/* For people and programs. */
const char *extract_state_name(enum extract_state s);

struct extract_entry {
    const struct qcow2_snapshot *snapshot; /* of the listing's image */
    enum extract_state state;
    uint64_t data_bytes; /* of the disk, in this image */
    uint64_t overlaps;   /* see qcow2_view_check */
    struct err why;      /* if it is not whole; else ERR_OK */
    char *unknown; /* NULL, or why the machine state could not be followed */
};

struct extract_listing {
    struct qcow2_layers *layers;
    bool in_use;
    size_t n;
    struct extract_entry *list;
};

/* All snapshots, with all that extract_snapshot would check; only the image
 * itself is looked into. */
int extract_look(const struct qcow2_layer_files *files, progress_fn *progress,
                 void *cookie, struct cancel *cancel,
                 struct extract_listing *out, struct err *e);
void extract_listing_done(struct extract_listing *l);

#endif
