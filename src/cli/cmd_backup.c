/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/live.h"
#include "capture/savevm.h"
#include "cli/cli.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "cli/target.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "work/cancel.h"

static const char *const methods[] = {"live", "savevm", "disk"};

/* The machines to save, and how it went. */
struct batch {
    struct cli *cli;
    struct session session;
    struct cancel *cancel;
    bool savevm; /* instead of live */
    uint64_t max_pause_ms;
    const char *scratch_dir; /* or NULL */
    bool single;             /* one machine was named: the summary is its own */
    size_t n, n_saved, n_failed;
    int outcome; /* the worst so far */
    enum outcome first_failure;
};

/* ---- what came out ----------------------------------------------------- */

static void
print_result(struct cli *c, const struct capture_result *r)
{
    const struct manifest *m = r->manifest;
    const struct capture_pause *p = &r->pause;
    double seconds = (double)r->duration_ns / 1e9;
    char read[TEXT_SIZE_LEN], new[TEXT_SIZE_LEN], stored[TEXT_SIZE_LEN],
        rate[TEXT_SIZE_LEN], time[CLOCK_TEXT_LEN];

    text_size(m->read_bytes, read);
    text_size(m->new_bytes, new);
    text_size(m->stored_bytes, stored);
    text_size((uint64_t)((double)m->read_bytes / (seconds + 1e-9)), rate);
    clock_format_local(m->time_ns, time);
    CLEANUP(freep) char *name = print_fit(m->machine);
    out_text(&c->out,
             "saved %s as of %s: backup %.8s (%s)\n"
             "  pause %.1f ms: stop %.1f, disks %.1f, memory %.1f\n"
             "  read %s, new %s, stored %s, in %.1f s (%s/s)\n",
             name, time, m->id, m->method, (double)p->total_us / 1e3,
             (double)p->stop_us / 1e3, (double)p->arm_us / 1e3,
             (double)p->ram_us / 1e3, read, new, stored, seconds, rate);
}

static void
report(struct batch *b, const struct capture_result *r)
{
    struct cli *c = b->cli;

    if (c->out.json)
        out_line(&c->out, b->single ? "summary" : "backup", saved_json(r));
    else
        print_result(c, r);
    for (size_t i = 0; i < r->n_warnings; i++)
        out_warning(&c->out, "%s: %s", r->manifest->machine, r->warnings[i]);
}

static void
report_batch(struct batch *b)
{
    if (b->cli->out.json)
        out_line(&b->cli->out, "summary",
                 json_pack("{s:I, s:I, s:I, s:i}", "machines", (json_int_t)b->n,
                           "saved", (json_int_t)b->n_saved, "failed",
                           (json_int_t)b->n_failed, "exit", b->outcome));
    else
        out_text(&b->cli->out, "%zu of %zu machines saved\n", b->n_saved, b->n);
}

/* ---- one machine after the other --------------------------------------- */

static void
note_failure(struct batch *b, const char *name, struct err *e)
{
    enum outcome o = outcome_of(e->code);

    out_error(&b->cli->out, "backup", name, o, e);
    if (b->n_failed++ == 0)
        b->first_failure = o;
    err_clear(e);
}

static int
save(struct batch *b, const char *name, const char *socket, struct err *e)
{
    struct capture_result result = {0};
    struct meter *meter = meter_start(b->cli, name);
    const struct capture_options options = {.scratch_dir = b->scratch_dir,
                                            .max_pause_ms = b->max_pause_ms,
                                            .progress = meter_progress,
                                            .progress_cookie = meter};

    signals_raise(b->cancel);
    int r = (b->savevm ? capture_savevm : capture_live)(
        b->session.repo, socket, &options, b->cancel, &result, e);
    signals_raise(NULL);
    meter_stop(meter);
    if (r == -1)
        return -1;
    b->n_saved++;
    if (result.n_warnings > 0)
        b->outcome = OUTCOME_PARTLY;
    report(b, &result);
    capture_result_done(&result);
    return 0;
}

/* As the machine is called in `vmkeep machines`, if it is called anything; to
 * be freed. */
static char *
ask_name(struct qmp *q, const char *otherwise)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;
    struct err ignored = {0}; /* whatever is wrong, the capture will say */

    if (qmp_run(q, "query-name", NULL, &reply, &ignored) == 0) {
        const char *name = json_string_value(json_object_get(reply, "name"));
        if (name && *name)
            return xstrdup(name);
    }
    return xstrdup(otherwise);
}

/* By one of its monitors that nobody else uses. */
static int
save_found(struct batch *b, const struct machine_found *f, struct err *e)
{
    CLEANUP(qmp_closep) struct qmp *q = NULL;
    const char *socket = NULL;

    if (target_connect(f, &q, &socket, e) == -1)
        return target_unreachable(f, e);
    CLEANUP(freep) char *name = ask_name(q, f->name);
    qmp_close(STEAL(q)); /* the capture makes its own connection */
    return save(b, name, socket, e);
}

static int
save_each(struct batch *b, const struct machine_found *const *list, size_t n,
          struct err *e)
{
    b->n = n;
    for (size_t i = 0; i < n; i++) {
        if (cancel_check(b->cancel, e) == -1)
            return -1;
        if (save_found(b, list[i], e) == 0)
            continue;
        if (b->single || e->code == ERR_CANCELED)
            return -1;
        note_failure(b, list[i]->name, e);
    }
    if (b->n_failed > 0)
        b->outcome = b->n_saved ? OUTCOME_PARTLY : (int)b->first_failure;
    if (!b->single)
        report_batch(b);
    return b->outcome;
}

static void
choose_once(const struct machine_found *f, const struct machine_found **list,
            size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i] == f)
            return;
    list[(*n)++] = f;
}

