/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup_all: many machines, a few at a time, each by a process of its own.
 *
 * The processes are this program again, "vmkeep backup --qmp SOCKET --json":
 * one that dies, hangs or runs out of memory takes nobody with it.  They get
 * the password through a pipe, never by their environment or command line.
 */
#ifndef CLI_BACKUP_ALL_H
#define CLI_BACKUP_ALL_H

#include <stddef.h>

struct cancel;
struct cli;
struct err;
struct machine_found;

enum { BACKUP_ALL_PARALLEL = 2, BACKUP_ALL_MAX_PARALLEL = 64 };

/*
 * Save each of them, report each as it ends and all at the end.  An outcome:
 * all saved, some (OUTCOME_PARTLY), none (OUTCOME_FAILED); -1 if it could not
 * begin or was interrupted.
 */
int backup_all(struct cli *c, const struct machine_found *const *list, size_t n,
               unsigned parallel, struct cancel *cancel, struct err *e);

#endif
