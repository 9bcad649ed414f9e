/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: what /proc says about a process.
 *
 * All of it is best effort: a process may be gone, or not ours to look at.
 * Only root sees the descriptors and the executable of others.
 *
 * Source: proc(5).
 */
#ifndef QEMU_PROCESS_H
#define QEMU_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All process ids, ascending; an array of *out_n that the caller frees. */
pid_t *process_list(size_t *out_n);

/* Is it a system emulator, by its executable, else by its name? */
bool process_is_qemu(pid_t pid);

/* Its short name, or NULL.  The caller frees it. */
char *process_comm(pid_t pid);
/* Its command line, NULL-terminated, or NULL.  Freed by process_argv_free. */
char **process_argv(pid_t pid);
void process_argv_free(char **argv); /* NULL is allowed */
/* Its working folder, or NULL.  The caller frees it. */
char *process_cwd(pid_t pid);
/* A variable of the environment that it was started with, or NULL.  The caller
 * frees it. */
char *process_env(pid_t pid, const char *name);
/* Does it stand still by SIGSTOP or under a debugger? */
bool process_is_stopped(pid_t pid);
/* When it started, in clock ticks since boot; 0 if unknown. */
uint64_t process_start_time(pid_t pid);

/*
 * A path that the process names, as one that this process can open: taken from
 * its working folder if relative, and through /proc/PID if it sees other files
 * than we do (chroot, container, private mounts).  The caller frees it.
 */
char *process_path(pid_t pid, const char *path);

/* Has it a thread that it, or anybody in its PID namespace, knows by this
 * number? */
bool process_has_thread(pid_t pid, pid_t thread);

/* Does it hold the socket with this inode? */
bool process_holds_socket(pid_t pid, uint64_t inode);
/* The first that does, or 0. */
pid_t process_with_socket(uint64_t inode);

#endif
