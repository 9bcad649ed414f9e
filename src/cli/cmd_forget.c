/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "repo/forget.h"
#include "work/cancel.h"

enum { SHORT_ID = 8 };

#define NS_PER_S INT64_C(1000000000)

static const struct column columns[] = {{.title = "ID"},
                                        {.title = "STORED"},
                                        {.title = "MACHINE", .shrinks = true},
                                        {.title = "WHAT"},
                                        {.title = "WHY"}};

/* "36h", "7d", "4w", "1y". */
static bool
parse_span(const char *text, int64_t *out_ns)
{
    static const struct {
        char unit;
        uint32_t seconds;
    } units[] = {
        {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}, {'y', 366 * 86400}};
    size_t len = strlen(text);
    uint64_t n = 0;

    if (len < 2 || len > 8)
        return false;
    CLEANUP(freep) char *number = xstrndup(text, len - 1);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (text[len - 1] == units[i].unit && text_parse_u64(number, &n) &&
            n > 0 && n <= (uint64_t)INT64_MAX / NS_PER_S / units[i].seconds) {
            *out_ns = (int64_t)(n * units[i].seconds) * NS_PER_S;
            return true;
        }
    return false;
}

/* 1 if the policy was given at all, 0 if not. */
static int
take_policy(const struct cli *c, struct retention_policy *out, struct err *e)
{
    const struct {
        const char *name;
        uint32_t *to;
    } counts[] = {
        {"keep-last", &out->last},       {"keep-hourly", &out->hourly},
        {"keep-daily", &out->daily},     {"keep-weekly", &out->weekly},
        {"keep-monthly", &out->monthly}, {"keep-yearly", &out->yearly}};
    const char *within = args_value(&c->args, "keep-within");
    int given = within != NULL;

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        const char *value = args_value(&c->args, counts[i].name);
        uint64_t n = 0;
        if (!value)
            continue;
        given = 1;
        if (strcmp(value, "unlimited") == 0)
            n = RETENTION_ALL;
        else if (!text_parse_u64(value, &n) || n > UINT32_MAX)
            return err_set(e, ERR_USAGE,
                           "--%s takes a number or \"unlimited\", not "
                           "\"%s\"",
                           counts[i].name, value);
        *counts[i].to = (uint32_t)n;
    }
    if (within && !parse_span(within, &out->within_ns))
        return err_set(e, ERR_USAGE,
                       "--keep-within takes a time like 36h, 7d, 4w or 1y, "
                       "not \"%s\"",
                       within);
    if (given && retention_is_empty(out))
        return err_set(e, ERR_USAGE, "the policy keeps no backup at all");
    if (!given && c->args.n_operands == 0)
        return err_set(e, ERR_USAGE,
                       "what is to be forgotten? name backups, or say what "
                       "is kept: --keep-daily 7");
    return given;
}

static json_t *
reasons_json(unsigned reasons)
{
    json_t *names = json_array();

    for (unsigned bit = 1; bit <= KEPT_NEWEST; bit <<= 1)
        if (reasons & bit)
            (void)json_array_append_new(
                names,
                json_string(retention_reason_name((enum retention_reason)bit)));
    return names;
}

static json_t *
to_json(const struct forget_plan *p, bool dry_run)
{
    json_t *kept = json_array(), *forgotten = json_array();

    for (size_t i = 0; i < p->n; i++) {
        const struct forget_item *item = &p->items[i];
        char stored[CLOCK_TEXT_LEN];
        clock_format_utc(item->stored_ns, stored);
        (void)json_array_append_new(
            item->reasons ? kept : forgotten,
            json_pack("{s:s, s:o, s:o, s:s, s:o}", "id", item->id, "machine",
                      print_json(item->machine), "uuid", print_json(item->uuid),
                      "stored", stored, "reasons",
                      reasons_json(item->reasons)));
    }
    return json_pack("{s:b, s:o, s:o}", "dry_run", (int)dry_run, "forgotten",
                     forgotten, "kept", kept);
}

