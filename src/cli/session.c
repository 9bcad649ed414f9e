/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/session.h"

#include <stddef.h>

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/env.h"
#include "cli/secret.h"
#include "cli/signals.h"
#include "crypto/password.h"
#include "repo/repo.h"
#include "store/store.h"
#include "work/cancel.h"

const char *
session_address(const struct cli *c, struct err *e)
{
    const char *address = args_value(&c->args, "repo");

    if (address && *address)
        return address;
    address = env_get("VMKEEP_REPOSITORY");
    if (!address) {
        (void)err_set(e, ERR_USAGE, "no repository is named");
        (void)err_hint(e, "use -r REPO or set VMKEEP_REPOSITORY; see `vmkeep "
                          "help repository`");
    }
    return address;
}

/* 1 and *out if there is a repository, 0 if there is none, -1; the place, if it
 * is there, in *st. */
static int
probe(const char *address, const struct store_account *account,
      struct store **st, struct repo_door **out, struct err *e)
{
    struct store_account who = *account;

    who.unseen = true;
    int rc = store_open_as(address, &who, st, e);
    if (rc == 0)
        rc = repo_find(*st, out, e);
    if (rc == 0)
        return 1;
    if (e->code == ERR_NOENT)
        store_close(STEAL(*st));
    else if (e->code != ERR_NOREPO)
        return -1;
    err_clear(e);
    return 0;
}

int
session_probe(const char *address, struct session *out, struct err *e)
{
    return probe(address, &(struct store_account){0}, &out->store, &out->door,
                 e);
}

int
session_ask(const struct cli *c, const char *address, bool is_new,
            struct secret *out, struct err *e)
{
    struct secret_ways ways = {.file = args_value(&c->args, "password-file"),
                               .command =
                                   args_value(&c->args, "password-command"),
                               .subject = address,
                               .is_new = is_new};

    return secret_get(&ways, out, e);
}

/* A relative XDG_CACHE_HOME does not count (XDG base directories, 0.8). */
char *
session_cache(void)
{
    const char *own = env_get("VMKEEP_CACHE_DIR");
    const char *xdg = env_get("XDG_CACHE_HOME"), *home = env_get("HOME");

    if (own)
        return xstrdup(own);
    if (xdg && xdg[0] == '/')
        return path_join(xdg, "vmkeep");
    return home ? path_join(home, ".cache/vmkeep") : NULL;
}

int
session_ask_new(const struct cli *c, const char *subject, struct secret *out,
                struct err *e)
{
    struct secret_ways ways = {
        .file = args_value(&c->args, "new-password-file"),
        .command = args_value(&c->args, "new-password-command"),
        .subject = subject,
        .is_new = true,
        .which = SECRET_NEW};

    return secret_get(&ways, out, e);
}

int
session_cost(const struct cli *c, struct password_cost *out, struct err *e)
{
    const char *option = args_value(&c->args, "pbkdf-memory");
    const char *text = option ? option : env_get("VMKEEP_PBKDF_MEMORY");
    uint64_t bytes = 0;

    *out = password_cost_new();
    if (!text)
        return 0;
    if (!text_parse_size(text, &bytes) || bytes >> 10 < PASSWORD_MIN_KIB ||
        bytes >> 10 > PASSWORD_MAX_KIB)
        return err_set(e, ERR_USAGE, "%s %s is no size from %dK to %dM",
                       option ? "--pbkdf-memory" : "VMKEEP_PBKDF_MEMORY", text,
                       PASSWORD_MIN_KIB, PASSWORD_MAX_KIB >> 10);
    out->memory_kib = (uint32_t)(bytes >> 10);
    return 0;
}

static int
open_store(const struct cli *c, const char *address,
           const struct store_account *who, struct session *out, struct err *e)
{
    int found = probe(address, who, &out->store, &out->door, e);

    if (found == 0) {
        (void)err_set(e, ERR_NOREPO, "there is no repository at %s", address);
        return err_hint(e, "`vmkeep init %s` makes one", address);
    }
    if (found == 1)
        store_set_rates(out->store, c->upload, c->download);
    return found == -1 ? -1 : 0;
}

/* `key` is the option's value, or NULL; the variable is asked then. */
static int
open_repo(const char *key, const char *variable, const struct secret *password,
          struct session *out, struct err *e)
{
    if (repo_enter(out->door, password->text,
                   key && *key ? key : env_get(variable), &out->repo, e) == -1)
        return -1;
    repo_door_free(STEAL(out->door));
    CLEANUP(freep) char *cache = session_cache();
    repo_use_cache(out->repo, cache);
    return 0;
}

int
session_open(const struct cli *c, struct session *out, struct err *e)
{
    CLEANUP(secret_wipe) struct secret password = {0};
    const char *address = session_address(c, e);

    *out = (struct session){0};
    if (!address ||
        open_store(c, address, &(struct store_account){0}, out, e) == -1 ||
        session_ask(c, address, false, &password, e) == -1)
        return -1;
    return open_repo(args_value(&c->args, "key"), "VMKEEP_KEY", &password, out,
                     e);
}

int
session_open_to(const struct cli *c, struct session *out, struct err *e)
{
    CLEANUP(secret_wipe) struct secret password = {0};
    const char *address = args_value(&c->args, "to");
    const struct secret_ways ways = {
        .file = args_value(&c->args, "to-password-file"),
        .command = args_value(&c->args, "to-password-command"),
        .subject = address,
        .which = SECRET_TO};

    const struct store_account who = {
        .is_second = true, .profile = args_value(&c->args, "to-profile")};

    *out = (struct session){0};
    if (open_store(c, address, &who, out, e) == -1 ||
        secret_get(&ways, &password, e) == -1)
        return -1;
    return open_repo(args_value(&c->args, "to-key"), "VMKEEP_TO_KEY", &password,
                     out, e);
}

int
session_open_quietly(const struct cli *c, struct session *out, struct err *e)
{
    CLEANUP(secret_wipe) struct secret password = {0};
    const char *address = session_address(c, e);

    *out = (struct session){0};
    if (!address) {
        err_clear(e);
        return 0;
    }
    const struct secret_ways ways = {
        .file = args_value(&c->args, "password-file"),
        .command = args_value(&c->args, "password-command"),
        .subject = address};
    int found = secret_at_hand(&ways, &password, e);
    if (found != 1)
        return found;
    if (open_store(c, address, &(struct store_account){0}, out, e) == -1 ||
        open_repo(args_value(&c->args, "key"), "VMKEEP_KEY", &password, out,
                  e) == -1)
        return -1;
    return 1;
}

bool
session_miss(struct cli *c, const struct session *s)
{
    size_t n = s->repo ? repo_vanished(s->repo) : 0;

    if (n == 0)
        return false;
    out_warning(&c->out,
                "%zu backups that this host has seen are gone from the "
                "repository, though nobody forgot them; `vmkeep check` says "
                "which",
                n);
    return true;
}

void
session_done(struct session *s)
{
    repo_closep(&s->repo);
    repo_door_freep(&s->door);
    store_closep(&s->store);
}

void
session_arm(struct session *s, struct cancel *c)
{
    signals_raise(c);
    if (s->store)
        store_set_cancel(s->store, c);
}

int
session_disarm(struct session *s, struct cancel *c, int rc, struct err *e)
{
    /* What was read ahead, and is under way for nobody, knows the cancel. */
    if (s->repo)
        repo_settle(s->repo);
    signals_raise(NULL);
    if (s->store)
        store_set_cancel(s->store, NULL);
    if (rc == -1 && e->code == ERR_STORE && cancel_raised(c))
        e->code = ERR_CANCELED;
    return rc;
}
