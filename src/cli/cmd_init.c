/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/recoverykey.h"
#include "cli/secret.h"
#include "cli/session.h"
#include "crypto/password.h"
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

/* A key on the screen of somebody who reads it; none in the log of a script
 * that did not ask for it. */
static bool
is_key_wanted(const struct cli *c)
{
    return args_has(&c->args, "show-recovery-key") ||
           (!c->out.json && !c->out.quiet && isatty(STDOUT_FILENO));
}

static void
report_json(struct cli *c, const char *address, const char *id,
            const struct recovery_key *key)
{
    json_t *j = json_pack("{s:o, s:b, s:s, s:s}", "repository",
                          print_json(address), "created", 1, "repository_id",
                          id, "recovery_key_id", key->id);

    if (is_key_wanted(c))
        (void)json_object_set_new(j, "recovery_key", json_string(key->text));
    out_document(&c->out, j);
}

static void
report(struct cli *c, const char *address, const char *id,
       const struct recovery_key *key)
{
    out_text(&c->out, "Made the repository %s at %s.\n", id, address);
    if (is_key_wanted(c))
        recovery_key_print(&c->out, key);
    if (c->out.quiet)
        return;
    if (!is_key_wanted(c))
        out_text(&c->out,
                 "\n"
                 "It has a recovery key, which is not shown here, as this may "
                 "be a log.\n"
                 "Print it and keep the paper: vmkeep key export --paper\n");
    out_text(&c->out,
             "\n"
             "Keep a copy of the password in another place: without it and "
             "without the\n"
             "recovery key nobody can read these backups, you neither.\n"
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
    struct password_cost cost;

    if (!address || session_cost(c, &cost, e) == -1)
        return -1;
    int found = session_probe(address, &s, e);
    if (found == -1)
        return -1;
    if (found == 1) {
        (void)err_set(e, ERR_EXISTS, "there is a repository at %s already",
                      address);
        return err_hint(e, "`vmkeep -r %s list` shows what is in it", address);
    }
    if (session_ask(c, address, true, &password, e) == -1 ||
        (!s.store && store_create(address, &s.store, e) == -1) ||
        repo_init(s.store, password.text, &cost, e) == -1)
        return -1;
    /* Only what opens again has been made. */
    if (repo_open(s.store, password.text, &s.repo, e) == -1)
        return -1;
    CLEANUP(recovery_key_wipe) struct recovery_key key = {0};
    if (repo_recovery(s.repo, key.text, key.id, e) == -1)
        return -1;
    if (c->out.json)
        report_json(c, address, repo_id(s.repo), &key);
    else
        report(c, address, repo_id(s.repo), &key);
    return OUTCOME_DONE;
}

static const struct option_spec options[] = {
    {"show-recovery-key", 0, NULL,
     "show the recovery key also where stdout is no terminal, and with --json"},
    {"pbkdf-memory", 0, "SIZE",
     "memory that trying a password takes, from 8K to 1G (default: "
     "$VMKEEP_PBKDF_MEMORY, or 64M): more makes it dearer to guess"},
    {NULL, 0, NULL, NULL}};

static const struct example examples[] = {
    {"vmkeep init /srv/backup",
     "make a repository in that folder; asks for a new password"},
    {"vmkeep init /mnt/nas/vmkeep --password-file /etc/vmkeep/password",
     "the same from a script"},
    {"vmkeep init sftp:backup@nas:/srv/vmkeep", "on another host, by ssh"},
    {"vmkeep init s3:https://s3.eu-west-3.amazonaws.com/bucket/vmkeep",
     "in a bucket; the key is in AWS_ACCESS_KEY_ID and its like"},
    {"vmkeep init --json --show-recovery-key | jq -r .recovery_key",
     "the recovery key too, to be put into a vault"},
    {NULL, NULL}};

const struct command cmd_init = {
    .name = "init",
    .operands = "[REPO]",
    .summary = "make a repository, the place where backups are kept",
    .text =
        "REPO is a folder that is empty or not there yet, here or on "
        "another host, or a bucket (`vmkeep help repository`); without it, the "
        "repository that -r or VMKEEP_REPOSITORY names. A repository that "
        "exists is never touched.\n\n"
        "The backups in it are encrypted. See `vmkeep help password` for "
        "the ways to give the password. The repository also gets a "
        "recovery key, a code for paper that opens it when the password "
        "is lost. On a terminal it is shown; `vmkeep key export --paper` "
        "shows it at any time.",
    .options = options,
    .examples = examples,
    .max_operands = 1,
    .run = run_init};
