/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: how far a run is, for whoever shows it.
 *
 * The run calls the function from one thread, a few times a second at most;
 * it must return soon and must not fail.
 */
#ifndef WORK_PROGRESS_H
#define WORK_PROGRESS_H

#include <stdint.h>

struct progress {
    const char *phase;    /* "prepare", "pause", "read", "publish", ... */
    const char *what;     /* the disk or RAM block under way, or "" */
    uint64_t done_bytes;  /* of all there is to do */
    uint64_t total_bytes; /* 0 while unknown */
};

typedef void progress_fn(void *cookie, const struct progress *p);

#endif
