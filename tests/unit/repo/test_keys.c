/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/keys.h"

#include <stdio.h>

#include "base/buf.h"
#include "keyfixture.h"
#include "repo/ref.h"
#include "store/store_fault.h"

/* ---- roles --------------------------------------------------------------- */

static void
each_role_opens_with_its_keys(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum role role;
        const char *ns;
        bool reads;
        unsigned has;
    } rows[] = {
        {ROLE_OF_ADMIN, NULL, false, KEY_ALL},
        {ROLE_OF_RESTORE, NULL, false, KEY_DOMAIN | KEY_RESTORE},
        {ROLE_OF_RESTORE, "default", false, KEY_DOMAIN | KEY_NAMESPACE},
        {ROLE_OF_HOST, NULL, false, KEY_DOMAIN | KEY_WRITER},
        {ROLE_OF_HOST, "a", true, KEY_DOMAIN | KEY_WRITER | KEY_NAMESPACE},
        {ROLE_OF_MAINTENANCE, NULL, false, KEY_META | KEY_MAINTENANCE},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char label[] = {(char)('A' + i), '\0'};
        assert_ok(add(f->r, rows[i].role, rows[i].ns, rows[i].reads, label, e));
        CLEANUP(repo_closep) struct repo *r = open_as(f, label);
        assert_int_equal(r->keys.has, rows[i].has);
        assert_int_equal(repo_role(r), rows[i].role);
        assert_string_equal(repo_id(r), repo_id(f->r));
        if (rows[i].role != ROLE_OF_ADMIN) {
            assert_fails(add(r, ROLE_OF_HOST, NULL, false, "x", e), ERR_KEY,
                         "admin");
            assert_null(memmem(&r->keys, sizeof(r->keys), f->r->keys.admin_seed,
                               KEY_BYTES));
        }
    }
}

static void
requests_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    struct usage before = usage_of(f->st, "");
    char label[BUNDLE_MAX_LABEL + 2] = {0};

    memset(label, 'x', sizeof(label) - 1);
    assert_fails(add(f->r, ROLE_OF_ADMIN, "a", false, "p", e), ERR_USAGE,
                 "no namespace");
    assert_fails(add(f->r, ROLE_OF_MAINTENANCE, "a", false, "p", e), ERR_USAGE,
                 "no namespace");
    assert_fails(add(f->r, ROLE_OF_RESTORE, NULL, true, "p", e), ERR_USAGE,
                 "only a host");
    assert_fails(add(f->r, ROLE_OF_RESTORE, "nowhere", false, "p", e),
                 ERR_NOENT, "nowhere");
    assert_fails(add(f->r, ROLE_OF_HOST, "a b", false, "p", e), ERR_USAGE,
                 "letters");
    assert_fails(add(f->r, ROLE_OF_RECOVERY, NULL, false, "p", e), ERR_USAGE,
                 "no password");
    assert_fails(add(f->r, ROLE_OF_ADMIN, NULL, false, label, e), ERR_USAGE,
                 "label");
    assert_fails(add(f->r, ROLE_OF_ADMIN, NULL, false, "", e), ERR_USAGE,
                 "password");
    assert_int_equal(usage_of(f->st, "").objects, before.objects);
}

/* A host without any secret for refs: it backs up, deduplicates against what
 * others stored, and opens nothing, not even its own. */
static void
a_host_only_writes(void **state)
{
    struct fixture *f = *state;
    CLEANUP(manifest_freep) struct manifest *first = NULL, *second = NULL;

    assert_ok(add(f->r, ROLE_OF_HOST, "tenant", false, "host", e));
    manifest_free(back_up(f, f->r, "web", 1, 7));
    CLEANUP(repo_closep) struct repo *host = open_as(f, "host");
    first = back_up(f, host, "web", 2, 7);
    assert_int_equal(first->new_bytes, 0);
    second = back_up(f, host, "web", 3, 8);
    assert_int_equal(second->new_bytes, SIZE);

    struct listed l = list(host);
    assert_int_equal(l.open, 0);
    assert_int_equal(l.sealed, 3);
    assert_fails(find(host, second->id, e), ERR_KEY, "this key cannot open");
    assert_fails(find(host, "latest", e), ERR_KEY, "this key cannot open");
    assert_fails(find(host, "web@latest", e), ERR_KEY, "this key cannot open");

    fixture_reopen(f); /* an admin who was there before learns of the host */
    assert_int_equal(list(f->r).open, 3);
    assert_reads(f->r, first->id, 7);
    assert_reads(f->r, second->id, 8);
}

