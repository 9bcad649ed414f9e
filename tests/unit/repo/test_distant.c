/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repository on a store that is asked several things at a time: the same
 * becomes of it as on any other, whatever fails; and what a command asks for.
 */
#include "base/buf.h"
#include "base/hex.h"
#include "distant.h"
#include "repo/config.h"
#include "repo/notice.h"
#include "store/store_fault.h"
#include "store/store_sweep.h"
#include "vclock.h"

enum { BACKUPS = 3, SIZE = 64 << 10, MINUTE_S = 60, SLOW_MS = 20 };

struct world {
    struct store *mem;
    struct distant *far;
    struct fixture f; /* on the distant one */
    uint8_t *p;
};

static void
save(struct repo *r, struct cancel *c, const uint8_t *p, int64_t time_ns,
     struct manifest **out)
{
    assert_ok(write_backup(r, c, "web", time_ns, p, SIZE, out, e));
}

static int
setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    vclock.now_ns = VCLOCK_START;
    w->mem = store_mem_new(&vclock);
    w->far = distant_new(w->mem);
    w->p = xmalloc(SIZE);
    fill_random(w->p, SIZE, 1);
    w->f = (struct fixture){.st = &w->far->base, .cancel = cancel_new()};
    assert_ok(cheap_init(w->f.st, e));
    fixture_open(&w->f);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    fixture_end(&w->f);
    store_close(w->mem);
    free(w->p);
    free(w);
    return 0;
}

static int
count_backup(void *cookie, const struct manifest *m, struct err *e)
{
    (void)m, (void)e;
    ++*(size_t *)cookie;
    return 0;
}

static size_t
backups(struct repo *r)
{
    size_t n = 0;

    assert_ok(backup_list(r, count_backup, &n, e));
    return n;
}

static void
all_is_found_again(void **state)
{
    struct world *w = *state;

    for (int64_t i = 1; i <= BACKUPS; i++) {
        w->p[0] = (uint8_t)i;
        save(w->f.r, w->f.cancel, w->p, i, NULL);
    }
    fixture_reopen(&w->f);
    assert_int_equal(backups(w->f.r), BACKUPS);
    for (int read = 0; read < 2; read++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        assert_ok((read ? backup_find_to_read : backup_find)(w->f.r, "latest",
                                                             &m, e));
        assert_int_equal(m->time_ns, BACKUPS);
        assert_volume(w->f.r, &m->volumes[0].root, w->p);
    }
    struct manifest *none = NULL;
    assert_fails(backup_find_to_read(w->f.r, "nobody@latest", &none, e),
                 ERR_NOENT, "nobody@latest");
    assert_null(none);
}

/* What others see of it does not depend on how it is asked. */
static void
it_is_the_same_from_near(void **state)
{
    struct world *w = *state;
    CLEANUP(repo_closep) struct repo *near = NULL;

    save(w->f.r, w->f.cancel, w->p, 1, NULL);
    assert_ok(repo_open(w->mem, PASSWORD, &near, e));
    assert_int_equal(backups(near), 1);
    save(near, w->f.cancel, w->p, 2, NULL);
    assert_int_equal(backups(w->f.r), 2);
}

static void
retire(struct world *w, const struct manifest *m)
{
    CLEANUP(buf_done) struct buf b = buf_of(RETIRED_MAX_BYTES);
    struct ref_name ref = {.ns = w->f.r->keys.ns, .time_ns = m->time_ns};
    char name[NAME_MAX_LEN];

    assert_true(hex_decode(m->id, ref.id, NAME_ID_BYTES));
    machine_tag(&w->f.r->keys, m->machine, ref.machine);
    name_retired(&ref, name);
    assert_ok(retired_pack(&ref, vclock.now_ns, &w->f.r->keys, &b, e));
    assert_ok(store_put(w->mem, name, b.p, b.len, e));
}

