/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore: a backup as files that plain QEMU starts from.
 *
 * In the target folder: one image a disk, with qcow2 the first writable one
 * holding the machine's RAM and devices in the internal snapshot "vmkeep", and
 * an executable script `run` with the recorded command line, its disks mapped
 * to these files (but for imported images: nobody knows their machine).  A disk
 * that was left out of the backup is there as an empty one of its size, without
 * which the machine would not start.  Until
 * all of them are whole and durable they carry the ending ".partial".
 */
#ifndef RESTORE_RESTORE_H
#define RESTORE_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "work/progress.h"

struct cancel;
struct err;
struct manifest;
struct repo;

enum restore_format {
    RESTORE_QCOW2,
    RESTORE_RAW /* with the machine state in a file of its own */
};

struct restore_options {
    const char *dir;  /* made if missing; ERR_EXISTS unless empty */
    const char *disk; /* only this one, without RAM; NULL: all */
    enum restore_format format;
    bool boot; /* disks only: the machine starts cold */
    progress_fn *progress;
    void *progress_cookie;
};

struct restore_result {
    uint64_t written_bytes; /* data, without what is zero */
    uint64_t duration_ns;
    char **files;    /* absolute, NULL-terminated */
    bool has_script; /* the last of them is the script */
    bool has_state;  /* the machine state is among them; in raw the last, but
                        for the script */
    char **excluded; /* disks that were left out of the backup, by their names,
                        NULL-terminated: their images are empty */
};

/* ERR_NOENT if there is no such disk; ERR_UNSUP if the backup has lost its RAM
 * and `boot` was not asked for; ERR_CORRUPT names what is damaged. */
int restore_files(struct repo *r, const struct manifest *m,
                  const struct restore_options *o, struct cancel *cancel,
                  struct restore_result *out, struct err *e);
void restore_result_done(struct restore_result *r);

#endif
