/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "repo/keys.h"
#include "repo/manifest.h"
#include "repo/repo.h"

enum { SHORT_ID = 8, MACHINES_MAX_BYTES = 300 };

static const struct column columns[] = {{.title = "ID"},
                                        {.title = "TIME"},
                                        {.title = "MACHINE", .shrinks = true},
                                        {.title = "METHOD"},
                                        {.title = "SIZE", .right = true},
                                        {.title = "NEW", .right = true},
                                        {.title = "STORED", .right = true},
                                        {.title = "STATE"}};

struct listing {
    const char *machine;  /* only this one; NULL: all */
    bool all;             /* also those that are retired or late */
    size_t retired, late; /* that were passed over */
    struct table *table;
    json_t *json;
    const struct repo *repo;
    struct buf others; /* some of the machines that were passed over */
};

static uint64_t
size_of(const struct manifest *m)
{
    uint64_t size = 0;

    for (size_t i = 0; i < m->n_volumes; i++)
        if (!u64_add(size, m->volumes[i].root.size_bytes, &size))
            return UINT64_MAX;
    return size;
}

/* A backup that our key does not open. */
static json_t *
sealed_to_json(const struct listing *l, const struct manifest *m,
               const char *state)
{
    char time[CLOCK_TEXT_LEN], tag[2 * sizeof(m->machine_tag) + 1];

    clock_format_utc(m->time_ns, time);
    hex_encode(m->machine_tag, sizeof(m->machine_tag), tag);
    return json_pack("{s:s, s:s, s:b, s:s*, s:s, s:s}", "id", m->id, "time",
                     time, "sealed", 1, "namespace",
                     repo_namespace(l->repo, m->ns), "machine_tag", tag,
                     "state", state);
}

static void
add_sealed(struct listing *l, const struct manifest *m)
{
    const char *ns = repo_namespace(l->repo, m->ns);
    CLEANUP(freep)
    char *what = xasprintf("(sealed, namespace %s)", ns ? ns : "unknown");

    table_cell(l->table, what);
    for (size_t i = 0; i < 4; i++)
        table_cell(l->table, "");
}

static json_t *
to_json(const struct listing *l, const struct manifest *m, const char *state)
{
    char time[CLOCK_TEXT_LEN];

    if (m->sealed)
        return sealed_to_json(l, m, state);
    clock_format_utc(m->time_ns, time);
    json_t *origin = m->origin.backup[0] ? json_pack("{s:s, s:s}", "repository",
                                                     m->origin.repository,
                                                     "backup", m->origin.backup)
                                         : NULL;
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:s, s:o*, s:I, s:I, s:I, s:I, s:s, s:o*}",
        "id", m->id, "time", time, "machine", print_json(m->machine), "uuid",
        print_json(m->uuid), "host", print_json(m->host), "method", m->method,
        "consistency", json_incref(json_object_get(m->detail, "consistency")),
        "size_bytes", (json_int_t)size_of(m), "read_bytes",
        (json_int_t)m->read_bytes, "new_bytes", (json_int_t)m->new_bytes,
        "stored_bytes", (json_int_t)m->stored_bytes, "state", state, "origin",
        origin);
}

/* Of disks without memory, also what they are like. */
static void
add_method(struct table *t, const struct manifest *m)
{
    const char *like =
        json_string_value(json_object_get(m->detail, "consistency"));

    if (!like || strcmp(m->method, "disk") != 0) {
        table_cell(t, m->method);
        return;
    }
    CLEANUP(freep) char *both = xasprintf("%s (%s)", m->method, like);
    table_cell(t, both);
}

static void
pass_over(struct listing *l, const struct manifest *m)
{
    const char *known = buf_text(&l->others);

    /* For a hint only, so a name within another may be missed. */
    if (!strstr(known, m->machine))
        buf_printf(&l->others, "%s%s", l->others.len ? ", " : "", m->machine);
}

static int
add(void *cookie, const struct manifest *m, const struct backup_state *s,
    struct err *e)
{
    struct listing *l = cookie;
    const char *state = s->retired_ns ? "forgotten" : s->late ? "late" : "good";
    char id[SHORT_ID + 1] = {0};

    (void)e;
    if (l->machine && strcmp(l->machine, m->machine) != 0 &&
        strcasecmp(l->machine, m->uuid) != 0) {
        if (!m->sealed)
            pass_over(l, m);
        return 0;
    }
    if (!l->all && (s->retired_ns || s->late)) {
        l->retired += s->retired_ns != 0;
        l->late += s->retired_ns == 0;
        return 0;
    }
    (void)json_array_append_new(l->json, to_json(l, m, state));
    memcpy(id, m->id, SHORT_ID);
    table_cell(l->table, id);
    table_cell_time(l->table, m->time_ns);
    if (m->sealed) {
        add_sealed(l, m);
        return 0;
    }
    table_cell(l->table, m->machine);
    add_method(l->table, m);
    table_cell_size(l->table, size_of(m));
    table_cell_size(l->table, m->new_bytes);
    table_cell_size(l->table, m->stored_bytes);
    if (l->all)
        table_cell(l->table, state);
    return 0;
}

static int
none_of(struct listing *l, struct err *e)
{
    (void)err_set(e, ERR_NOENT, "there is no backup of a machine %s",
                  l->machine);
    if (l->others.len > 0)
        return err_hint(e, "there are some of %s", buf_text(&l->others));
    return -1;
}

static int
run_list(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    bool all = args_has(&c->args, "all");
    CLEANUP(table_freep)
    struct table *table =
        table_new(columns, ARRAY_LEN(columns) - (all ? 0 : 1));
    CLEANUP(json_decrefp) json_t *json = json_array();
    struct listing l = {.machine = cli_operand(c, 0),
                        .all = all,
                        .table = table,
                        .json = json,
                        .others = buf_of(MACHINES_MAX_BYTES)};

    int r = session_open(c, &s, e);
    l.repo = s.repo;
    if (r == 0)
        r = backup_survey(s.repo, add, &l, e);
    (void)session_miss(c, &s);
    if (r == 0 && l.machine && table_rows(table) == 0 && l.retired == 0 &&
        l.late == 0)
        r = none_of(&l, e);
    buf_done(&l.others);
    if (r == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out, STEAL(json));
    else if (table_rows(table) > 0)
        out_table(&c->out, table);
    else if (l.retired == 0 && l.late == 0)
        out_note(&c->out, "no backups yet; `vmkeep backup MACHINE` makes one");
    if (l.retired > 0)
        out_note(&c->out, "%zu more are forgotten; --all shows them",
                 l.retired);
    if (l.late > 0)
        out_warning(&c->out,
                    "%zu were published too late to be relied on; --all shows "
                    "them",
                    l.late);
    return OUTCOME_DONE;
}

static const struct option_spec options[] = {
    {"all", 'a', NULL,
     "also those that were forgotten, or published too late to be relied on"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep list", "all backups, the oldest first"},
    {"vmkeep list web-01", "those of one machine"},
    {"vmkeep list --json | jq -r '.[-1].id'", "the id of the newest one"},
    {NULL, NULL}};

const struct command cmd_list = {
    .name = "list",
    .operands = "[MACHINE]",
    .options = options,
    .summary = "list the backups in the repository",
    .text = "One line a backup, the oldest first: its id, the instant that it "
            "shows (local time), the machine, the method, the size of its "
            "disks and memory, and of that what was new to the repository and "
            "what it takes there, compressed.\n\n"
            "MACHINE is a name or a UUID. Of backups that this key may not "
            "read only id, time and namespace are known.",
    .examples = examples,
    .max_operands = 1,
    .run = run_list};
