/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/secret.h"
#include "cli/session.h"
#include "repo/repo.h"
#include "store/store.h"

/* The operand, else what names the repository elsewhere. */
static const char *
choose_address(const struct cli *c, struct err *e)
{
    const char *operand = cli_operand(c, 0);
    const char *option = args_value(&c->args, "repo");

    if (!operand)
        return session_address(c, e);
    if (option && strcmp(operand, option) != 0) {
        (void)err_set(e, ERR_USAGE, "two repositories are named, %s and %s",
                      option, operand);
        return NULL;
    }
    return operand;
}

static void
report(struct cli *c, const char *address, const char *id)
{
    if (c->out.json) {
        out_document(&c->out, json_pack("{s:o, s:b, s:s}", "repository",
                                        print_json(address), "created", 1,
                                        "repository_id", id));
        return;
    }
    out_text(&c->out, "Made the repository %s at %s.\n", id, address);
    if (c->out.quiet)
        return;
    out_text(&c->out,
             "\n"
             "Keep a copy of the password in another place: without it nobody\n"
             "can read these backups, you neither.\n"
             "\n"
             "Next:\n"
             "  export VMKEEP_REPOSITORY=%s\n"
             "  vmkeep machines\n"
             "  vmkeep backup MACHINE\n",
             address);
}

static int
run_init(struct cli *c, struct err *e)
{
    CLEANUP(secret_wipe) struct secret password = {0};
    CLEANUP(session_done) struct session s = {0};
    const char *address = choose_address(c, e);

    if (!address)
        return -1;
    int found = session_probe(address, &s.store, e);
    if (found == -1)
        return -1;
    if (found == 1) {
        (void)err_set(e, ERR_EXISTS, "there is a repository at %s already",
                      address);
        return err_hint(e, "`vmkeep -r %s list` shows what is in it", address);
    }
    if (session_ask(c, address, true, &password, e) == -1 ||
        store_create(address, &s.store, e) == -1 ||
        repo_init(s.store, password.text, e) == -1)
        return -1;
    /* Only what opens again has been made. */
    if (repo_open(s.store, password.text, &s.repo, e) == -1)
        return -1;
    report(c, address, repo_id(s.repo));
    return OUTCOME_DONE;
}

static const struct example examples[] = {
    {"vmkeep init /srv/backup",
     "make a repository in that folder; asks for a new password"},
    {"vmkeep init /mnt/nas/vmkeep --password-file /etc/vmkeep/password",
     "the same from a script"},
    {NULL, NULL}};

const struct command cmd_init = {
    .name = "init",
    .operands = "[REPO]",
    .summary = "make a repository, the place where backups are kept",
    .text = "REPO is a folder that is empty or not there yet; without it, the "
            "repository that -r or VMKEEP_REPOSITORY names. A repository that "
            "exists is never touched.\n\n"
            "The backups in it are encrypted. The password is the only key: "
            "see `vmkeep help password` for the ways to give it.",
    .examples = examples,
    .max_operands = 1,
    .run = run_init};