static void
a_retired_one_is_not_listed_and_no_base(void **state)
{
    struct world *w = *state;
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct backup_writer *b = NULL;

    save(w->f.r, w->f.cancel, w->p, 1, &m);
    save(w->f.r, w->f.cancel, w->p, 2, NULL);
    const struct backup_options o = {.base = m->id};
    assert_ok(backup_begin(w->f.r, &o, w->f.cancel, &b, e));
    backup_abandonp(&b);
    retire(w, m);
    assert_int_equal(backups(w->f.r), 1);
    assert_fails(backup_begin(w->f.r, &o, w->f.cancel, &b, e), ERR_NOENT,
                 "retired");
}

/* The newest config counts, however it came to be known. */
static void
changes_of_the_config_are_seen(void **state)
{
    struct world *w = *state;
    char id[KEY_ID_LEN + 1];

    for (uint32_t i = 1; i <= 3; i++) {
        const struct password_cost cost = {.passes = 1,
                                           .memory_kib = PASSWORD_MIN_KIB};
        const struct key_request q = {
            .role = ROLE_OF_HOST, .password = "host", .cost = &cost};
        assert_ok(repo_key_add(w->f.r, &q, id, e));
        fixture_reopen(&w->f);
        assert_int_equal(w->f.r->config.generation, i);
    }
    CLEANUP(repo_closep) struct repo *r = NULL;
    assert_ok(repo_open_by(w->f.st, "host", id, &r, e));
    assert_fails(repo_open_by(w->f.st, "wrong", id, &r, e), ERR_KEY, "wrong");
    assert_fails(repo_open(w->f.st, "wrong", &r, e), ERR_KEY, "wrong");
}

/* More keys than are read at a time. */
static void
each_of_many_keys_opens(void **state)
{
    struct world *w = *state;
    char id[KEY_ID_LEN + 1];

    for (int i = 0; i < 12; i++) {
        const struct password_cost cost = {.passes = 1,
                                           .memory_kib = PASSWORD_MIN_KIB};
        CLEANUP(freep) char *password = xasprintf("p%d", i);
        const struct key_request q = {
            .role = ROLE_OF_RESTORE, .password = password, .cost = &cost};
        assert_ok(repo_key_add(w->f.r, &q, id, e));
    }
    for (int i = 0; i < 12; i++) {
        CLEANUP(repo_closep) struct repo *r = NULL;
        CLEANUP(freep) char *password = xasprintf("p%d", i);
        assert_ok(repo_open(w->f.st, password, &r, e));
    }
}

/* The storage is asked for S again only if it may have become too old. */
static void
a_short_backup_syncs_once(void **state)
{
    static const struct {
        int64_t minutes;
        size_t syncs;
    } cases[] = {{0, 1}, {9, 1}, {11, 2}, {100, 2}};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(manifest_freep) struct manifest *m = manifest_new();
        struct backup_writer *b = NULL;
        struct volume_root root = {0};
        distant_forget(w->far);
        assert_ok(backup_begin(w->f.r, NULL, w->f.cancel, &b, e));
        assert_ok(write_volume(b, "a", w->p, SIZE, &root, e));
        vclock.now_ns += cases[i].minutes * MINUTE_S * HOUR_NS / 3600;
        manifest_add_volume(m, "a", &root);
        m->time_ns = (int64_t)i;
        assert_ok(backup_commit(&b, m, e));
        assert_int_equal(distant_asked(w->far, "new sess/"), cases[i].syncs);
        assert_int_equal(distant_asked(w->far, "list cond/"), cases[i].syncs);
    }
}

/* Nothing is asked for twice, and nothing that only writers need. */
static void
listing_asks_for_little(void **state)
{
    struct world *w = *state;

    save(w->f.r, w->f.cancel, w->p, 1, NULL);
    save(w->f.r, w->f.cancel, w->p, 2, NULL);
    distant_forget(w->far);
    fixture_reopen(&w->f);
    assert_int_equal(backups(w->f.r), 2);
    assert_int_equal(distant_asked(w->far, "list "), 5);
    assert_int_equal(distant_asked(w->far, "get config"), 2);
    assert_int_equal(distant_asked(w->far, "get keys/"), 2);
    assert_int_equal(distant_asked(w->far, "get refs/"), 2);
    assert_int_equal(w->far->n - distant_asked(w->far, "did "), 11);
}

