/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/help.h"

/* NULL if there is none of that name. */
static const struct help_topic *
find_topic(const char *name)
{
    for (const struct help_topic *t = help_topics; t->name; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

static int
unknown(const char *word, struct err *e)
{
    const char *near = command_suggest(commands, word);

    for (const struct help_topic *t = help_topics; t->name && !near; t++)
        if (text_distance(word, t->name) <= strlen(t->name) / 3)
            near = t->name;
    (void)err_set(e, ERR_USAGE, "there is no help on '%s'", word);
    if (near)
        return err_hint(e, "did you mean `vmkeep help %s`?", near);
    return err_hint(e, "`vmkeep help` lists what there is");
}

static int
run_help(struct cli *c, struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
    const char *word = cli_operand(c, 0);

    if (c->out.json) {
        out_document(&c->out, help_json(commands));
        return OUTCOME_DONE;
    }
    const struct command *command = word ? command_find(commands, word) : NULL;
    const struct help_topic *topic = word ? find_topic(word) : NULL;
    if (!word)
        help_overview(commands, &b);
    else if (command)
        help_command(command, &b);
    else if (topic)
        help_topic(topic, &b);
    else
        return unknown(word, e);
    out_text(&c->out, "%s", buf_text(&b));
    return OUTCOME_DONE;
}

static const struct example examples[] = {
    {"vmkeep help backup", "what `vmkeep backup` does, with examples"},
    {"vmkeep help exit-codes", "what the exit codes mean"},
    {"vmkeep help --json", "all commands and options, for programs"},
    {NULL, NULL}};

const struct command cmd_help = {
    .name = "help",
    .operands = "[COMMAND|TOPIC]",
    .summary = "explain a command or a topic",
    .text = "Without an argument: what vmkeep is, and all its commands and "
            "topics. With --json: the table of commands, options and exit "
            "codes as one document.",
    .examples = examples,
    .max_operands = 1,
    .run = run_help};
