/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"
#include "capture/underway.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/table.h"
#include "cli/target.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "work/pool.h"

enum {
    REPLY_MS = 3000,  /* a machine that is slower than that has a problem */
    ASK_AT_ONCE = 16, /* threads that only wait */
    FIX_MAX_BYTES = 1024,
    DISKS_MAX_BYTES = 256
};

static const struct column columns[] = {
    {.title = "MACHINE", .shrinks = true}, {.title = "STATE"},
    {.title = "RAM", .right = true},       {.title = "DISKS", .shrinks = true},
    {.title = "PID", .right = true},       {.title = "QEMU"},
    {.title = "MONITOR", .shrinks = true}};

/* One machine of the answer. */
struct row {
    const struct machine_found *found; /* borrowed */
    const struct intent *backup;       /* under way of it, borrowed, or NULL */
    struct machine *machine;           /* NULL if it could not be asked */
    struct err why;                    /* then */
};

/* The monitor that the backup uses serves nobody else meanwhile.  To be freed;
 * the names in it are borrowed. */
static char **
sockets_but(const struct machine_found *f, const struct intent *backup)
{
    size_t n = 0, all = 0;

    while (f->sockets[all])
        all++;
    char **list = xcalloc(all + 1, sizeof(list[0]));
    for (size_t i = 0; i < all; i++)
        if (!backup || strcmp(backup->socket, f->sockets[i]) != 0)
            list[n++] = f->sockets[i];
    return list;
}

static int
describe(struct row *r, struct err *e)
{
    CLEANUP(qmp_closep) struct qmp *q = NULL;
    CLEANUP(freep) char **others = sockets_but(r->found, r->backup);
    struct machine_found found = *r->found;
    const char *socket = NULL;

    found.sockets = others;
    if (target_connect(&found, &q, &socket, e) == -1)
        return -1;
    qmp_set_timeout_ms(q, REPLY_MS);
    return machine_describe(q, socket, &r->machine, e);
}

/* A pool_fn; what fails concerns one machine, never the others. */
static int
describe_job(void *arg, int failed, struct err *e)
{
    struct row *r = arg;

    (void)failed;
    (void)e;
    (void)describe(r, &r->why);
    return 0;
}

static void
describe_all(struct row *rows, size_t n)
{
    CLEANUP(pool_freep) struct pool *pool = pool_new(ASK_AT_ONCE);
    CLEANUP(group_freep) struct group *group = group_new(pool, ASK_AT_ONCE);

    for (size_t i = 0; i < n; i++)
        group_run(group, describe_job, &rows[i]);
}

/* ---- as JSON ----------------------------------------------------------- */

static json_t *
disks_json(const struct machine *m)
{
    json_t *disks = json_array();

    for (size_t i = 0; i < m->n_disks; i++) {
        const struct disk *d = &m->disks[i];
        (void)json_array_append_new(
            disks,
            json_pack("{s:o, s:o, s:o, s:I, s:b, s:b}", "name",
                      print_json(d->name), "format", print_json(d->format),
                      "filename", print_json(d->filename), "size_bytes",
                      (json_int_t)d->size_bytes, "read_only", (int)d->read_only,
                      "removable", (int)d->removable));
    }
    return disks;
}

static void
add_described(json_t *j, const struct machine *m)
{
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
                     "live_blockers", blockers, "disks", disks_json(m)));
}

static json_t *
to_json(const struct row *r)
{
    json_t *j =
        json_pack("{s:o, s:o, s:i, s:b}", "name", print_json(r->found->name),
                  "uuid", print_json(r->found->uuid), "pid", (int)r->found->pid,
                  "reachable", r->machine != NULL);

    (void)json_object_set_new(j, "backup_pid",
                              r->backup ? json_integer(r->backup->worker)
                                        : json_null());
    if (r->machine) {
        add_described(j, r->machine);
        return j;
    }
    if (r->backup) /* and its monitor is in use for that */
        return j;
    CLEANUP(buf_done) struct buf fix = buf_of(FIX_MAX_BYTES);
    target_print_fix(r->found, r->why.code, &fix);
    (void)json_object_set_new(j, "problem", print_json(r->why.msg));
    (void)json_object_set_new(j, "fix", print_json(buf_text(&fix)));
    return j;
}

/* ---- as text ----------------------------------------------------------- */

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
add_row(struct table *t, const struct row *r)
{
    const struct machine *m = r->machine;
    CLEANUP(freep)
    char *pid =
        r->found->pid ? xasprintf("%d", (int)r->found->pid) : xstrdup("");

    table_cell(t, m ? m->name : r->found->name);
    table_cell(t, r->backup ? "backup under way"
                  : m       ? m->status
                            : "unprotected");
    if (!m) {
        table_cell(t, "");
        table_cell(t, "");
        table_cell(t, pid);
        table_cell(t, "");
        table_cell(t, r->found->sockets[0] ? r->found->sockets[0] : "");
        return;
    }
    CLEANUP(freep)
    char *version = xasprintf("%u.%u.%u", m->version.major, m->version.minor,
                              m->version.micro);
    table_cell_size(t, m->ram_bytes);
    add_disks(t, m);
    table_cell(t, pid);
    table_cell(t, version);
    table_cell(t, m->socket);
}

