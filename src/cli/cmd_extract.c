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
#include "cli/signals.h"
#include "cli/table.h"
#include "qcow2/header.h"
#include "qcow2/reader.h"
#include "qcow2/snapshot.h"
#include "restore/extract.h"
#include "work/cancel.h"

static const struct column columns[] = {{.title = "SNAPSHOT", .shrinks = true},
                                        {.title = "ID"},
                                        {.title = "TIME"},
                                        {.title = "DISK", .right = true},
                                        {.title = "DATA", .right = true},
                                        {.title = "MEMORY", .right = true},
                                        {.title = "STATE"}};

/* ---- what is in it ------------------------------------------------------- */

static int64_t
time_of(const struct qcow2_snapshot *s)
{
    return (int64_t)s->date_sec * 1000000000 + s->date_nsec;
}

static json_t *
or_null(const char *text)
{
    return text ? print_json(text) : json_null();
}

static json_t *
entry_json(const struct extract_entry *en)
{
    const struct qcow2_snapshot *s = en->snapshot;
    const char *problem = en->why.code != ERR_OK ? en->why.msg : NULL;
    char time[CLOCK_TEXT_LEN];

    clock_format_utc(time_of(s), time);
    return json_pack(
        "{s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "name",
        print_json(s->name), "id", print_json(s->id), "time", time,
        "vm_clock_ns", (json_int_t)s->vm_clock_ns, "disk_bytes",
        (json_int_t)s->disk_bytes, "data_bytes", (json_int_t)en->data_bytes,
        "vmstate_bytes", (json_int_t)s->vmstate_bytes, "overlaps",
        (json_int_t)en->overlaps, "state", extract_state_name(en->state),
        "problem", or_null(problem), "unchecked", or_null(en->unknown));
}

static const char *
crypt_name(enum qcow2_crypt crypt)
{
    switch (crypt) {
    case QCOW2_PLAIN:
        return NULL;
    case QCOW2_AES:
        return "aes";
    case QCOW2_LUKS:
        return "luks";
    }
    return NULL;
}

static void
list_as_json(struct cli *c, const struct extract_listing *l)
{
    const struct qcow2_header *h =
        qcow2_image_header(qcow2_layers_image(l->layers));
    json_t *list = json_array();

    for (size_t i = 0; i < l->n; i++)
        (void)json_array_append_new(list, entry_json(&l->list[i]));
    out_document(&c->out,
                 json_pack("{s:o, s:b, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
                           "image", print_json(cli_operand(c, 0)), "in_use",
                           (int)l->in_use, "version", (int)h->version,
                           "disk_bytes", (json_int_t)h->size_bytes,
                           "cluster_bytes", (json_int_t)1 << h->cluster_bits,
                           "encryption", or_null(crypt_name(h->crypt)),
                           "backing", or_null(h->backing), "backing_format",
                           or_null(h->backing_format), "data_file",
                           or_null(h->data_file), "snapshots", list));
}

static void
list_as_table(struct cli *c, const struct extract_listing *l)
{
    CLEANUP(table_freep)
    struct table *t = table_new(columns, ARRAY_LEN(columns));

    for (size_t i = 0; i < l->n; i++) {
        const struct extract_entry *en = &l->list[i];
        table_cell(t, en->snapshot->name);
        table_cell(t, en->snapshot->id);
        table_cell_time(t, time_of(en->snapshot));
        table_cell_size(t, en->snapshot->disk_bytes);
        table_cell_size(t, en->data_bytes);
        table_cell_size(t, en->snapshot->vmstate_bytes);
        table_cell(t, extract_state_name(en->state));
    }
    if (table_rows(t) > 0)
        out_table(&c->out, t);
    else
        out_note(&c->out, "%s has no internal snapshots", cli_operand(c, 0));
}

