/* SPDX-License-Identifier: Apache-2.0 */
/* helper_internal: starting the processes that helper.h runs. */
#ifndef CAPTURE_HELPER_INTERNAL_H
#define CAPTURE_HELPER_INTERNAL_H

#include <stddef.h>
#include <sys/types.h>

struct err;

enum { HELPER_FIRST_FD = 3, HELPER_MAX_FDS = 8 };

/*
 * Start this program again as "vmkeep-ROLE", in a session of its own, so that
 * no Ctrl-C and no closing terminal reaches it, and whoever reads our output
 * need not wait for its end.  It gets fds[i] as descriptor HELPER_FIRST_FD + i,
 * and /dev/null as 0, 1 and 2.
 */
int helper_spawn(const char *role, const int *fds, size_t n_fds, pid_t *out,
                 struct err *e);

/* The mains of the roles.  Each returns the exit status. */
int guard_main(void);
int drainer_main(void);
int probe_main(void);

#endif
