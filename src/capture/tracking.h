/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracking: what a disk's dirty bitmap says of the writes since a backup, and
 * when it may be believed (docs/design/capture.md, "Only what changed").
 *
 * The bitmap "vmkeep:REPOSITORY:BACKUP" on a disk's node is added at the
 * instant of that backup, and records from then on.  It lives in QEMU's memory
 * and ends with the process.
 *
 * A kept one, "vmkeep:REPOSITORY:BACKUP:DISK", is persistent: QEMU writes it
 * into the image when it closes that, and takes it up again.  It names the
 * disk, as images may have been exchanged meanwhile.
 */
#ifndef CAPTURE_TRACKING_H
#define CAPTURE_TRACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bitmap;
struct disk;
struct machine;
struct manifest;

enum {
    TRACKING_NAME_MAX = 160, /* with its NUL */
    /* A bit for each block that a backup can store by itself, */
    TRACKING_GRAIN_BYTES = 4096,
    /* or for more, as QEMU has at most so many bits in memory (16 MiB) for a
     * bitmap of ours.  A disk has one between backups, and three during one. */
    TRACKING_BITS_MAX = 1 << 27
};

/* How many bytes of a disk of that size a bit of its bitmap stands for: a power
 * of two. */
uint64_t tracking_grain_bytes(uint64_t disk_bytes);

/* `out` has TRACKING_NAME_MAX bytes; both ids are hexadecimal, as REPO_ID_LEN
 * and BACKUP_ID_LEN say. */
void tracking_name(char *out, const char *repository, const char *backup);

/* The name of a kept one; `disk` is the disk's name (disk_name_is_fit). */
void tracking_kept_name(char *out, const char *repository, const char *backup,
                        const char *disk);

/* Is it the name of a bitmap of that repository, of either kind?  Then the id
 * of its backup is in out_backup, which has BACKUP_ID_LEN + 1 bytes. */
bool tracking_parse(const char *name, const char *repository, char *out_backup);

/* The id of the backup in a bitmap's name (borrowed), or NULL if it is not one
 * of that repository. */
const char *tracking_backup(const char *name, const char *repository);

/*
 * NULL if the bitmap `b` tells all that was written to the disk `d` of the
 * machine `now` since the backup `base`, in which it was `then`; else why it
 * may not, for people: the rest of a sentence.  `b` may be NULL.  `kept`: it
 * has the name of a kept one of this disk, and may have come out of the image.
 */
const char *tracking_doubt(const struct machine *now, const struct disk *d,
                           const struct bitmap *b, bool kept,
                           const struct machine *then,
                           const struct manifest *base);

#endif
