/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "crypto/box.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "crypto/wipe.h"
#include "repo/config.h"
#include "repo/gather.h"
#include "repo/repo_internal.h"
#include "store/store.h"

/* So often may somebody else change the config while we do. */
enum { MAX_TRIES = 16, KEYS_PREFIX_LEN = 5 };

static const char DEFAULT_NAMESPACE[] = "default";

static void
id_of(const char *name, char out[KEY_ID_LEN + 1])
{
    assert(strlen(name) == KEYS_PREFIX_LEN + KEY_ID_LEN);
    memcpy(out, name + KEYS_PREFIX_LEN, KEY_ID_LEN + 1);
}

uint8_t
repo_role(const struct repo *r)
{
    return r->key_role;
}

const char *
repo_namespace(const struct repo *r, uint32_t ns)
{
    return config_namespace_name(&r->config, ns);
}

static int
need_admin(const struct repo *r, struct err *e)
{
    if ((r->keys.has & KEY_ALL) == KEY_ALL)
        return 0;
    return err_set(e, ERR_KEY,
                   "this takes the key of an admin, and this is a "
                   "%s key",
                   role_name(r->key_role));
}

/* ---- listing ----------------------------------------------------------- */

/* What is known of one bundle, however little: 1, 0 if it has gone, -1. */
static int
look_at(struct repo *r, const char *name, struct key_info *out,
        struct bundle_note *note, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    struct bundle_info info = {0};
    struct err why = {0};

    *out = (struct key_info){.label = ""};
    *note = (struct bundle_note){0};
    id_of(name, out->id);
    out->is_current = strcmp(name, r->key_name) == 0;
    if (bundle_get(r->store, NULL, name, &bytes, &why) == -1) {
        if (why.code == ERR_NOENT)
            return 0;
        if (why.code != ERR_CORRUPT && why.code != ERR_LIMIT) {
            *e = why;
            return -1;
        }
        return 1;
    }
    if (bundle_info(bytes.p, bytes.len, &info, &why) == -1)
        return 1;
    out->kind = info.kind;
    out->role = info.role;
    out->created_ns = info.created_ns;
    if (bundle_note(bytes.p, bytes.len, &r->keys, note, &why) != 1)
        return 1;
    out->is_ours = true;
    out->writer = note->writer;
    out->reads = note->reads;
    out->label = note->label;
    if (info.role == ROLE_OF_HOST || info.role == ROLE_OF_RESTORE)
        out->ns = config_namespace_name(&r->config, note->ns);
    return 1;
}

int
repo_key_list(struct repo *r, key_list_fn *fn, void *cookie, struct err *e)
{
    CLEANUP(bundle_names_done) struct bundle_names b = {0};

    if (bundle_names_get(r->store, &b, e) == -1)
        return -1;
    for (size_t i = 0; i < b.n; i++) {
        struct bundle_note note;
        struct key_info info;
        int rc = look_at(r, b.names[i], &info, &note, e);
        if (rc == -1 || (rc == 1 && fn(cookie, &info, e) == -1))
            return -1;
    }
    return 0;
}

/* ---- the config's amendments ------------------------------------------- */

/* A change to a config; the keyring is the one that the new key will have. */
typedef int amend_fn(struct config *c, const struct keyring *admin,
                     struct keyring *k, const char *ns, struct err *e);

/* A copy without names that are still sealed. */
static void
copy_config(const struct config *from, struct config *to)
{
    *to = *from;
    to->sealed_names = NULL;
    to->sealed_len = 0;
    to->keys = xmemdup(from->keys, from->n_keys * sizeof(from->keys[0]));
    to->names = xmemdup(from->names, from->n_names * sizeof(from->names[0]));
}

/* Store r's config with the change as generation `n`. */
static int
try_amend(struct repo *r, uint32_t n, amend_fn *fn, struct keyring *k,
          const char *ns, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(CONFIG_MAX_BYTES);
    CLEANUP(config_done) struct config c = {0};
    char name[NAME_MAX_LEN];

    copy_config(&r->config, &c);
    memcpy(c.previous, r->config_sum, sizeof(c.previous));
    c.generation = n;
    if (fn(&c, &r->keys, k, ns, e) == -1)
        return -1;
    config_pack(&c, &r->keys, &bytes);
    if (buf_check(&bytes, "the config", e) == -1)
        return -1;
    name_config(n, name);
    if (store_put(r->store, name, bytes.p, bytes.len, e) == -1)
        return -1;
    k->config_generation = n;
    hash_sha256(bytes.p, bytes.len, k->config_sum);
    return 0;
}

