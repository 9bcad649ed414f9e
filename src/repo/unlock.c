/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a password to the keys that it opens, and from those to the config that
 * they trust (docs/format/keys.md, docs/format/repository.md).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "crypto/wipe.h"
#include "repo/bundle.h"
#include "repo/gather.h"
#include "repo/name.h"
#include "repo/repo_internal.h"
#include "store/store.h"

/* Amendments are few; more than these are somebody's mischief. */
enum { MAX_GENERATIONS = 65536, MAX_WRONG_CONFIGS = 256 };

struct generations {
    uint32_t *n;
    size_t count;
};

/* What is known before there is a key. */
struct repo_door {
    struct store *store;
    struct buf first; /* config 0, or nothing: it was not read */
    struct bundle_names bundles;
    struct generations generations;
    struct gather early; /* configs and bundles that will be asked for */
};

/* ---- key bundles ------------------------------------------------------- */

static int
note_bundle(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct bundle_names *b = cookie;
    uint8_t id[NAME_ID_BYTES];

    (void)stat;
    if (!name_parse_key(name, id))
        return 0;
    if (b->n == MAX_BUNDLES)
        return err_set(e, ERR_LIMIT, "the repository has more than %d keys",
                       MAX_BUNDLES);
    if (!b->names)
        b->names = xcalloc(MAX_BUNDLES, sizeof(b->names[0]));
    (void)snprintf(b->names[b->n++], NAME_MAX_LEN, "%s", name);
    return 0;
}

int
bundle_names_get(struct store *st, struct bundle_names *out, struct err *e)
{
    if (store_list(st, "keys/", note_bundle, out, e) == -1)
        return err_wrap(e, "cannot list the keys");
    return 0;
}

void
bundle_names_done(struct bundle_names *b)
{
    free(b->names);
}

int
bundle_get(struct store *st, struct gather *early, const char *name,
           struct buf *out, struct err *e)
{
    uint8_t sum[HASH_BYTES];
    char own[NAME_MAX_LEN];

    if ((early ? gather_get(early, st, name, out, e)
               : store_get_all(st, name, out, e)) == -1)
        return -1;
    hash_sha256(out->p, out->len, sum);
    name_key(sum, own);
    if (strcmp(own, name) != 0)
        return err_set(e, ERR_CORRUPT, "the key bundle is damaged");
    return 0;
}

/* What opens a repository: looked for among all its bundles. */
struct attempt {
    struct repo_door *door;
    const char *password;
    enum bundle_kind kind;  /* look only at these */
    bool costly;            /* and at those that are slow to try, or not */
    bool skipped;           /* some were, for that */
    const char *key_id;     /* look only at those that start so; or NULL */
    const uint8_t *repo_id; /* of the repository */
    struct repo *r;         /* gets the keys */
    struct err trouble;     /* why one could not even be tried */
};

/* More than what we ask ourselves.  Whoever may write to the storage can put
 * many of the slowest there: they come last. */
static bool
is_costly(const struct bundle_info *info)
{
    const struct password_cost ours = password_cost_new();

    return (uint64_t)info->cost.passes * info->cost.memory_kib >
           (uint64_t)ours.passes * ours.memory_kib;
}

/* 1 if the bundle opens, 0 if not or if it is of another repository, as what
 * an interrupted init left may be; -1. */
static int
try_bytes(struct attempt *a, const char *name, const struct buf *bytes,
          struct err *e)
{
    struct keyring *keys = &a->r->keys;
    struct bundle_info info;

    if (bundle_info(bytes->p, bytes->len, &info, e) == -1)
        return -1;
    if (info.kind != a->kind)
        return 0;
    if (is_costly(&info) != a->costly) {
        a->skipped = true;
        return 0;
    }
    int rc = bundle_open(bytes->p, bytes->len, a->password, keys, e);
    if (rc != 1)
        return rc;
    if (!wipe_equal(keys->repo_id, a->repo_id, KEYRING_ID_BYTES)) {
        keyring_done(keys);
        return 0;
    }
    (void)snprintf(a->r->key_name, NAME_MAX_LEN, "%s", name);
    a->r->key_role = info.role;
    return 1;
}

