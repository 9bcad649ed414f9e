/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script: the file `run` of a restore: the recorded command line, its disks
 * mapped to the restored images, as a shell script.
 */
#ifndef RESTORE_SCRIPT_H
#define RESTORE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct machine;

/* How the machine starts. */
enum script_start {
    SCRIPT_LOADVM,   /* from the snapshot "vmkeep" in its first image */
    SCRIPT_INCOMING, /* from the file "vmkeep.vmstate" beside it */
    SCRIPT_BOOT      /* cold */
};

struct script {
    const struct machine *machine; /* borrowed */
    enum script_start start;
    const char *format;          /* of the restored images: "qcow2" or "raw" */
    const char *ending;          /* of their file names: ".qcow2" or ".raw" */
    int64_t time_ns;             /* the instant, for the comment */
    const char *const *excluded; /* disks whose images are empty, as they were
                                    left out of the backup; NULL: none */
};

/*
 * The script's text into `out`.  *unmapped gets the name of a disk for which
 * the command line has no option (it was added at run time), or NULL; the
 * script says so too.  Borrowed from the machine.
 */
void script_write(const struct script *s, struct buf *out,
                  const char **unmapped);

#endif
