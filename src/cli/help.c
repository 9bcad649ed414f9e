/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/outcome.h"
#include "cli/print.h"

enum { WIDTH = 79, LEFT_MAX_BYTES = 256 };

const struct help_topic help_topics[] = {
    {"repository", "where backups are kept, and how to name the place",
     "A repository is a place where backups are kept, encrypted and without "
     "duplicates; many machines and hosts can share one. It is named by the "
     "option -r (--repo), else by the variable VMKEEP_REPOSITORY:\n\n"
     "  /srv/backup         a folder\n"
     "  file:/srv/backup    the same\n"
     "  sftp:me@host:/srv/backup, sftp://me@host:2222/srv/backup\n"
     "                      a folder on another host, by your ssh\n"
     "  s3:https://s3.eu-west-3.amazonaws.com/bucket/prefix\n"
     "                      a bucket of an S3 service\n\n"
     "ssh must get in without asking: by a key, and to a host it knows; "
     "VMKEEP_SSH_COMMAND names another ssh, or its options. The S3 key is "
     "taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else from the "
     "profile AWS_PROFILE of ~/.aws/credentials; the region from AWS_REGION. "
     "VMKEEP_S3_CA_FILE names a CA of your own.\n\n"
     "Only `vmkeep init` makes one."},
    {"password", "the ways to give the repository's password",
     "A repository is opened by its password. Nobody can read the backups "
     "without it, and nobody can find it out: keep a copy outside of this "
     "host. A recovery key is taken instead of it. The first of these that is "
     "there counts:\n\n"
     "  --password-file FILE, or --password-command COMMAND\n"
     "  VMKEEP_PASSWORD, VMKEEP_PASSWORD_FILE or VMKEEP_PASSWORD_COMMAND\n"
     "  the systemd credential vmkeep.password\n"
     "  the terminal, where vmkeep asks for it\n\n"
     "COMMAND is run by /bin/sh and prints the password. A line feed at the "
     "end does not count. Where a new password is set beside it, the ways are "
     "--new-password-file, VMKEEP_NEW_PASSWORD, the credential "
     "vmkeep.new-password and so on. There is no option for the password "
     "itself: "
     "everybody on the host could read it."},
    {"names", "how to name a machine and a backup",
     "A machine is named by its name, by its UUID, or by its monitor: --qmp "
     "SOCKET. `vmkeep machines` shows them.\n\n"
     "A backup is named by one of\n\n"
     "  6f3a01b2                  its id, or as much of it as is unique\n"
     "  latest                    the newest of all\n"
     "  web-01@latest             the newest of a machine\n"
     "  web-01@2026-11-22T10:00   the newest not after that time (UTC)\n\n"
     "`vmkeep list` shows them."},
    {"exit-codes", "what the exit code says", NULL},
    {NULL, NULL, NULL}};

/* "  left    right, wrapped" with `right` starting at column `column`. */
static void
print_pair(const char *left, const char *right, size_t column, struct buf *out)
{
    size_t w = 2 + print_width(left);

    buf_printf(out, "  %s", left);
    if (w + 2 > column) {
        buf_printf(out, "\n");
        w = 0;
    }
    buf_printf(out, "%*s", (int)(column - w), "");
    print_wrap(out, right, column, WIDTH);
    buf_printf(out, "\n");
}

static void
print_options(const struct option_spec *spec, struct buf *out)
{
    for (; spec && spec->name; spec++) {
        CLEANUP(buf_done) struct buf left = buf_of(LEFT_MAX_BYTES);
        if (spec->letter)
            buf_printf(&left, "-%c, ", spec->letter);
        else
            buf_printf(&left, "    ");
        buf_printf(&left, "--%s%s%s", spec->name, spec->arg ? " " : "",
                   spec->arg ? spec->arg : "");
        print_pair(buf_text(&left), spec->help, 28, out);
    }
}

static void
print_topics(struct buf *out)
{
    for (const struct help_topic *t = help_topics; t->name; t++) {
        CLEANUP(freep) char *left = xasprintf("help %s", t->name);
        print_pair(left, t->summary, 20, out);
    }
}

