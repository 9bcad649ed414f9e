/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "repo/prune.h"
#include "work/cancel.h"

static json_t *
to_json(const struct prune_result *r, bool dry_run)
{
    char due[CLOCK_TEXT_LEN];

    clock_format_utc(r->due_ns, due);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"backups", r->backups},
                   {"retired", r->retired},
                   {"objects", r->objects},
                   {"live_bytes", r->live_bytes},
                   {"packs", r->packs},
                   {"pack_bytes", r->pack_bytes},
                   {"deleted_packs", r->deleted},
                   {"deleted_bytes", r->deleted_bytes},
                   {"deleted_backups", r->refs_deleted},
                   {"pardoned_packs", r->pardoned},
                   {"condemned_packs", r->condemned},
                   {"condemned_bytes", r->condemned_bytes},
                   {"waiting_packs", r->waiting},
                   {"waiting_bytes", r->waiting_bytes},
                   {"repacked_packs", r->repacked},
                   {"repacked_bytes", r->repacked_bytes},
                   {"merged_segments", r->index_merged},
                   {"denied", r->denied}};
    json_t *j = json_pack("{s:b, s:o}", "dry_run", (int)dry_run, "due",
                          r->due_ns ? json_string(due) : json_null());

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        (void)json_object_set_new(j, numbers[i].name,
                                  json_integer((json_int_t)numbers[i].value));
    return j;
}

static void
print_line(struct cli *c, const char *what, uint64_t packs, uint64_t bytes)
{
    char size[TEXT_SIZE_LEN];

    text_size(bytes, size);
    out_text(&c->out, "%-12s %8llu packs  %10s\n", what,
             (unsigned long long)packs, size);
}

static void
report_text(struct cli *c, const struct prune_result *r, bool dry_run)
{
    char due[CLOCK_TEXT_LEN], size[TEXT_SIZE_LEN];

    print_line(c, "found", r->packs, r->pack_bytes);
    print_line(c, "deleted", r->deleted, r->deleted_bytes);
    print_line(c, "condemned", r->condemned, r->condemned_bytes);
    print_line(c, "waiting", r->waiting, r->waiting_bytes);
    text_size(r->live_bytes, size);
    out_note(&c->out, "%llu backups (%llu of them forgotten) need %s",
             (unsigned long long)r->backups, (unsigned long long)r->retired,
             size);
    if (r->repacked > 0) {
        text_size(r->repacked_bytes, size);
        out_note(&c->out, "%s of it copied out of %llu packs", size,
                 (unsigned long long)r->repacked);
    }
    if (r->refs_deleted > 0)
        out_note(&c->out, "%llu forgotten backups removed",
                 (unsigned long long)r->refs_deleted);
    clock_format_local(r->due_ns, due);
    if (r->due_ns)
        out_note(&c->out,
                 "what is condemned can be deleted by a run of prune after %s",
                 due);
    if (dry_run)
        out_note(&c->out, "nothing was changed: this was a dry run");
}

static int
take_options(const struct cli *c, struct prune_options *out, struct err *e)
{
    const char *repack = args_value(&c->args, "max-repack");

    out->dry_run = args_has(&c->args, "dry-run");
    out->max_repack_bytes = UINT64_MAX;
    if (repack && !text_parse_size(repack, &out->max_repack_bytes))
        return err_set(e, ERR_USAGE,
                       "--max-repack takes a size like 10G, not \"%s\"",
                       repack);
    return 0;
}

static int
run_prune(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct prune_options o = {0};
    struct prune_result r = {0};

    if (take_options(c, &o, e) == -1 || session_open(c, &s, e) == -1)
        return -1;
    session_arm(&s, cancel);
    int rc = repo_prune(s.repo, &o, cancel, &r, e);
    rc = session_disarm(&s, cancel, rc, e);
    if (rc == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out, to_json(&r, o.dry_run));
    else
        report_text(c, &r, o.dry_run);
    if (r.denied == 0)
        return OUTCOME_DONE;
    out_warning(&c->out,
                "the storage refused %llu removals: they are tried again by "
                "the next run, which must be under an account that may remove "
                "(`vmkeep doctor` says whether this one may)",
                (unsigned long long)r.denied);
    return OUTCOME_PARTLY;
}

static const struct option_spec options[] = {
    {"max-repack", 0, "SIZE",
     "copy at most so much out of packs that are mostly garbage"},
    {"dry-run", 'n', NULL, "only say what would be done"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep prune", "as often as you like: every day, say"},
    {"vmkeep prune --dry-run", "how much could be freed"},
    {NULL, NULL}};

const struct command cmd_prune = {
    .name = "prune",
    .operands = "",
    .summary = "free the space of what no backup needs any more",
    .text =
        "Nothing is deleted by the run that finds it: that one condemns, and "
        "a later run, after the repository's time of grace (3 days), deletes "
        "what is still not needed. So backups may run at the same time, on "
        "any host, and so may other runs of prune. Packs younger than 7 days "
        "are left alone.\n\n"
        "If there is anything that it cannot read, or if the clocks of this "
        "host and of the storage differ, nothing is deleted.",
    .options = options,
    .examples = examples,
    .run = run_prune};
