/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meter: shows how far a long command is (work/progress.h).
 *
 * On a terminal one line that is redrawn; with --json a line of type
 * "progress" at most once a second; otherwise, with --verbose, a line a
 * minute.  SIGUSR1 asks for one anywhere.  A thread of its own does it, so that
 * a run that hangs shows too.
 *
 * Threads:   meter_progress may be called from any one thread.
 */
#ifndef CLI_METER_H
#define CLI_METER_H

#include <stdint.h>

#include "cli/gauge.h"
#include "work/progress.h"

struct buf;
struct cli;
struct meter;

/* Start to show; `subject` (borrowed) is the machine or backup concerned. */
struct meter *meter_start(struct cli *c, const char *subject);

/* Nothing of it stays on the terminal.  NULL is allowed; frees. */
void meter_stop(struct meter *m);
void meter_stopp(struct meter **m);

/* A progress_fn with the meter as its cookie. */
void meter_progress(void *meter, const struct progress *p);

/* What one line says, cut to `width` columns (0: any):
 * "web-01  read vda  42%  310 MiB of 1.2 GiB  95 MiB/s  ETA 0:41". */
struct meter_view {
    const char *subject, *phase, *what;
    struct gauge gauge;
};
void meter_print(const struct meter_view *v, size_t width, struct buf *out);

#endif