static void
namespaces_do_not_read_each_other(void **state)
{
    struct fixture *f = *state;

    assert_ok(add(f->r, ROLE_OF_HOST, "a", true, "host-a", e));
    assert_ok(add(f->r, ROLE_OF_HOST, "b", true, "host-b", e));
    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "host-a2", e));
    assert_ok(add(f->r, ROLE_OF_RESTORE, "b", false, "reader-b", e));
    assert_ok(add(f->r, ROLE_OF_RESTORE, NULL, false, "reader", e));
    CLEANUP(repo_closep) struct repo *a = open_as(f, "host-a");
    CLEANUP(repo_closep) struct repo *b = open_as(f, "host-b");
    CLEANUP(repo_closep) struct repo *a2 = open_as(f, "host-a2");
    CLEANUP(manifest_freep) struct manifest *in_a = back_up(f, a, "x", 1, 1);
    CLEANUP(manifest_freep) struct manifest *in_b = back_up(f, b, "x", 2, 2);
    CLEANUP(manifest_freep) struct manifest *in_a2 = back_up(f, a2, "y", 3, 3);

    assert_reads(a, in_a->id, 1);
    assert_reads(a, in_a2->id, 3); /* of another host of its namespace */
    assert_fails(find(a, in_b->id, e), ERR_KEY, "this key cannot open");
    assert_reads(a, "latest", 3);
    assert_reads(b, "latest", 2); /* of those that it can open */
    assert_fails(find(b, "y@latest", e), ERR_KEY, "y@latest");
    struct listed l = list(b);
    assert_int_equal(l.open, 1);
    assert_int_equal(l.sealed, 2);
    assert_int_equal(l.sealed_ns, a->keys.ns);
    assert_int_equal(list(a2).open, 0);

    CLEANUP(repo_closep) struct repo *reader_b = open_as(f, "reader-b");
    CLEANUP(repo_closep) struct repo *reader = open_as(f, "reader");
    assert_reads(reader_b, in_b->id, 2);
    assert_fails(find(reader_b, in_a->id, e), ERR_KEY, "cannot open");
    assert_reads(reader, in_a->id, 1);
    assert_reads(reader, in_b->id, 2);
    assert_fails(
        write_backup(reader, f->cancel, "x", 9, (uint8_t[1]){1}, 1, NULL, e),
        ERR_KEY, "may not write");
}

/* Its signature is right and its namespace exists: but it is not its own. */
static void
a_writer_writes_to_its_own_namespace(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf bytes = buf_of(REF_MAX_BYTES);
    char name[NAME_MAX_LEN];
    struct ref_head head = {.name = {.time_ns = 5, .id = {1}}}, back;

    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "host", e));
    CLEANUP(repo_closep) struct repo *host = open_as(f, "host");
    head.writer = host->keys.writer;
    for (uint32_t ns = 1; ns <= 2; ns++) {
        struct err e = {0};
        buf_reset(&bytes);
        head.name.ns = ns;
        name_ref(&head.name, name);
        assert_int_equal(ref_pack(&head, NULL, 0, "{}", 2, &host->keys,
                                  &host->config, &bytes, &e),
                         0);
        int rc =
            ref_open_head(bytes.p, bytes.len, name, &host->config, &back, &e);
        assert_int_equal(rc, ns == host->keys.ns ? 0 : -1);
        if (rc == -1)
            assert_non_null(strstr(e.msg, "may not write to namespace 1"));
    }
}

/* ---- the config ------------------------------------------------------------
 */

