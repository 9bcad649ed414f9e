/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "repo/stats.h"
#include "work/cancel.h"

static const struct column columns[] = {
    {.title = "MACHINE", .shrinks = true}, {.title = "BACKUPS", .right = true},
    {.title = "LOGICAL", .right = true},   {.title = "DATA", .right = true},
    {.title = "UNIQUE", .right = true},    {.title = "STORED", .right = true},
    {.title = "DEDUP", .right = true},     {.title = "COMPRESS", .right = true},
};

struct listing {
    struct table *table;
    json_t *machines;
};

static double
ratio(uint64_t of, uint64_t to)
{
    return to > 0 ? (double)of / (double)to : 1.0;
}

static void
add_row(struct table *t, const char *name, const struct stats *s)
{
    CLEANUP(freep)
    char *backups = xasprintf("%llu", (unsigned long long)s->backups);
    CLEANUP(freep)
    char *dedup = xasprintf("%.2f", ratio(s->data_bytes, s->unique_bytes));
    CLEANUP(freep)
    char *compress = xasprintf("%.2f", ratio(s->unique_bytes, s->stored_bytes));

    table_cell(t, name);
    table_cell(t, backups);
    table_cell_size(t, s->logical_bytes);
    table_cell_size(t, s->data_bytes);
    table_cell_size(t, s->unique_bytes);
    table_cell_size(t, s->stored_bytes);
    table_cell(t, dedup);
    table_cell(t, compress);
}

static json_t *
to_json(const struct stats *s)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "backups",
        (json_int_t)s->backups, "logical_bytes", (json_int_t)s->logical_bytes,
        "data_bytes", (json_int_t)s->data_bytes, "unique_bytes",
        (json_int_t)s->unique_bytes, "stored_bytes",
        (json_int_t)s->stored_bytes, "objects", (json_int_t)s->objects,
        "dedup_ratio", ratio(s->data_bytes, s->unique_bytes),
        "compression_ratio", ratio(s->unique_bytes, s->stored_bytes),
        "is_estimate", s->is_estimate);
}

static int
add_machine(void *cookie, const char *machine, const struct stats *s,
            struct err *e)
{
    struct listing *l = cookie;
    json_t *j = to_json(s);

    (void)e;
    (void)json_object_set_new(j, "machine", print_json(machine));
    (void)json_array_append_new(l->machines, j);
    add_row(l->table, machine, s);
    return 0;
}

static int
run_stats(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    CLEANUP(table_freep)
    struct table *table = table_new(columns, ARRAY_LEN(columns));
    struct listing l = {table, json_array()};
    struct stats all = {0};
    struct stats_options o = {.machines = (const char *const *)c->args.operands,
                              .n_machines = c->args.n_operands,
                              .machine = add_machine,
                              .cookie = &l};

    int rc = session_open(c, &s, e);
    if (rc == 0) {
        struct meter *meter = meter_start(c, "stats");
        o.progress = meter_progress;
        o.progress_cookie = meter;
        session_arm(&s, cancel);
        rc = stats_repo(s.repo, &o, cancel, &all, e);
        rc = session_disarm(&s, cancel, rc, e);
        meter_stop(meter);
    }
    if (rc == -1) {
        json_decref(l.machines);
        return -1;
    }
    if (c->out.json) {
        out_document(&c->out, json_pack("{s:o, s:o}", "machines", l.machines,
                                        "all", to_json(&all)));
        return OUTCOME_DONE;
    }
    json_decref(l.machines);
    add_row(table, "(all)", &all);
    out_table(&c->out, table);
    if (all.is_estimate)
        out_note(&c->out, "UNIQUE and STORED are estimated by a sample");
    return OUTCOME_DONE;
}

static const struct example examples[] = {
    {"vmkeep stats", "every machine, and all together"},
    {"vmkeep stats web-01 --json", "one machine, for a program"},
    {NULL, NULL}};

const struct command cmd_stats = {
    .name = "stats",
    .operands = "[MACHINE...]",
    .summary = "show what backups hold and what they take",
    .text = "LOGICAL is the size of all volumes of all backups, DATA what of "
            "it is not zero, UNIQUE what of that is different from all else "
            "in the same line, STORED what it takes compressed and encrypted. "
            "DEDUP is DATA by UNIQUE, COMPRESS is UNIQUE by STORED. What "
            "machines share counts for each of them, and once in the last "
            "line.",
    .examples = examples,
    .min_operands = 0,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_stats};
