/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbdsource: reads one disk over NBD into a volume of a backup.
 *
 * What the server reports as holes or zeros (base:allocation) is not read.
 * Many requests are under way at once; back-pressure comes from the volume,
 * whose free slots bound the memory.
 *
 * Trust: the server is QEMU, which its guest may have taken over: sizes and
 * extents are checked; every completion's error counts.
 */
#ifndef CAPTURE_NBDSOURCE_H
#define CAPTURE_NBDSOURCE_H

#include <stdbool.h>
#include <stdint.h>

struct cancel;
struct copied;
struct err;
struct nbdsource;
struct volume_writer;

/* Called several times a second, also while nothing comes, with the place in
 * the disk that has been reached.  -1 ends the copy with that error. */
typedef int nbdsource_progress_fn(void *cookie, uint64_t offset, struct err *e);

/* The export `name` at the UNIX socket `path`.  `bitmap`, or NULL: the name of
 * a dirty bitmap that it is exported with.  `cookie` and `cancel` are borrowed.
 * ERR_TIMEOUT if QEMU does not answer for a minute, here and below. */
int nbdsource_open(const char *path, const char *name, const char *bitmap,
                   nbdsource_progress_fn *fn, void *cookie,
                   struct cancel *cancel, struct nbdsource **out,
                   struct err *e);
void nbdsource_close(struct nbdsource *s); /* NULL is allowed */
void nbdsource_closep(struct nbdsource **s);

/* No read crosses a multiple of this, a power of two; 1 MiB if not told. */
void nbdsource_read_in_blocks(struct nbdsource *s, uint32_t block_bytes);

/* What the server reports as holes is read where `c` (borrowed) has copies. */
void nbdsource_doubt_holes(struct nbdsource *s, const struct copied *c);

uint64_t nbdsource_size_bytes(const struct nbdsource *s);
/* What has been asked for so far. */
uint64_t nbdsource_read_bytes(const struct nbdsource *s);

/* With a bitmap only: is it set there?  Or read all, as if there were none. */
int nbdsource_is_dirty_at(struct nbdsource *s, uint64_t offset, bool *out,
                          struct err *e);
void nbdsource_forget_bitmap(struct nbdsource *s);

/* Read all of it, or with a bitmap only what is dirty there; that is then
 * `changed` (volume.h), and slots without such are not submitted.  ERR_IO if
 * the server reports an error anywhere. */
int nbdsource_copy(struct nbdsource *s, struct volume_writer *v, struct err *e);

#endif
