/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracking: what a disk's dirty bitmap says of the writes since a backup, and
 * when it may be believed (docs/design/capture.md, "Only what changed").
 *
 * The bitmap "vmkeep:REPOSITORY:BACKUP" on a disk's node is added at the
 * instant of that backup, and records from then on.  It lives in QEMU's memory
 * and ends with the process.
 */
#ifndef CAPTURE_TRACKING_H
#define CAPTURE_TRACKING_H

#include <stddef.h>

struct bitmap;
struct disk;
struct machine;
struct manifest;

enum {
    TRACKING_NAME_MAX = 80 /* with its NUL */
};

/* `out` has TRACKING_NAME_MAX bytes; both ids are hexadecimal, as REPO_ID_LEN
 * and BACKUP_ID_LEN say. */
void tracking_name(char *out, const char *repository, const char *backup);

/* The id of the backup in a bitmap's name (borrowed), or NULL if it is not one
 * of that repository. */
const char *tracking_backup(const char *name, const char *repository);

/*
 * NULL if the bitmap `b` tells all that was written to the disk `d` of the
 * machine `now` since the backup `base`, in which it was `then`; else why it
 * may not, for people: the rest of a sentence.  `b` may be NULL.
 */
const char *tracking_doubt(const struct machine *now, const struct disk *d,
                           const struct bitmap *b, const struct machine *then,
                           const struct manifest *base);

#endif
