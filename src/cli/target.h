/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target: which of the machines on this host is meant, and how to reach it.
 */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct buf;
struct machine_found;
struct out;
struct qmp;

/*
 * The one machine with this name or UUID, into *out (borrowed from `all`).
 * ERR_NOENT, with the names that look like it; ERR_USAGE if there are several.
 */
int target_pick(const struct machine_found *all, size_t n, const char *word,
                const struct machine_found **out, struct err *e);

/*
 * Connect to the first of its monitors that answers, and say which (borrowed).
 * Else the first failure: ERR_QEMU if it has no monitor.
 */
int target_connect(const struct machine_found *f, struct qmp **out,
                   const char **out_socket, struct err *e);

/* What a person can do about a machine whose monitor failed so: one line. */
void target_print_fix(const struct machine_found *f, enum err_code why,
                      struct buf *out);

/* For a command that ends there: says what to do, and that it was QEMU's
 * fault, not that of something else that is not there.  Returns -1. */
int target_unreachable(const struct machine_found *f, struct err *e);

/* Put right what a killed backup left in a guest; to be called before anything
 * is done with machines.  False, after a warning, if that failed. */
bool target_reconcile(struct out *o);

#endif
