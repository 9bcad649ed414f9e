/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratchprobe: does the folder of the scratch files answer?
 *
 * A write to a disk that hangs (a dead path, a server that is gone, a frozen
 * file system) waits in the kernel, and no signal ends that.  QEMU's main loop
 * waits in the same way, and the guest with it, when it is told to let go of a
 * scratch file that is being written.  So a process of its own tries first;
 * whoever waits for it can turn away.
 */
#ifndef CAPTURE_SCRATCHPROBE_H
#define CAPTURE_SCRATCHPROBE_H

#include <stdbool.h>

#include "base/clock.h"

struct err;
struct scratchprobe;

/* How long a folder may take to answer before it counts as one that hangs. */
enum { SCRATCH_ANSWER_MS = 10000 };

/*
 * Start to make, write and sync a nameless file in the folder `dir`.  `hold`,
 * or -1: a descriptor of a file there that the process has too until it ends,
 * so that nobody else waits for its last close.
 */
int scratchprobe_start(const char *dir, int hold, struct scratchprobe **out,
                       struct err *e);

/* Has the folder answered, be it with an error?  Waits until `d` for that. */
bool scratchprobe_wait(struct scratchprobe *p, struct deadline d);

/* A process that still hangs is left to itself. */
void scratchprobe_free(struct scratchprobe *p); /* NULL is allowed */
void scratchprobe_freep(struct scratchprobe **p);

/* All of it: 0, or ERR_TIMEOUT if there is no answer in SCRATCH_ANSWER_MS. */
int scratch_answers(const char *dir, int hold, struct err *e);

#endif
