/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command: what a command of vmkeep is: one entry of the one table that the
 * parser, the help, the man page's test and later the completions work from.
 *
 * Each cmd_NAME.c defines one struct command; commands.c lists them.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stddef.h>

struct cli;
struct err;

struct option_spec {
    const char *name; /* long, without the dashes */
    char letter;      /* or 0 */
    const char *arg;  /* what its argument is called; NULL: it takes none */
    const char *help;
};

struct example {
    const char *line; /* what to type */
    const char *does;
};

enum { COMMAND_ANY_OPERANDS = 1000 };

struct command {
    const char *name;
    const char *operands;              /* "REPO", "[MACHINE...]" */
    const char *summary;               /* one line, no full stop */
    const char *text;                  /* paragraphs for its own help */
    const struct option_spec *options; /* the last has no name (NULL) */
    const struct example *examples;    /* the last has no line (NULL) */
    size_t min_operands, max_operands;

    /* An enum outcome, or -1 with `e` set, which the caller reports. */
    int (*run)(struct cli *c, struct err *e);
};

extern const struct command cmd_init;
extern const struct command cmd_machines;
extern const struct command cmd_backup;
extern const struct command cmd_abort;
extern const struct command cmd_import;
extern const struct command cmd_list;
extern const struct command cmd_show;
extern const struct command cmd_restore;
extern const struct command cmd_extract;
extern const struct command cmd_copy;
extern const struct command cmd_forget;
extern const struct command cmd_prune;
extern const struct command cmd_check;
extern const struct command cmd_repair;
extern const struct command cmd_stats;
extern const struct command cmd_doctor;
extern const struct command cmd_key;
extern const struct command cmd_debug;
extern const struct command cmd_help;

/* Ends with NULL; in the order in which a newcomer needs them. */
extern const struct command *const commands[];

/* Those that every command takes, before or after its name. */
extern const struct option_spec global_options[];

/* NULL if there is none of that name. */
const struct command *command_find(const struct command *const *table,
                                   const char *name);

/* What somebody who typed `word` may have meant, also one who comes from
 * another program; NULL if there is nothing like it. */
const char *command_suggest(const struct command *const *table,
                            const char *word);

#endif
