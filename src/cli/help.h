/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help: what `vmkeep help` and --help say, made from the table of commands.
 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <jansson.h>

#include "cli/command.h"

struct buf;

/* For `vmkeep` alone: what it is, what to do first, what there is. */
void help_overview(const struct command *const *table, struct buf *out);

void help_command(const struct command *c, struct buf *out);

/* Things to know that belong to no command; the last has no name (NULL). */
struct help_topic {
    const char *name, *summary, *text;
};
extern const struct help_topic help_topics[];

void help_topic(const struct help_topic *t, struct buf *out);
void help_exit_codes(struct buf *out);

/* All of the table, for programs: completions, the tests of the man page. */
json_t *help_json(const struct command *const *table);

#endif
