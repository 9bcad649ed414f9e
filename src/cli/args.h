/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args: a command line, taken apart.
 *
 * The global options may stand before or after the command, the command's own
 * after it, both among the operands; "--" ends the options.
 *
 * Ownership: all strings are borrowed from argv.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/command.h"

struct err;

struct given {
    const struct option_spec *spec;
    const char *value; /* NULL: the option takes none */
};

struct args {
    const struct command *command; /* NULL: none was named */
    struct given *given;           /* in the order of the command line */
    size_t n_given;
    char **operands;
    size_t n_operands;
};

/*
 * ERR_USAGE says what is wrong and what may have been meant.  With --help or
 * --version the operands are not counted.  Reorders argv.  `out` is to be
 * freed with args_done in any case.
 */
int args_parse(int argc, char **argv, const struct command *const *table,
               struct args *out, struct err *e);
void args_done(struct args *a);

/* How often was this option of the command, or global one, given? */
size_t args_count(const struct args *a, const char *name);
bool args_has(const struct args *a, const char *name);
/* Its last value, or NULL. */
const char *args_value(const struct args *a, const char *name);
/* All its values in order: an array of *out_n that is the caller's, with NULL
 * behind the last; the strings are borrowed. */
const char **args_values(const struct args *a, const char *name, size_t *out_n);

/* Is there a --json?  To be asked before args_parse may fail. */
bool args_want_json(int argc, char *const *argv);

#endif
