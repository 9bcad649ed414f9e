/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel: one request to stop, seen by everybody who works on a run.
 *
 * It can be raised from a signal handler and from any thread; it stays raised.
 * Every wait of a run takes a cancel: threads on condition variables are woken
 * by their queues, threads in poll(2) by cancel_fd.
 */
#ifndef WORK_CANCEL_H
#define WORK_CANCEL_H

#include <stdbool.h>

struct err;
struct cancel;

/* Never NULL.  Freed by cancel_free once nobody can raise it any more. */
struct cancel *cancel_new(void);
void cancel_free(struct cancel *c);
void cancel_freep(struct cancel **c);

/* Async-signal-safe. */
void cancel_raise(struct cancel *c);
bool cancel_raised(const struct cancel *c);

/* Becomes readable when raised; to be polled, never read. */
int cancel_fd(const struct cancel *c);

/* ERR_CANCELED "interrupted" if raised. */
int cancel_check(const struct cancel *c, struct err *e);

#endif
