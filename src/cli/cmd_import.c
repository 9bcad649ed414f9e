/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
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
#include "repo/manifest.h"
#include "work/cancel.h"

/* What it took the images for, where nobody had said so. */
static void
print_formats(struct cli *c, const struct manifest *m)
{
    const json_t *list = json_object_get(m->detail, "images"), *im = NULL;
    size_t i = 0;

    json_array_foreach(list, i, im)
    {
        const char *disk = json_string_value(json_object_get(im, "disk"));
        const char *format = json_string_value(json_object_get(im, "format"));
        if (disk && format && json_is_true(json_object_get(im, "probed")))
            out_text(&c->out,
                     "  disk %s: taken for %s, as its first bytes "
                     "say\n",
                     disk, format);
    }
}

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
    print_formats(c, m);
    if (manifest_volume(m, "state"))
        out_text(&c->out, "  with the machine's memory\n");
}

static json_t *
summary_json(const struct capture_result *r)
{
    const struct manifest *m = r->manifest;
    json_t *summary = saved_json(r);

    (void)json_object_set(summary, "images",
                          json_object_get(m->detail, "images"));
    (void)json_object_set_new(
        summary, "memory", json_boolean(manifest_volume(m, "state") != NULL));
    return summary;
}

static int
take_format(const char *format, enum import_format *out, struct err *e)
{
    *out = IMPORT_PROBED;
    if (!format)
        return 0;
    if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
        return err_set(e, ERR_USAGE,
                       "--format %s is none; there are raw and qcow2", format);
    *out = strcmp(format, "raw") == 0 ? IMPORT_RAW : IMPORT_QCOW2;
    return 0;
}

/* Before anybody is asked for a password. */
static int
take_options(const struct cli *c, struct import_options *o, struct err *e)
{
    const struct args *a = &c->args;
    const char *backing_format = args_value(a, "backing-format");

    o->name = args_value(a, "name");
    o->images = a->operands;
    o->n_images = a->n_operands;
    o->snapshot = args_value(a, "snapshot");
    o->backing_format = backing_format;
    o->scratch_dir = args_value(a, "scratch");
    if (take_format(args_value(a, "format"), &o->format, e) == -1)
        return -1;
    if (backing_format && strcmp(backing_format, "raw") != 0 &&
        strcmp(backing_format, "qcow2") != 0)
        return err_set(e, ERR_USAGE,
                       "--backing-format %s is none; there are raw and qcow2",
                       backing_format);
    if (o->format == IMPORT_RAW &&
        (o->snapshot || args_has(a, "backing") || args_has(a, "data-file")))
        return err_set(e, ERR_USAGE,
                       "a raw image has no snapshots and no other files");
    if (!o->name || !*o->name)
        return err_set(e, ERR_USAGE,
                       "which machine do the images belong to? name it: "
                       "--name MACHINE");
    return 0;
}

static int
report(struct cli *c, const struct capture_result *r)
{
    if (c->out.json)
        out_line(&c->out, "summary", summary_json(r));
    else
        print_result(c, r);
    for (size_t i = 0; i < r->n_warnings; i++)
        out_warning(&c->out, "%s", r->warnings[i]);
    return r->n_warnings > 0 ? OUTCOME_PARTLY : OUTCOME_DONE;
}

static int
import(struct cli *c, struct import_options *o, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct capture_result result = {0};

    if (take_options(c, o, e) == -1 || session_open(c, &s, e) == -1)
        return -1;
    struct meter *meter = meter_start(c, o->name);
    o->progress = meter_progress;
    o->progress_cookie = meter;
    session_arm(&s, cancel);
    int rc = import_images(s.repo, o, cancel, &result, e);
    rc = session_disarm(&s, cancel, rc, e);
    meter_stop(meter);
    if (rc == -1)
        return -1;
    int outcome = report(c, &result);
    if (session_miss(c, &s))
        outcome = OUTCOME_PARTLY;
    capture_result_done(&result);
    return outcome;
}

static int
run_import(struct cli *c, struct err *e)
{
    struct import_options o = {0};
    const char **backing = args_values(&c->args, "backing", &o.n_backing);
    const char **data = args_values(&c->args, "data-file", &o.n_data_files);

    o.backing = backing;
    o.data_files = data;
    int outcome = import(c, &o, e);
    free(backing);
    free(data);
    return outcome;
}

static const struct option_spec options[] = {
    {"name", 0, "MACHINE", "the machine that the images belong to"},
    {"snapshot", 0, "NAME",
     "an internal snapshot of the images, with its memory if it has any, "
     "instead of what they hold now: its name, or its id"},
    {"format", 0, "FORMAT",
     "raw or qcow2: what the images are, whatever they look like"},
    {"backing", 0, "FILE",
     "the image's backing file; once more for that one's own, and so on"},
    {"backing-format", 0, "FORMAT",
     "raw or qcow2, for images that do not say what their backing file is"},
    {"data-file", 0, "FILE", "the external data file of one of these images"},
    {"scratch", 0, "DIR",
     "local folder for a machine's memory on its way (default /var/tmp)"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep import /srv/vm/old.raw --name old",
     "the disk of a machine that is shut down"},
    {"vmkeep import /dev/vg0/db-snap /srv/vm/data.raw --name db",
     "a device, such as a snapshot of a volume, and a file"},
    {"vmkeep import web.qcow2 --snapshot monday --name web",
     "a snapshot in the image of a machine that may be running"},
    {"vmkeep restore old@latest --to /srv/vm/old", "and back again, as qcow2"},
    {NULL, NULL}};

const struct command cmd_import = {
    .name = "import",
    .operands = "IMAGE... --name MACHINE",
    .summary = "save disk images that no machine is running on",
    .text = "Reads raw and qcow2 images, files or block devices, into one "
            "backup. What a running QEMU has open for writing is refused, and "
            "so is what changes while it is read: such a machine is saved by "
            "`vmkeep backup`. Internal snapshots of qcow2 images can be read "
            "all the same; one that `savevm` made has the machine's memory, "
            "and `-loadvm vmkeep` continues it once it is restored.\n\n"
            "A file that begins as a qcow2 image does is taken for one, which "
            "the guest of a raw disk could write there: --format says what it "
            "is. Files that an image names are never opened by that name: say "
            "--backing and --data-file, in the order of the images.\n\n"
            "Each disk is named after its file. Only what the repository does "
            "not have yet is stored.",
    .options = options,
    .examples = examples,
    .min_operands = 1,
    .max_operands = COMMAND_ANY_OPERANDS,
    .run = run_import};
