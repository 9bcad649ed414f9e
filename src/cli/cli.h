/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: the command line of vmkeep.
 *
 * This room turns what a person or a script asks for into calls of the other
 * rooms, and what they answer into text or JSON and an exit code.  It decides
 * nothing about machines or repositories, and it alone logs.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/args.h"
#include "cli/out.h"

struct rate;

/* What every command is given. */
struct cli {
    struct args args;
    struct out out;
    struct rate *upload, *download; /* of all storages together; or NULL */
};

/* The operand `i`, or NULL if there are fewer. */
static inline const char *
cli_operand(const struct cli *c, size_t i)
{
    return i < c->args.n_operands ? c->args.operands[i] : NULL;
}

/* All of main() but the helpers.  Returns the exit code. */
int cli_main(int argc, char **argv);

#endif
