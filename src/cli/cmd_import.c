/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/import.h"
#include "capture/live.h"
#include "cli/cli.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "repo/manifest.h"
#include "work/cancel.h"

static void
print_result(struct cli *c, const struct capture_result *r)
{
    const struct manifest *m = r->manifest;
    double seconds = (double)r->duration_ns / 1e9;
    char read[TEXT_SIZE_LEN], new[TEXT_SIZE_LEN], stored[TEXT_SIZE_LEN],
        rate[TEXT_SIZE_LEN];

    text_size(m->read_bytes, read);
    text_size(m->new_bytes, new);
    text_size(m->stored_bytes, stored);
    text_size((uint64_t)((double)m->read_bytes / (seconds + 1e-9)), rate);
    CLEANUP(freep) char *name = print_fit(m->machine);
    out_text(&c->out,
             "imported %s: backup %.8s\n"
             "  read %s, new %s, stored %s, in %.1f s (%s/s)\n",
             name, m->id, read, new, stored, seconds, rate);
}

/* Before anybody is asked for a password. */
static int
take_options(const struct cli *c, struct import_options *o, struct err *e)
{
    const char *format = args_value(&c->args, "format");

    o->name = args_value(&c->args, "name");
    o->images = c->args.operands;
    o->n_images = c->args.n_operands;
    o->surely_raw = format != NULL;
    if (format && strcmp(format, "raw") != 0)
        return err_set(e, ERR_USAGE,
                       "--format %s is none; this version imports raw images",
                       format);
    if (!o->name || !*o->name)
        return err_set(e, ERR_USAGE,
                       "which machine do the images belong to? name it: "
                       "--name MACHINE");
    return 0;
}

static int
run_import(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct import_options o = {0};
    struct capture_result result = {0};

    if (take_options(c, &o, e) == -1 || session_open(c, &s, e) == -1)
        return -1;
    struct meter *meter = meter_start(c, o.name);
    o.progress = meter_progress;
    o.progress_cookie = meter;
    signals_raise(cancel);
    int rc = import_images(s.repo, &o, cancel, &result, e);
    signals_raise(NULL);
    meter_stop(meter);
    if (rc == -1)
        return -1;
    if (c->out.json)
        out_line(&c->out, "summary", saved_json(&result));
    else
        print_result(c, &result);
    capture_result_done(&result);
    return OUTCOME_DONE;
}

static const struct option_spec options[] = {
    {"name", 0, "MACHINE", "the machine that the images belong to"},
    {"format", 0, "FORMAT",
     "raw: take the bytes as they are, even if they look like an image of "
     "another format"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep import /srv/vm/old.raw --name old",
     "the disk of a machine that is shut down"},
    {"vmkeep import /dev/vg0/db-snap /srv/vm/data.raw --name db",
     "a device, such as a snapshot of a volume, and a file"},
    {"vmkeep restore old@latest --to /srv/vm/old", "and back again, as qcow2"},
    {NULL, NULL}};

const struct command cmd_import = {
    .name = "import",
    .operands = "IMAGE... --name MACHINE",
    .summary = "save disk images that no machine is running on",
    .text = "Reads raw images, files or block devices, into one backup of "
            "disks without memory. What a running QEMU has open for writing is "
            "refused, and so is what changes while it is read: such a machine "
            "is saved by `vmkeep backup`.\n\n"
            "Each disk is named after its file. Only what the repository does "
            "not have yet is stored.",
    .options = options,
    .examples = examples,
    .min_operands = 1,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_import};
