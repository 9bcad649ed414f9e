/* SPDX-License-Identifier: Apache-2.0 */
/* A file of its own: a test of the parser need not link all commands. */
#include <stddef.h>

#include "cli/command.h"

const struct command *const commands[] = {
    &cmd_init,    &cmd_machines, &cmd_backup, &cmd_list, &cmd_show,
    &cmd_restore, &cmd_forget,   &cmd_prune,  &cmd_help, NULL};
