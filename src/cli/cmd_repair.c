/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/faults.h"
#include "cli/meter.h"
#include "cli/session.h"
#include "repo/repair.h"
#include "work/cancel.h"

static void
note_fault(void *cookie, const struct check_fault *f)
{
    struct cli *c = cookie;

    faults_print(&c->out, f);
}

/* Only what is still missing then: the rest has been told before. */
static void
note_left(void *cookie, const struct check_fault *f)
{
    struct cli *c = cookie;

    if (c->out.json || f->what != CHECK_EXTENT)
        faults_print(&c->out, f);
}

static void
note_act(void *cookie, const struct repair_act *a)
{
    struct cli *c = cookie;
    const char *would = args_has(&c->args, "dry-run") ? "would be " : "";

    if (c->out.json) {
        out_line(&c->out, "action",
                 json_pack("{s:s, s:s, s:I, s:I}", "did",
                           repair_did_name(a->did), "name", a->name, "objects",
                           (json_int_t)a->objects, "lost_objects",
                           (json_int_t)a->lost_objects));
    } else if (a->did == REPAIR_QUARANTINED) {
        out_text(&c->out, "%s: %sput out of use\n", a->name, would);
    } else {
        out_text(&c->out, "%s: %llu objects %s%s\n", a->name,
                 (unsigned long long)a->objects, would,
                 repair_did_name(a->did));
    }
}

static void
report_json(struct cli *c, const struct repair_result *r)
{
    out_line(&c->out, "summary",
             json_pack("{s:b, s:I, s:I, s:I, s:I, s:o, s:o}", "dry_run",
                       args_has(&c->args, "dry-run"), "indexed_objects",
                       (json_int_t)r->indexed_objects, "salvaged_objects",
                       (json_int_t)r->salvaged_objects, "quarantined",
                       (json_int_t)r->quarantined, "stored_bytes",
                       (json_int_t)r->stored_bytes, "before",
                       faults_result(&r->before), "after",
                       faults_result(&r->after)));
}

static void
report_text(struct cli *c, const struct repair_result *r, bool dry_run)
{
    char lost[TEXT_SIZE_LEN];

    if (r->before.faults == 0) {
        out_text(&c->out, "no faults found\n");
        return;
    }
    if (dry_run) {
        out_text(&c->out, "nothing was changed\n");
        return;
    }
    text_size(r->after.lost_bytes, lost);
    if (r->after.backups_damaged == 0)
        out_text(&c->out, "all %llu backups are whole\n",
                 (unsigned long long)r->after.backups);
    else
        out_text(&c->out,
                 "%llu of %llu backups are damaged: %s of their data can't be "
                 "restored, unless the next backups of these machines bring "
                 "it back\n",
                 (unsigned long long)r->after.backups_damaged,
                 (unsigned long long)r->after.backups, lost);
}

static int
run_repair(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct repair_options o = {.dry_run = args_has(&c->args, "dry-run"),
                               .skip_data = args_has(&c->args, "skip-data"),
                               .found = note_fault,
                               .left = note_left,
                               .act = note_act,
                               .cookie = c};
    struct repair_result result = {0};

    if (session_open(c, &s, e) == -1)
        return -1;
    struct meter *meter = meter_start(c, "repair");
    o.progress = meter_progress;
    o.progress_cookie = meter;
    session_arm(&s, cancel);
    int rc = repair_repo(s.repo, &o, cancel, &result, e);
    rc = session_disarm(&s, cancel, rc, e);
    meter_stop(meter);
    if (rc == -1)
        return -1;
    if (c->out.json)
        report_json(c, &result);
    else
        report_text(c, &result, o.dry_run);
    uint64_t left = o.dry_run ? result.before.faults : result.after.faults;
    return left > 0 ? OUTCOME_DAMAGED : OUTCOME_DONE;
}

static const struct option_spec options[] = {
    {"dry-run", 'n', NULL, "only say what would be done"},
    {"skip-data", 0, NULL,
     "do not read the data: mend the index, missing packs and backups only"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep repair --dry-run", "what is wrong and what can be done"},
    {"vmkeep repair", "do it"},
    {"vmkeep repair --skip-data", "mend a lost index, quickly"},
    {NULL, NULL}};

const struct command cmd_repair = {
    .name = "repair",
    .operands = "",
    .summary = "make a damaged repository usable again",
    .text = "Checks everything, then indexes again what no index names, "
            "copies what is whole out of damaged packs, and puts damaged "
            "things out of use, so that the next backup stores again what was "
            "lost in them: older backups that need the same data are whole "
            "again then. Nothing is ever removed. The exit code is 4 if there "
            "is something left that cannot be restored.",
    .options = options,
    .examples = examples,
    .min_operands = 0,
    .max_operands = 0,
    .run = run_repair};
