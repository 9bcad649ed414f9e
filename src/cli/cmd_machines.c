/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/ability.h"
#include "capture/intent.h"
#include "capture/underway.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/survey.h"
#include "cli/table.h"
#include "cli/target.h"
#include "qemu/machine.h"

enum { FIX_MAX_BYTES = 1024, DISKS_MAX_BYTES = 256 };

static const struct column columns[] = {
    {.title = "MACHINE", .shrinks = true},
    {.title = "STATE"},
    {.title = "METHOD"},
    {.title = "RAM", .right = true},
    {.title = "DISKS", .shrinks = true},
    {.title = "PID", .right = true},
    {.title = "LAST BACKUP"}, /* the last two only with a repository */
    {.title = "NEXT"}};
enum { COLUMNS_OF_REPO = 2 };

static const struct column disk_columns[] = {
    {.title = "DISK", .shrinks = true},
    {.title = "SIZE", .right = true},
    {.title = "FORMAT"},
    {.title = "NEXT BACKUP READS", .shrinks = true},
    {.title = "IMAGE", .shrinks = true}};

/* The machines that are meant, and what became of asking. */
struct survey {
    struct cli *cli;
    struct session session; /* its repository may be NULL */
    struct survey_row *rows;
    size_t n;
    bool details;
    bool complete; /* nothing that was to be told is missing */
};

/* ---- what is said of a machine ------------------------------------------- */

/* How the next backup would read this disk, or NULL if that is not known. */
static const struct ability_disk *
reading_of(const struct ability *a, const struct disk *d)
{
    for (size_t i = 0; a && i < a->n_disks; i++)
        if (strcmp(a->disks[i].name, d->name) == 0)
            return &a->disks[i];
    return NULL;
}

/* The same of all its disks, in a word. */
static const char *
next_reads(const struct ability *a)
{
    size_t full = 0;

    if (!a || a->n_disks == 0)
        return "";
    for (size_t i = 0; i < a->n_disks; i++)
        full += a->disks[i].why_full != NULL;
    return full == 0 ? "changes" : full == a->n_disks ? "all" : "some";
}

static const char *
state_of(const struct survey_row *r)
{
    if (r->backup)
        return "backup under way";
    if (r->machine)
        return r->machine->status;
    return r->is_stopped ? "stopped" : "unprotected";
}

/* "" if it is not known. */
static const char *
method_of(const struct survey_row *r)
{
    if (r->ability)
        return r->ability->best ? r->ability->best : "none";
    return r->backup ? "" : "none";
}

/* ---- as JSON ----------------------------------------------------------- */

static json_t *
disk_json(const struct disk *d, const struct ability *a)
{
    const struct ability_disk *next = reading_of(a, d);
    json_t *j = json_pack("{s:o, s:o, s:o, s:I, s:b, s:b}", "name",
                          print_json(d->name), "format", print_json(d->format),
                          "filename", print_json(d->filename), "size_bytes",
                          (json_int_t)d->size_bytes, "read_only",
                          (int)d->read_only, "removable", (int)d->removable);

    if (next)
        (void)json_object_set_new(
            j, "next_read", json_string(next->why_full ? "full" : "changed"));
    if (next && next->why_full)
        (void)json_object_set_new(j, "reason", json_string(next->why_full));
    return j;
}

static json_t *
disks_json(const struct survey_row *r)
{
    json_t *disks = json_array();

    for (size_t i = 0; i < r->machine->n_disks; i++)
        (void)json_array_append_new(
            disks, disk_json(&r->machine->disks[i], r->ability));
    return disks;
}

static json_t *
methods_json(const struct ability *a)
{
    json_t *methods = json_array();

    for (size_t i = 0; i < ABILITY_METHODS; i++) {
        const struct ability_method *m = &a->methods[i];
        json_t *j =
            json_pack("{s:s, s:b}", "name", m->name, "able", !m->why_not);
        if (m->why_not)
            (void)json_object_set_new(j, "reason", print_json(m->why_not));
        if (!m->why_not && strcmp(m->name, "live") == 0)
            (void)json_object_set_new(j, "expected_pause_ms",
                                      json_pack("[f, f]",
                                                (double)a->least_us / 1e3,
                                                (double)a->most_us / 1e3));
        (void)json_array_append_new(methods, j);
    }
    return methods;
}

static void
add_ability(json_t *j, const struct ability *a)
{
    (void)json_object_set_new(j, "method",
                              a->best ? json_string(a->best) : json_null());
    (void)json_object_set_new(j, "methods", methods_json(a));
    if (a->tracking_error)
        (void)json_object_set_new(j, "tracking_error",
                                  print_json(a->tracking_error));
}

