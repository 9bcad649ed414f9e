/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drainer: the process that reads QEMU's RAM stream into a ramspool.
 *
 * A guest that writes to a page not yet saved waits until that page has been
 * read from the stream, so the reader may wait for nothing else: not for the
 * repository, not for the network, not for us; nor for long for the disk that
 * the spool is on.  If the worker dies, it reads on
 * and throws away; on QEMU before 8.1 a stream without a reader freezes the
 * guest for ever.
 */
#ifndef CAPTURE_DRAINER_H
#define CAPTURE_DRAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct drainer;
struct err;
struct ramspool;

/*
 * Start it on our end of the stream, which is only borrowed.  If the spool's
 * disk takes nothing for `stall_ms`, the spool fails, and the guest goes on:
 * the write protection is lifted from outside, and the stream is not read to
 * its end before that disk answers; for then QEMU waits for what it writes to
 * its disks, the scratch files on that disk among them, and the guest with it.
 * If that cannot be (`qemu` is 0, or not ours to look into), it reads on.
 */
int drainer_start(struct ramspool *spool, int stream, uint32_t stall_ms,
                  pid_t qemu, struct drainer **out, struct err *e);

/* Is it still there, to read the stream on? */
bool drainer_lives(const struct drainer *d);

/* Becomes readable with each change of drainer_state. */
int drainer_fd(const struct drainer *d);

enum drainer_state {
    DRAINER_WAITING, /* no page has come yet */
    DRAINER_RAM,     /* pages come: write protection is armed */
    DRAINER_DONE,    /* the stream ended well, all is in the spool */
    DRAINER_FAILED   /* malformed, or no room; if it lives it reads on */
};

/* What it has said so far; does not wait. */
enum drainer_state drainer_state(struct drainer *d);

/* Closes our side.  The process ends with the stream, not before. */
void drainer_free(struct drainer *d); /* NULL is allowed */

#endif
