/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "qemu/machine.h"
#include "repo/manifest.h"
#include "repo/repo.h"

static const struct column volumes[] = {{.title = "VOLUME", .shrinks = true},
                                        {.title = "SIZE", .right = true}};

static const struct column disks[] = {{.title = "DISK", .shrinks = true},
                                      {.title = "SIZE", .right = true},
                                      {.title = "FORMAT"},
                                      {.title = "IMAGE", .shrinks = true}};

static void
print_fact(struct cli *c, const char *name, const char *value)
{
    CLEANUP(freep) char *fit = print_fit(*value ? value : "-");

    out_text(&c->out, "%-9s %s\n", name, fit);
}

static void
print_size(struct cli *c, const char *name, uint64_t bytes)
{
    char size[TEXT_SIZE_LEN];

    text_size(bytes, size);
    print_fact(c, name, size);
}

static void
print_method(struct cli *c, const struct manifest *m)
{
    const char *like =
        json_string_value(json_object_get(m->detail, "consistency"));

    if (like && strcmp(m->method, "disk") == 0) {
        CLEANUP(freep) char *both = xasprintf("%s (%s)", m->method, like);
        print_fact(c, "method", both);
        return;
    }
    print_fact(c, "method", m->method);
}

static void
print_machine(struct cli *c, const struct machine *m)
{
    CLEANUP(table_freep)
    struct table *t = table_new(disks, ARRAY_LEN(disks));
    CLEANUP(freep)
    char *version = xasprintf("%u.%u.%u %s", m->version.major, m->version.minor,
                              m->version.micro, m->version.package);

    if (m->type[0]) { /* an imported image has none */
        print_fact(c, "qemu", version);
        print_fact(c, "type", m->type);
        print_fact(c, "state", m->status);
        print_size(c, "ram", m->ram_bytes);
    }
    for (size_t i = 0; i < m->n_disks; i++) {
        table_cell(t, m->disks[i].name);
        table_cell_size(t, m->disks[i].size_bytes);
        table_cell(t, m->disks[i].format);
        table_cell(t, m->disks[i].filename);
    }
    out_text(&c->out, "\n");
    out_table(&c->out, t);
}

static void
print_detail(struct cli *c, const struct manifest *m)
{
    CLEANUP(machine_freep) struct machine *machine = NULL;
    struct err ignored = {0}; /* an import has no machine */
    const json_t *pause = json_object_get(m->detail, "pause_us");
    const json_t *warnings = json_object_get(m->detail, "warnings");

    if (json_is_integer(pause)) {
        CLEANUP(freep)
        char *ms =
            xasprintf("%.1f ms", (double)json_integer_value(pause) / 1000);
        print_fact(c, "pause", ms);
    }
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        const char *w = json_string_value(json_array_get(warnings, i));
        print_fact(c, "warning", w ? w : "");
    }
    const json_t *excluded = json_object_get(m->detail, "excluded");
    for (size_t i = 0; i < json_array_size(excluded); i++) {
        const char *name = json_string_value(json_array_get(excluded, i));
        CLEANUP(freep)
        char *fact =
            xasprintf("disk %s is not in this backup", name ? name : "?");
        print_fact(c, "left out", fact);
    }
    const json_t *j = json_object_get(m->detail, "machine");
    if (j && machine_from_json(j, &machine, &ignored) == 0)
        print_machine(c, machine);
}

static void
print_text(struct cli *c, const struct manifest *m)
{
    CLEANUP(table_freep)
    struct table *t = table_new(volumes, ARRAY_LEN(volumes));
    char local[CLOCK_TEXT_LEN], utc[CLOCK_TEXT_LEN];

    clock_format_local(m->time_ns, local);
    clock_format_utc(m->time_ns, utc);
    CLEANUP(freep) char *time = xasprintf("%s (%s)", local, utc);
    print_fact(c, "backup", m->id);
    print_fact(c, "time", time);
    print_fact(c, "machine", m->machine);
    print_fact(c, "uuid", m->uuid);
    print_fact(c, "host", m->host);
    print_method(c, m);
    print_size(c, "read", m->read_bytes);
    print_size(c, "new", m->new_bytes);
    print_size(c, "stored", m->stored_bytes);
    if (m->origin.backup[0]) {
        CLEANUP(freep)
        char *origin = xasprintf("backup %s of repository %s", m->origin.backup,
                                 m->origin.repository);
        print_fact(c, "copy of", origin);
    }
    print_detail(c, m);
    for (size_t i = 0; i < m->n_volumes; i++) {
        table_cell(t, m->volumes[i].name);
        table_cell_size(t, m->volumes[i].root.size_bytes);
    }
    out_text(&c->out, "\n");
    out_table(&c->out, t);
}

static int
run_show(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    if (session_open(c, &s, e) == -1 ||
        backup_find(s.repo, cli_operand(c, 0), &m, e) == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out, manifest_to_json(m));
    else
        print_text(c, m);
    return OUTCOME_DONE;
}

static const struct example examples[] = {
    {"vmkeep show 6f3a01b2", "the backup whose id starts so"},
    {"vmkeep show web-01@latest", "the newest backup of a machine"},
    {"vmkeep show latest --json", "all that is recorded of the newest backup"},
    {NULL, NULL}};

const struct command cmd_show = {
    .name = "show",
    .operands = "BACKUP",
    .summary = "show all about one backup",
    .text = "What was saved, when, from which machine, its disks and memory, "
            "how long the guest was paused, and what it takes in the "
            "repository. See `vmkeep help names` for how to name a backup.",
    .examples = examples,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_show};
