/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/ability.h"
#include "capture/intent.h"
#include "capture/underway.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/survey.h"
#include "cli/survey_view.h"
#include "cli/target.h"
#include "qemu/machine.h"

/* The machines that are meant, and what became of asking. */
struct survey {
    struct cli *cli;
    struct session session; /* its repository may be NULL */
    struct survey_row *rows;
    size_t n;
    bool details;
    bool complete; /* nothing that was to be told is missing */
};

static void
print_text(struct survey *s)
{
    struct out *o = &s->cli->out;

    if (s->n == 0)
        out_note(o, "no running QEMU machine was found%s",
                 geteuid() == 0 ? "" : "; root may see more of them");
    else if (!s->details)
        survey_print_list(s->cli, s->rows, s->n, s->session.repo);
    for (size_t i = 0; s->details && i < s->n; i++) {
        out_text(o, "%s", i == 0 ? "" : "\n");
        survey_print_machine(s->cli, &s->rows[i], s->session.repo);
    }
}

static void
answer(struct survey *s)
{
    json_t *all = json_array();

    for (size_t i = 0; i < s->n; i++)
        (void)json_array_append_new(all,
                                    survey_json(&s->rows[i], s->session.repo));
    if (s->cli->out.json)
        out_document(&s->cli->out, json_incref(all));
    else
        print_text(s);
    json_decref(all);
}

/* What the repository knows is told if it can be; the machines in any case. */
static void
open_repository(struct survey *s)
{
    struct err e = {0};

    if (session_open_quietly(s->cli, &s->session, &e) != -1)
        return;
    session_done(&s->session);
    s->session = (struct session){0};
    s->complete = false;
    out_warning(&s->cli->out, "nothing is said of the last backups: %s", e.msg);
}

static void
ask(struct survey *s)
{
    struct out *o = &s->cli->out;
    struct err e = {0};

    survey_ask(s->rows, s->n, s->session.repo);
    for (size_t i = 0; i < s->n; i++) {
        const struct ability *a = s->rows[i].ability;
        if (!a || !a->tracking_error)
            continue;
        s->complete = false;
        out_warning(o, "%s: what the next backup would read cannot be told: %s",
                    s->rows[i].found->name, a->tracking_error);
    }
    if (s->session.repo &&
        survey_backups(s->rows, s->n, s->session.repo, &e) == -1) {
        s->complete = false;
        out_warning(o, "not all backups could be looked at: %s", e.msg);
    }
}

/* Which of them are being saved?  Not to know is no reason to show nothing. */
static void
mark_backups(struct survey *s, struct intent **backups, size_t n_b)
{
    for (size_t i = 0; i < s->n; i++) {
        struct survey_row *r = &s->rows[i];
        for (size_t k = 0; k < n_b; k++)
            if (backups[k]->pid && backups[k]->pid == r->found->pid &&
                intent_worker_lives(backups[k]))
                r->backup = backups[k];
    }
}

/* The operands, each a machine; or all that were found. */
static int
choose(struct survey *s, const struct machine_found *found, size_t n,
       struct err *e)
{
    const struct args *a = &s->cli->args;

    s->rows = xcalloc(n + a->n_operands, sizeof(s->rows[0]));
    for (size_t i = 0; i < a->n_operands; i++) {
        const struct machine_found *f = NULL;
        if (target_pick(found, n, a->operands[i], &f, e) == -1)
            return -1;
        s->rows[s->n++].found = f;
    }
    for (size_t i = 0; a->n_operands == 0 && i < n; i++)
        s->rows[s->n++].found = &found[i];
    return 0;
}

static int
run_found(struct survey *s, struct err *e)
{
    struct machine_found *found = NULL;
    struct intent **backups = NULL;
    size_t n = 0, n_backups = 0;
    struct err ignored = {0};

    if (machines_find(&found, &n, e) == -1)
        return -1;
    int rc = choose(s, found, n, e);
    if (rc == 0) {
        (void)underway_list(&backups, &n_backups, &ignored);
        mark_backups(s, backups, n_backups);
        open_repository(s);
        ask(s);
        answer(s);
    }
    underway_free(backups, n_backups);
    machine_found_free(found, n);
    return rc;
}

static int
run_one(struct survey *s, const char *option, struct err *e)
{
    CLEANUP(freep) char *socket = xstrdup(option);
    char *sockets[] = {socket, NULL};
    struct machine_found found = {0, socket, socket, sockets};

    s->rows = xcalloc(1, sizeof(s->rows[0]));
    s->rows[s->n++].found = &found;
    open_repository(s);
    ask(s);
    const struct machine *m = s->rows[0].machine;
    if (!m) {
        *e = s->rows[0].why;
        return target_unreachable(&found, e);
    }
    found = (struct machine_found){m->pid, m->name, m->uuid, sockets};
    answer(s);
    return 0;
}

static int
run_machines(struct cli *c, struct err *e)
{
    const char *socket = args_value(&c->args, "qmp");
    struct survey s = {.cli = c};

    if (socket && c->args.n_operands > 0)
        return err_set(e, ERR_USAGE, "MACHINE and --qmp exclude each other");
    s.details = c->args.n_operands > 0 || args_has(&c->args, "verbose");
    s.complete = target_reconcile(&c->out);
    int rc = socket ? run_one(&s, socket, e) : run_found(&s, e);
    for (size_t i = 0; i < s.n; i++)
        survey_row_done(&s.rows[i]);
    free(s.rows);
    session_done(&s.session);
    if (rc == -1)
        return -1;
    return s.complete ? OUTCOME_DONE : OUTCOME_PARTLY;
}

static const struct option_spec options[] = {
    {"qmp", 0, "SOCKET", "only the machine behind this monitor socket"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep machines", "all machines that run on this host"},
    {"vmkeep machines web-01", "all about one of them"},
    {"vmkeep machines --qmp /run/web-01.qmp", "only this one"},
    {"vmkeep machines --json | jq '.[] | select(.reachable | not)'",
     "those that cannot be backed up"},
    {NULL, NULL}};

const struct command cmd_machines = {
    .name = "machines",
    .operands = "[MACHINE...]",
    .summary = "list the running machines, and what keeps one from a backup",
    .text =
        "Looks for QEMU processes on this host and asks each over its "
        "monitor (QMP) how it can be saved: METHOD is the best way that there "
        "is now, and below stands why it is not a better one. A machine "
        "without a monitor that answers is unprotected: vmkeep says why, and "
        "what to do about it. The machines themselves are not touched, but "
        "what a backup that was killed left in one is put right.\n\n"
        "If a repository is named, and its password need not be asked for, "
        "there stands too when each was saved last, and whether the next "
        "backup has to read all of its disks or only what has changed since. "
        "With -v, or of a machine that is named, all details are shown.",
    .options = options,
    .examples = examples,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_machines};
