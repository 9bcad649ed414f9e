/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unixpeer: who is at the other end of a UNIX socket.
 *
 * Best effort: the kernel tells only about sockets of our own network
 * namespace, and only root sees which process holds one.
 *
 * Source: sock_diag(7), for UNIX sockets.
 */
#ifndef QEMU_UNIXPEER_H
#define QEMU_UNIXPEER_H

#include <stdbool.h>
#include <sys/types.h>

/* The process that holds the other end of the connection `fd`, or 0. */
pid_t unixpeer_of(int fd);

/*
 * The client that the server on the socket `path` has accepted, other than the
 * connection `fd`.  True if there is one; *out_pid is 0 if its process is not
 * known.
 */
bool unixpeer_client(const char *path, int fd, pid_t *out_pid);

#endif
