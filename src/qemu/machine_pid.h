/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_pid: which process is the QEMU behind a monitor.
 *
 * It is more than a name for people: whether the machine still lives, whether
 * it is the one of an earlier backup, and the way to wake a guest whose RAM was
 * left write-protected all hang on it.
 */
#ifndef QEMU_MACHINE_PID_H
#define QEMU_MACHINE_PID_H

#include <sys/types.h>

struct qmp;

/*
 * The process, or 0 if none can be told.  `name` and `uuid`: as QEMU tells
 * them, "" if it has none.
 */
pid_t machine_pid(struct qmp *q, const char *socket, const char *name,
                  const char *uuid);

#endif
