/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "repo/bundle.h"
#include "repo/fetch.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/name.h"
#include "repo/repo_internal.h"
#include "store/store.h"

enum { MAX_BUNDLES = 64 };

/* ---- init ------------------------------------------------------------ */

/* A key bundle alone is what an interrupted init leaves: it opens nothing. */
static int
refuse_object(void *cookie, const char *name, const struct store_stat *stat,
              struct err *e)
{
    const struct store *st = cookie;

    (void)stat;
    if (strcmp(name, NAME_CONFIG) == 0)
        return err_set(e, ERR_EXISTS, "there is a repository at %s already",
                       store_address(st));
    if (text_starts(name, "keys/"))
        return 0;
    return err_set(e, ERR_EXISTS,
                   "%s is not empty (it holds \"%s\"); choose an empty place",
                   store_address(st), name);
}

int
repo_init(struct store *st, const char *password, struct err *e)
{
    struct password_cost cost = password_cost_new();

    return repo_init_at_cost(st, password, &cost, e);
}

int
repo_init_at_cost(struct store *st, const char *password,
                  const struct password_cost *cost, struct err *e)
{
    CLEANUP(keyring_done) struct keyring k = {0};
    CLEANUP(config_done) struct config c = {0};
    CLEANUP(buf_done) struct buf bundle = buf_of(BUNDLE_MAX_BYTES);
    CLEANUP(buf_done) struct buf config = buf_of(CONFIG_MAX_BYTES);
    uint8_t id[NAME_ID_BYTES];
    char name[NAME_MAX_LEN];
    int64_t now_ns = clock_wall_ns();

    if (store_list(st, "", refuse_object, st, e) == -1)
        return -1;
    keyring_make(&k);
    config_make(&c, &k, now_ns);
    if (bundle_pack(&k, password, cost, "", now_ns, &bundle, id, e) == -1)
        return -1;
    config_pack(&c, &k, &config);
    if (buf_check(&config, "the config", e) == -1)
        return -1;
    name_key(id, name);
    /* The config is last: with it there is a repository. */
    if (store_put(st, name, bundle.p, bundle.len, e) == -1 ||
        store_put(st, NAME_CONFIG, config.p, config.len, e) == -1)
        return err_wrap(e, "cannot make a repository");
    return 0;
}

/* ---- open ------------------------------------------------------------ */

struct bundle_names {
    char names[MAX_BUNDLES][NAME_MAX_LEN];
    size_t n;
};

static int
note_bundle(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct bundle_names *b = cookie;

    (void)stat;
    if (strlen(name) >= NAME_MAX_LEN)
        return 0;
    if (b->n == MAX_BUNDLES)
        return err_set(e, ERR_LIMIT, "the repository has more than %d keys",
                       MAX_BUNDLES);
    (void)snprintf(b->names[b->n++], NAME_MAX_LEN, "%s", name);
    return 0;
}

/* 1 if the bundle of that name opens, 0 if not; *trouble keeps why one could
 * not even be tried. */
static int
try_bundle(struct store *st, const char *name, const char *password,
           struct keyring *out, struct err *trouble, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    uint8_t sum[HASH_BYTES];
    char own[NAME_MAX_LEN];
    struct err why = {0};

    if (store_get_all(st, name, &bytes, &why) == -1) {
        if (why.code == ERR_STORE) {
            *e = why;
            return -1;
        }
    } else {
        hash_sha256(bytes.p, bytes.len, sum);
        name_key(sum, own);
        if (strcmp(own, name) != 0)
            (void)err_set(&why, ERR_CORRUPT, "the key bundle is damaged");
        else if (bundle_open(bytes.p, bytes.len, password, out, &why) == 1)
            return 1;
    }
    if (why.code == ERR_USAGE) { /* the password itself is none */
        *e = why;
        return -1;
    }
    if (why.code != ERR_OK && trouble->code == ERR_OK) {
        (void)err_wrap(&why, "%s", name);
        *trouble = why;
    }
    return 0;
}

static int
open_keys(struct store *st, const struct config *c, const char *password,
          struct keyring *out, struct err *e)
{
    CLEANUP(freep) struct bundle_names *b = xcalloc(1, sizeof(*b));
    struct err trouble = {0};

    if (store_list(st, "keys/", note_bundle, b, e) == -1)
        return err_wrap(e, "cannot list the keys");
    for (size_t i = 0; i < b->n; i++) {
        int rc = try_bundle(st, b->names[i], password, out, &trouble, e);
        if (rc == -1)
            return -1;
        /* What an interrupted init left may have the same password. */
        if (rc == 1 && memcmp(out->repo_id, c->repo_id, KEYRING_ID_BYTES) == 0)
            return 0;
        if (rc == 1)
            keyring_done(out);
    }
    if (trouble.code != ERR_OK) {
        *e = trouble;
        return err_wrap(e, "the password opens no key");
    }
    if (b->n == 0)
        return err_set(e, ERR_KEY,
                       "the repository has no key: its \"keys\" "
                       "folder is empty");
    return err_set(e, ERR_KEY, "wrong password for the repository at %s",
                   store_address(st));
}

static int
open_config(struct repo *r, const char *password, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONFIG_MAX_BYTES);

    if (store_get_all(r->store, NAME_CONFIG, &bytes, e) == -1) {
        if (e->code != ERR_NOENT)
            return err_wrap(e, "cannot read the repository's config");
        err_clear(e);
        return err_set(e, ERR_NOREPO,
                       "there is no repository at %s; \"vmkeep init\" makes "
                       "one",
                       store_address(r->store));
    }
    if (config_unpack(bytes.p, bytes.len, &r->config, e) == -1 ||
        open_keys(r->store, &r->config, password, &r->keys, e) == -1 ||
        config_check(bytes.p, bytes.len, &r->config, &r->keys, e) == -1)
        return -1;
    if (!(r->keys.has & KEY_DOMAIN) || r->keys.domain != r->config.domain)
        return err_set(e, ERR_KEY,
                       "this key is of another key domain than "
                       "the repository uses now");
    return 0;
}

int
repo_open(struct store *st, const char *password, struct repo **out,
          struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = xcalloc(1, sizeof(*r));

    /* The index is loaded by the first who looks something up in it. */
    r->store = st;
    if (open_config(r, password, e) == -1)
        return -1;
    hex_encode(r->keys.repo_id, sizeof(r->keys.repo_id), r->id);
    r->index = index_new(st, &r->keys);
    r->lost = lost_new(st, &r->config);
    index_heed(r->index, r->lost);
    r->fetch = fetch_new(st, &r->keys, r->index);
    *out = STEAL(r);
    return 0;
}

void
repo_close(struct repo *r)
{
    if (!r)
        return;
    fetch_free(r->fetch);
    index_free(r->index);
    lost_free(r->lost);
    config_done(&r->config);
    keyring_done(&r->keys);
    free(r);
}

void
repo_closep(struct repo **r)
{
    repo_close(*r);
}

const char *
repo_id(const struct repo *r)
{
    return r->id;
}