/* Two admins who both opened the repository before either changed it. */
static void
two_admins_at_once(void **state)
{
    struct fixture *f = *state;

    CLEANUP(repo_closep) struct repo *other = open_as(f, PASSWORD);
    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "h1", e));
    assert_ok(add(other, ROLE_OF_HOST, "a", false, "h2", e));
    assert_ok(add(f->r, ROLE_OF_HOST, "b", false, "h3", e));
    CLEANUP(repo_closep) struct repo *h1 = open_as(f, "h1");
    CLEANUP(repo_closep) struct repo *h2 = open_as(f, "h2");
    CLEANUP(repo_closep) struct repo *h3 = open_as(f, "h3");
    assert_int_equal(h1->keys.writer, 2);
    assert_int_equal(h2->keys.writer, 3);
    assert_int_equal(h3->keys.writer, 4);
    assert_int_equal(h1->keys.ns, h2->keys.ns);
    assert_int_not_equal(h1->keys.ns, h3->keys.ns);
    assert_int_equal(h3->config.generation, 3);
    assert_string_equal(config_namespace_name(&h3->config, h3->keys.ns), "b");
}

/* Somebody who may put objects, but is no admin. */
static void
what_is_no_config_is_passed_over(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf bytes = buf_of(CONFIG_MAX_BYTES);

    assert_ok(store_get_all(f->st, "config", &bytes, e));
    assert_ok(store_put(f->st, "config.d/00000001", "x", 1, e));
    assert_ok(store_put(f->st, "config.d/00000002", bytes.p, bytes.len, e));
    assert_ok(store_put(f->st, "config.d/ffffffff", bytes.p, bytes.len, e));
    assert_ok(store_put(f->st, "config.d/readme", "x", 1, e));
    assert_ok(store_put(f->st, "keys/readme", "x", 1, e));
    fixture_reopen(f);
    assert_int_equal(f->r->config.generation, 0);
    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "host", e));
    assert_int_equal(f->r->config.generation, 3);
    repo_close(open_as(f, "host"));
}

/* So many that looking at all of them would take for ever. */
static void
too_many_that_are_no_config(void **state)
{
    struct fixture *f = *state;
    char name[NAME_MAX_LEN];

    for (uint32_t n = 1; n <= 256; n++) {
        name_config(1000 + n, name);
        assert_ok(store_put(f->st, name, "x", 1, e));
    }
    repo_close(open_as(f, PASSWORD));
    assert_ok(store_put(f->st, "config.d/00000001", "x", 1, e));
    assert_fails(try_open(f, PASSWORD, e), ERR_CORRUPT, "256 newest of 257");
}

static void
hide(struct fixture *f, const char *name, struct buf *out)
{
    buf_reset(out);
    assert_ok(store_get_all(f->st, name, out, e));
    assert_ok(store_remove(f->st, name, e));
}

/* A store that shows the config of yesterday, in which a host was unknown. */
static void
an_older_config_is_noticed(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf bytes = buf_of(CONFIG_MAX_BYTES);
    struct listed l = {0};

    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "h1", e));
    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "h2", e));
    CLEANUP(repo_closep) struct repo *h2 = open_as(f, "h2");
    manifest_free(back_up(f, h2, "web", 1, 1));
    hide(f, "config.d/00000002", &bytes);
    assert_fails(try_open(f, "h2", e), ERR_CORRUPT, "shows config 1");
    repo_close(open_as(f, "h1"));
    fixture_reopen(f); /* this key is older than both */
    assert_fails(backup_list(f->r, note_backup, &l, e), ERR_CORRUPT,
                 "hides a newer config");
    /* One who changes his password remembers today's config. */
    assert_ok(store_put(f->st, "config.d/00000002", bytes.p, bytes.len, e));
    fixture_reopen(f);
    char id[KEY_ID_LEN + 1];
    struct err why = {0};
    assert_int_equal(
        repo_key_change_password(f->r, PASSWORD, &CHEAP, id, &why, &why), 1);
    hide(f, "config.d/00000002", &bytes);
    assert_fails(try_open(f, PASSWORD, e), ERR_CORRUPT, "made with config 2");
}

/* The admin signed both, for two admins who were kept apart. */
static void
a_fork_is_noticed(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf one = buf_of(CONFIG_MAX_BYTES);

    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "h1", e));
    hide(f, "config.d/00000001", &one);
    fixture_reopen(f);
    assert_ok(add(f->r, ROLE_OF_HOST, "a", false, "h2", e));
    assert_fails(try_open(f, "h1", e), ERR_CORRUPT, "config 1");
    repo_close(open_as(f, "h2"));
}

/* What a listing does not show yet is there all the same, and what it shows
 * may be gone. */
