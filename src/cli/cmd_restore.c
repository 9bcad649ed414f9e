/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/session.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "restore/restore.h"
#include "store/store.h"
#include "work/cancel.h"

static int
parse_format(const char *word, enum restore_format *out, struct err *e)
{
    if (!word || strcmp(word, "qcow2") == 0)
        *out = RESTORE_QCOW2;
    else if (strcmp(word, "raw") == 0)
        *out = RESTORE_RAW;
    else
        return err_set(e, ERR_USAGE,
                       "--format %s is none; there are qcow2 and raw", word);
    return 0;
}

static void
report_json(struct cli *c, const struct manifest *m,
            const struct restore_result *r)
{
    json_t *files = json_array(), *excluded = json_array();

    for (size_t i = 0; r->files[i]; i++)
        (void)json_array_append_new(files, print_json(r->files[i]));
    for (size_t i = 0; r->excluded[i]; i++)
        (void)json_array_append_new(excluded, print_json(r->excluded[i]));
    out_line(&c->out, "summary",
             json_pack("{s:s, s:o, s:o, s:I, s:f, s:o, s:o}", "backup_id",
                       m->id, "machine", print_json(m->machine), "directory",
                       print_json(args_value(&c->args, "to")), "written_bytes",
                       (json_int_t)r->written_bytes, "seconds",
                       (double)r->duration_ns / 1e9, "files", files, "excluded",
                       excluded));
}

static void
report_text(struct cli *c, const struct manifest *m,
            const struct restore_options *o, const struct restore_result *r)
{
    char written[TEXT_SIZE_LEN];
    const char *last = NULL;

    text_size(r->written_bytes, written);
    for (size_t i = 0; r->files[i]; i++) {
        CLEANUP(freep) char *fit = print_fit(r->files[i]);
        out_text(&c->out, "%s\n", fit);
        last = r->files[i];
    }
    CLEANUP(freep) char *name = print_fit(m->machine);
    out_note(&c->out, "restored %s as of backup %.8s: %s in %.1f s", name,
             m->id, written, (double)r->duration_ns / 1e9);
    if (r->has_script && !r->has_state && !o->boot)
        out_note(&c->out, "the backup has disks only: the machine starts cold");
    if (r->has_script)
        out_note(&c->out, "%s it by %s", r->has_state ? "continue" : "start",
                 last);
    else if (r->has_state && o->format == RESTORE_QCOW2)
        out_note(&c->out, "continue it by QEMU with the options that the "
                          "machine had, these images, and -loadvm vmkeep");
    else if (r->has_state)
        out_note(&c->out,
                 "continue it by QEMU with the options that the "
                 "machine had, these images, and -incoming from %s",
                 last);
}

/* Without them it is not the machine that it was. */
static int
warn_of_excluded(struct cli *c, const struct restore_result *r)
{
    for (size_t i = 0; r->excluded[i]; i++)
        out_warning(&c->out,
                    "disk %s was left out of the backup; an empty one of its "
                    "size is in its place%s",
                    r->excluded[i],
                    r->has_state
                        ? ", but the machine goes on with what it knew of its "
                          "contents: put them there first, or restore with "
                          "--boot"
                        : "");
    return r->excluded[0] ? OUTCOME_PARTLY : OUTCOME_DONE;
}

/* Options that contradict each other, before anybody is asked for a password.
 */
static int
take_options(const struct cli *c, struct restore_options *o, struct err *e)
{
    o->dir = args_value(&c->args, "to");
    o->disk = args_value(&c->args, "disk");
    o->boot = args_has(&c->args, "boot");
    if (!o->dir || !*o->dir)
        return err_set(e, ERR_USAGE,
                       "where to? name a folder that is empty or not there "
                       "yet: --to DIR");
    return parse_format(args_value(&c->args, "format"), &o->format, e);
}

enum { CALLS = 4 /* that read much: what even a small restore has use for */ };

static int
run_restore(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct restore_options o = {0};
    struct restore_result result = {0};

    if (take_options(c, &o, e) == -1 || session_open(c, &s, e) == -1)
        return -1;
    store_expect(s.store, CALLS);
    if (backup_find_to_read(s.repo, cli_operand(c, 0), &m, e) == -1)
        return -1;
    struct meter *meter = meter_start(c, m->machine);
    o.progress = meter_progress;
    o.progress_cookie = meter;
    session_arm(&s, cancel);
    int r = restore_files(s.repo, m, &o, cancel, &result, e);
    r = session_disarm(&s, cancel, r, e);
    meter_stop(meter);
    if (r == -1)
        return -1;
    if (c->out.json)
        report_json(c, m, &result);
    else
        report_text(c, m, &o, &result);
    int outcome = warn_of_excluded(c, &result);
    restore_result_done(&result);
    return outcome;
}

static const struct option_spec options[] = {
    {"to", 0, "DIR", "the folder to write to: empty, or not there yet"},
    {"disk", 0, "DISK", "only this disk, without memory"},
    {"format", 0, "FORMAT", "qcow2 (the default) or raw"},
    {"boot", 0, NULL,
     "only disks: the machine will start cold, as after a power cut"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep restore web-01@latest --to /srv/vm/web-01",
     "the newest backup of a machine; /srv/vm/web-01/run continues it"},
    {"vmkeep restore 6f3a01b2 --to /tmp/disk --disk vda --format raw",
     "one disk of an older backup, as a raw image"},
    {"vmkeep restore web-01@2026-11-22 --to /tmp/x --boot",
     "as of that day, to be started cold"},
    {NULL, NULL}};

const struct command cmd_restore = {
    .name = "restore",
    .operands = "BACKUP --to DIR",
    .summary = "write a backup as files from which QEMU continues the machine",
    .text = "Writes one image a disk and a script `run` with the machine's own "
            "command line. With qcow2 the first image also holds the memory, "
            "as the snapshot `vmkeep`: started by the script, the machine "
            "goes on where it was at the instant of the backup.\n\n"
            "Until a file is whole its name ends in .partial. The machine that "
            "was backed up, if it still runs, is not touched; do not let both "
            "onto the same network.",
    .options = options,
    .examples = examples,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_restore};