static int
try_bundle(struct attempt *a, const char *name, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    struct err why = {0};
    int rc = bundle_get(a->door->store, &a->door->early, name, &bytes, &why);

    if (rc == 0)
        rc = try_bytes(a, name, &bytes, &why);
    if (rc != -1)
        return rc;
    if (why.code == ERR_NOENT) /* removed since it was listed */
        return 0;
    /* The storage failed, or the password itself is none. */
    if (why.code == ERR_STORE || why.code == ERR_USAGE) {
        *e = why;
        return -1;
    }
    if (a->trouble.code == ERR_OK) {
        (void)err_wrap(&why, "%s", name);
        a->trouble = why;
    }
    return 0;
}

static const char *
key_id_of(const char *name)
{
    return strrchr(name, '/') + 1;
}

static int
try_all(struct attempt *a, const struct bundle_names *b, enum bundle_kind kind,
        struct err *e)
{
    int rc = 0;

    a->kind = kind;
    for (size_t i = 0; rc == 0 && i < b->n; i++)
        if (!a->key_id || kind == BUNDLE_RECOVERY ||
            text_starts(key_id_of(b->names[i]), a->key_id))
            rc = try_bundle(a, b->names[i], e);
    return rc;
}

static int
none_opens(const struct attempt *a, size_t n_bundles, struct err *e)
{
    uint8_t code[RECOVERY_BYTES];
    unsigned group = 0;

    (void)recovery_parse(a->password, code, &group);
    wipe(code, sizeof(code));
    if (a->trouble.code != ERR_OK) {
        *e = a->trouble;
        return err_wrap(e, "the password opens no key");
    }
    if (n_bundles == 0)
        return err_set(e, ERR_KEY,
                       "the repository has no key: its \"keys\" "
                       "folder is empty");
    if (a->key_id)
        (void)err_set(e, ERR_KEY,
                      "wrong password for the key %.40s of the repository at "
                      "%s, or there is no such key",
                      a->key_id, store_address(a->door->store));
    else
        (void)err_set(e, ERR_KEY, "wrong password for the repository at %s",
                      store_address(a->door->store));
    if (group)
        (void)err_hint(e,
                       "if it is meant to be a recovery key, look at its group "
                       "%u again",
                       group);
    return -1;
}

static int
open_keys(struct repo_door *d, struct repo *r, const struct config *c,
          const char *password, const char *key_id, struct err *e)
{
    const struct bundle_names *b = &d->bundles;
    struct attempt a = {.door = d,
                        .password = password,
                        .key_id = key_id,
                        .repo_id = c->repo_id,
                        .r = r};
    uint8_t code[RECOVERY_BYTES];
    int rc = 0;

    /* A recovery key costs nothing to try; a password may look like one. */
    if (recovery_parse(password, code, NULL)) {
        wipe(code, sizeof(code));
        rc = try_all(&a, b, BUNDLE_RECOVERY, e);
    }
    a.skipped = false;
    if (rc == 0)
        rc = try_all(&a, b, BUNDLE_PASSWORD, e);
    if (rc == 0 && a.skipped) {
        a.costly = true;
        rc = try_all(&a, b, BUNDLE_PASSWORD, e);
    }
    return rc == 1 ? 0 : rc == 0 ? none_opens(&a, b->n, e) : -1;
}

/* ---- the config -------------------------------------------------------- */

static int
note_generation(void *cookie, const char *name, const struct store_stat *stat,
                struct err *e)
{
    struct generations *g = cookie;
    uint32_t n = 0;

    (void)stat;
    if (!name_parse_config(name, &n))
        return 0;
    if (g->count == MAX_GENERATIONS)
        return err_set(e, ERR_LIMIT, "the repository has more than %d configs",
                       MAX_GENERATIONS);
    if (!g->n)
        g->n = xcalloc(MAX_GENERATIONS, sizeof(g->n[0]));
    g->n[g->count++] = n;
    return 0;
}

static int
newest_first(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x > y ? -1 : x < y;
}

static int
take_config(struct repo *r, uint32_t generation, const struct buf *bytes,
            struct err *e)
{
    CLEANUP(config_done) struct config c = {0};
    char name[NAME_MAX_LEN];

