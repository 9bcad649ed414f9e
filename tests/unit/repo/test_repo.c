/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hex.h"
#include "fixture.h"
#include "store/store_fault.h"

#define SECOND INT64_C(1000000000)
#define T0 (INT64_C(1795341600) * SECOND) /* 2026-11-22T10:00:00Z */

/* ---- init, open ------------------------------------------------------ */

static void
a_repository_has_an_id_for_life(void **state)
{
    struct fixture *f = *state;
    char id[REPO_ID_LEN + 1];

    assert_int_equal(strlen(repo_id(f->r)), REPO_ID_LEN);
    assert_true(hex_is(repo_id(f->r)));
    memcpy(id, repo_id(f->r), sizeof(id));
    fixture_reopen(f);
    assert_string_equal(repo_id(f->r), id);
    repo_close(NULL);
}

static void
init_refuses_a_place_in_use(void **state)
{
    struct fixture *f = *state;
    struct store *st = store_mem_new(NULL);

    assert_fails(repo_init(f->st, PASSWORD, NULL, e), ERR_EXISTS, "already");
    assert_ok(store_put(st, "holiday/1.jpg", "x", 1, e));
    assert_fails(repo_init(st, PASSWORD, NULL, e), ERR_EXISTS, "holiday/1.jpg");
    assert_int_equal(usage_of(st, "").objects, 1);
    store_close(st);
}

static void
init_asks_for_a_costly_password(void **state)
{
    struct store *st = store_mem_new(NULL);
    struct repo *r = NULL;

    (void)state;
    assert_ok(repo_init(st, PASSWORD, NULL, e));
    assert_ok(repo_open(st, PASSWORD, &r, e));
    repo_close(r);
    store_close(st);
}

static void
init_needs_a_password(void **state)
{
    struct store *st = store_mem_new(NULL);

    (void)state;
    assert_fails(repo_init(st, "", NULL, e), ERR_USAGE, "password");
    assert_int_equal(usage_of(st, "").objects, 0);
    store_close(st);
}

static void
open_says_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    struct store *empty = store_mem_new(NULL);
    struct repo *r = NULL;

    assert_fails(repo_open(empty, PASSWORD, &r, e), ERR_NOREPO, "init");
    assert_fails(repo_open(f->st, "wrong", &r, e), ERR_KEY, "wrong password");
    assert_fails(repo_open(f->st, "", &r, e), ERR_USAGE, "password");
    assert_null(r);
    store_close(empty);
}

/* Whatever is interrupted, the next init works, and the older bundle that is
 * left over does no harm though it has the same password. */
static void
an_interrupted_init_can_be_repeated(void **state)
{
    struct store *mem = store_mem_new(NULL), *st = store_fault_new(mem);
    struct repo *r = NULL;

    (void)state;
    for (uint64_t at = 1; at <= 3; at++) {
        store_fault_set(st, &(struct store_fault){.at = at,
                                                  .ops = STORE_OP_PUT,
                                                  .then = STORE_THEN_CRASH});
        assert_fails(cheap_init(st, e), ERR_STORE, "cannot make");
        assert_fails(repo_open(mem, PASSWORD, &r, e), ERR_NOREPO, "");
    }
    assert_int_equal(usage_of(mem, "keys/").objects, 3);
    assert_ok(cheap_init(mem, e));
    assert_int_equal(usage_of(mem, "keys/").objects, 5);
    assert_ok(repo_open(mem, PASSWORD, &r, e));
    repo_close(r);
    store_close(st);
    store_close(mem);
}

static int
note_name(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    (void)stat;
    (void)e;
    (void)snprintf(cookie, 256, "%s", name);
    return 0;
}

static void
a_damaged_key_is_not_a_wrong_password(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf bytes = buf_of(1 << 20);
    struct repo *r = NULL;
    char name[256];

    fixture_drop_recovery(f);
    assert_ok(store_list(f->st, "keys/", note_name, name, e));
    assert_ok(store_get_all(f->st, name, &bytes, e));
    bytes.p[bytes.len - 1] ^= 1;
    assert_int_equal(store_mem_replace(f->st, name, bytes.p, bytes.len), 1);
    assert_fails(repo_open(f->st, PASSWORD, &r, e), ERR_CORRUPT, "damaged");
    assert_fails(repo_open(f->st, PASSWORD, &r, e), ERR_CORRUPT, name);
    assert_ok(store_remove(f->st, name, e));
    assert_fails(repo_open(f->st, PASSWORD, &r, e), ERR_KEY, "no key");
}