static void
add_described(json_t *j, const struct survey_row *r)
{
    const struct machine *m = r->machine;
    CLEANUP(freep)
    char *version = xasprintf("%u.%u.%u", m->version.major, m->version.minor,
                              m->version.micro);
    json_t *blockers = json_array();

    for (size_t i = 0; m->blockers[i]; i++)
        (void)json_array_append_new(blockers, print_json(m->blockers[i]));
    (void)json_object_update_new(
        j, json_pack("{s:o, s:o, s:o, s:i, s:o, s:I, s:o, s:s, s:o, s:o, s:o}",
                     "name", print_json(m->name), "uuid", print_json(m->uuid),
                     "socket", print_json(m->socket), "pid", (int)m->pid,
                     "status", print_json(m->status), "ram_bytes",
                     (json_int_t)m->ram_bytes, "type", print_json(m->type),
                     "qemu", version, "package", print_json(m->version.package),
                     "live_blockers", blockers, "disks", disks_json(r)));
    if (r->ability)
        add_ability(j, r->ability);
}

static json_t *
last_json(const struct survey_last *last)
{
    char time[CLOCK_TEXT_LEN];

    if (!last->method)
        return json_null();
    clock_format_utc(last->time_ns, time);
    return json_pack("{s:s, s:s, s:o}", "backup_id", last->id, "time", time,
                     "method", print_json(last->method));
}

static json_t *
to_json(const struct survey *s, const struct survey_row *r)
{
    json_t *j =
        json_pack("{s:o, s:o, s:i, s:b}", "name", print_json(r->found->name),
                  "uuid", print_json(r->found->uuid), "pid", (int)r->found->pid,
                  "reachable", r->machine != NULL);

    (void)json_object_set_new(j, "backup_pid",
                              r->backup ? json_integer(r->backup->worker)
                                        : json_null());
    if (s->session.repo)
        (void)json_object_set_new(j, "last_backup", last_json(&r->last));
    if (r->machine) {
        add_described(j, r);
        return j;
    }
    if (r->backup) /* and its monitor is in use for that */
        return j;
    CLEANUP(buf_done) struct buf fix = buf_of(FIX_MAX_BYTES);
    survey_print_fix(r, &fix);
    (void)json_object_set_new(j, "problem", print_json(r->why.msg));
    (void)json_object_set_new(j, "fix", print_json(buf_text(&fix)));
    return j;
}

/* ---- as a line of a table ------------------------------------------------ */

static void
add_disks(struct table *t, const struct machine *m)
{
    CLEANUP(buf_done) struct buf b = buf_of(DISKS_MAX_BYTES);

    for (size_t i = 0; i < m->n_disks; i++) {
        char size[TEXT_SIZE_LEN];
        if (m->disks[i].read_only)
            continue;
        text_size(m->disks[i].size_bytes, size);
        buf_printf(&b, "%s%s %s", b.len ? ", " : "", m->disks[i].name, size);
    }
    table_cell(t, buf_text(&b));
}

static void
add_row(const struct survey *s, struct table *t, const struct survey_row *r)
{
    const struct machine *m = r->machine;
    CLEANUP(freep)
    char *pid =
        r->found->pid ? xasprintf("%d", (int)r->found->pid) : xstrdup("");

    table_cell(t, m ? m->name : r->found->name);
    table_cell(t, state_of(r));
    table_cell(t, method_of(r));
    if (m) {
        table_cell_size(t, m->ram_bytes);
        add_disks(t, m);
    } else {
        table_cell(t, "");
        table_cell(t, "");
    }
    table_cell(t, pid);
    if (!s->session.repo)
        return;
    if (r->last.method)
        table_cell_time(t, r->last.time_ns);
    else
        table_cell(t, "never");
    table_cell(t, next_reads(r->ability));
}

static void
print_unasked(struct cli *c, const struct survey_row *r)
{
    CLEANUP(freep) char *name = print_fit(r->found->name);
    CLEANUP(freep) char *why = print_fit(r->why.msg);
    CLEANUP(buf_done) struct buf fix = buf_of(FIX_MAX_BYTES);

    if (r->backup)
        return;
    survey_print_fix(r, &fix);
    CLEANUP(freep) char *fit = print_fit(buf_text(&fix));
    out_text(&c->out, "\n%s (pid %d) is unprotected: %s\n  fix: %s\n", name,
             (int)r->found->pid, why, fit);
}

/* Why the best method is not the best of all. */
static void
print_refusals(struct cli *c, const struct ability *a)
{
    for (size_t i = 0; i < ABILITY_METHODS && a->methods[i].why_not; i++) {
        CLEANUP(freep) char *fit = print_fit(a->methods[i].why_not);
        out_text(&c->out, "%s%s\n", i == 0 ? "\n" : "", fit);
    }
}