static void
listings_may_lag(void **state)
{
    struct store_clock clock = {.now_ns = 0};
    struct store *mem = store_mem_new(&clock);
    struct fixture slow = {.st = store_fault_new(mem)};
    char id[KEY_ID_LEN + 1];
    struct err why = {0}, none = {0};

    (void)state;
    assert_ok(cheap_init(mem, e));
    clock.now_ns = INT64_C(1) << 61;
    store_fault_set_lag(slow.st, &clock, INT64_C(1) << 60, 1);
    fixture_open(&slow);
    for (char label[] = "a"; label[0] < 'f'; label[0]++)
        assert_ok(add(slow.r, ROLE_OF_HOST, label, false, label, e));
    assert_int_equal(slow.r->config.generation, 5);
    fixture_reopen(&slow);
    assert_int_equal(slow.r->config.generation, 5);
    assert_int_equal(
        repo_key_change_password(slow.r, "new", &CHEAP, id, &why, &none), 1);
    assert_fails(try_open(&slow, PASSWORD, e), ERR_KEY, "wrong password");
    clock.now_ns += INT64_C(1) << 61;
    repo_close(open_as(&slow, "new"));
    repo_close(slow.r);
    store_close(slow.st);
    store_close(mem);
}

/* A key of a host that nobody made: with a writer's number of another. */
static void
a_writer_must_be_the_one_that_is_known(void **state)
{
    struct fixture *f = *state;
    struct keyring k;
    char name[NAME_MAX_LEN];

    keyring_part(&f->r->keys, role_keys(ROLE_OF_HOST, false), &k);
    k.writer_seed[0] ^= 1;
    assert_ok(bundle_store(f->st, &k, ROLE_OF_HOST, "",
                           &(struct bundle_lock){"forged", &CHEAP, NULL}, name,
                           e));
    assert_fails(try_open(f, "forged", e), ERR_KEY, "writer 1");
    keyring_done(&k);
}

/* ---- list, remove
 * ------------------------------------------------------------ */

struct keys {
    struct key_info all[16];
    char labels[16][BUNDLE_MAX_LABEL + 1], ns[16][CONFIG_MAX_NAME + 1];
    size_t n;
};

static int
note_key(void *cookie, const struct key_info *info, struct err *e)
{
    struct keys *k = cookie;

    (void)e;
    assert_true(k->n < 16);
    (void)snprintf(k->labels[k->n], sizeof(k->labels[0]), "%s", info->label);
    (void)snprintf(k->ns[k->n], sizeof(k->ns[0]), "%s",
                   info->ns ? info->ns : "");
    k->all[k->n++] = *info;
    return 0;
}

static const struct key_info *
key_of(struct keys *k, enum role role, const char *label)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->all[i].role == role && strcmp(k->labels[i], label) == 0)
            return &k->all[i];
    fail_msg("no key %s", label);
    return NULL;
}

static struct keys
list_keys(struct repo *r)
{
    struct keys k = {0};

    assert_ok(repo_key_list(r, note_key, &k, e));
    return k;
}

static int
remove_key(struct repo *r, const char *id, struct err *e)
{
    char out[KEY_ID_LEN + 1];

    return repo_key_remove(r, id, out, e);
}

static void
anybody_with_a_key_lists_them(void **state)
{
    struct fixture *f = *state;

    assert_ok(add(f->r, ROLE_OF_HOST, "a", true, "host", e));
    assert_ok(add(f->r, ROLE_OF_MAINTENANCE, NULL, false, "m", e));
    assert_ok(
        store_put(f->st, "keys/00112233445566778899aabbccddeeff", "x", 1, e));
    CLEANUP(repo_closep) struct repo *m = open_as(f, "m");
    struct keys k = list_keys(m);
    assert_int_equal(k.n, 5);
    const struct key_info *host = key_of(&k, ROLE_OF_HOST, "host");
    assert_true(host->is_ours && host->reads && !host->is_current);
    assert_int_equal(host->writer, 2);
    assert_string_equal(k.ns[host - k.all], "a");
    assert_true(key_of(&k, ROLE_OF_MAINTENANCE, "m")->is_current);
    assert_int_equal(key_of(&k, ROLE_OF_ADMIN, "")->writer, 1);
    assert_int_equal(key_of(&k, ROLE_OF_RECOVERY, "")->kind, BUNDLE_RECOVERY);
    assert_false(key_of(&k, 0, "")->is_ours);
}