/* One has ended when the other begins: what the protocol rests on. */
static void
expect_before(struct world *w, const char *one, const char *other)
{
    size_t end = distant_last(w->far, one),
           begin = distant_first(w->far, other);

    if (end >= w->far->n || begin >= w->far->n || end >= begin)
        fail_msg("\"%s\" is %zu, \"%s\" %zu", one, end, other, begin);
}

static void
the_protocols_order_is_kept(void **state)
{
    struct world *w = *state;
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    save(w->f.r, w->f.cancel, w->p, 1, &m);
    w->p[0] ^= 1;
    w->far->slow_ms = SLOW_MS;
    distant_forget(w->far);
    save(w->f.r, w->f.cancel, w->p, 2, NULL);
    expect_before(w, "did new sess/", "stat sess/");
    expect_before(w, "did new sess/", "list cond/");
    expect_before(w, "did list cond/", "list index/d/");
    expect_before(w, "did list lost/", "list index/d/");
    expect_before(w, "did list index/d/", "new packs/");
    expect_before(w, "did new packs/", "new index/d/");
    expect_before(w, "did new index/d/", "stat packs/");
    expect_before(w, "stat packs/", "new refs/");
    expect_before(w, "did new refs/", "stat refs/");

    /* With a base that is looked at once the marker is there. */
    const struct backup_options o = {.base = m->id};
    struct backup_writer *b = NULL;
    distant_forget(w->far);
    assert_ok(backup_begin(w->f.r, &o, w->f.cancel, &b, e));
    backup_abandonp(&b);
    assert_true(distant_last(w->far, "stat retired/") >
                distant_first(w->far, "did new sess/"));
    assert_true(distant_last(w->far, "stat refs/") >
                distant_first(w->far, "did new sess/"));
}

/* ---- whatever fails ------------------------------------------------------ */

static int
fill(void *cookie, struct store *inner, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    if (cheap_init(inner, e) == -1 || repo_open(inner, PASSWORD, &r, e) == -1)
        return -1;
    return write_backup(r, cookie, "web", 1, (const uint8_t *)"a", 1, NULL, e);
}

/* One backup more, all seen from far. */
static int
work(void *cookie, struct store *faulty, struct err *e)
{
    struct distant *far = distant_new(faulty);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct repo *r = NULL;

    int rc = repo_open(&far->base, PASSWORD, &r, e);
    if (rc == 0)
        rc =
            write_backup(r, cookie, "web", 2, (const uint8_t *)"b", 1, NULL, e);
    if (rc == 0)
        rc = backup_find_to_read(r, "latest", &m, e);
    if (rc == 0 && m->time_ns != 2)
        fail_msg("an older backup is the latest");
    repo_close(r);
    store_close(&far->base);
    return rc;
}

static int
check(void *cookie, struct store *inner, const struct store_fault *f, int rc,
      struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    size_t n = 0;

    (void)cookie, (void)f;
    if (repo_open(inner, PASSWORD, &r, e) == -1)
        return -1;
    if (backup_list(r, count_backup, &n, e) == -1) {
        if (e->code != ERR_CORRUPT || rc == 0)
            return -1;
        err_clear(e); /* half a ref, from a put that failed */
    }
    if (n < 1 || n > 2 || (rc == 0 && n != 2))
        return err_set(e, ERR_CORRUPT, "%zu backups after %d", n, rc);
    return 0;
}

static void
a_failure_anywhere_leaves_it_whole(void **state)
{
    struct cancel *c = cancel_new();
    const struct store_sweep s = {.prepare = fill,
                                  .run = work,
                                  .check = check,
                                  .cookie = c,
                                  .ops = STORE_OP_ALL};
    uint64_t rounds = 0;

    (void)state;
    assert_ok(store_sweep(&s, &rounds, e));
    assert_true(rounds > 100);
    cancel_free(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_is_found_again),
        TEST(it_is_the_same_from_near),
        TEST(a_retired_one_is_not_listed_and_no_base),
        TEST(changes_of_the_config_are_seen),
        TEST(each_of_many_keys_opens),
        TEST(a_short_backup_syncs_once),
        TEST(listing_asks_for_little),
        TEST(the_protocols_order_is_kept),
        cmocka_unit_test(a_failure_anywhere_leaves_it_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