void
help_overview(const struct command *const *table, struct buf *out)
{
    print_wrap(out,
               "vmkeep saves running QEMU machines (memory, devices and disks, "
               "all of one instant) while they keep running, and brings them "
               "back as if nothing had happened.",
               0, WIDTH);
    buf_printf(out, "\n\nusage: vmkeep [-r REPO] [--json] [-q|-v] COMMAND "
                    "...\n\nFirst steps:\n");
    print_pair("export VMKEEP_REPOSITORY=/srv/backup", "where backups go", 48,
               out);
    print_pair("vmkeep init", "make the repository", 48, out);
    print_pair("vmkeep machines", "what runs here?", 48, out);
    print_pair("vmkeep backup web-01", "save it as it runs", 48, out);
    print_pair("vmkeep restore web-01@latest --to DIR",
               "files to continue from", 48, out);
    buf_printf(out, "\nCommands:\n");
    for (; *table; table++)
        print_pair((*table)->name, (*table)->summary, 20, out);
    buf_printf(out, "\nGood to know:\n");
    print_pair("help COMMAND", "what a command does, with examples", 20, out);
    print_topics(out);
    buf_printf(out, "\nOptions of every command:\n");
    print_options(global_options, out);
}

void
help_command(const struct command *c, struct buf *out)
{
    buf_printf(out, "vmkeep %s: %s\n\nusage: vmkeep %s [OPTION...]%s%s\n\n",
               c->name, c->summary, c->name, *c->operands ? " " : "",
               c->operands);
    print_wrap(out, c->text, 0, WIDTH);
    buf_printf(out, "\n");
    if (c->options && c->options->name) {
        buf_printf(out, "\nOptions:\n");
        print_options(c->options, out);
    }
    if (c->examples && c->examples->line)
        buf_printf(out, "\nExamples:\n");
    for (const struct example *x = c->examples; x && x->line; x++) {
        buf_printf(out, "  %s\n      ", x->line);
        print_wrap(out, x->does, 6, WIDTH);
        buf_printf(out, "\n");
    }
    buf_printf(out, "\nOptions of every command:\n");
    print_options(global_options, out);
}

void
help_topic(const struct help_topic *t, struct buf *out)
{
    buf_printf(out, "%s: %s\n\n", t->name, t->summary);
    if (t->text) {
        print_wrap(out, t->text, 0, WIDTH);
        buf_printf(out, "\n");
        return;
    }
    help_exit_codes(out);
}

void
help_exit_codes(struct buf *out)
{
    for (const struct outcome_row *r = outcome_rows; r->meaning; r++)
        buf_printf(out, "%5d  %s\n", (int)r->outcome, r->meaning);
    buf_printf(out, "\n");
    print_wrap(out,
               "These numbers keep their meaning. New ones may come: take one "
               "that you do not know for a failure.",
               0, WIDTH);
    buf_printf(out, "\n");
}

/* ---- for programs ------------------------------------------------------ */

static json_t *
options_json(const struct option_spec *spec)
{
    json_t *all = json_array();

    for (; spec && spec->name; spec++) {
        char letter[2] = {spec->letter, '\0'};
        (void)json_array_append_new(
            all, json_pack("{s:s, s:s*, s:s*, s:s}", "name", spec->name,
                           "letter", spec->letter ? letter : NULL, "arg",
                           spec->arg, "help", spec->help));
    }
    return all;
}

json_t *
help_json(const struct command *const *table)
{
    json_t *list = json_array(), *codes = json_array();

    for (; *table; table++) {
        const struct command *c = *table;
        (void)json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i}", "name", c->name,
                      "operands", c->operands, "summary", c->summary, "text",
                      c->text, "options", options_json(c->options),
                      "min_operands", (int)c->min_operands, "max_operands",
                      (int)c->max_operands));
    }
    for (const struct outcome_row *r = outcome_rows; r->meaning; r++)
        (void)json_array_append_new(codes, json_pack("{s:i, s:s}", "exit",
                                                     (int)r->outcome, "meaning",
                                                     r->meaning));
    return json_pack("{s:s, s:o, s:o, s:o}", "version", VMKEEP_VERSION,
                     "commands", list, "options", options_json(global_options),
                     "exit_codes", codes);
}
