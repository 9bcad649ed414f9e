/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endmark: the last bit of a tracking bitmap is set from the beginning.
 *
 * A disk that is made smaller loses the bits of what is cut off, and QEMU sets
 * none when it grows again (hbitmap_truncate in QEMU's util/hbitmap.c): the end
 * reads as zeros, and as clean.  A bitmap whose last bit is clear has been
 * through that, or was cleared by somebody; whichever, it cannot be believed.
 * The price is to read the last grain of the disk each time.
 */
#ifndef CAPTURE_ENDMARK_H
#define CAPTURE_ENDMARK_H

#include <stdint.h>

struct err;
struct qmp;

/*
 * Set the mark in the bitmap `name` of `node`, which has `grain_bytes` for a
 * bit; the disk has `disk_bytes`, not 0.  No command of QEMU sets a bit: a node
 * of the same size that holds nothing is made for it, written to, and removed.
 * It is called `label`, and so is its bitmap; undo.h removes them if we are
 * killed meanwhile.
 */
int endmark_set(struct qmp *q, const char *node, const char *name,
                uint64_t disk_bytes, uint64_t grain_bytes, const char *label,
                struct err *e);

/* Where the grain that has it begins. */
uint64_t endmark_offset(uint64_t disk_bytes, uint64_t grain_bytes);

#endif
