/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_run: runs a program under the shim (shim.c) and says what happened.
 *
 * The shim library is found in the environment as FAULT_SHIM (the build sets
 * it for its tests).
 */
#ifndef TESTS_FAULT_FAULT_RUN_H
#define TESTS_FAULT_FAULT_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct err;

/* Fields as the variables in shim.c; what is 0 or NULL is not set. */
struct fault_run {
    const char *const *argv; /* argv[0] is a path; NULL at the end */
    uint64_t at;
    const char *what;  /* SHIM_DO */
    const char *error; /* SHIM_ERRNO */
    bool forever;
    const char *calls, *under, *program, *lacks, *trace;
    uint64_t process;
};

struct fault_outcome {
    int exit_code;  /* -1 if a signal ended it */
    int signal;     /* or 0 */
    uint64_t calls; /* that were counted */
    uint64_t faults;
    uint64_t processes;
};

/* Run it to its end; its standard output is appended to `output`. */
int fault_run(const struct fault_run *r, struct fault_outcome *out,
              struct buf *output, struct err *e);

#endif