static void
another_repositorys_config_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    CLEANUP(buf_done) struct buf config = buf_of(1 << 20);
    struct repo *r = NULL;

    fixture_start(&other);
    assert_ok(store_get_all(other.st, "config", &config, e));
    assert_int_equal(store_mem_replace(f->st, "config", config.p, config.len),
                     1);
    assert_fails(repo_open(f->st, PASSWORD, &r, e), ERR_KEY, "");
    fixture_end(&other);
}

static void
failing_storage_is_not_a_wrong_password(void **state)
{
    struct fixture *f = *state;
    struct store *st = store_fault_new(f->st);
    struct repo *r = NULL;

    for (uint64_t at = 1;; at++) {
        store_fault_set(st, &(struct store_fault){.at = at});
        struct err why = {0};
        if (repo_open(st, PASSWORD, &r, &why) == 0)
            break;
        assert_int_equal(why.code, ERR_STORE);
        assert_null(r);
        assert_true(at < 10);
    }
    repo_close(r);
    store_close(st);
}

/* ---- list, find ------------------------------------------------------ */

/* A backup of 4 KiB that differs by `time`. */
static char *
back_up(struct fixture *f, const char *machine, const char *uuid, int64_t time)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;
    struct volume_root root;
    uint8_t p[4096];

    fill_random(p, sizeof(p), (uint64_t)time);
    free(m->machine);
    m->machine = xstrdup(machine);
    free(m->uuid);
    m->uuid = xstrdup(uuid);
    m->time_ns = time;
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    assert_ok(write_volume(b, "disk/vda", p, sizeof(p), &root, e));
    manifest_add_volume(m, "disk/vda", &root);
    assert_ok(backup_commit(&b, m, e));
    return xstrdup(m->id);
}

struct seen {
    char ids[16][BACKUP_ID_LEN + 1];
    size_t n, stop_at;
};

static int
see(void *cookie, const struct manifest *m, struct err *e)
{
    struct seen *s = cookie;

    assert_true(s->n < 16);
    memcpy(s->ids[s->n++], m->id, sizeof(m->id));
    return s->n == s->stop_at ? err_set(e, ERR_LIMIT, "enough") : 0;
}

static void
the_list_is_by_time(void **state)
{
    struct fixture *f = *state;
    static const int64_t times[] = {T0 + 5, T0, T0 + 9 * SECOND, T0 - SECOND};
    static const int order[] = {3, 1, 0, 2};
    char *ids[4];
    struct seen s = {0};

    assert_ok(backup_list(f->r, see, &s, e));
    assert_int_equal(s.n, 0);
    for (int i = 0; i < 4; i++)
        ids[i] = back_up(f, i % 2 ? "web" : "db", "", times[i]);
    assert_ok(backup_list(f->r, see, &s, e));
    assert_int_equal(s.n, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(s.ids[i], ids[order[i]]);
    s = (struct seen){.stop_at = 2};
    assert_fails(backup_list(f->r, see, &s, e), ERR_LIMIT, "enough");
    for (int i = 0; i < 4; i++)
        free(ids[i]);
}

static void
assert_found(struct fixture *f, const char *name, const char *id)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    assert_ok(backup_find(f->r, name, &m, e));
    assert_string_equal(m->id, id);
}

static int
find(struct fixture *f, const char *name, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    return backup_find(f->r, name, &m, e);
}