/* What is not in the table; the outcome that it makes. */
static enum outcome
complain(struct cli *c, const struct extract_listing *l)
{
    enum outcome worst = OUTCOME_DONE;

    for (size_t i = 0; i < l->n; i++) {
        const struct extract_entry *en = &l->list[i];
        CLEANUP(freep) char *name = print_fit(en->snapshot->name);
        if (en->state != EXTRACT_WHOLE)
            out_warning(&c->out, "snapshot %s: %s", name, en->why.msg);
        if (en->overlaps > 0)
            out_warning(&c->out,
                        "snapshot %s: %llu clusters lie over others; one of "
                        "each two is damaged",
                        name, (unsigned long long)en->overlaps);
        if (en->unknown)
            out_warning(&c->out,
                        "snapshot %s: its machine state could not be checked: "
                        "%s",
                        name, en->unknown);
        if (en->state == EXTRACT_DAMAGED)
            worst = OUTCOME_DAMAGED;
        else if ((en->state != EXTRACT_WHOLE || en->overlaps || en->unknown) &&
                 worst == OUTCOME_DONE)
            worst = OUTCOME_PARTLY;
    }
    return worst;
}

static int
run_list(struct cli *c, const struct qcow2_layer_files *files,
         struct cancel *cancel, struct err *e)
{
    struct extract_listing l = {0};
    struct meter *meter = meter_start(c, files->image);

    int r = extract_look(files, meter_progress, meter, cancel, &l, e);
    meter_stop(meter);
    if (r == -1)
        return -1;
    if (c->out.json)
        list_as_json(c, &l);
    else
        list_as_table(c, &l);
    enum outcome outcome = complain(c, &l);
    extract_listing_done(&l);
    return (int)outcome;
}

/* ---- one of them --------------------------------------------------------- */

static void
report_json(struct cli *c, const struct extract_result *r)
{
    json_t *warnings = json_array();

    for (size_t i = 0; i < r->n_warnings; i++)
        (void)json_array_append_new(warnings, print_json(r->warnings[i]));
    out_line(&c->out, "summary",
             json_pack("{s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:f, s:o}",
                       "snapshot", print_json(r->name), "id", print_json(r->id),
                       "file", print_json(args_value(&c->args, "output")),
                       "in_use", (int)r->in_use, "disk_bytes",
                       (json_int_t)r->disk_bytes, "vmstate_bytes",
                       (json_int_t)r->vmstate_bytes, "read_bytes",
                       (json_int_t)r->read_bytes, "written_bytes",
                       (json_int_t)r->written_bytes, "seconds",
                       (double)r->duration_ns / 1e9, "warnings", warnings));
}

static void
report_text(struct cli *c, const struct extract_result *r)
{
    CLEANUP(freep) char *name = print_fit(r->name);
    CLEANUP(freep) char *file = print_fit(args_value(&c->args, "output"));
    double seconds = (double)r->duration_ns / 1e9;
    char written[TEXT_SIZE_LEN], rate[TEXT_SIZE_LEN];

    text_size(r->written_bytes, written);
    text_size((uint64_t)((double)r->read_bytes / (seconds + 1e-9)), rate);
    out_text(&c->out, "%s\n", file);
    out_note(&c->out, "extracted snapshot %s%s: %s in %.1f s (%s/s)", name,
             r->in_use ? " while the image was in use" : "", written, seconds,
             rate);
    if (r->vmstate_bytes > 0)
        out_note(&c->out, "`-loadvm %s` continues it", name);
}

static int
run_one(struct cli *c, const struct qcow2_layer_files *files,
        struct cancel *cancel, struct err *e)
{
    struct extract_result result = {0};
    struct meter *meter = meter_start(c, files->image);
    const struct extract_options o = {
        .files = *files,
        .snapshot = args_value(&c->args, "snapshot"),
        .target = args_value(&c->args, "output"),
        .unchecked = args_has(&c->args, "unchecked"),
        .progress = meter_progress,
        .progress_cookie = meter};

