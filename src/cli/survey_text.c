/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/survey_view.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/ability.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/survey.h"
#include "cli/table.h"
#include "qemu/machine.h"

static const struct column columns[] = {
    {.title = "MACHINE", .shrinks = true},
    {.title = "STATE"},
    {.title = "METHOD"},
    {.title = "RAM", .right = true},
    {.title = "DISKS", .shrinks = true},
    {.title = "PID", .right = true},
    {.title = "LAST BACKUP"}, /* the last two only with a repository */
    {.title = "NEXT"}};
enum { DISKS_MAX_BYTES = 256, COLUMNS_OF_REPO = 2 };

static const struct column disk_columns[] = {
    {.title = "DISK", .shrinks = true},
    {.title = "SIZE", .right = true},
    {.title = "FORMAT"},
    {.title = "NEXT BACKUP READS", .shrinks = true},
    {.title = "IMAGE", .shrinks = true}};

const struct ability_disk *
survey_reading(const struct ability *a, const struct disk *d)
{
    for (size_t i = 0; a && i < a->n_disks; i++)
        if (strcmp(a->disks[i].name, d->name) == 0)
            return &a->disks[i];
    return NULL;
}

/* How it would read all the disks, in a word. */
static const char *
next_reads(const struct ability *a)
{
    size_t full = 0;

    if (!a || a->n_disks == 0)
        return "";
    for (size_t i = 0; i < a->n_disks; i++)
        full += a->disks[i].why_full != NULL;
    return full == 0 ? "changes" : full == a->n_disks ? "all" : "some";
}

const char *
survey_state(const struct survey_row *r)
{
    if (r->backup)
        return "backup under way";
    if (r->machine)
        return r->machine->status;
    return r->is_stopped ? "stopped" : "unprotected";
}

const char *
survey_method(const struct survey_row *r)
{
    if (r->ability)
        return r->ability->best ? r->ability->best : "none";
    return r->backup ? "" : "none";
}

/* ---- as a line of a table ------------------------------------------------ */

static void
add_disks(struct table *t, const struct machine *m)
{
    CLEANUP(buf_done) struct buf b = buf_of(DISKS_MAX_BYTES);

    for (size_t i = 0; i < m->n_disks; i++) {
        char size[TEXT_SIZE_LEN];
        if (m->disks[i].read_only)
            continue;
        text_size(m->disks[i].size_bytes, size);
        buf_printf(&b, "%s%s %s", b.len ? ", " : "", m->disks[i].name, size);
    }
    table_cell(t, buf_text(&b));
}

static void
add_row(struct table *t, const struct survey_row *r, bool with_repo)
{
    const struct machine *m = r->machine;
    CLEANUP(freep)
    char *pid =
        r->found->pid ? xasprintf("%d", (int)r->found->pid) : xstrdup("");

    table_cell(t, m ? m->name : r->found->name);
    table_cell(t, survey_state(r));
    table_cell(t, survey_method(r));
    if (m) {
        table_cell_size(t, m->ram_bytes);
        add_disks(t, m);
    } else {
        table_cell(t, "");
        table_cell(t, "");
    }
    table_cell(t, pid);
    if (!with_repo)
        return;
    if (r->last.method)
        table_cell_time(t, r->last.time_ns);
    else
        table_cell(t, "never");
    table_cell(t, next_reads(r->ability));
}

static void
print_unasked(struct cli *c, const struct survey_row *r)
{
    CLEANUP(freep) char *name = print_fit(r->found->name);
    CLEANUP(freep) char *why = print_fit(r->why.msg);
    CLEANUP(buf_done) struct buf fix = buf_of(SURVEY_FIX_MAX_BYTES);

    if (r->backup)
        return;
    survey_print_fix(r, &fix);
    CLEANUP(freep) char *fit = print_fit(buf_text(&fix));
    out_text(&c->out, "\n%s (pid %d) is unprotected: %s\n  fix: %s\n", name,
             (int)r->found->pid, why, fit);
}