static void
backups_are_found_by_name(void **state)
{
    struct fixture *f = *state;
    const char *uuid = "12345678-1234-1234-1234-123456789abc";
    char *web1 = back_up(f, "web", uuid, T0);
    char *web2 = back_up(f, "web", uuid, T0 + 3600 * SECOND);
    char *odd = back_up(f, "a@b", "", T0 + 1800 * SECOND);
    char *db = back_up(f, "db", "", T0 + 7200 * SECOND);
    char prefix[9];

    assert_found(f, web1, web1);
    (void)snprintf(prefix, sizeof(prefix), "%.8s", db);
    assert_found(f, prefix, db);
    assert_found(f, "latest", db);
    assert_found(f, "web@latest", web2);
    assert_found(f, "12345678-1234-1234-1234-123456789abc@latest", web2);
    assert_found(f, "a@b@latest", odd);
    assert_found(f, "web@2026-11-22T10:00", web1); /* to the second */
    assert_found(f, "web@2026-11-22T10:59:59Z", web1);
    assert_found(f, "web@2026-11-22T11:00", web2);
    assert_found(f, "web@2027-01-01", web2);
    assert_fails(find(f, "web@2026-11-22T09:59:59", e), ERR_NOENT, "list");
    assert_fails(find(f, "mail@latest", e), ERR_NOENT, "mail@latest");
    assert_fails(find(f, "web@yesterday", e), ERR_USAGE, "yesterday");
    assert_fails(find(f, "web", e), ERR_NOENT, "web");
    assert_fails(find(f, "", e), ERR_NOENT, "");
    assert_fails(find(f, "00000000000000000000000000000000", e), ERR_NOENT, "");
    assert_fails(find(f, "000000000000000000000000000000000", e), ERR_NOENT,
                 "");
    free(web1);
    free(web2);
    free(odd);
    free(db);
}

static void
an_ambiguous_prefix_is_refused(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 17; i++) /* of 17, two begin with the same digit */
        free(back_up(f, "web", "", T0 + i));
    unsigned ambiguous = 0;
    for (const char *d = "0123456789abcdef"; *d; d++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        const char name[] = {*d, '\0'};
        struct err why = {0};
        if (backup_find(f->r, name, &m, &why) == -1 && why.code == ERR_USAGE) {
            assert_non_null(strstr(why.msg, "more than one"));
            ambiguous++;
        }
    }
    assert_true(ambiguous > 0);
}

static void
an_empty_repository_has_no_latest(void **state)
{
    assert_fails(find(*state, "latest", e), ERR_NOENT, "latest");
}

/* ---- commit ---------------------------------------------------------- */

static void
what_the_manifest_says_comes_back(void **state)
{
    struct fixture *f = *state;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    CLEANUP(manifest_freep) struct manifest *found = NULL;
    struct backup_writer *b = NULL;
    char id[BACKUP_ID_LEN + 1];

    memcpy(id, m->id, sizeof(id));
    (void)json_object_set_new(m->detail, "cpu", json_string("host"));
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    assert_ok(backup_commit(&b, m, e));
    assert_string_equal(m->id, id); /* known before, for those who need it */
    fixture_reopen(f);
    assert_ok(backup_find(f->r, id, &found, e));
    assert_int_equal(found->time_ns, m->time_ns);
    assert_int_equal(found->n_volumes, 0);
    assert_true(json_equal(found->detail, m->detail));
}

static void
a_volume_of_elsewhere_is_refused(void **state)
{
    struct fixture *f = *state;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct volume_root root = {.size_bytes = 1, .chunker = 1, .h = {1}};
    struct backup_writer *b = NULL;

    manifest_add_volume(m, "disk/vda", &root);
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    assert_fails(backup_commit(&b, m, e), ERR_USAGE, "disk/vda");
    assert_null(b);
    assert_int_equal(usage_of(f->st, "refs/").objects, 0);
}

/* What a backup relies on went away while it was made. */
static void
a_lost_pack_fails_the_commit(void **state)
{
    struct fixture *f = *state;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;
    struct volume_root root;
    char name[256], *id = back_up(f, "web", "", T0);
    uint8_t p[4096];

    fill_random(p, sizeof(p), (uint64_t)T0);
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    assert_ok(write_volume(b, "disk/vda", p, sizeof(p), &root, e));
    manifest_add_volume(m, "disk/vda", &root);
    assert_ok(store_list(f->st, "packs/d/", note_name, name, e));
    assert_ok(store_remove(f->st, name, e));
    assert_fails(backup_commit(&b, m, e), ERR_STORE, "is gone");
    assert_int_equal(usage_of(f->st, "refs/").objects, 1);
    free(id);
}

