/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_place: the folder that a local store lives in, and the folders below
 * it.
 *
 * Paths are walked one component at a time, and no symbolic link below the
 * place is followed: others may write there.  (openat2(2) would do the same in
 * one call, but not on every kernel and under every seccomp filter.)
 *
 * Paths are parts of names that store_name_ok allows.  Any number of threads.
 */
#ifndef STORE_STORE_PLACE_H
#define STORE_STORE_PLACE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/store_made.h"

struct err;

enum { PLACE_FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

struct place {
    const char *address; /* for messages; borrowed */
    int fd;              /* the folder itself */
    /* Folders ("packs/ab") whose entries in their own folders were synced by
     * us, so that what is put there outlives a power cut. */
    struct made durable;
};

/* The descriptor, which the variable's cleanup then leaves open. */
static inline int
place_steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

/* `fd` is owned from then on. */
void place_init(struct place *p, const char *address, int fd);
void place_done(struct place *p);

/* Open the folder path[0..len); len 0 is the place itself.  With `make`, make
 * what is missing, durably.  1, 0 if there is none, -1. */
int place_folder(struct place *p, const char *path, size_t len, bool make,
                 int *out, struct err *e);

/* Open the folder of the object `name`, whose last component *leaf will be. */
int place_folder_of(struct place *p, const char *name, bool make, int *out,
                    const char **leaf, struct err *e);

/* fsync, where the file system can do it for folders: 0, or -1 with errno. */
int place_sync_folder(int fd);

/*
 * Something was not found: 0, but only if the place itself is still there (-1
 * if not).  One that was removed under us would look like an empty store.
 */
int place_missing(const struct place *p, struct err *e);

/* "cannot WHAT NAME in ADDRESS: errno's text", always ERR_STORE. */
int place_fail(const struct place *p, const char *what, const char *name,
               struct err *e);

/* `e` is about this place: make it ERR_STORE, with a remedy if it is full. */
int place_settle(const struct place *p, struct err *e);

#endif