static void
print_plan(struct cli *c, const struct forget_plan *p)
{
    CLEANUP(table_freep)
    struct table *table = table_new(columns, ARRAY_LEN(columns));

    for (size_t i = 0; i < p->n; i++) {
        const struct forget_item *item = &p->items[i];
        char id[SHORT_ID + 1] = {0}, why[128] = "";
        size_t len = 0;
        memcpy(id, item->id, SHORT_ID);
        for (unsigned bit = 1; bit <= KEPT_NEWEST; bit <<= 1) {
            const char *name =
                retention_reason_name((enum retention_reason)bit);
            if (!(item->reasons & bit) || len + strlen(name) + 2 > sizeof(why))
                continue;
            if (len > 0)
                why[len++] = ' ';
            memcpy(why + len, name, strlen(name) + 1);
            len += strlen(name);
        }
        table_cell(table, id);
        table_cell_time(table, item->stored_ns);
        table_cell(table, item->machine);
        table_cell(table, item->reasons ? "keep" : "forget");
        table_cell(table, why);
    }
    if (table_rows(table) > 0)
        out_table(&c->out, table);
}

static int
plan(struct cli *c, struct repo *r, bool by_policy,
     const struct retention_policy *policy, struct forget_plan *out,
     struct err *e)
{
    const char *const *operands = (const char *const *)c->args.operands;

    return by_policy ? forget_by_policy(r, policy, operands, c->args.n_operands,
                                        out, e)
                     : forget_by_name(r, operands, c->args.n_operands, out, e);
}

static int
run_forget(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    CLEANUP(forget_plan_done) struct forget_plan p = {0};
    struct retention_policy policy = {0};
    bool dry_run = args_has(&c->args, "dry-run");
    size_t n = 0;

    int by_policy = take_policy(c, &policy, e);
    if (by_policy == -1 || session_open(c, &s, e) == -1 ||
        plan(c, s.repo, by_policy == 1, &policy, &p, e) == -1)
        return -1;
    if (!dry_run) {
        session_arm(&s, cancel);
        int rc = forget_carry_out(s.repo, &p, cancel, &n, e);
        rc = session_disarm(&s, cancel, rc, e);
        if (rc == -1)
            return -1;
    }
    if (c->out.json) {
        out_document(&c->out, to_json(&p, dry_run));
        return OUTCOME_DONE;
    }
    print_plan(c, &p);
    if (dry_run)
        out_note(&c->out, "nothing was changed: this was a dry run");
    else
        out_note(&c->out,
                 "%zu forgotten, %zu kept; `vmkeep prune` frees the space, "
                 "after a time of grace",
                 n, p.n - n);
    return OUTCOME_DONE;
}

static const struct option_spec options[] = {
    {"keep-last", 0, "N", "keep the newest N of each machine"},
    {"keep-hourly", 0, "N", "the newest of each of the last N hours with one"},
    {"keep-daily", 0, "N", "the same of days (UTC)"},
    {"keep-weekly", 0, "N", "of weeks, from Monday"},
    {"keep-monthly", 0, "N", "of months"},
    {"keep-yearly", 0, "N", "of years"},
    {"keep-within", 0, "TIME",
     "all that old or newer, seen from the newest: 36h, 7d, 4w, 1y"},
    {"dry-run", 'n', NULL, "only say what would be done"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep forget --keep-daily 7 --keep-weekly 4 --dry-run",
     "what a policy would do to all machines"},
    {"vmkeep forget web-01 --keep-within 48h --keep-monthly 12",
     "one machine: everything of two days, and a year of months"},
    {"vmkeep forget 6f3a01b2", "one backup"},
    {NULL, NULL}};

const struct command cmd_forget = {
    .name = "forget",
    .operands = "[MACHINE...] --keep-... | BACKUP...",
    .summary = "retire backups, by name or by what is to be kept",
    .text =
        "With one of the --keep options: of each machine (or of those named) "
        "the backups that any of them wants are kept, the others are "
        "forgotten. The newest of a machine is always kept: only by its id it "
        "can be forgotten. Times are those at which the storage took the "
        "backup, in UTC; a number may be \"unlimited\".\n\n"
        "A forgotten backup is in no list and never the latest. For the "
        "repository's time of grace (3 days) it can still be restored by its "
        "id; `vmkeep list --all` shows it. Its space is freed by later runs "
        "of `vmkeep prune`.",
    .options = options,
    .examples = examples,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_forget};
