/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard: the process that puts the guest right when the worker cannot.
 *
 * It is started before anything is done to the guest and holds the worker's
 * monitor connection (a socket serves one client) and our end of the RAM stream
 * (so that it never breaks).  It acts when the worker is gone, or when the
 * guest has been stopped for longer than allowed: then it first kills the
 * worker.  Acting is: read the stream to its end, undo.h, remove the record.
 */
#ifndef CAPTURE_GUARD_H
#define CAPTURE_GUARD_H

#include <stdint.h>

struct err;
struct guard;
struct intent;

/* Start it, and wait until it says that it watches.  The descriptors are
 * borrowed, as is the record, whose lock it shares from now on. */
int guard_start(const struct intent *in, int monitor, int stream,
                struct guard **out, struct err *e);

/* From now on the guest may be stopped, for at most so long. */
int guard_open_window(struct guard *g, uint64_t max_ms, struct err *e);
/* The guest runs again. */
int guard_close_window(struct guard *g, struct err *e);
/* The agent has said that the file systems are thawed. */
int guard_forget_agent(struct guard *g, struct err *e);
/* The drainer has died: read the stream in its place. */
int guard_drain(struct guard *g, struct err *e);

/* Everything has been undone: send it home, and wait until it has gone. */
void guard_dismiss(struct guard *g); /* NULL is allowed; frees */
/* It could not be undone here: let it try.  Frees. */
void guard_hand_over(struct guard *g);

#endif
