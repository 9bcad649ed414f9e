/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "repo/inspect.h"

static int
inspect(struct cli *c, struct repo *r, json_t **out, struct err *e)
{
    const char *kind = cli_operand(c, 0), *name = cli_operand(c, 1);
    const char *volume = cli_operand(c, 2);

    if (strcmp(kind, "config") == 0) {
        *out = inspect_config(r);
        return 0;
    }
    if (strcmp(kind, "tree") == 0)
        return inspect_tree(r, name, volume, out, e);
    if (strcmp(kind, "pack") == 0)
        return inspect_pack(r, name, out, e);
    if (strcmp(kind, "index") == 0)
        return inspect_segment(r, name, out, e);
    if (strcmp(kind, "ref") == 0)
        return inspect_ref(r, name, out, e);
    return inspect_object(r, name, out, e);
}

static int
check_operands(const struct cli *c, struct err *e)
{
    static const struct {
        const char *kind;
        size_t operands;
    } kinds[] = {{"config", 1}, {"object", 2}, {"pack", 2},
                 {"index", 2},  {"ref", 2},    {"tree", 3}};
    const char *kind = cli_operand(c, 0);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        if (c->args.n_operands == kinds[i].operands)
            return 0;
        return err_set(e, ERR_USAGE,
                       "debug %s takes %zu more words; see `vmkeep help debug`",
                       kind, kinds[i].operands - 1);
    }
    return err_set(e, ERR_USAGE,
                   "there is no structure \"%s\"; there are config, object, "
                   "pack, index, ref and tree",
                   kind);
}

/* One line a fact; what is within something is further in. */
static void
print_value(struct cli *c, const char *key, json_t *j, int depth)
{
    const char *name = NULL;
    json_t *value = NULL;
    size_t i = 0;

    if (json_is_object(j) || json_is_array(j)) {
        out_text(&c->out, "%*s%s:\n", 2 * depth, "", key);
        if (json_is_array(j))
            json_array_foreach(j, i, value)
                print_value(c, "-", value, depth + 1);
        else
            json_object_foreach(j, name, value)
                print_value(c, name, value, depth + 1);
        return;
    }
    CLEANUP(freep) char *text = json_dumps(j, JSON_ENCODE_ANY);
    CLEANUP(freep)
    char *fit = print_fit(json_is_string(j) ? json_string_value(j)
                          : text            ? text
                                            : "");
    out_text(&c->out, "%*s%s: %s\n", 2 * depth, "", key, fit);
}

static int
run_debug(struct cli *c, struct err *e)
{
    CLEANUP(session_done) struct session s = {0};
    const char *key = NULL;
    json_t *j = NULL, *value = NULL;

    if (check_operands(c, e) == -1 || session_open(c, &s, e) == -1 ||
        inspect(c, s.repo, &j, e) == -1)
        return -1;
    if (c->out.json) {
        out_document(&c->out, j);
        return OUTCOME_DONE;
    }
    json_object_foreach(j, key, value) print_value(c, key, value, 0);
    json_decref(j);
    return OUTCOME_DONE;
}

static const struct example examples[] = {
    {"vmkeep debug config", "what all users of the repository agree on"},
    {"vmkeep debug ref 6f3a01b2", "a backup's ref and manifest"},
    {"vmkeep debug pack 1f00", "the table of a pack, and whether it is sound"},
    {"vmkeep debug tree latest disk/vda", "the nodes and leaves of a volume"},
    {NULL, NULL}};

const struct command cmd_debug = {
    .name = "debug",
    .operands = "STRUCTURE [NAME [VOLUME]]",
    .summary = "print a structure of the repository",
    .text =
        "For those who look for a fault or learn the format, which "
        "docs/format describes. STRUCTURE is config; object ID; pack, index "
        "or ref NAME; or tree BACKUP VOLUME. NAME is the name of the object in "
        "the "
        "storage, or the start of the hexadecimal id in it. No keys and "
        "no data are printed.",
    .examples = examples,
    .min_operands = 1,
    .max_operands = 3,
    .run = run_debug};