static void
print_list(struct survey *s)
{
    struct cli *c = s->cli;
    CLEANUP(table_freep)
    struct table *t = table_new(
        columns, ARRAY_LEN(columns) - (s->session.repo ? 0 : COLUMNS_OF_REPO));

    for (size_t i = 0; i < s->n; i++)
        add_row(s, t, &s->rows[i]);
    out_table(&c->out, t);
    for (size_t i = 0; i < s->n; i++) {
        if (!s->rows[i].machine)
            print_unasked(c, &s->rows[i]);
        else if (s->rows[i].ability)
            print_refusals(c, s->rows[i].ability);
    }
}

/* ---- with all details ---------------------------------------------------- */

static void
print_fact(struct cli *c, const char *name, const char *value)
{
    CLEANUP(freep) char *fit = print_fit(*value ? value : "-");

    out_text(&c->out, "%-8s  %s\n", name, fit);
}

static void
print_methods(struct cli *c, const struct ability *a)
{
    for (size_t i = 0; i < ABILITY_METHODS; i++) {
        const struct ability_method *m = &a->methods[i];
        CLEANUP(freep) char *fact = NULL;
        if (m->why_not)
            fact = xasprintf("no: %s", m->why_not);
        else if (strcmp(m->name, "live") == 0)
            fact =
                xasprintf("yes, with a pause of about %.0f to %.0f ms",
                          (double)a->least_us / 1e3, (double)a->most_us / 1e3);
        else
            fact = xstrdup("yes");
        print_fact(c, m->name, fact);
    }
}

static void
print_disks(struct cli *c, const struct survey_row *r)
{
    CLEANUP(table_freep)
    struct table *t = table_new(disk_columns, ARRAY_LEN(disk_columns));
    const struct machine *m = r->machine;

    for (size_t i = 0; i < m->n_disks; i++) {
        const struct disk *d = &m->disks[i];
        const struct ability_disk *next = reading_of(r->ability, d);
        CLEANUP(freep)
        char *all = next && next->why_full
                        ? xasprintf("all: %s", next->why_full)
                        : NULL;
        table_cell(t, d->name);
        table_cell_size(t, d->size_bytes);
        table_cell(t, d->format);
        table_cell(t, d->read_only ? "nothing: read-only"
                      : all        ? all
                      : next       ? "what has changed"
                                   : "");
        table_cell(t, d->filename);
    }
    if (m->n_disks > 0) {
        out_text(&c->out, "\n");
        out_table(&c->out, t);
    }
}

static void
print_last(struct cli *c, const struct survey_last *last)
{
    char time[CLOCK_TEXT_LEN];

    if (!last->method) {
        print_fact(c, "last", "it has no backup in this repository");
        return;
    }
    clock_format_local(last->time_ns, time);
    CLEANUP(freep)
    char *fact =
        xasprintf("%s, backup %.8s (%s)", time, last->id, last->method);
    print_fact(c, "last", fact);
}

static void
print_machine(struct survey *s, const struct survey_row *r)
{
    struct cli *c = s->cli;
    const struct machine *m = r->machine;
    CLEANUP(freep) char *pid = xasprintf("%d", (int)r->found->pid);

    print_fact(c, "machine", m ? m->name : r->found->name);
    print_fact(c, "uuid", m ? m->uuid : r->found->uuid);
    print_fact(c, "state", state_of(r));
    if (r->found->pid)
        print_fact(c, "pid", pid);
    if (m) {
        char ram[TEXT_SIZE_LEN];
        CLEANUP(freep)
        char *version =
            xasprintf("%u.%u.%u %s", m->version.major, m->version.minor,
                      m->version.micro, m->version.package);
        text_size(m->ram_bytes, ram);
        print_fact(c, "qemu", version);
        print_fact(c, "monitor", m->socket);
        print_fact(c, "ram", ram);
    }
    if (r->ability)
        print_methods(c, r->ability);
    if (s->session.repo)
        print_last(c, &r->last);
    if (m)
        print_disks(c, r);
    else
        print_unasked(c, r);
}

/* ------------------------------------------------------------------------ */

static void
print_text(struct survey *s)
{
    struct out *o = &s->cli->out;

    if (s->n == 0)
        out_note(o, "no running QEMU machine was found%s",
                 geteuid() == 0 ? "" : "; root may see more of them");
    else if (!s->details)
        print_list(s);
    for (size_t i = 0; s->details && i < s->n; i++) {
        out_text(o, "%s", i == 0 ? "" : "\n");
        print_machine(s, &s->rows[i]);
    }
}

static void
answer(struct survey *s)
{
    json_t *all = json_array();

    for (size_t i = 0; i < s->n; i++)
        (void)json_array_append_new(all, to_json(s, &s->rows[i]));
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
