/* SPDX-License-Identifier: Apache-2.0 */
/* store_space: which file system is full, and what can be done about it. */
#ifndef STORE_STORE_SPACE_H
#define STORE_STORE_SPACE_H

struct err;

/*
 * Put behind the message that is in `e`: the file system that holds the open
 * file `fd`, where it is mounted, how much is free, and the remedy.
 */
void store_space_hint(int fd, struct err *e);

/*
 * The line of /proc/self/mountinfo (proc(5)) for the mount `id` in `text`, as
 * "DEVICE on FOLDER (TYPE)"; NULL if there is none.  The caller frees it.
 */
char *store_space_mount(const char *text, unsigned long long id);

#endif
