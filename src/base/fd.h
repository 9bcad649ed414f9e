/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd: file descriptors: whole reads and writes, passing them on.  Every
 * descriptor we make is close-on-exec from birth.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

/* For CLEANUP: closes if not -1.  close() is never retried. */
void fd_closep(int *fd);
void fd_close(int *fd); /* the same, by name; sets *fd to -1 */

/* All n bytes or ERR_IO; EINTR is retried.  `what` names the file.  For
 * blocking descriptors, in programs that ignore SIGPIPE.  fd_pwrite gives large
 * ones to the kernel in pieces that its page cache takes well. */
int fd_write(int fd, const void *p, size_t n, const char *what, struct err *e);
int fd_pwrite(int fd, const void *p, size_t n, uint64_t offset,
              const char *what, struct err *e);
/* All n bytes; ERR_CORRUPT if the file ends before. */
int fd_pread(int fd, void *p, size_t n, uint64_t offset, const char *what,
             struct err *e);

/* read(2) with EINTR retried: bytes, 0 at the end, -1 with errno. */
ssize_t fd_read_some(int fd, void *p, size_t n);

/* A connected pair of close-on-exec stream sockets. */
int fd_socketpair(int out[2], struct err *e);

/* Send n (> 0) bytes and with the first the descriptor `pass`, by SCM_RIGHTS;
 * a peer that is gone is ERR_IO, never a SIGPIPE. */
int fd_send_with_fd(int sock, const void *p, size_t n, int pass, struct err *e);

#endif