    name_config(generation, name);
    if (config_unpack(bytes->p, bytes->len, &c, e) == -1 ||
        config_check(bytes->p, bytes->len, &c, &r->keys, e) == -1)
        return -1;
    if (c.generation != generation)
        return err_set(e, ERR_CORRUPT, "the config %s is of another name",
                       name);
    config_done(&r->config);
    r->config = c;
    c = (struct config){0};
    hash_sha256(bytes->p, bytes->len, r->config_sum);
    return 0;
}

static int
read_config(struct repo_door *d, struct repo *r, uint32_t generation,
            struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONFIG_MAX_BYTES);
    char name[NAME_MAX_LEN];

    if (generation == 0 && d->first.len > 0)
        return take_config(r, 0, &d->first, e);
    name_config(generation, name);
    if (gather_get(&d->early, d->store, name, &bytes, e) == -1)
        return -1;
    return take_config(r, generation, &bytes, e);
}

/* 1 if it is there and right, 0 if not, -1. */
static int
try_config(struct repo_door *d, struct repo *r, uint32_t generation,
           struct err *e)
{
    struct err why = {0};

    if (read_config(d, r, generation, &why) == 0)
        return 1;
    if (why.code == ERR_CORRUPT || why.code == ERR_NOENT ||
        why.code == ERR_LIMIT)
        return 0;
    *e = why;
    return err_wrap(e, "cannot read the repository's config");
}

static int
list_configs(struct repo_door *d, struct err *e)
{
    struct generations *g = &d->generations;

    if (store_list(d->store, "config.d/", note_generation, g, e) == -1)
        return err_wrap(e, "cannot list the configs");
    if (g->count > 0)
        qsort(g->n, g->count, sizeof(g->n[0]), newest_first);
    return 0;
}

/*
 * The newest that is right.  One that is not is passed over as if it were not
 * there: a store could have hidden it as well, and what the keys remember tells
 * both.  A listing may lag behind, so those that it should show are tried too.
 */
static int
read_newest(struct repo_door *d, struct repo *r, struct err *e)
{
    const struct generations *g = &d->generations;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < g->count; i++) {
        if (i == MAX_WRONG_CONFIGS)
            return err_set(e, ERR_CORRUPT,
                           "the %d newest of %zu objects under config.d are "
                           "no config of this repository; remove them",
                           MAX_WRONG_CONFIGS, g->count);
        rc = try_config(d, r, g->n[i], e);
    }
    if (rc == 0)
        rc = read_config(d, r, 0, e);
    while (rc != -1 && r->config.generation < UINT32_MAX) {
        rc = try_config(d, r, r->config.generation + 1, e);
        if (rc == 0)
            break;
    }
    return rc;
}

/* Is it one that the owner of these keys can have been left with? */
static int
check_age(const struct repo *r, struct err *e)
{
    const struct keyring *k = &r->keys;

    if (r->config.generation > k->config_generation ||
        (r->config.generation == k->config_generation &&
         wipe_equal(k->config_sum, r->config_sum, sizeof(k->config_sum))))
        return 0;
    return err_set(e, ERR_CORRUPT,
                   "the storage shows config %u, but this key was made with "
                   "config %u: that one was lost, or is hidden to undo what it "
                   "says",
                   r->config.generation, k->config_generation);
}

static int
check_writer(const struct repo *r, struct err *e)
{
    const struct keyring *k = &r->keys;
    uint8_t public[KEY_BYTES];

    if (!(k->has & KEY_WRITER))
        return 0;
    const struct config_key *own =
        config_key(&r->config, ROLE_WRITER, k->writer);
    sign_public(k->writer_seed, public);
    if (!own || own->ns != k->ns ||
        memcmp(own->public, public, sizeof(public)) != 0)
        return err_set(e, ERR_KEY,
                       "this key writes as writer %u, whom the repository's "
                       "config does not know as such",
                       k->writer);
    return 0;
}

