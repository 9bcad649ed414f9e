/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imagefile: an open image file that may still be growing.
 *
 * What lies past the end of the file is missing, not zeros: a copy that was
 * cut off must not read as a whole one.
 *
 * Ownership: the descriptor is borrowed; it is only read, at offsets.
 * Threads:   one a struct; several structs may have one descriptor.
 */
#ifndef QCOW2_IMAGEFILE_H
#define QCOW2_IMAGEFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct qcow2_file {
    int fd;         /* borrowed */
    uint64_t bytes; /* when we last looked */
    uint64_t read_bytes;
};

/* A regular file or a block device. */
int qcow2_file_open(int fd, struct qcow2_file *out, struct err *e);

/* Is [offset, offset + len) there?  Looks again if it was not. */
bool qcow2_file_has(struct qcow2_file *f, uint64_t offset, uint64_t len);

/* All of it, or ERR_CORRUPT; `what` names it. */
int qcow2_file_read(struct qcow2_file *f, uint64_t offset, void *p, size_t len,
                    const char *what, struct err *e);

#endif
