/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome: how a run of vmkeep ended, as its exit code.
 *
 * The numbers are a promise to scripts (vmkeep(1)): they never change their
 * meaning.  New ones may come; an unknown one other than 0 means failure.
 */
#ifndef CLI_OUTCOME_H
#define CLI_OUTCOME_H

#include "base/err.h"

enum outcome {
    OUTCOME_DONE = 0,
    OUTCOME_FAILED = 1,
    OUTCOME_USAGE = 2,
    OUTCOME_PARTLY = 3,
    OUTCOME_DAMAGED = 4,
    OUTCOME_NO_REPO = 10,
    OUTCOME_WRONG_KEY = 12,
    OUTCOME_STORAGE = 13,
    OUTCOME_HYPERVISOR = 20,
    OUTCOME_INTERRUPTED = 130
};

/* The only place where errors become exit codes. */
enum outcome outcome_of(enum err_code code);

struct outcome_row {
    enum outcome outcome;
    const char *meaning; /* for `vmkeep help exit-codes` and the man page */
};

/* All of them, in order; the row after the last has no meaning (NULL). */
extern const struct outcome_row outcome_rows[];

#endif