/* Why the best method is not the best of all. */
static void
print_refusals(struct cli *c, const struct ability *a)
{
    for (size_t i = 0; i < ABILITY_METHODS && a->methods[i].why_not; i++) {
        CLEANUP(freep) char *fit = print_fit(a->methods[i].why_not);
        out_text(&c->out, "%s%s\n", i == 0 ? "\n" : "", fit);
    }
}

void
survey_print_list(struct cli *c, const struct survey_row *rows, size_t n,
                  bool with_repo)
{
    CLEANUP(table_freep)
    struct table *t = table_new(columns, ARRAY_LEN(columns) -
                                             (with_repo ? 0 : COLUMNS_OF_REPO));

    for (size_t i = 0; i < n; i++)
        add_row(t, &rows[i], with_repo);
    out_table(&c->out, t);
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].machine)
            print_unasked(c, &rows[i]);
        else if (rows[i].ability)
            print_refusals(c, rows[i].ability);
    }
}

/* ---- with all details ---------------------------------------------------- */

static void
print_fact(struct cli *c, const char *name, const char *value)
{
    CLEANUP(freep) char *fit = print_fit(*value ? value : "-");

    out_text(&c->out, "%-8s  %s\n", name, fit);
}

static void
print_methods(struct cli *c, const struct ability *a)
{
    for (size_t i = 0; i < ABILITY_METHODS; i++) {
        const struct ability_method *m = &a->methods[i];
        CLEANUP(freep) char *fact = NULL;
        if (m->why_not)
            fact = xasprintf("no: %s", m->why_not);
        else if (strcmp(m->name, "live") == 0)
            fact =
                xasprintf("yes, with a pause of about %.0f to %.0f ms",
                          (double)a->least_us / 1e3, (double)a->most_us / 1e3);
        else
            fact = xstrdup("yes");
        print_fact(c, m->name, fact);
    }
}

static void
print_disks(struct cli *c, const struct survey_row *r)
{
    CLEANUP(table_freep)
    struct table *t = table_new(disk_columns, ARRAY_LEN(disk_columns));
    const struct machine *m = r->machine;

    for (size_t i = 0; i < m->n_disks; i++) {
        const struct disk *d = &m->disks[i];
        const struct ability_disk *next = survey_reading(r->ability, d);
        CLEANUP(freep)
        char *all = next && next->why_full
                        ? xasprintf("all: %s", next->why_full)
                        : NULL;
        table_cell(t, d->name);
        table_cell_size(t, d->size_bytes);
        table_cell(t, d->format);
        table_cell(t, d->read_only ? "nothing: read-only"
                      : all        ? all
                      : next       ? "what has changed"
                                   : "");
        table_cell(t, d->filename);
    }
    if (m->n_disks > 0) {
        out_text(&c->out, "\n");
        out_table(&c->out, t);
    }
}

static void
print_last(struct cli *c, const struct survey_last *last)
{
    char time[CLOCK_TEXT_LEN];

    if (!last->method) {
        print_fact(c, "last", "it has no backup in this repository");
        return;
    }
    clock_format_local(last->time_ns, time);
    CLEANUP(freep)
    char *fact =
        xasprintf("%s, backup %.8s (%s)", time, last->id, last->method);
    print_fact(c, "last", fact);
}

void
survey_print_machine(struct cli *c, const struct survey_row *r, bool with_repo)
{
    const struct machine *m = r->machine;
    CLEANUP(freep) char *pid = xasprintf("%d", (int)r->found->pid);

    print_fact(c, "machine", m ? m->name : r->found->name);
    print_fact(c, "uuid", m ? m->uuid : r->found->uuid);
    print_fact(c, "state", survey_state(r));
    if (r->found->pid)
        print_fact(c, "pid", pid);
    if (m) {
        char ram[TEXT_SIZE_LEN];
        CLEANUP(freep)
        char *version =
            xasprintf("%u.%u.%u %s", m->version.major, m->version.minor,
                      m->version.micro, m->version.package);
        text_size(m->ram_bytes, ram);
        print_fact(c, "qemu", version);
        print_fact(c, "monitor", m->socket);
        print_fact(c, "ram", ram);
    }
    if (r->ability)
        print_methods(c, r->ability);
    if (with_repo)
        print_last(c, &r->last);
    if (m)
        print_disks(c, r);
    else
        print_unasked(c, r);
}