static void
a_removed_key_opens_no_more(void **state)
{
    struct fixture *f = *state;
    char start[5] = {0};

    assert_ok(add(f->r, ROLE_OF_HOST, "a", true, "host", e));
    CLEANUP(repo_closep) struct repo *host = open_as(f, "host");
    struct keys k = list_keys(f->r);
    const char *id = key_of(&k, ROLE_OF_HOST, "host")->id;
    assert_fails(remove_key(host, id, e), ERR_KEY, "admin");
    assert_fails(remove_key(f->r, "", e), ERR_NOENT, "no key");
    assert_fails(remove_key(f->r, "xyz", e), ERR_NOENT, "no key");
    assert_fails(remove_key(f->r, "../config", e), ERR_NOENT, "no key");
    memcpy(start, id, 4);
    assert_ok(remove_key(f->r, start, e));
    assert_fails(try_open(f, "host", e), ERR_KEY, "wrong password");
    assert_fails(remove_key(f->r, id, e), ERR_NOENT, "no key");
    /* But who has its keys has them, and its backups stay. */
    manifest_free(back_up(f, host, "web", 1, 1));
    assert_int_equal(list(f->r).open, 1);
}

/* What counts as another admin's key belongs to this repository and opens by a
 * password: not the recovery key, and not what a first init left. */
static void
the_last_admin_stays(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    CLEANUP(buf_done) struct buf bytes = buf_of(BUNDLE_MAX_BYTES);
    char name[NAME_MAX_LEN];

    fixture_start(&other);
    assert_ok(store_get_all(other.st, other.r->key_name, &bytes, e));
    assert_ok(store_put(f->st, other.r->key_name, bytes.p, bytes.len, e));
    (void)snprintf(name, sizeof(name), "%s", other.r->key_name + 5);
    fixture_end(&other);

    struct keys k = list_keys(f->r);
    const char *own = f->r->key_name + 5;
    assert_int_equal(k.n, 3);
    assert_fails(remove_key(f->r, own, e), ERR_USAGE, "last key of an admin");
    assert_ok(add(f->r, ROLE_OF_RESTORE, NULL, false, "reader", e));
    assert_fails(remove_key(f->r, own, e), ERR_USAGE, "last key of an admin");
    assert_ok(add(f->r, ROLE_OF_ADMIN, NULL, false, "second", e));
    assert_ok(remove_key(f->r, own, e));
    assert_fails(try_open(f, PASSWORD, e), ERR_KEY, "wrong password");
    CLEANUP(repo_closep) struct repo *second = open_as(f, "second");
    assert_ok(remove_key(second, name, e)); /* the stranger's */
    assert_ok(add(second, ROLE_OF_HOST, "a", true, "host", e));
}

static void
an_ambiguous_key_is_refused(void **state)
{
    struct fixture *f = *state;

    for (char label[] = "a"; label[0] < 'r'; label[0]++)
        assert_ok(add(f->r, ROLE_OF_MAINTENANCE, NULL, false, label, e));
    unsigned ambiguous = 0;
    size_t before = usage_of(f->st, "keys/").objects, removed = 0;
    for (const char *d = "0123456789abcdef"; *d; d++) {
        struct err e = {0};
        int rc = remove_key(f->r, (const char[]){*d, '\0'}, &e);
        removed += rc == 0;
        ambiguous += rc == -1 && strstr(e.msg, "more than one") != NULL;
    }
    assert_true(ambiguous > 0);
    assert_int_equal(usage_of(f->st, "keys/").objects, before - removed);
}

/* ---- passwords, recovery
 * ------------------------------------------------------- */

static void
a_password_is_changed(void **state)
{
    struct fixture *f = *state;
    char id[KEY_ID_LEN + 1];
    struct err why = {0}, none = {0};

    assert_ok(add(f->r, ROLE_OF_HOST, "a", true, "host", e));
    CLEANUP(repo_closep) struct repo *host = open_as(f, "host");
    assert_int_equal(
        repo_key_change_password(host, "new", &CHEAP, id, &why, &none), 1);
    assert_fails(try_open(f, "host", e), ERR_KEY, "wrong password");
    CLEANUP(repo_closep) struct repo *again = open_as(f, "new");
    assert_int_equal(again->keys.has, host->keys.has);
    assert_int_equal(again->keys.writer, host->keys.writer);
    assert_int_equal(repo_role(again), ROLE_OF_HOST);
    struct keys k = list_keys(again);
    assert_string_equal(key_of(&k, ROLE_OF_HOST, "host")->id, id);
    /* Once more, in the same run. */
    assert_int_equal(
        repo_key_change_password(host, "newer", &CHEAP, id, &why, &none), 1);
    repo_close(open_as(f, "newer"));
    assert_fails(repo_key_change_password(host, "", &CHEAP, id, &why, e),
                 ERR_USAGE, "password");
    repo_close(open_as(f, "newer"));
}