    int r = extract_snapshot(&o, cancel, &result, e);
    meter_stop(meter);
    if (r == -1)
        return -1;
    if (c->out.json)
        report_json(c, &result);
    else
        report_text(c, &result);
    for (size_t i = 0; i < result.n_warnings; i++)
        out_warning(&c->out, "%s", result.warnings[i]);
    enum outcome outcome =
        result.n_warnings > 0 ? OUTCOME_PARTLY : OUTCOME_DONE;
    extract_result_done(&result);
    return (int)outcome;
}

/* ---- the command --------------------------------------------------------- */

static int
check_options(const struct args *a, struct err *e)
{
    const char *format = args_value(a, "backing-format");
    const char *output = args_value(a, "output");
    bool list = args_has(a, "list");

    if (list && (args_has(a, "snapshot") || output))
        return err_set(e, ERR_USAGE, "--list excludes --snapshot and --output");
    if (!list && !args_has(a, "snapshot"))
        return err_set(e, ERR_USAGE,
                       "which snapshot? name it with --snapshot; --list shows "
                       "them");
    if (!list && (!output || !*output))
        return err_set(e, ERR_USAGE,
                       "where to? name a file that is not there yet: -o FILE");
    if (format && strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
        return err_set(e, ERR_USAGE,
                       "--backing-format %s is none; there are raw and qcow2",
                       format);
    return 0;
}

static int
run_extract(struct cli *c, struct err *e)
{
    CLEANUP(cancel_freep) struct cancel *cancel = cancel_new();
    struct qcow2_layer_files files = {.image = cli_operand(c, 0)};

    if (check_options(&c->args, e) == -1)
        return -1;
    const char **backing = args_values(&c->args, "backing", &files.n_backing);
    const char **data = args_values(&c->args, "data-file", &files.n_data_files);
    files.backing = backing;
    files.data_files = data;
    files.backing_format = args_value(&c->args, "backing-format");
    signals_raise(cancel);
    int r = args_has(&c->args, "list") ? run_list(c, &files, cancel, e)
                                       : run_one(c, &files, cancel, e);
    signals_raise(NULL);
    free(backing);
    free(data);
    return r;
}

static const struct option_spec options[] = {
    {"list", 0, NULL,
     "show which snapshots the image has, and if each is whole"},
    {"snapshot", 0, "NAME", "the snapshot to extract: its name, or its id"},
    {"output", 'o', "FILE", "the image to make; nothing is ever replaced"},
    {"unchecked", 0, NULL,
     "copy the machine's memory as it is, even if it makes no sense"},
    {"backing", 0, "FILE",
     "the image's backing file; once more for that one's own, and so on"},
    {"backing-format", 0, "FORMAT",
     "raw or qcow2, for images that do not say what their backing file is"},
    {"data-file", 0, "FILE", "the external data file of one of these images"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep extract --list /srv/vm/web-01.qcow2",
     "what is in the image of a machine that may be running"},
    {"vmkeep extract copy.qcow2 --snapshot monday -o monday.qcow2",
     "from a copy that was made while the machine ran"},
    {"qemu-system-x86_64 ... -drive file=monday.qcow2 -loadvm monday",
     "continue the machine from it"},
    {NULL, NULL}};

const struct command cmd_extract = {
    .name = "extract",
    .operands = "IMAGE [--snapshot NAME -o FILE | --list]",
    .summary = "turn a snapshot in a qcow2 image into an image of its own",
    .text = "IMAGE may be in use by a running machine, or a copy of one that "
            "was made while it ran (cp, rsync) and that no program can open as "
            "it is: a snapshot that was complete before the copy began, and "
            "was not deleted until it ended, is whole in it. The new image "
            "holds the disk as the snapshot has it, and the snapshot itself "
            "under its own name, with the machine's memory if that was saved: "
            "-loadvm continues the machine.\n\n"
            "All of it is checked. If anything that the snapshot needs is "
            "missing or damaged, vmkeep says what, makes nothing and exits "
            "with 4. Files that an image names are never opened by that name: "
            "say --backing and --data-file.",
    .options = options,
    .examples = examples,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_extract};
