/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "repo/copy.h"
#include "repo/repo.h"
#include "work/cancel.h"

enum { SHORT_ID = 8 };

/* Of a run. */
struct copies {
    struct cli *cli;
    struct session from, to;
    struct copy_plan plan;
    struct cancel *cancel;
    size_t wanted, there, forgotten; /* as the plan has it at first */
    size_t copied, failed, warned;
    uint64_t new_bytes, stored_bytes;
    enum err_code first; /* why one failed */
};

static void
copies_done(struct copies *k)
{
    copy_plan_done(&k->plan);
    session_done(&k->from);
    session_done(&k->to);
    cancel_free(k->cancel);
}

/* Before anybody is asked for a password. */
static int
take_options(const struct cli *c, struct copy_selection *s, struct err *e)
{
    const char *to = args_value(&c->args, "to");
    const char *last = args_value(&c->args, "last");

    if (!to || !*to)
        return err_set(e, ERR_USAGE,
                       "where to? name another repository: --to REPO");
    if (last && (!text_parse_u64(last, &s->last) || s->last == 0))
        return err_set(e, ERR_USAGE,
                       "--last takes a number from 1 on, not \"%s\"", last);
    s->names = (const char *const *)c->args.operands;
    s->n_names = c->args.n_operands;
    if (s->n_names > 0 && (last || s->n_machines > 0))
        return err_set(e, ERR_USAGE,
                       "name backups, or choose them by --machine and --last, "
                       "not both");
    return 0;
}

/* ---- what was, or would be, done ------------------------------------- */

static json_t *
item_json(const struct copy_item *item)
{
    char time[CLOCK_TEXT_LEN];

    clock_format_utc(item->time_ns, time);
    return json_pack("{s:s, s:s, s:o, s:o, s:I}", "backup_id", item->id, "time",
                     time, "machine", print_json(item->machine), "uuid",
                     print_json(item->uuid), "size_bytes",
                     (json_int_t)item->size_bytes);
}

static void
report_one(struct copies *k, const struct copy_item *item,
           const struct copy_result *r, uint64_t ns)
{
    char read[TEXT_SIZE_LEN], fresh[TEXT_SIZE_LEN], stored[TEXT_SIZE_LEN];
    struct out *o = &k->cli->out;

    if (o->json) {
        json_t *j = item_json(item);
        (void)json_object_update_new(
            j, json_pack("{s:s, s:s*, s:I, s:I, s:I, s:f}", "copy_id", r->id,
                         "base", r->base[0] ? r->base : NULL, "read_bytes",
                         (json_int_t)r->read_bytes, "new_bytes",
                         (json_int_t)r->new_bytes, "stored_bytes",
                         (json_int_t)r->stored_bytes, "seconds",
                         (double)ns / 1e9));
        out_line(o, "copied", j);
        return;
    }
    CLEANUP(freep) char *name = print_fit(item->machine);
    text_size(r->read_bytes, read);
    text_size(r->new_bytes, fresh);
    text_size(r->stored_bytes, stored);
    out_text(o, "copied %s %.*s as %.*s: read %s, new %s, stored %s\n", name,
             SHORT_ID, item->id, SHORT_ID, r->id, read, fresh, stored);
}

static int
outcome_so_far(const struct copies *k)
{
    if (k->failed > 0 && k->copied == 0 && k->there == 0)
        return (int)outcome_of(k->first);
    if (k->failed > 0 || k->warned > 0 || k->plan.sealed > 0 ||
        k->plan.source.code != ERR_OK || k->plan.target.code != ERR_OK)
        return OUTCOME_PARTLY;
    return OUTCOME_DONE;
}