static void
print_problem(struct cli *c, const struct row *r)
{
    CLEANUP(freep) char *name = print_fit(r->found->name);
    CLEANUP(freep) char *why = print_fit(r->why.msg);
    CLEANUP(buf_done) struct buf fix = buf_of(FIX_MAX_BYTES);

    if (!r->machine && r->backup)
        return;
    if (!r->machine) {
        target_print_fix(r->found, r->why.code, &fix);
        CLEANUP(freep) char *fit = print_fit(buf_text(&fix));
        out_text(&c->out, "\n%s (pid %d) is unprotected: %s\n  fix: %s\n", name,
                 (int)r->found->pid, why, fit);
        return;
    }
    for (size_t i = 0; r->machine->blockers[i]; i++) {
        CLEANUP(freep) char *fit = print_fit(r->machine->blockers[i]);
        out_text(&c->out, "\n%s cannot be captured live: %s\n", name, fit);
    }
}

static void
print_text(struct cli *c, const struct row *rows, size_t n)
{
    CLEANUP(table_freep)
    struct table *t = table_new(columns, ARRAY_LEN(columns));

    if (n == 0) {
        out_note(&c->out, "no running QEMU machine was found%s",
                 geteuid() == 0 ? "" : "; root may see more of them");
        return;
    }
    for (size_t i = 0; i < n; i++)
        add_row(t, &rows[i]);
    out_table(&c->out, t);
    for (size_t i = 0; i < n; i++)
        print_problem(c, &rows[i]);
}

/* ------------------------------------------------------------------------ */

static void
answer(struct cli *c, const struct row *rows, size_t n)
{
    json_t *all = json_array();

    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(all, to_json(&rows[i]));
    if (c->out.json)
        out_document(&c->out, json_incref(all));
    else
        print_text(c, rows, n);
    json_decref(all);
}

/* Which of them are being saved?  Not to know is no reason to show nothing. */
static void
mark_backups(struct row *rows, size_t n, struct intent **backups, size_t n_b)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_b; k++)
            if (backups[k]->pid && backups[k]->pid == rows[i].found->pid &&
                intent_worker_lives(backups[k]))
                rows[i].backup = backups[k];
}

static int
run_all(struct cli *c, struct err *e)
{
    struct machine_found *found = NULL;
    struct intent **backups = NULL;
    size_t n = 0, n_backups = 0;
    struct err ignored = {0};

    if (machines_find(&found, &n, e) == -1)
        return -1;
    struct row *rows = xcalloc(n, sizeof(*rows));
    for (size_t i = 0; i < n; i++)
        rows[i].found = &found[i];
    (void)underway_list(&backups, &n_backups, &ignored);
    mark_backups(rows, n, backups, n_backups);
    describe_all(rows, n);
    answer(c, rows, n);
    for (size_t i = 0; i < n; i++)
        machine_free(rows[i].machine);
    free(rows);
    underway_free(backups, n_backups);
    machine_found_free(found, n);
    return OUTCOME_DONE;
}

static int
run_one(struct cli *c, const char *option, struct err *e)
{
    CLEANUP(freep) char *socket = xstrdup(option);
    CLEANUP(machine_freep) struct machine *m = NULL;
    char *sockets[] = {socket, NULL};
    struct machine_found found = {0, socket, socket, sockets};
    struct row row = {.found = &found};

    if (describe(&row, e) == -1)
        return target_unreachable(&found, e);
    m = row.machine;
    found = (struct machine_found){m->pid, m->name, m->uuid, sockets};
    answer(c, &row, 1);
    return OUTCOME_DONE;
}

static int
run_machines(struct cli *c, struct err *e)
{
    const char *socket = args_value(&c->args, "qmp");
    bool reconciled = target_reconcile(&c->out);

    int outcome = socket ? run_one(c, socket, e) : run_all(c, e);
    return outcome == OUTCOME_DONE && !reconciled ? OUTCOME_PARTLY : outcome;
}

static const struct option_spec options[] = {
    {"qmp", 0, "SOCKET", "only the machine behind this monitor socket"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep machines", "all machines that run on this host"},
    {"vmkeep machines --qmp /run/web-01.qmp", "only this one"},
    {"vmkeep machines --json | jq '.[] | select(.reachable | not)'",
     "those that cannot be backed up"},
    {NULL, NULL}};

const struct command cmd_machines = {
    .name = "machines",
    .operands = "",
    .summary = "list the running machines, and what keeps one from a backup",
    .text = "Looks for QEMU processes on this host and asks each over its "
            "monitor (QMP). A machine without a monitor that answers is "
            "unprotected: vmkeep says why, and what to do about it. The "
            "machines themselves are not touched, but what a backup that was "
            "killed left in one is put right.",
    .options = options,
    .examples = examples,
    .run = run_machines};
