/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals: Ctrl-C and friends.
 *
 * At first SIGINT, SIGTERM and SIGHUP end the program at once, with a message
 * and OUTCOME_INTERRUPTED.  While a command has something to put right first (a
 * guest, half-written files) they only raise its cancel, however often they
 * come: a second Ctrl-C must not leave a guest paused.
 *
 * A signal that was ignored when we started (nohup) stays ignored.
 *
 * Threads: one of our own hears the signals; they are blocked in all, so that
 * no system call of a backup is ever interrupted.  Children are to be given an
 * empty signal mask.  What is given to these functions may be freed once it has
 * been replaced by NULL or -1.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>
#include <termios.h>

struct cancel;

/* Before there are other threads.  `json`: how the messages look. */
void signals_init(bool json);
/* All that have come have been heard then, and none will be any more; they stay
 * blocked. */
void signals_done(void);

/* From now on signals raise `c`; NULL: they end the program again. */
void signals_raise(struct cancel *c);

/* While this terminal is in another mode: give it back its own before the
 * program ends.  fd -1: no more. */
void signals_keep_terminal(int fd, const struct termios *mode);

/* SIGUSR1 adds 1 to this eventfd; -1: nothing happens. */
void signals_count_usr1(int fd);

#endif