static int
report(struct copies *k, bool dry_run)
{
    struct out *o = &k->cli->out;
    int outcome = outcome_so_far(k);

    if (k->plan.source.code != ERR_OK)
        out_warning(o, "the source: %s; `vmkeep check` says more",
                    k->plan.source.msg);
    if (k->plan.target.code != ERR_OK)
        out_warning(o, "the target: %s; `vmkeep check` there says more",
                    k->plan.target.msg);
    if (k->plan.sealed > 0)
        out_warning(o,
                    "this key of the source does not open %zu backups: "
                    "they were not copied",
                    k->plan.sealed);
    if (o->json) {
        out_line(o, "summary",
                 json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
                           "s:i}",
                           "dry_run", (int)dry_run, "to_copy",
                           (json_int_t)k->wanted, "copied",
                           (json_int_t)k->copied, "there", (json_int_t)k->there,
                           "forgotten", (json_int_t)k->forgotten, "failed",
                           (json_int_t)k->failed, "sealed",
                           (json_int_t)k->plan.sealed, "new_bytes",
                           (json_int_t)k->new_bytes, "stored_bytes",
                           (json_int_t)k->stored_bytes, "exit", outcome));
        return outcome;
    }
    if (dry_run)
        out_note(o,
                 "nothing was copied: this was a dry run; %zu of the "
                 "backups are there already",
                 k->there);
    else
        out_note(o, "%zu copied, %zu were there already, %zu failed", k->copied,
                 k->there, k->failed);
    if (k->forgotten > 0)
        out_note(o,
                 "%zu that were forgotten there were not copied again: name "
                 "them to have them copied",
                 k->forgotten);
    return outcome;
}

static const struct column columns[] = {{.title = "ID"},
                                        {.title = "TIME"},
                                        {.title = "MACHINE", .shrinks = true},
                                        {.title = "SIZE", .right = true}};

static int
only_say(struct copies *k)
{
    CLEANUP(table_freep)
    struct table *t = table_new(columns, ARRAY_LEN(columns));

    for (size_t i = 0; i < k->plan.n; i++) {
        const struct copy_item *item = &k->plan.items[i];
        char id[SHORT_ID + 1];
        if (item->state != COPY_WANTED)
            continue;
        if (k->cli->out.json) {
            out_line(&k->cli->out, "to_copy", item_json(item));
            continue;
        }
        memcpy(id, item->id, SHORT_ID);
        id[SHORT_ID] = '\0';
        table_cell(t, id);
        table_cell_time(t, item->time_ns);
        table_cell(t, item->machine);
        table_cell_size(t, item->size_bytes);
    }
    if (table_rows(t) > 0)
        out_table(&k->cli->out, t);
    return report(k, true);
}

/* ---- the run --------------------------------------------------------- */

/* Does it say nothing of the others? */
static bool
is_of_one(enum err_code code)
{
    return code == ERR_CORRUPT || code == ERR_NOENT || code == ERR_UNSUP ||
           code == ERR_LIMIT || code == ERR_EXISTS;
}

static int
copy_item(struct copies *k, size_t i, struct err *e)
{
    struct copy_item *item = &k->plan.items[i];
    struct copy_result r = {0};
    uint64_t start = clock_mono_ns();
    struct meter *meter = meter_start(k->cli, item->machine);
    const struct copy_options o = {.progress = meter_progress,
                                   .progress_cookie = meter};

    int rc = copy_backup(k->from.repo, k->to.repo, &k->plan, i, &o, k->cancel,
                         &r, e);
    meter_stop(meter);
    if (rc == -1)
        return err_wrap(e, "backup %.*s", SHORT_ID, item->id);
    k->copied++;
    k->new_bytes += r.new_bytes;
    k->stored_bytes += r.stored_bytes;
    report_one(k, item, &r, clock_mono_ns() - start);
    if (r.damage.code != ERR_OK) {
        k->warned++;
        out_warning(&k->cli->out,
                    "backup %.*s was copied as a whole: the one before is "
                    "damaged, here or there: %s; run `vmkeep check` on both",
                    SHORT_ID, item->id, r.damage.msg);
    }
    return 0;
}

static int
copy_them(struct copies *k, struct err *e)
{
    for (size_t i = 0; i < k->plan.n; i++) {
        if (k->plan.items[i].state != COPY_WANTED || copy_item(k, i, e) == 0)
            continue;
        if (!is_of_one(e->code))
            return -1;
        if (k->failed++ == 0)
            k->first = e->code;
        out_error(&k->cli->out, "copy", k->plan.items[i].machine,
                  outcome_of(e->code), e);
        err_clear(e);
    }
    return 0;
}