static int
find_config(struct repo_door *d, struct repo *r, struct err *e)
{
    if (read_newest(d, r, e) == -1 || check_age(r, e) == -1)
        return -1;
    if (!(r->keys.has & KEY_META) || r->keys.domain != r->config.domain)
        return err_set(e, ERR_KEY,
                       "this key is of another key domain than "
                       "the repository uses now");
    return check_writer(r, e);
}

/* ---- from outside to inside -------------------------------------------- */

static void
door_done(struct repo_door *d)
{
    buf_done(&d->first);
    bundle_names_done(&d->bundles);
    free(d->generations.n);
    gather_done(&d->early);
}

void
repo_door_free(struct repo_door *d)
{
    if (d)
        door_done(d);
    free(d);
}

void
repo_door_freep(struct repo_door **d)
{
    repo_door_free(*d);
}

struct store *
door_store(const struct repo_door *d)
{
    return d->store;
}

int
repo_read_config(struct repo *r, struct err *e)
{
    CLEANUP(door_done) struct repo_door d = {.store = r->store};

    return list_configs(&d, e) == -1 ? -1 : find_config(&d, r, e);
}

static int
job_first(void *arg, struct err *e)
{
    struct repo_door *d = arg;

    return store_get_all(d->store, NAME_CONFIG, &d->first, e);
}

static int
job_bundles(void *arg, struct err *e)
{
    struct repo_door *d = arg;

    return bundle_names_get(d->store, &d->bundles, e);
}

static int
job_configs(void *arg, struct err *e)
{
    return list_configs(arg, e);
}

/* There is no config, or it can't be told: is the place there? */
static int
not_found(const struct repo_door *d, struct err *e)
{
    struct err why = {0};
    int there = store_there(d->store, &why);

    if (there == -1) {
        *e = why;
        return -1;
    }
    if (there == 1 && e->code != ERR_NOENT)
        return err_wrap(e, "cannot read the repository's config");
    err_clear(e);
    return err_set(e, there == 1 ? ERR_NOREPO : ERR_NOENT,
                   "there is no repository at %s; \"vmkeep init\" makes one",
                   store_address(d->store));
}

int
repo_find(struct store *st, struct repo_door **out, struct err *e)
{
    CLEANUP(repo_door_freep) struct repo_door *d = xcalloc(1, sizeof(*d));
    struct store_job jobs[3 + GATHER_MAX] = {{.fn = job_first, .arg = d},
                                             {.fn = job_bundles, .arg = d},
                                             {.fn = job_configs, .arg = d}};
    char second[NAME_MAX_LEN];

    d->store = st;
    d->first = buf_of(CONFIG_MAX_BYTES);
    name_config(1, second); /* mostly there is none, and that is asked for */
    gather_add(&d->early, st, second, CONFIG_MAX_BYTES);
    size_t n = 3 + gather_jobs(&d->early, 0, jobs + 3);
    if (store_together(st, jobs, n, e) == -1)
        return jobs[0].rc == -1 ? not_found(d, e) : -1;
    *out = STEAL(d);
    return 0;
}

/* Read ahead what door_unlock will ask for. */
static void
read_ahead(struct repo_door *d, const char *key_id)
{
    const struct bundle_names *b = &d->bundles;
    char name[NAME_MAX_LEN];
    size_t from = d->early.n;

    if (d->generations.count > 0)
        for (uint32_t i = 0; i < 2; i++) {
            name_config(d->generations.n[0] + i, name);
            gather_add(&d->early, d->store, name, CONFIG_MAX_BYTES);
        }
    for (size_t i = 0; i < b->n; i++)
        if (!key_id || text_starts(key_id_of(b->names[i]), key_id))
            gather_add(&d->early, d->store, b->names[i], BUNDLE_MAX_BYTES);
    gather_run(&d->early, from);
}

int
door_unlock(struct repo_door *d, struct repo *r, const char *password,
            const char *key_id, struct err *e)
{
    CLEANUP(config_done) struct config c = {0};

    read_ahead(d, key_id);
    /* Not to be trusted yet: it only says which of the keys are meant. */
    if (config_unpack(d->first.p, d->first.len, &c, e) == -1 ||
        open_keys(d, r, &c, password, key_id, e) == -1)
        return -1;
    return find_config(d, r, e);
}
