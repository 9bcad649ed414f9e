/* SPDX-License-Identifier: Apache-2.0 */
/* A file of its own: a test of the parser need not link all commands. */
#include <stddef.h>

#include "cli/command.h"

/* One a line, so that a new command is a new line. */
/* clang-format off */
const struct command *const commands[] = {
    &cmd_init,
    &cmd_machines,
    &cmd_backup,
    &cmd_abort,
    &cmd_import,
    &cmd_list,
    &cmd_show,
    &cmd_restore,
    &cmd_extract,
    &cmd_copy,
    &cmd_forget,
    &cmd_prune,
    &cmd_check,
    &cmd_repair,
    &cmd_stats,
    &cmd_doctor,
    &cmd_key,
    &cmd_debug,
    &cmd_help,
    NULL,
};
/* clang-format on */
