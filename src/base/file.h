/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file: whole files and folders.
 *
 * What file_publish wrote is there whole or not at all, also after a power
 * cut: temporary name, data, fsync, rename, fsync of the folder.  An fsync
 * that failed is never retried: the temporary is removed, the call fails.  A
 * process that dies meanwhile may leave a PATH.*.tmp behind.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

/* Append the whole file to `out`; ERR_LIMIT past out->max_bytes. */
int file_read(const char *path, struct buf *out, struct err *e);

/* Write `path` with mode 0600, durably; replaces a file of that name. */
int file_publish(const char *path, const void *p, size_t len, struct err *e);

/* Like `mkdir -p` with mode 0700; what it made outlives a power cut. */
int dir_make(const char *path, struct err *e);
/* Does what the file system can: nothing where its folders have no fsync. */
int dir_fsync(const char *path, struct err *e);
/* 1 if there is nothing in it but . and .., else 0. */
int dir_is_empty(const char *path, struct err *e);

/* 1 if it exists, else 0. */
bool file_exists(const char *path);

/* "A/B"; "B" where B is absolute or A is empty.  The caller frees it. */
char *path_join(const char *a, const char *b);

/* A nameless, sparse, read-write file of `size` bytes in the folder `dir`: it
 * is gone when its last descriptor closes. */
int file_nameless(const char *dir, uint64_t size, int *out_fd, struct err *e);

/* Bytes that an ordinary user can still write under `path`. */
int dir_free_bytes(const char *path, uint64_t *out, struct err *e);

#endif
