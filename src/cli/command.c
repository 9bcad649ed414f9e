/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"

const struct option_spec global_options[] = {
    {"repo", 'r', "REPO",
     "the repository: a path, sftp: or s3: address (default: "
     "$VMKEEP_REPOSITORY)"},
    {"password-file", 0, "FILE", "read the repository's password from FILE"},
    {"password-command", 0, "COMMAND",
     "read the password from what this shell command prints"},
    {"key", 0, "ID",
     "try the password only on this key (default: $VMKEEP_KEY, or all)"},
    {"json", 0, NULL, "answer in JSON, also errors"},
    {"quiet", 'q', NULL, "say nothing but the answer and errors"},
    {"verbose", 'v', NULL, "say more; twice: everything"},
    {"limit-upload", 0, "RATE",
     "send at most so many bytes a second to storages: 2M, or by the time of "
     "day 08:00-18:00=2M,20M"},
    {"limit-download", 0, "RATE", "the same for what is read from them"},
    {"no-progress", 0, NULL, "do not show how far a long command is"},
    {"config", 0, "FILE", "a configuration file; this version reads none"},
    {"help", 'h', NULL, "explain the command"},
    {"version", 0, NULL, "print the version"},
    {NULL, 0, NULL, NULL}};

const struct command *
command_find(const struct command *const *table, const char *name)
{
    for (; *table; table++)
        if (strcmp((*table)->name, name) == 0)
            return *table;
    return NULL;
}

/* What other backup programs, virsh and qemu-img call it. */
static const char *const elsewhere[][2] = {
    {"create", "init"},     {"vms", "machines"},      {"domains", "machines"},
    {"snapshots", "list"},  {"ls", "list"},           {"backups", "list"},
    {"snapshot", "backup"}, {"save", "backup"},       {"info", "show"},
    {"dumpxml", "show"},    {"version", "--version"}, {"usage", "help"}};

const char *
command_suggest(const struct command *const *table, const char *word)
{
    unsigned best = (unsigned)strlen(word) / 3 + 2;
    const char *near = NULL;

    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
        if (strcmp(word, elsewhere[i][0]) == 0)
            return elsewhere[i][1];
    for (; *table; table++) {
        unsigned d = text_distance(word, (*table)->name);
        if (strlen(word) > 1 && text_starts((*table)->name, word))
            d = 0;
        if (d < best) {
            best = d;
            near = (*table)->name;
        }
    }
    return near;
}
