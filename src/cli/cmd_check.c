/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/checked.h"
#include "cli/cli.h"
#include "cli/faults.h"
#include "cli/meter.h"
#include "cli/session.h"
#include "repo/checker.h"
#include "repo/repo.h"
#include "work/cancel.h"

static void
note_fault(void *cookie, const struct check_fault *f)
{
    struct cli *c = cookie;

    faults_print(&c->out, f);
}

static void
report_text(struct cli *c, const struct check_result *r)
{
    char stored[TEXT_SIZE_LEN], read[TEXT_SIZE_LEN], lost[TEXT_SIZE_LEN];

    text_size(r->pack_bytes, stored);
    text_size(r->read_bytes, read);
    text_size(r->lost_bytes, lost);
    out_note(&c->out, "%llu backups, %llu packs of %s, %llu objects",
             (unsigned long long)r->backups, (unsigned long long)r->packs,
             stored, (unsigned long long)r->objects);
    if (r->read_packs > 0)
        out_note(&c->out, "read %s: %llu packs, %llu objects opened", read,
                 (unsigned long long)r->read_packs,
                 (unsigned long long)r->opened_objects);
    if (r->leftover_packs > 0)
        out_note(&c->out,
                 "%llu packs are in no index, as a backup that was given up "
                 "leaves them",
                 (unsigned long long)r->leftover_packs);
    if (r->quarantined > 0)
        out_note(&c->out, "%llu objects of the storage are out of use",
                 (unsigned long long)r->quarantined);
    if (r->faults == 0)
        out_text(&c->out, "no faults found\n");
    else
        out_text(&c->out,
                 "%llu faults; %llu of %llu backups are damaged, %s of their "
                 "data can't be restored\n",
                 (unsigned long long)r->faults,
                 (unsigned long long)r->backups_damaged,
                 (unsigned long long)r->backups, lost);
    if (r->vanished > 0)
        out_text(&c->out, "%llu backups that were here have vanished\n",
                 (unsigned long long)r->vanished);
}

static int
outcome(struct cli *c, const struct check_result *r)
{
    if (r->faults > 0) {
        if (r->faults > r->vanished)
            out_note(&c->out, "`vmkeep repair` saves what can be saved");
        return OUTCOME_DAMAGED;
    }
    if (r->backups_closed == 0)
        return OUTCOME_DONE;
    out_warning(&c->out,
                "this key does not open %llu of the backups: of these only "
                "the roots were checked",
                (unsigned long long)r->backups_closed);
    return OUTCOME_PARTLY;
}

/* For `vmkeep doctor`. */
static void
note(const struct session *s, const struct check_options *o,
     const struct check_result *r)
{
    CLEANUP(freep) char *cache = session_cache();

    checked_note(cache, repo_id(s->repo), CHECKED_STRUCTURE, r->faults);
    if (o->data.read == CHECK_READ_ALL)
        checked_note(cache, repo_id(s->repo), CHECKED_DATA, r->faults);
}

static int
run_check(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct check_options o = {.fault = note_fault, .fault_cookie = c};
    struct check_result result = {0};
    const char *subset = args_value(&c->args, "read-subset");

    if (subset && check_parse_subset(subset, &o.data, e) == -1)
        return -1;
    if (!subset && args_has(&c->args, "read-data"))
        o.data.read = CHECK_READ_ALL;
    if (session_open(c, &s, e) == -1)
        return -1;
    struct meter *meter = meter_start(c, "check");
    o.progress = meter_progress;
    o.progress_cookie = meter;
    session_arm(&s, cancel);
    int rc = check_repo(s.repo, &o, cancel, &result, e);
    rc = session_disarm(&s, cancel, rc, e);
    meter_stop(meter);
    if (rc == -1)
        return -1;
    note(&s, &o, &result);
    if (c->out.json)
        out_line(&c->out, "summary", faults_result(&result));
    else
        report_text(c, &result);
    return outcome(c, &result);
}

static const struct option_spec options[] = {
    {"read-data", 0, NULL,
     "also read all data, open and hash each object again"},
    {"read-subset", 0, "PART",
     "the same for a part of the packs: 10% or 20G at random, or 1/7 by name"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep check", "that everything is there that the backups need"},
    {"vmkeep check --read-subset 5%", "a part of the data too: every night"},
    {"vmkeep check --read-subset 2/7", "the second seventh: all in a week"},
    {"vmkeep check --read-data --json", "all of it, for a program"},
    {NULL, NULL}};

const struct command cmd_check = {
    .name = "check",
    .operands = "",
    .summary = "check that all backups can be restored",
    .text = "Without options: the keys, every backup's description, every "
            "node of its disks and memory, the index against the tables of "
            "the packs, and that each object is in a pack that is there at its "
            "size. With --read-data what is in the packs is read, decrypted, "
            "decompressed and hashed again.\n\n"
            "Every fault is told with what it hurts: the backup, the volume, "
            "the bytes of it that cannot be restored. So is a backup that this "
            "host has seen within the last days, that nobody forgot, and that "
            "the storage does not have any more. Nothing is changed. The exit "
            "code is 4 if there is a fault.",
    .options = options,
    .examples = examples,
    .min_operands = 0,
    .max_operands = 0,
    .run = run_check};
