/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn: run a shell command beside this program.
 *
 * It starts with no signal blocked and with SIGPIPE ending it, as from a
 * terminal, whatever this program has set for itself, and with none of our
 * descriptors that are closed on exec.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct spawn {
    const char *const *argv; /* of /bin/sh, "sh" the first; ends with NULL */
    int in, out, err;        /* what it gets for them; -1: what we have */
    bool apart; /* a process group of its own: an interrupt from the terminal
                 * is for us to handle */
};

/* 0, or -1 with errno.  Whoever calls it waits for *out. */
int spawn_shell(const struct spawn *s, pid_t *out);

#endif
