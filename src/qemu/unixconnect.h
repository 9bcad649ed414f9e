/* SPDX-License-Identifier: Apache-2.0 */
/* unixconnect: a connection to a UNIX socket that QEMU listens on. */
#ifndef QEMU_UNIXCONNECT_H
#define QEMU_UNIXCONNECT_H

#include "base/clock.h"

struct err;

/*
 * *out is a close-on-exec, non-blocking descriptor of the caller's; `path` may
 * be of any length.  A server whose queue is full makes us wait until `d`; then
 * *out is not connected, which looks like a server that says nothing.  `what`
 * begins the messages: "monitor".  ERR_NOENT: no socket there, or nobody
 * listens.
 */
int unix_connect(const char *what, const char *path, struct deadline d,
                 int *out, struct err *e);

#endif
