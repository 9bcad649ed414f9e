/* SPDX-License-Identifier: Apache-2.0 */
/*
 * newfile: a large file that is there whole, durable, and under its name, or
 * not at all; and that never replaces another.
 *
 * Until it is published it has no name, and is gone if this process is killed.
 * Where the file system cannot do that (O_TMPFILE), or /proc is missing by
 * which such a file gets its name, it is called "PATH.*.partial", and a process
 * that is killed leaves that behind.
 *
 * Ownership: newfile_publish or newfile_abandonp ends it.  Threads: writes to
 *            its descriptor from any.
 */
#ifndef RESTORE_NEWFILE_H
#define RESTORE_NEWFILE_H

#include <stdint.h>

struct err;
struct newfile;

/* ERR_EXISTS if there is something of that name already. */
int newfile_open(const char *path, struct newfile **out, struct err *e);

/* For reading and writing; empty at first; borrowed. */
int newfile_fd(const struct newfile *f);
/* What to call it in messages: the partial name, or the final one. */
const char *newfile_path(const struct newfile *f);

/* These bytes, just written, may go to the disk now, so that less is left to
 * wait for at the end.  Only a hint. */
void newfile_start_writing(const struct newfile *f, uint64_t offset,
                           uint64_t len);

/* fsync, give it its name, fsync of the folder.  Frees, also on failure, and
 * then removes the file. */
int newfile_publish(struct newfile **f, struct err *e);
void newfile_abandonp(struct newfile **f); /* removes it; NULL is allowed */

#endif
