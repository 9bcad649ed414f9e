/* SPDX-License-Identifier: Apache-2.0 */
/*
 * labels: what our objects inside a QEMU are called: "vmkeep-RUN-KIND", where
 * RUN is eight hexadecimal digits of one capture.  Whatever bears that prefix
 * is ours to remove, and nothing else is.
 */
#ifndef CAPTURE_LABELS_H
#define CAPTURE_LABELS_H

#include <stddef.h>

enum {
    LABEL_RUN_LEN = 8,
    LABEL_MAX = 32 /* QEMU's limit on a node name, with its NUL */
};

/* "vmkeep-RUN-KIND" and a number behind it; `out` has LABEL_MAX bytes. */
void label_make(char *out, const char *run, const char *kind, size_t number);

/* "vmkeep-RUN-", to compare with; `out` has LABEL_MAX bytes. */
void label_prefix(char *out, const char *run);

/* Our kinds of block nodes, in the order in which they can be removed. */
#define LABEL_ACCESS "acc"  /* snapshot-access: what the pull reads */
#define LABEL_FILTER "cbw"  /* copy-before-write, in front of the disk */
#define LABEL_SCRATCH "scr" /* where overwritten blocks are kept */
#define LABEL_ENDMARK "end" /* see endmark.h; and the bitmap on it */
#define LABEL_EXPORT "exp"
#define LABEL_CHANGED "chg" /* a bitmap: what changed since the base */
/* Of an internal snapshot, and of jobs. */
#define LABEL_SNAPSHOT "snap"
#define LABEL_JOB "job"
/* And of descriptors passed by getfd. */
#define LABEL_STREAM_FD "ram"
#define LABEL_NBD_FD "nbd"

#endif