static void
count(struct copies *k)
{
    for (size_t i = 0; i < k->plan.n; i++) {
        enum copy_state s = k->plan.items[i].state;
        k->wanted += s == COPY_WANTED;
        k->there += s == COPY_THERE;
        k->forgotten += s == COPY_FORGOTTEN;
    }
}

static int
copy(struct cli *c, const struct copy_selection *s, struct err *e)
{
    CLEANUP(copies_done)
    struct copies k = {.cli = c, .cancel = cancel_new()};
    bool dry_run = args_has(&c->args, "dry-run");

    if (session_open(c, &k.from, e) == -1)
        return -1;
    if (session_open_to(c, &k.to, e) == -1)
        return err_wrap(e, "the target");
    session_arm(&k.from, k.cancel);
    session_arm(&k.to, k.cancel);
    int rc = copy_plan_make(k.from.repo, k.to.repo, s, &k.plan, e);
    count(&k);
    if (rc == 0 && !dry_run)
        rc = copy_them(&k, e);
    rc = session_disarm(&k.to, k.cancel, rc, e);
    rc = session_disarm(&k.from, k.cancel, rc, e);
    if (rc == -1)
        return -1;
    return dry_run ? only_say(&k) : report(&k, false);
}

static int
run_copy(struct cli *c, struct err *e)
{
    struct copy_selection s = {0};
    const char **machines = args_values(&c->args, "machine", &s.n_machines);

    s.machines = machines;
    int outcome = take_options(c, &s, e) == -1 ? -1 : copy(c, &s, e);
    free(machines);
    return outcome;
}

static const struct option_spec options[] = {
    {"to", 0, "REPO", "the repository that the copies go to"},
    {"to-password-file", 0, "FILE", "a file that holds the password of it"},
    {"to-password-command", 0, "COMMAND", "a command that prints it"},
    {"to-key", 0, "ID", "the one key of it that the password opens"},
    {"to-profile", 0, "NAME", "its account in ~/.aws/credentials, for S3"},
    {"machine", 0, "MACHINE",
     "only backups of this machine, by name or UUID; may be given again"},
    {"last", 0, "N", "only the newest N of each machine"},
    {"dry-run", 'n', NULL, "only say what would be copied"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep copy --to sftp:me@away:/srv/backup",
     "everything that is not there yet"},
    {"vmkeep copy --to /mnt/usb/backup --machine web-01 --last 3",
     "the newest three of one machine"},
    {"vmkeep copy --to s3:https://s3.example.org/second web-01@latest",
     "one backup"},
    {NULL, NULL}};

const struct command cmd_copy = {
    .name = "copy",
    .operands = "--to REPO [BACKUP...]",
    .summary = "copy backups into another repository",
    .text =
        "Each copy is a backup of its own, under the other repository's keys: "
        "it can be restored without this one. All backups are copied that are "
        "not there yet, the oldest first, or those that are named or chosen. "
        "What is read is verified; what the other repository has already is "
        "not sent again. Of a machine of which an earlier backup was copied, "
        "only what differs is read, if the keys may read both.\n\n"
        "A copy shows the instant of its original and notes where that is, so "
        "that it is copied once, also by way of a third repository. What was "
        "forgotten there is copied again only if it is named, as long as that "
        "repository knows of it. A copy that was interrupted is continued by "
        "the next run: what arrived is found there.\n\n"
        "The password of the other repository is taken from "
        "--to-password-file, --to-password-command, VMKEEP_TO_PASSWORD, "
        "VMKEEP_TO_PASSWORD_FILE, VMKEEP_TO_PASSWORD_COMMAND, the credential "
        "vmkeep.to-password, or the terminal. A host's key is enough there; "
        "here one is needed that may restore.\n\n"
        "Where both are S3 services, each may have a key of its own: that of "
        "the other one is taken from the profile --to-profile, from "
        "VMKEEP_TO_AWS_ACCESS_KEY_ID and VMKEEP_TO_AWS_SECRET_ACCESS_KEY, or "
        "from the profile VMKEEP_TO_AWS_PROFILE; else the first one's is used "
        "for both.\n\n"
        "A backup that is damaged is not copied, the others are: the exit code "
        "is 3 then. `vmkeep forget` there counts the time at which a copy "
        "arrived, not that of its original.",
    .options = options,
    .examples = examples,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_copy};
