/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inuse: does a running QEMU write to this image?
 *
 * QEMU and its tools hold a lock on one byte of a local image file for each
 * thing they do with it; we only ask, so nobody is kept out.
 *
 * Source: QEMU block/file-posix.c (raw_apply_lock_bytes).
 */
#ifndef QCOW2_INUSE_H
#define QCOW2_INUSE_H

struct err;

/* 1 if one has it open for writing; 0 if no lock is seen, which a file system
 * without locks, or QEMU's locking=off, makes no proof; -1 on error. */
int qcow2_in_use(int fd, struct err *e);

#endif