/* Another admin may do the same: whose config is first counts, and the other
 * one starts again from it.  A name that is taken by no config is skipped. */
static int
amend(struct repo *r, amend_fn *fn, struct keyring *k, const char *ns,
      struct err *e)
{
    uint32_t skip = 0;

    for (int i = 0; i < MAX_TRIES; i++) {
        uint32_t before = r->config.generation;
        err_clear(e);
        if (before > UINT32_MAX - 1 - MAX_TRIES)
            return err_set(e, ERR_LIMIT, "the config was changed too often");
        int rc = try_amend(r, before + 1 + skip, fn, k, ns, e);
        if (rc == -1 && e->code != ERR_EXISTS)
            return err_wrap(e, "cannot change the repository's config");
        struct err why = {0};
        if (repo_read_config(r, &why) == -1) {
            *e = why;
            return -1;
        }
        if (rc == 0)
            return 0;
        skip = r->config.generation == before ? skip + 1 : 0;
    }
    return err_wrap(e, "cannot change the repository's config");
}

/* The namespace of this name, made if there is none. */
static int
find_or_make_namespace(struct config *c, const struct keyring *admin,
                       const char *name, uint32_t *out, struct err *e)
{
    struct config_key key = {.role = ROLE_NAMESPACE};
    uint8_t secret[KEY_BYTES];

    if (config_namespace(c, name, out))
        return 0;
    key.number = config_free_number(c, ROLE_NAMESPACE);
    keyring_namespace(admin, key.number, secret);
    box_public(secret, key.public);
    wipe(secret, sizeof(secret));
    *out = key.number;
    return config_name_namespace(c, key.number, name, e) == -1
               ? -1
               : config_add_key(c, &key, e);
}

static int
add_writer(struct config *c, const struct keyring *admin, struct keyring *k,
           const char *ns, struct err *e)
{
    struct config_key key = {.role = ROLE_WRITER};

    if (find_or_make_namespace(c, admin, ns, &key.ns, e) == -1)
        return -1;
    key.number = config_free_number(c, ROLE_WRITER);
    sign_public(k->writer_seed, key.public);
    k->writer = key.number;
    k->ns = key.ns;
    return config_add_key(c, &key, e);
}

/* ---- adding ------------------------------------------------------------ */

int
repo_key_check(const struct repo *r, const struct key_request *q, struct err *e)
{
    uint32_t ns = 0;

    if (need_admin(r, e) == -1)
        return -1;
    if (q->role == ROLE_OF_RECOVERY)
        return err_set(e, ERR_USAGE, "a recovery key has no password");
    if (q->label && strlen(q->label) > BUNDLE_MAX_LABEL)
        return err_set(e, ERR_USAGE, "a key's label has at most %d bytes",
                       BUNDLE_MAX_LABEL);
    if (q->ns && q->role != ROLE_OF_HOST && q->role != ROLE_OF_RESTORE)
        return err_set(e, ERR_USAGE, "a key of role %s has no namespace",
                       role_name(q->role));
    if (q->reads && q->role != ROLE_OF_HOST)
        return err_set(e, ERR_USAGE,
                       "only a host's key may be made to restore or not");
    if (q->role == ROLE_OF_RESTORE && q->ns &&
        !config_namespace(&r->config, q->ns, &ns))
        return err_set(e, ERR_NOENT, "there is no namespace \"%s\"", q->ns);
    return 0;
}

/* The keys that the request asks for, but for what the config has to be changed
 * for first. */
static int
make_keyring(struct repo *r, const struct key_request *q, struct keyring *out,
             struct err *e)
{
    bool confined = q->role == ROLE_OF_RESTORE ? q->ns != NULL : q->reads;
    const char *ns = q->ns ? q->ns : DEFAULT_NAMESPACE;