static void
a_raised_cancel_publishes_nothing(void **state)
{
    struct fixture *f = *state;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;

    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    cancel_raise(f->cancel);
    assert_fails(backup_commit(&b, m, e), ERR_CANCELED, "");
    assert_null(b);
    assert_int_equal(usage_of(f->st, "refs/").objects, 0);
}

static void
bad_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct backup_options o = {.level = 10};
    struct backup_writer *b = NULL;

    assert_fails(backup_begin(f->r, &o, f->cancel, &b, e), ERR_USAGE, "level");
    o.level = -1;
    assert_fails(backup_begin(f->r, &o, f->cancel, &b, e), ERR_USAGE, "level");
    backup_abandonp(&b);
}

static void
times_and_ids_must_make_sense(void **state)
{
    struct fixture *f = *state;
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;

    m->time_ns = -1;
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    assert_fails(backup_commit(&b, m, e), ERR_USAGE, "time");
    m->time_ns = 1;
    m->id[3] = 'x';
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    assert_fails(backup_commit(&b, m, e), ERR_USAGE, "id");
}

/* Two writers on one repository, as two hosts: both see the other's. */
static void
two_repositories_open_at_once(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(3 * MIB);
    CLEANUP(manifest_freep) struct manifest *a = NULL, *b = NULL;
    struct repo *other = NULL;

    fill_random(p, 3 * MIB, 3);
    assert_ok(repo_open(f->st, PASSWORD, &other, e));
    assert_ok(write_backup(f->r, f->cancel, "a", 1, p, 3 * MIB, &a, e));
    assert_ok(write_backup(other, f->cancel, "b", 2, p, 3 * MIB, &b, e));
    assert_int_equal(b->new_bytes, 0);
    p[0] ^= 2;
    manifest_free(STEAL(b));
    assert_ok(write_backup(other, f->cancel, "b", 3, p, 3 * MIB, &b, e));
    assert_volume(f->r, &b->volumes[0].root, p); /* has to look again */
    repo_close(other);
}

static void
stats_grow_as_it_goes(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(9 * MIB);
    struct backup_writer *b = NULL;
    struct backup_stats s;
    struct volume_root root;

    fill_random(p, 9 * MIB, 3);
    assert_ok(backup_begin(f->r, NULL, f->cancel, &b, e));
    backup_get_stats(b, &s);
    assert_int_equal(s.read_bytes + s.new_bytes + s.stored_bytes, 0);
    assert_ok(write_volume(b, "disk", p, 9 * MIB, &root, e));
    backup_get_stats(b, &s);
    assert_int_equal(s.read_bytes, 9 * MIB);
    assert_int_equal(s.new_bytes, 9 * MIB);
    assert_true(s.stored_bytes > 2 * MIB && s.stored_bytes < 9 * MIB);
    backup_abandonp(&b);
    assert_int_equal(usage_of(f->st, "packs/").objects, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_repository_has_an_id_for_life),
        FIXTURE_TEST(init_refuses_a_place_in_use),
        FIXTURE_TEST(init_asks_for_a_costly_password),
        FIXTURE_TEST(init_needs_a_password),
        FIXTURE_TEST(open_says_what_is_wrong),
        FIXTURE_TEST(an_interrupted_init_can_be_repeated),
        FIXTURE_TEST(a_damaged_key_is_not_a_wrong_password),
        FIXTURE_TEST(another_repositorys_config_is_refused),
        FIXTURE_TEST(failing_storage_is_not_a_wrong_password),
        FIXTURE_TEST(the_list_is_by_time),
        FIXTURE_TEST(backups_are_found_by_name),
        FIXTURE_TEST(an_ambiguous_prefix_is_refused),
        FIXTURE_TEST(an_empty_repository_has_no_latest),
        FIXTURE_TEST(what_the_manifest_says_comes_back),
        FIXTURE_TEST(a_volume_of_elsewhere_is_refused),
        FIXTURE_TEST(a_lost_pack_fails_the_commit),
        FIXTURE_TEST(a_raised_cancel_publishes_nothing),
        FIXTURE_TEST(bad_options_are_refused),
        FIXTURE_TEST(times_and_ids_must_make_sense),
        FIXTURE_TEST(two_repositories_open_at_once),
        FIXTURE_TEST(stats_grow_as_it_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