/* Where nothing can be removed, both work, and the caller is told. */
static void
a_password_that_stays_is_told(void **state)
{
    struct fixture *f = *state;
    struct fixture kept = {.st = store_fault_new(f->st), .cancel = f->cancel};
    char id[KEY_ID_LEN + 1];
    struct err why = {0}, none = {0};

    fixture_open(&kept);
    store_fault_set(kept.st,
                    &(struct store_fault){.at = 1, .ops = STORE_OP_REMOVE});
    assert_int_equal(
        repo_key_change_password(kept.r, "new", &CHEAP, id, &why, &none), 0);
    assert_int_equal(why.code, ERR_STORE);
    repo_close(open_as(f, "new"));
    repo_close(open_as(f, PASSWORD));
    repo_close(kept.r);
    store_close(kept.st);
}

static void
a_recovery_key_does_all_that_an_admin_can(void **state)
{
    struct fixture *f = *state;
    char text[RECOVERY_TEXT_LEN], id[KEY_ID_LEN + 1];
    struct err why = {0};

    assert_ok(repo_recovery(f->r, text, id, e));
    CLEANUP(manifest_freep) struct manifest *m = back_up(f, f->r, "x", 1, 1);
    CLEANUP(repo_closep) struct repo *r = open_as(f, text);
    assert_int_equal(repo_role(r), ROLE_OF_RECOVERY);
    assert_reads(r, m->id, 1);
    assert_fails(repo_key_change_password(r, "new", &CHEAP, id, &why, e),
                 ERR_USAGE, "key add --role admin");
    assert_ok(add(r, ROLE_OF_ADMIN, NULL, false, "new", e));
    /* The forgotten one goes, and not the last one. */
    assert_ok(remove_key(r, f->r->key_name + 5, e));
    struct keys k = list_keys(r);
    assert_fails(remove_key(r, key_of(&k, ROLE_OF_ADMIN, "new")->id, e),
                 ERR_USAGE, "last key");
    repo_close(open_as(f, "new"));
}

static void
a_slip_of_the_pen_is_told(void **state)
{
    struct fixture *f = *state;
    char text[RECOVERY_TEXT_LEN], id[KEY_ID_LEN + 1];

    assert_ok(repo_recovery(f->r, text, id, e));
    text[20] = text[20] == 'A' ? 'B' : 'A';
    assert_fails(try_open(f, text, e), ERR_KEY, "group 3");
    text[20] = '!';
    assert_fails(try_open(f, text, e), ERR_KEY, "wrong password");
}

static void
another_recovery_key(void **state)
{
    struct fixture *f = *state;
    char first[RECOVERY_TEXT_LEN], second[RECOVERY_TEXT_LEN];
    char text[RECOVERY_TEXT_LEN], id[KEY_ID_LEN + 1], id2[KEY_ID_LEN + 1];

    assert_ok(add(f->r, ROLE_OF_RESTORE, NULL, false, "reader", e));
    CLEANUP(repo_closep) struct repo *reader = open_as(f, "reader");
    assert_fails(repo_recovery(reader, text, id, e), ERR_KEY, "admin");
    assert_fails(repo_recovery_add(reader, text, id, e), ERR_KEY, "admin");
    assert_ok(repo_recovery(f->r, first, id, e));
    assert_ok(repo_recovery_add(f->r, second, id2, e));
    assert_string_not_equal(first, second);
    assert_ok(repo_recovery(f->r, text, id2, e));
    assert_string_equal(text, second);
    repo_close(open_as(f, first));
    assert_ok(remove_key(f->r, id, e));
    assert_fails(try_open(f, first, e), ERR_KEY, "wrong password");
    repo_close(open_as(f, second));
    assert_ok(remove_key(f->r, id2, e));
    assert_fails(repo_recovery(f->r, text, id, e), ERR_NOENT,
                 "--role recovery");
}