    keyring_part(&r->keys, role_keys(q->role, confined), out);
    if (q->role == ROLE_OF_HOST) {
        rand_bytes(out->writer_seed, KEY_BYTES);
        if (amend(r, add_writer, out, ns, e) == -1)
            return -1;
    } else {
        out->config_generation = r->config.generation;
        memcpy(out->config_sum, r->config_sum, sizeof(out->config_sum));
    }
    if (q->role == ROLE_OF_RESTORE && q->ns)
        (void)config_namespace(&r->config, q->ns, &out->ns);
    if (q->role != ROLE_OF_ADMIN && out->has & KEY_NAMESPACE)
        keyring_namespace(&r->keys, out->ns, out->ns_secret);
    return 0;
}

int
repo_key_add(struct repo *r, const struct key_request *q,
             char out_id[KEY_ID_LEN + 1], struct err *e)
{
    CLEANUP(keyring_done) struct keyring k = {0};
    struct password_cost cost = q->cost ? *q->cost : password_cost_new();
    struct bundle_lock lock = {.password = q->password, .cost = &cost};
    const char *label = q->label ? q->label : "";
    char name[NAME_MAX_LEN];

    if (repo_key_check(r, q, e) == -1 || make_keyring(r, q, &k, e) == -1 ||
        bundle_store(r->store, &k, (uint8_t)q->role, label, &lock, name, e) ==
            -1)
        return -1;
    id_of(name, out_id);
    return 0;
}

/* ---- recovery ---------------------------------------------------------- */

int
repo_recovery_add(struct repo *r, char out[RECOVERY_TEXT_LEN],
                  char out_id[KEY_ID_LEN + 1], struct err *e)
{
    CLEANUP(keyring_done) struct keyring k = {0};
    uint8_t code[RECOVERY_BYTES];
    char name[NAME_MAX_LEN];

    if (need_admin(r, e) == -1)
        return -1;
    keyring_part(&r->keys, role_keys(ROLE_OF_RECOVERY, false), &k);
    k.config_generation = r->config.generation;
    memcpy(k.config_sum, r->config_sum, sizeof(k.config_sum));
    rand_bytes(code, sizeof(code));
    int rc = bundle_store(r->store, &k, ROLE_OF_RECOVERY, "",
                          &(struct bundle_lock){.recovery = code}, name, e);
    if (rc == 0) {
        recovery_format(code, out);
        id_of(name, out_id);
    }
    wipe(code, sizeof(code));
    return rc;
}

/* 1 if the bundle is a recovery key's, with the code, 0 if not, -1. */
static int
read_recovery(struct repo *r, struct gather *early, const char *name,
              int64_t *created_ns, uint8_t code[RECOVERY_BYTES], struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    CLEANUP(keyring_done) struct keyring k = {0};
    char text[RECOVERY_TEXT_LEN];
    struct bundle_info info = {0};
    struct err why = {0};

    if (bundle_get(r->store, early, name, &bytes, &why) == -1) {
        if (why.code != ERR_STORE)
            return 0;
        *e = why;
        return -1;
    }
    if (bundle_info(bytes.p, bytes.len, &info, &why) == -1 ||
        bundle_recovery(bytes.p, bytes.len, &r->keys, code, &why) != 1)
        return 0;
    /* Somebody may have sealed to us what opens nothing of ours. */
    recovery_format(code, text);
    int rc = bundle_open(bytes.p, bytes.len, text, &k, &why);
    wipe(text, sizeof(text));
    *created_ns = info.created_ns;
    return rc == 1 &&
           wipe_equal(k.repo_id, r->keys.repo_id, KEYRING_ID_BYTES) &&
           (k.has & KEY_ALL) == KEY_ALL;
}

int
repo_recovery(struct repo *r, char out[RECOVERY_TEXT_LEN],
              char out_id[KEY_ID_LEN + 1], struct err *e)
{
    CLEANUP(bundle_names_done) struct bundle_names b = {0};
    CLEANUP(gather_done) struct gather early = {0};
    uint8_t code[RECOVERY_BYTES];
    int64_t newest = INT64_MIN;
    bool found = false;

    if (need_admin(r, e) == -1 || bundle_names_get(r->store, &b, e) == -1)
        return -1;
    for (size_t i = 0; i < b.n; i++)
        gather_add(&early, r->store, b.names[i], BUNDLE_MAX_BYTES);
    gather_run(&early, 0);
    for (size_t i = 0; i < b.n; i++) {
        int64_t created = 0;
        int rc = read_recovery(r, &early, b.names[i], &created, code, e);
        if (rc == 1 && (!found || created >= newest)) {
            found = true;
            newest = created;
            recovery_format(code, out);
            id_of(b.names[i], out_id);
        }
        wipe(code, sizeof(code));
        if (rc == -1)
            return -1;
    }
    if (found)
        return 0;
    (void)err_set(e, ERR_NOENT, "the repository has no recovery key");
    return err_hint(e, "`vmkeep key add --role recovery` makes one");
}

