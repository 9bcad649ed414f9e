/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/bundle.h"
#include "repo/fetch.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/name.h"
#include "repo/repo_internal.h"
#include "repo/role.h"
#include "repo/seen.h"
#include "store/store.h"
#include "store/store_together.h"

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
bundle_store(struct store *st, const struct keyring *k, uint8_t role,
             const char *label, const struct bundle_lock *lock, char *out_name,
             struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    CLEANUP(buf_done) struct buf back = buf_of(BUNDLE_MAX_BYTES);
    uint8_t id[NAME_ID_BYTES];

    if (bundle_pack(k, role, label, lock, clock_wall_ns(), &bytes, id, e) == -1)
        return -1;
    name_key(id, out_name);
    if (store_put_new(st, out_name, bytes.p, bytes.len, e) == -1)
        return err_wrap(e, "cannot store the new key");
    /* Somebody will rely on it, and perhaps on it alone. */
    if (store_get_all(st, out_name, &back, e) == -1)
        return err_wrap(e, "cannot read the new key back");
    if (back.len != bytes.len || memcmp(back.p, bytes.p, back.len) != 0)
        return err_set(e, ERR_STORE,
                       "the new key %s did not come back as it was stored",
                       out_name);
    return 0;
}

/* The config, signed, and what the keyring is to remember of it. */
static int
make_config(struct keyring *k, struct buf *out, struct err *e)
{
    CLEANUP(config_done) struct config c = {0};

    config_make(&c, k, clock_wall_ns());
    config_pack(&c, k, out);
    if (buf_check(out, "the config", e) == -1)
        return -1;
    hash_sha256(out->p, out->len, k->config_sum);
    return 0;
}

struct first_key {
    struct store *st;
    const struct keyring *keys;
    uint8_t role;
    struct bundle_lock lock;
};

static int
job_key(void *arg, struct err *e)
{
    const struct first_key *f = arg;
    char name[NAME_MAX_LEN];

    return bundle_store(f->st, f->keys, f->role, "", &f->lock, name, e);
}

/* The one that the password opens, and the recovery key. */
static int
store_first_keys(struct store *st, const struct keyring *k,
                 const char *password, const struct password_cost *cost,
                 struct err *e)
{
    uint8_t code[RECOVERY_BYTES];
    struct first_key keys[] = {
        {st, k, ROLE_OF_ADMIN, {.password = password, .cost = cost}},
        {st, k, ROLE_OF_RECOVERY, {.recovery = code}}};
    struct store_job jobs[] = {{.fn = job_key, .arg = &keys[0]},
                               {.fn = job_key, .arg = &keys[1]}};

    rand_bytes(code, sizeof(code));
    int rc = store_together(st, jobs, ARRAY_LEN(jobs), e);
    wipe(code, sizeof(code));
    return rc;
}

int
repo_init(struct store *st, const char *password,
          const struct password_cost *cost, struct err *e)
{
    const struct password_cost usual = password_cost_new();
    CLEANUP(keyring_done) struct keyring k = {0};
    CLEANUP(buf_done) struct buf config = buf_of(CONFIG_MAX_BYTES);

    if (store_list(st, "", refuse_object, st, e) == -1)
        return -1;
    keyring_make(&k);
    /* The config is last: with it there is a repository. */
    if (make_config(&k, &config, e) == -1 ||
        store_first_keys(st, &k, password, cost ? cost : &usual, e) == -1 ||
        store_put(st, NAME_CONFIG, config.p, config.len, e) == -1)
        return err_wrap(e, "cannot make a repository");
    return 0;
}

/* ---- open ------------------------------------------------------------ */

int
repo_open(struct store *st, const char *password, struct repo **out,
          struct err *e)
{
    return repo_open_by(st, password, NULL, out, e);
}

int
repo_open_by(struct store *st, const char *password, const char *key_id,
             struct repo **out, struct err *e)
{
    CLEANUP(repo_door_freep) struct repo_door *d = NULL;

    if (repo_find(st, &d, e) == 0)
        return repo_enter(d, password, key_id, out, e);
    if (e->code == ERR_NOENT)
        e->code = ERR_NOREPO;
    return -1;
}

int
repo_enter(struct repo_door *d, const char *password, const char *key_id,
           struct repo **out, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = secret_new(sizeof(*r));
    struct store *st = door_store(d);

    /* The index is loaded by the first who looks something up in it. */
    r->store = st;
    if (door_unlock(d, r, password, key_id, e) == -1)
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
repo_settle(struct repo *r)
{
    fetch_settle(r->fetch);
}

void
repo_close(struct repo *r)
{
    if (!r)
        return;
    fetch_free(r->fetch);
    index_free(r->index);
    lost_free(r->lost);
    seen_free(r->seen);
    config_done(&r->config);
    keyring_done(&r->keys);
    secret_free(r);
}

void
repo_closep(struct repo **r)
{
    repo_close(*r);
}

void
repo_use_cache(struct repo *r, const char *dir)
{
    index_use_cache(r->index, dir);
    r->seen = seen_new(dir, store_address(r->store), &r->keys);
}

size_t
repo_vanished(const struct repo *r)
{
    return seen_vanished(r->seen);
}

const char *
repo_id(const struct repo *r)
{
    return r->id;
}
