/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rawsource: reads a raw image, a file or a block device that nobody writes to,
 * into a volume of a backup.
 *
 * Holes of a file (SEEK_DATA, SEEK_HOLE) are not read.  The workers of the
 * backup read, each a slot, and the kernel reads ahead of them.
 *
 * Trust: the image's bytes are its guest's and mean nothing here, but for the
 * first few, which tell other formats apart.  That the file is left alone
 * meanwhile is checked as far as that can be seen: by QEMU's locks, by size and
 * modification time.  A block device has no such time.
 */
#ifndef CAPTURE_RAWSOURCE_H
#define CAPTURE_RAWSOURCE_H

#include <stdbool.h>
#include <stdint.h>

struct cancel;
struct err;
struct rawsource;
struct volume_root;
struct volume_writer;

/*
 * ERR_USAGE if it is neither a file nor a block device; ERR_QEMU if a QEMU has
 * it open for writing; ERR_DENIED if a device is mounted or otherwise taken;
 * ERR_UNSUP if it looks like an image of another format and not `surely_raw`.
 */
int rawsource_open(const char *path, bool surely_raw, struct rawsource **out,
                   struct err *e);
/* Does this file begin as a qcow2 image does?  1, 0, -1; errors as
 * rawsource_open.  It may be a raw disk all the same, whose guest wrote that.
 */
int rawsource_looks_qcow2(const char *path, struct err *e);
void rawsource_close(struct rawsource *s); /* NULL is allowed */
void rawsource_closep(struct rawsource **s);

uint64_t rawsource_size_bytes(const struct rawsource *s);

/* Called now and then with the place in the image that has been reached. */
typedef void rawsource_progress_fn(void *cookie, uint64_t offset);

/* Read all of it and end the volume.  ERR_IO if it has changed since it was
 * opened.  *v is to be abandoned in any case. */
int rawsource_copy(struct rawsource *s, struct volume_writer **v,
                   struct volume_root *out, rawsource_progress_fn *fn,
                   void *cookie, struct cancel *cancel, struct err *e);

#endif
