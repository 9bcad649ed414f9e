/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"
#include "capture/underway.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/target.h"
#include "qemu/machine.h"

enum { PATIENCE_S = 60, PATIENCE_MAX_S = 86400, KILLED_MS = 180000 };

struct aborting {
    struct cli *cli;
    uint64_t patience_ms;
    json_t *done; /* for --json */
    size_t n;
};

/* Is the record of that machine, or of any if it is NULL?  `pid` 0: not known
 * by another name. */
static bool
is_meant(const struct intent *in, const char *word, pid_t pid)
{
    return !word || strcmp(in->machine, word) == 0 || (pid && in->pid == pid);
}

static int
end_one(struct aborting *a, const struct intent *in, struct err *e)
{
    CLEANUP(freep) char *name = print_fit(in->machine);
    bool killed = false;

    out_note(&a->cli->out, "%s: ending its backup (process %d)", name,
             (int)in->worker);
    if (underway_abort(in, deadline_in_ms(a->patience_ms),
                       deadline_in_ms(a->patience_ms + KILLED_MS), &killed,
                       e) == -1)
        return -1;
    a->n++;
    if (!a->cli->out.json)
        out_text(&a->cli->out,
                 "the backup of %s was given up%s; the machine is as before\n",
                 name, killed ? ", its process had to be killed" : "");
    (void)json_array_append_new(a->done, json_pack("{s:o, s:i, s:b}", "machine",
                                                   print_json(in->machine),
                                                   "pid", (int)in->worker,
                                                   "killed", (int)killed));
    return 0;
}

/* The process of the machine that is called so now, 0 if there is none. */
static int
find_pid(const char *word, pid_t *out, struct err *e)
{
    struct machine_found *all = NULL;
    const struct machine_found *found = NULL;
    size_t n = 0;

    if (machines_find(&all, &n, e) == -1)
        return -1;
    int rc = target_pick(all, n, word, &found, e);
    if (rc == 0)
        *out = found->pid;
    machine_found_free(all, n);
    return rc;
}

static int
end_meant(struct aborting *a, const char *word, struct err *e)
{
    struct intent **all = NULL;
    size_t n = 0;
    pid_t pid = 0;
    struct err unknown = {0};

    if (word)
        (void)find_pid(word, &pid, &unknown);
    if (underway_list(&all, &n, e) == -1)
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (is_meant(all[i], word, pid))
            rc = end_one(a, all[i], e);
    underway_free(all, n);
    if (rc == 0 && a->n == 0 && unknown.code != ERR_OK) {
        *e = unknown;
        return -1;
    }
    return rc;
}

static int
run_abort(struct cli *c, struct err *e)
{
    const struct args *args = &c->args;
    const char *word = args->n_operands ? args->operands[0] : NULL;
    const char *patience = args_value(args, "timeout");
    uint64_t seconds = PATIENCE_S;
    struct aborting a = {.cli = c};

    if (args_has(args, "all") == (word != NULL))
        return err_set(e, ERR_USAGE,
                       "whose backup? name one machine, or say --all");
    if (patience && (!text_parse_u64(patience, &seconds) || seconds == 0 ||
                     seconds > PATIENCE_MAX_S))
        return err_set(e, ERR_USAGE,
                       "--timeout %s is no number of seconds (1 to %d)",
                       patience, PATIENCE_MAX_S);
    a.patience_ms = seconds * 1000;
    a.done = json_array();
    bool reconciled = target_reconcile(&c->out);
    int rc = end_meant(&a, word, e);
    if (rc == 0 && c->out.json)
        out_document(&c->out, json_incref(a.done));
    if (rc == 0 && a.n == 0)
        out_note(&c->out, "no backup%s%s is under way", word ? " of " : "",
                 word ? word : "");
    json_decref(a.done);
    if (rc == -1)
        return -1;
    return reconciled ? OUTCOME_DONE : OUTCOME_PARTLY;
}

static const struct option_spec options[] = {
    {"all", 0, NULL, "every backup that is under way on this host"},
    {"timeout", 0, "SECONDS",
     "how long the backup may take to end by itself; then its process is "
     "killed, and its guard puts the machine right (default 60)"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep abort web-01", "for instance to resize a disk of it now"},
    {NULL, NULL}};

const struct command cmd_abort = {
    .name = "abort",
    .operands = "[MACHINE]",
    .summary = "give up the backup of a machine that is under way",
    .text =
        "While a machine is being saved some things cannot be done to it: "
        "resizing a disk, other backups, a migration. This ends the backup, "
        "waits until nothing of it is left in the machine, and says so; the "
        "machine runs on. It is no error if none is under way. Where one "
        "command saves several machines, all of that command is ended.",
    .options = options,
    .examples = examples,
    .max_operands = 1,
    .run = run_abort};
