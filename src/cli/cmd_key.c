/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/recoverykey.h"
#include "cli/secret.h"
#include "cli/session.h"
#include "cli/table.h"
#include "crypto/password.h"
#include "repo/keys.h"

enum { SHORT_ID = 8 };

/* ---- list -------------------------------------------------------------- */

static const struct column columns[] = {
    {.title = "ID"},     {.title = "ROLE"},
    {.title = "OPENED"}, {.title = "NAMESPACE", .shrinks = true},
    {.title = "READS"},  {.title = "WRITER", .right = true},
    {.title = "MADE"},   {.title = "LABEL", .shrinks = true}};

struct listing {
    struct table *table;
    json_t *json;
};

static const char *
role_of(const struct key_info *i)
{
    return i->is_ours ? role_name(i->role) : "unknown";
}

static json_t *
to_json(const struct key_info *i)
{
    char time[CLOCK_TEXT_LEN];

    clock_format_utc(i->created_ns, time);
    return json_pack("{s:s, s:s, s:b, s:b, s:s*, s:b, s:I, s:s, s:o}", "id",
                     i->id, "role", role_of(i), "is_ours", i->is_ours,
                     "is_current", i->is_current, "namespace", i->ns, "reads",
                     i->reads, "writer", (json_int_t)i->writer, "created", time,
                     "label", print_json(i->label));
}

static int
add_row(void *cookie, const struct key_info *i, struct err *e)
{
    struct listing *l = cookie;
    CLEANUP(freep) char *id = xstrndup(i->id, SHORT_ID);
    CLEANUP(freep)
    char *writer = i->writer ? xasprintf("%u", i->writer) : xstrdup("");

    (void)e;
    (void)json_array_append_new(l->json, to_json(i));
    table_cell(l->table, id);
    table_cell(l->table, role_of(i));
    table_cell(l->table, i->is_current ? "now" : "");
    table_cell(l->table, i->ns ? i->ns : i->is_ours && i->reads ? "all" : "");
    table_cell(l->table, i->reads ? "yes" : "no");
    table_cell(l->table, writer);
    table_cell_time(l->table, i->created_ns);
    table_cell(l->table,
               i->is_ours ? i->label : "damaged, or of another repository");
    return 0;
}

static int
run_list(struct cli *c, struct repo *r, struct err *e)
{
    CLEANUP(table_freep)
    struct table *table = table_new(columns, ARRAY_LEN(columns));
    CLEANUP(json_decrefp) json_t *json = json_array();
    struct listing l = {table, json};

    if (repo_key_list(r, add_row, &l, e) == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out, STEAL(json));
    else
        out_table(&c->out, table);
    return OUTCOME_DONE;
}

/* ---- add --------------------------------------------------------------- */

static void
report_added(struct cli *c, const char *id, const char *role)
{
    if (c->out.json)
        out_document(&c->out,
                     json_pack("{s:s, s:s}", "key_id", id, "role", role));
    else
        out_text(&c->out, "Made the key %.8s (%s).\n", id, role);
}

static int
add_recovery(struct cli *c, struct repo *r, struct err *e)
{
    CLEANUP(recovery_key_wipe) struct recovery_key key = {0};

    if (repo_recovery_add(r, key.text, key.id, e) == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out,
                     json_pack("{s:s, s:s, s:s}", "key_id", key.id, "role",
                               "recovery", "recovery_key", key.text));
    else
        recovery_key_print(&c->out, &key);
    return OUTCOME_DONE;
}

static int
take_role(const struct cli *c, enum role *out, struct err *e)
{
    const char *role = args_value(&c->args, "role");

    if (role && role_parse(role, out))
        return 0;
    if (!role)
        (void)err_set(e, ERR_USAGE, "for whom is the key? give its --role");
    else
        (void)err_set(e, ERR_USAGE, "there is no role '%s'", role);
    return err_hint(e, "the roles are admin, restore, host, maintenance and "
                       "recovery; see `vmkeep help key`");
}

static int
run_add(struct cli *c, struct repo *r, struct err *e)
{
    CLEANUP(secret_wipe) struct secret password = {0};
    struct password_cost cost;
    struct key_request q = {.ns = args_value(&c->args, "namespace"),
                            .reads = args_has(&c->args, "can-restore"),
                            .label = args_value(&c->args, "label"),
                            .cost = &cost};
    char id[KEY_ID_LEN + 1];

    if (take_role(c, &q.role, e) == -1 || session_cost(c, &cost, e) == -1)
        return -1;
    if (q.role == ROLE_OF_RECOVERY && (q.ns || q.reads || q.label))
        return err_set(e, ERR_USAGE,
                       "a recovery key opens everything and has no label");
    if (q.role == ROLE_OF_RECOVERY)
        return add_recovery(c, r, e);
    /* Nobody should think up a password for nothing. */
    if (repo_key_check(r, &q, e) == -1 ||
        session_ask_new(c, "the new key", &password, e) == -1)
        return -1;
    q.password = password.text;
    if (repo_key_add(r, &q, id, e) == -1)
        return -1;
    report_added(c, id, role_name(q.role));
    return OUTCOME_DONE;
}

/* ---- remove, change-password, export ----------------------------------- */

static int
run_remove(struct cli *c, struct repo *r, struct err *e)
{
    char id[KEY_ID_LEN + 1];

    if (repo_key_remove(r, cli_operand(c, 1), id, e) == -1)
        return -1;
    if (c->out.json) {
        out_document(&c->out, json_pack("{s:s}", "removed", id));
        return OUTCOME_DONE;
    }
    out_text(&c->out, "Removed the key %.8s.\n", id);
    if (!c->out.quiet)
        out_text(&c->out,
                 "Whoever copied it, and knows its password, still has the "
                 "keys in it: they are\n"
                 "the repository's and have not changed. Take away his access "
                 "to the storage, too.\n");
    return OUTCOME_DONE;
}