/* ---- removing ---------------------------------------------------------- */

struct search {
    const char *id;
    struct key_info found;
    size_t n_found;
    size_t n_admins; /* with a password, besides what was found */
};

static int
search_key(void *cookie, const struct key_info *info, struct err *e)
{
    struct search *s = cookie;

    (void)e;
    if (text_starts(info->id, s->id)) {
        s->found = *info;
        s->n_found++;
    } else if (info->is_ours && info->kind == BUNDLE_PASSWORD &&
               info->role == ROLE_OF_ADMIN) {
        s->n_admins++;
    }
    return 0;
}

int
repo_key_remove(struct repo *r, const char *id, char out_id[KEY_ID_LEN + 1],
                struct err *e)
{
    struct search s = {.id = id};
    char name[NAME_MAX_LEN];
    uint8_t bytes[NAME_ID_BYTES];

    if (need_admin(r, e) == -1)
        return -1;
    if (hex_is(id) && repo_key_list(r, search_key, &s, e) == -1)
        return -1;
    if (s.n_found == 0)
        return err_set(e, ERR_NOENT, "there is no key \"%.40s\"", id);
    if (s.n_found > 1)
        return err_set(e, ERR_USAGE,
                       "\"%s\" is the start of more than one key's id; give "
                       "more of it",
                       id);
    if (s.n_admins == 0 && s.found.is_ours && s.found.role == ROLE_OF_ADMIN) {
        (void)err_set(e, ERR_USAGE,
                      "this is the last key of an admin: without it nobody "
                      "could make keys, and perhaps read the backups");
        return err_hint(e, "`vmkeep key add --role admin` makes another one");
    }
    (void)hex_decode(s.found.id, bytes, sizeof(bytes));
    name_key(bytes, name);
    if (store_remove(r->store, name, e) == -1)
        return err_wrap(e, "cannot remove the key %s", s.found.id);
    memcpy(out_id, s.found.id, KEY_ID_LEN + 1);
    return 0;
}

/* ---- another password --------------------------------------------------- */

/* The label of the bundle that opened the repository; "" if it can't be
 * read. */
static void
own_label(struct repo *r, char out[BUNDLE_MAX_LABEL + 1])
{
    struct bundle_note note = {0};
    struct key_info info;
    struct err ignored = {0};

    out[0] = '\0';
    if (look_at(r, r->key_name, &info, &note, &ignored) == 1)
        memcpy(out, note.label, sizeof(note.label));
}

int
repo_key_change_password(struct repo *r, const char *password,
                         const struct password_cost *cost,
                         char out_id[KEY_ID_LEN + 1], struct err *why,
                         struct err *e)
{
    CLEANUP(keyring_done) struct keyring k = {0};
    struct password_cost fresh = cost ? *cost : password_cost_new();
    struct bundle_lock lock = {.password = password, .cost = &fresh};
    char label[BUNDLE_MAX_LABEL + 1], name[NAME_MAX_LEN];

    if (r->key_role == ROLE_OF_RECOVERY) {
        (void)err_set(e, ERR_USAGE, "a recovery key has no password to change");
        return err_hint(e, "`vmkeep key add --role admin` makes a key with a "
                           "new password");
    }
    keyring_part(&r->keys, r->keys.has, &k);
    k.config_generation = r->config.generation;
    memcpy(k.config_sum, r->config_sum, sizeof(k.config_sum));
    own_label(r, label);
    if (bundle_store(r->store, &k, r->key_role, label, &lock, name, e) == -1)
        return -1;
    id_of(name, out_id);
    int gone =
        store_remove(r->store, r->key_name, why) == 0 || why->code == ERR_NOENT;
    memcpy(r->key_name, name, NAME_MAX_LEN);
    return gone;
}