/* The operands, each a machine; or all that were found. */
static int
choose(const struct cli *c, const struct machine_found *found, size_t n,
       const struct machine_found **list, size_t *out_n, struct err *e)
{
    const struct args *a = &c->args;

    for (size_t i = 0; args_has(a, "all") && i < n; i++)
        choose_once(&found[i], list, out_n);
    for (size_t i = 0; i < a->n_operands; i++) {
        const struct machine_found *f = NULL;
        if (target_pick(found, n, a->operands[i], &f, e) == -1)
            return -1;
        choose_once(f, list, out_n);
    }
    if (*out_n == 0)
        return err_set(e, ERR_NOENT, "no running QEMU machine was found");
    return 0;
}

static int
save_by_name(struct batch *b, struct err *e)
{
    struct machine_found *found = NULL;
    size_t n = 0, n_list = 0;

    if (machines_find(&found, &n, e) == -1)
        return -1;
    size_t room = n + b->cli->args.n_operands;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression) */
    const struct machine_found **list = xcalloc(room, sizeof(list[0]));
    int r = choose(b->cli, found, n, list, &n_list, e);
    if (r == 0)
        r = session_open(b->cli, &b->session, e);
    if (r == 0)
        r = save_each(b, list, n_list, e);
    free(list);
    machine_found_free(found, n);
    return r;
}

/* ---- the command ------------------------------------------------------- */

static int
take_method(const char *method, bool *out_savevm, struct err *e)
{
    *out_savevm = method && strcmp(method, "savevm") == 0;
    if (!method || *out_savevm || strcmp(method, "live") == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(method, methods[i]) == 0)
            return err_set(e, ERR_UNSUP,
                           "this version cannot capture by the method %s; "
                           "leave --method away for live",
                           method);
    return err_set(e, ERR_USAGE,
                   "--method %s is none; there are live, savevm and disk",
                   method);
}

static int
take_options(struct batch *b, struct err *e)
{
    const struct args *a = &b->cli->args;
    const char *pause = args_value(a, "max-pause");
    int ways = args_has(a, "all") + args_has(a, "qmp") + (a->n_operands > 0);

    if (ways == 0) {
        (void)err_set(e, ERR_USAGE, "which machine? name it, or say --all");
        return err_hint(e, "`vmkeep machines` lists them");
    }
    if (ways > 1)
        return err_set(e, ERR_USAGE,
                       "MACHINE, --all and --qmp exclude each other");
    if (take_method(args_value(a, "method"), &b->savevm, e) == -1)
        return -1;
    if (pause && b->savevm)
        return err_set(e, ERR_USAGE,
                       "--max-pause is for live only: nobody can end the pause "
                       "of savevm but QEMU");
    if (pause &&
        (!text_parse_u64(pause, &b->max_pause_ms) || b->max_pause_ms == 0))
        return err_set(e, ERR_USAGE,
                       "--max-pause %s is no number of milliseconds", pause);
    b->scratch_dir = args_value(a, "scratch");
    b->single = args_has(a, "qmp") || a->n_operands == 1;
    return 0;
}

static int
save_by_socket(struct batch *b, const char *option, struct err *e)
{
    CLEANUP(freep) char *socket = xstrdup(option);
    char *sockets[] = {socket, NULL};
    const struct machine_found found = {0, socket, socket, sockets};

    if (session_open(b->cli, &b->session, e) == -1)
        return -1;
    return save_found(b, &found, e) == -1 ? -1 : b->outcome;
}

static int
save_all(struct batch *b, struct err *e)
{
    const char *socket = args_value(&b->cli->args, "qmp");

    if (!target_reconcile(&b->cli->out))
        b->outcome = OUTCOME_PARTLY;
    return socket ? save_by_socket(b, socket, e) : save_by_name(b, e);
}

static int
run_backup(struct cli *c, struct err *e)
{
    struct batch b = {.cli = c};

    if (take_options(&b, e) == -1)
        return -1;
    b.cancel = cancel_new();
    int r = save_all(&b, e);
    session_done(&b.session);
    cancel_free(b.cancel);
    return r;
}

static const struct option_spec options[] = {
    {"all", 0, NULL, "every running machine of this host"},
    {"qmp", 0, "SOCKET", "the machine behind this monitor socket"},
    {"method", 0, "METHOD",
     "live (the default): memory, devices and disks of one instant, while the "
     "machine runs; savevm: the same by QEMU's internal snapshots, for "
     "machines "
     "that live cannot do: all disks must be qcow2, and the machine stands "
     "still while its memory is written to one of them"},
    {"max-pause", 0, "MS",
     "give up, and let the machine go on, if it would stand still for longer "
     "than this (default 10000)"},
    {"scratch", 0, "DIR",
     "local folder for what the machine overwrites during the backup (default "
     "/var/tmp)"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep backup web-01", "save one machine while it runs"},
    {"vmkeep backup --all --json", "save them all; a line of JSON for each"},
    {"vmkeep backup --qmp /run/web-01.qmp --max-pause 200",
     "by its monitor, and only if it stands still for 0.2 s at most"},
    {NULL, NULL}};

const struct command cmd_backup = {
    .name = "backup",
    .operands = "[MACHINE...]",
    .summary = "save machines, memory and disks, while they run",
    .text = "The machine stands still for some milliseconds; then it runs on "
            "while vmkeep reads what it was at that instant. Only what the "
            "repository does not have yet is stored. If anything fails, or at "
            "Ctrl-C, the backup is given up and the machine goes on as "
            "before.\n\n"
            "MACHINE is a name or a UUID, as `vmkeep machines` shows them. If "
            "some of several machines could not be saved the exit code is 3.",
    .options = options,
    .examples = examples,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_backup};