static int
run_change_password(struct cli *c, struct repo *r, struct err *e)
{
    CLEANUP(secret_wipe) struct secret password = {0};
    struct password_cost cost;
    char id[KEY_ID_LEN + 1];
    struct err why = {0};

    if (session_cost(c, &cost, e) == -1 ||
        session_ask_new(c, "this key", &password, e) == -1)
        return -1;
    int gone = repo_key_change_password(r, password.text, &cost, id, &why, e);
    if (gone == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out, json_pack("{s:s, s:b}", "key_id", id,
                                        "old_removed", gone));
    else
        out_text(&c->out, "The key has a new password, and is %.8s now.\n", id);
    if (gone)
        return OUTCOME_DONE;
    out_warning(&c->out, "the old password still opens the repository: %s",
                why.msg);
    return OUTCOME_PARTLY;
}

static int
run_export(struct cli *c, struct repo *r, struct err *e)
{
    CLEANUP(recovery_key_wipe) struct recovery_key key = {0};

    if (!args_has(&c->args, "paper"))
        return err_set(e, ERR_USAGE, "in which form? give --paper");
    if (repo_recovery(r, key.text, key.id, e) == -1)
        return -1;
    if (c->out.json)
        out_document(&c->out, json_pack("{s:s, s:s}", "key_id", key.id,
                                        "recovery_key", key.text));
    else
        recovery_key_print(&c->out, &key);
    return OUTCOME_DONE;
}

/* ---- which one ----------------------------------------------------------- */

static const struct action {
    const char *name;
    size_t operands; /* with its name */
    const char *options;
    int (*run)(struct cli *c, struct repo *r, struct err *e);
} actions[] = {{"add", 1,
                " role namespace can-restore label new-password-file "
                "new-password-command pbkdf-memory ",
                run_add},
               {"list", 1, "", run_list},
               {"remove", 2, "", run_remove},
               {"change-password", 1,
                " new-password-file new-password-command pbkdf-memory ",
                run_change_password},
               {"export", 1, " paper ", run_export}};

static const struct option_spec options[] = {
    {"role", 0, "ROLE", "add: admin, restore, host, maintenance or recovery"},
    {"namespace", 0, "NAME",
     "add: where a host writes (default: \"default\"; a new one is made), what "
     "a restore key reads (default: all)"},
    {"can-restore", 0, NULL, "add: the host may read its namespace, too"},
    {"label", 0, "TEXT", "add: what it is for"},
    {"new-password-file", 0, "FILE",
     "add, change-password: read the new password from FILE"},
    {"new-password-command", 0, "COMMAND",
     "add, change-password: read it from what this shell command prints"},
    {"pbkdf-memory", 0, "SIZE",
     "add, change-password: memory that trying the password takes, from 8K to "
     "1G (default: $VMKEEP_PBKDF_MEMORY, or 64M)"},
    {"paper", 0, NULL, "export: the recovery key, to be printed"},
    {NULL, 0, NULL, NULL}};

static int
pick_action(const struct cli *c, const struct action **out, struct err *e)
{
    const char *name = cli_operand(c, 0);

    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(name, actions[i].name) == 0)
            *out = &actions[i];
    if (!*out)
        return err_set(e, ERR_USAGE,
                       "'%s' is none of add, list, remove, change-password, "
                       "export",
                       name);
    if (c->args.n_operands != (*out)->operands)
        return (*out)->operands == 2
                   ? err_set(e, ERR_USAGE, "which key? give its ID")
                   : err_set(e, ERR_USAGE, "%s takes no '%s'", name,
                             cli_operand(c, 1));
    for (const struct option_spec *o = options; o->name; o++) {
        CLEANUP(freep) char *word = xasprintf(" %s ", o->name);
        if (args_has(&c->args, o->name) && !strstr((*out)->options, word))
            return err_set(e, ERR_USAGE, "%s takes no --%s", name, o->name);
    }
    return 0;
}

static int
run_key(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    const struct action *action = NULL;

    if (pick_action(c, &action, e) == -1 || session_open(c, &s, e) == -1)
        return -1;
    return action->run(c, s.repo, e);
}

static const struct example examples[] = {
    {"vmkeep key add --role host --namespace web --label pve-03",
     "a key for a hypervisor that can back up, and read nothing"},
    {"vmkeep key add --role restore --namespace web",
     "one for somebody who restores the backups of that namespace"},
    {"vmkeep key export --paper", "the recovery key, to be printed"},
    {"vmkeep key list", "whose keys are there?"},
    {NULL, NULL}};

const struct command cmd_key = {
    .name = "key",
    .operands = "add|list|remove ID|change-password|export",
    .summary = "make, list and remove keys: who may do what",
    .text =
        "A key is a password and what it opens. The one that `vmkeep init` "
        "asks for opens everything; for others there are keys that open only "
        "what they need:\n\n"
        "  admin         everything, as after init\n"
        "  restore       list and restore backups; of one namespace, or all\n"
        "  host          make backups in a namespace; read them only with\n"
        "                --can-restore\n"
        "  maintenance   clean up; read nothing\n"
        "  recovery      everything, opened by a code for paper instead of a\n"
        "                password\n\n"
        "A namespace is a set of backups that are read together: a tenant, a "
        "site, a team. A host writes to one.\n\n"
        "`add`, `remove` and `export` need the key of an admin, or a recovery "
        "key, which is taken wherever a password is asked for. `remove` ends "
        "a password, not what its owner may have copied. `change-password` "
        "is for the key whose password is given.",
    .options = options,
    .examples = examples,
    .min_operands = 1,
    .max_operands = 2,
    .run = run_key};
