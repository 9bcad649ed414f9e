/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image: one file of a restore, until it is whole under the name "X.partial".
 *
 * Ownership: image_publish or image_abandonp ends it; abandoning removes the
 *            file.  Threads: one.
 */
#ifndef RESTORE_IMAGE_H
#define RESTORE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct image;
struct qcow2_write_options;

/* A qcow2 image NAME.qcow2 in the folder `dir`. */
int image_open_qcow2(const char *dir, const char *name,
                     const struct qcow2_write_options *o, struct image **out,
                     struct err *e);
/* A plain, sparse file `name` of `size` bytes; 0: as long as what is appended.
 */
int image_open_raw(const char *dir, const char *name, uint64_t size,
                   struct image **out, struct err *e);

/* Data of the disk at `offset`; whole clusters of 64 KiB (as qcow2/writer.h).
 */
int image_write(struct image *im, uint64_t offset, const void *p, size_t len,
                struct err *e);
/* Of qcow2: the next bytes of the machine state.  Of raw: of the file. */
int image_append(struct image *im, const void *p, size_t len, struct err *e);

/* Tables, fsync; it is still called ".partial". */
int image_finish(struct image *im, struct err *e);
/* Give a finished one its name.  Frees, also on failure. */
int image_publish(struct image **im, struct err *e);
void image_abandonp(struct image **im);

/* Of the file as it will be called, absolute; borrowed. */
const char *image_path(const struct image *im);

#endif