/* A password may be a recovery key by its form. */
static void
a_password_that_looks_like_one(void **state)
{
    struct fixture *f = *state;
    uint8_t code[RECOVERY_BYTES] = {7};
    char text[RECOVERY_TEXT_LEN];

    recovery_format(code, text);
    assert_ok(add(f->r, ROLE_OF_MAINTENANCE, NULL, false, text, e));
    CLEANUP(repo_closep) struct repo *r = open_as(f, text);
    assert_int_equal(repo_role(r), ROLE_OF_MAINTENANCE);
}

static int
open_by(struct fixture *f, const char *password, const char *id, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    return repo_open_by(f->st, password, id, &r, e);
}

static void
one_key_can_be_named(void **state)
{
    struct fixture *f = *state;
    char text[RECOVERY_TEXT_LEN], id[KEY_ID_LEN + 1], start[3] = {0};

    assert_ok(add(f->r, ROLE_OF_HOST, NULL, false, "host", e));
    assert_ok(repo_recovery(f->r, text, id, e));
    struct keys k = list_keys(f->r);
    const char *host = key_of(&k, ROLE_OF_HOST, "host")->id;
    memcpy(start, host, 2);
    assert_ok(open_by(f, "host", host, e));
    assert_ok(open_by(f, "host", start, e));
    assert_ok(open_by(f, text, id, e));
    assert_fails(open_by(f, PASSWORD, host, e), ERR_KEY, host);
    assert_ok(open_by(f, text, host, e)); /* in need nobody looks for ids */
    assert_fails(open_by(f, "host", "x", e), ERR_KEY, "no such key");
}

/* Somebody who may write to the storage put slow ones there: those that cost
 * what we ask ourselves are tried first. */
static void
slow_keys_are_tried_last(void **state)
{
    struct fixture *f = *state;
    struct password_cost slow = password_cost_new();

    slow.passes++;
    for (int i = 0; i < 4; i++) {
        struct key_request q = {
            .role = ROLE_OF_MAINTENANCE, .password = "same", .cost = &slow};
        char id[KEY_ID_LEN + 1];
        assert_ok(repo_key_add(f->r, &q, id, e));
    }
    CLEANUP(repo_closep) struct repo *r = open_as(f, "same");
    assert_int_equal(repo_role(r), ROLE_OF_MAINTENANCE); /* but they are */
    assert_ok(add(f->r, ROLE_OF_HOST, NULL, false, "same", e));
    CLEANUP(repo_closep) struct repo *host = open_as(f, "same");
    assert_int_equal(repo_role(host), ROLE_OF_HOST);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(each_role_opens_with_its_keys),
        FIXTURE_TEST(requests_that_make_no_sense),
        FIXTURE_TEST(a_host_only_writes),
        FIXTURE_TEST(namespaces_do_not_read_each_other),
        FIXTURE_TEST(a_writer_writes_to_its_own_namespace),
        FIXTURE_TEST(two_admins_at_once),
        FIXTURE_TEST(what_is_no_config_is_passed_over),
        FIXTURE_TEST(too_many_that_are_no_config),
        FIXTURE_TEST(an_older_config_is_noticed),
        FIXTURE_TEST(a_fork_is_noticed),
        FIXTURE_TEST(listings_may_lag),
        FIXTURE_TEST(a_writer_must_be_the_one_that_is_known),
        FIXTURE_TEST(anybody_with_a_key_lists_them),
        FIXTURE_TEST(a_removed_key_opens_no_more),
        FIXTURE_TEST(the_last_admin_stays),
        FIXTURE_TEST(an_ambiguous_key_is_refused),
        FIXTURE_TEST(a_password_is_changed),
        FIXTURE_TEST(a_password_that_stays_is_told),
        FIXTURE_TEST(a_recovery_key_does_all_that_an_admin_can),
        FIXTURE_TEST(a_slip_of_the_pen_is_told),
        FIXTURE_TEST(another_recovery_key),
        FIXTURE_TEST(a_password_that_looks_like_one),
        FIXTURE_TEST(one_key_can_be_named),
        FIXTURE_TEST(slow_keys_are_tried_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
