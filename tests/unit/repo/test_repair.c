/* SPDX-License-Identifier: Apache-2.0 */
#include "damaged.h"
#include "repo/config.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/repair.h"
#include "store/store_fault.h"
#include "store/store_sweep.h"

static void
fill(uint8_t *p, int i)
{
    fill_random(p, 300 * KIB, (uint64_t)i + 10);
    fill_random(p + 8 * MIB, 128 * KIB, 3);
}

static int
setup(void **state)
{
    *state = damaged_new(8 * MIB + 256 * KIB, fill);
    return 0;
}

/* Of one slot: what is done hundreds of times. */
static void
fill_small(uint8_t *p, int i)
{
    fill_random(p, 130 * KIB, (uint64_t)i + 10);
    fill_random(p + 192 * KIB, 64 * KIB, 3);
}

static int
setup_small(void **state)
{
    *state = damaged_new(256 * KIB, fill_small);
    return 0;
}

static int
teardown(void **state)
{
    damaged_free(*state);
    return 0;
}

static int
repair(struct store *st, struct cancel *c, bool dry_run,
       struct repair_result *out, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    const struct repair_options o = {.dry_run = dry_run, .threads = 2};

    if (repo_open(st, PASSWORD, &r, e) == -1)
        return -1;
    return repair_repo(r, &o, c, out, e);
}

static void
assert_repair(struct damaged *d, struct repair_result *out)
{
    assert_ok(repair(d->f.st, d->f.cancel, false, out, e));
}

/* The same content once more, at the time 3. */
static void
back_up_again(struct damaged *d, int i)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    assert_ok(repo_open(d->f.st, PASSWORD, &r, e));
    assert_ok(
        write_backup(r, d->f.cancel, "web", i + 1, d->p[i], d->size, NULL, e));
}

static void
nothing_to_do(void **state)
{
    struct damaged *d = *state;
    uint64_t objects = usage_of(d->f.st, "").objects;
    struct repair_result r;

    assert_repair(d, &r);
    assert_int_equal(r.before.faults, 0);
    assert_int_equal(r.quarantined + r.indexed_objects + r.salvaged_objects, 0);
    assert_int_equal(usage_of(d->f.st, "").objects, objects);
}

static void
dry_run_changes_nothing(void **state)
{
    struct damaged *d = *state;
    uint64_t objects = usage_of(d->f.st, "").objects;
    struct repair_result r;
    size_t i = damaged_find(d, "packs/d/", 0);

    damaged_flip(d, i, -1);
    damaged_flip(d, damaged_find(d, "index/d/", 0), 100);
    assert_ok(repair(d->f.st, d->f.cancel, true, &r, e));
    assert_int_equal(r.quarantined, 2);
    assert_true(r.salvaged_objects > 0 && r.indexed_objects > 0);
    assert_int_equal(r.stored_bytes, 0);
    assert_int_equal(usage_of(d->f.st, "").objects, objects);
}

static void
index_is_rebuilt(void **state)
{
    struct damaged *d = *state;

    for (int gone = 0; gone < 2; gone++)
        for (unsigned k = 0; k < 2; k++) {
            struct repair_result r;
            size_t i = damaged_find(d, "index/d/", k);
            if (gone)
                assert_ok(store_remove(d->f.st, d->names[i], e));
            else
                damaged_flip(d, i, 100);
            assert_repair(d, &r);
            assert_true(r.before.faults > 0);
            assert_int_equal(r.after.faults, 0);
            assert_int_equal(r.quarantined, gone ? 0 : 1);
            assert_true(r.indexed_objects > 0);
            assert_clean(d, true);
            damaged_read(d);
            assert_int_equal(d->readable, 2);
            teardown(state);
            (void)setup(state);
            d = *state;
        }
}

static void
whole_index_is_rebuilt(void **state)
{
    struct damaged *d = *state;
    struct repair_result r;

    for (unsigned k = 0; k < 2; k++)
        assert_ok(
            store_remove(d->f.st, d->names[damaged_find(d, "index/d/", k)], e));
    damaged_read(d);
    assert_int_equal(d->readable, 0);
    assert_repair(d, &r);
    assert_int_equal(r.after.faults, 0);
    assert_clean(d, true);
    damaged_read(d);
    assert_int_equal(d->readable, 2);
}

static unsigned
salvage(struct damaged *d, size_t i, struct repair_result *r)
{
    assert_repair(d, r);
    assert_int_equal(r->quarantined, 1);
    damaged_read(d);
    unsigned readable = d->readable;
    /* It stays where it is, as it is. */
    struct store_stat stat = {0};
    assert_ok(store_stat(d->f.st, d->names[i], &stat, e));
    assert_int_equal(stat.size_bytes, d->bytes[i].len);
    return readable;
}

/* The circle: damage, repair, another backup of the same data, and everything
 * is whole again. */
static void
damaged_pack_is_salvaged_and_healed(void **state)
{
    struct damaged *d = *state;

    for (unsigned k = 0; k < 2; k++) {
        struct repair_result r;
        size_t i = damaged_find(d, "packs/d/", k);
        damaged_flip(d, i, -1);
        unsigned readable = salvage(d, i, &r); /* it may be of both */
        assert_true(readable < 2);
        assert_true(r.salvaged_objects > 0); /* by the seed of the cuts */
        assert_true(r.after.faults > 0);
        assert_int_equal(r.after.backups_damaged, 2 - readable);
        assert_int_equal(r.after.lost_bytes, r.before.lost_bytes);
        assert_true(r.after.lost_bytes > 0 && r.after.lost_bytes <= 512 * KIB);
        back_up_again(d, 0);
        back_up_again(d, 1);
        assert_clean(d, true);
        damaged_read(d);
        assert_int_equal(d->readable, 4);
        /* Once more: what is out of use stays so, and that is all. */
        assert_repair(d, &r);
        assert_int_equal(r.quarantined + r.salvaged_objects, 0);
        assert_int_equal(r.before.faults, 0);
        teardown(state);
        (void)setup(state);
        d = *state;
    }
}

static void
pack_without_table_is_salvaged(void **state)
{
    struct damaged *d = *state;

    for (unsigned k = 0; k < 4; k++) {
        struct repair_result r;
        size_t i = damaged_find(d, k < 2 ? "packs/d/" : "packs/m/", k % 2);
        damaged_flip(d, i, 60);
        assert_int_equal(salvage(d, i, &r), 2);
        assert_true(r.before.faults > 0);
        assert_int_equal(r.after.faults, 0);
        assert_clean(d, true);
        teardown(state);
        (void)setup(state);
        d = *state;
    }
}

static void
missing_pack_is_healed_by_a_backup(void **state)
{
    struct damaged *d = *state;

    for (unsigned k = 0; k < 4; k++) {
        struct repair_result r;
        size_t i = damaged_find(d, k < 2 ? "packs/d/" : "packs/m/", k % 2);
        assert_ok(store_remove(d->f.st, d->names[i], e));
        assert_repair(d, &r);
        assert_int_equal(r.quarantined, 1);
        assert_true(r.after.backups_damaged > 0);
        back_up_again(d, 0);
        back_up_again(d, 1);
        assert_clean(d, true);
        damaged_read(d);
        assert_int_equal(d->readable, 4);
        teardown(state);
        (void)setup(state);
        d = *state;
    }
}

/* A disk that was not mounted, say. */
static void
pack_that_comes_back_is_used_again(void **state)
{
    struct damaged *d = *state;
    struct repair_result r;
    size_t i = damaged_find(d, "packs/d/", 0);

    assert_ok(store_remove(d->f.st, d->names[i], e));
    assert_repair(d, &r);
    assert_true(r.after.faults > 0);
    assert_ok(
        store_put(d->f.st, d->names[i], d->bytes[i].p, d->bytes[i].len, e));
    assert_repair(d, &r);
    assert_true(r.salvaged_objects > 0);
    assert_int_equal(r.after.faults, 0);
    assert_clean(d, true);
    damaged_read(d);
    assert_int_equal(d->readable, 2);
}

static void
damaged_ref_is_put_out_of_use(void **state)
{
    struct damaged *d = *state;
    struct repair_result r;
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    CLEANUP(repo_closep) struct repo *repo = NULL;
    size_t i = damaged_find(d, "refs/", 1);

    damaged_flip(d, i, 300);
    assert_repair(d, &r);
    assert_int_equal(r.quarantined, 1);
    assert_clean(d, true);
    assert_ok(repo_open(d->f.st, PASSWORD, &repo, e));
    assert_ok(backup_find(repo, "latest", &m, e));
    assert_string_equal(m->id, d->ids[0]);
}

static void
lost_object_names_its_pack(void **state)
{
    struct damaged *d = *state;
    struct repair_result r;
    struct err why = {0};
    CLEANUP(repo_closep) struct repo *repo = NULL;
    size_t i = damaged_find(d, "packs/d/", 0);

    assert_ok(store_remove(d->f.st, d->names[i], e));
    assert_repair(d, &r);
    assert_ok(repo_open(d->f.st, PASSWORD, &repo, e));
    int failed = 0;
    for (int k = 0; k < 2; k++) {
        CLEANUP(manifest_freep) struct manifest *one = NULL;
        assert_ok(backup_find(repo, d->ids[k], &one, e));
        if (compare_volume(repo, &one->volumes[0].root, d->p[k], &why) == -1) {
            failed++;
            assert_int_equal(why.code, ERR_CORRUPT);
            assert_non_null(strstr(why.msg, d->names[i]));
            assert_non_null(strstr(why.msg, "bytes "));
            err_clear(&why);
        }
    }
    assert_true(failed > 0);
}

static void
only_maintenance_may(void **state)
{
    struct damaged *d = *state;
    struct repair_result r;
    const struct repair_options o = {.threads = 1};

    d->f.r->keys.has &= ~(unsigned)KEY_MAINTENANCE;
    assert_fails(repair_repo(d->f.r, &o, d->f.cancel, &r, e), ERR_KEY,
                 "maintenance");
}

/* ---- the storage fails meanwhile -------------------------------------- */

struct sweep {
    struct damaged *d;
    unsigned rounds;
};

static int
prepare_damage(void *cookie, struct store *inner, struct err *e)
{
    struct sweep *s = cookie;
    struct damaged *d = s->d;

    for (size_t i = 0; i < d->n; i++) {
        CLEANUP(freep) uint8_t *copy = xmemdup(d->bytes[i].p, d->bytes[i].len);
        if (strncmp(d->names[i], "packs/d/", 8) == 0)
            copy[d->bytes[i].len - 1] ^= 1;
        if (i == damaged_find(d, "index/d/", 0))
            copy[100] ^= 1;
        if (store_put(inner, d->names[i], copy, d->bytes[i].len, e) == -1)
            return -1;
    }
    return 0;
}

static int
run_repair(void *cookie, struct store *faulty, struct err *e)
{
    struct sweep *s = cookie;
    struct repair_result r;

    return repair(faulty, s->d->f.cancel, false, &r, e);
}

/* Whatever happened, repairing again and a backup make everything whole. */
static int
check_repaired(void *cookie, struct store *inner, const struct store_fault *f,
               int rc, struct err *e)
{
    struct sweep *s = cookie;
    struct damaged *d = s->d;
    struct store *before = d->f.st;
    struct repair_result r;

    (void)rc;
    s->rounds++;
    d->f.st = inner;
    damaged_read(d);
    int result = repair(inner, d->f.cancel, false, &r, e);
    if (result == 0) {
        back_up_again(d, 0);
        back_up_again(d, 1);
        /* Half a record of what is lost, which no real store shows, stays. */
        result = damaged_check(d, true, e);
        for (size_t i = 0; result == 0 && i < d->n_found; i++)
            if (f->what != STORE_FAULT_CUT || d->found[i].what != CHECK_RECORD)
                result = err_set(e, ERR_CORRUPT, "%s: %s", d->found[i].name,
                                 d->found[i].why);
        damaged_read(d);
        if (result == 0 && d->readable != 4)
            result =
                err_set(e, ERR_CORRUPT, "%u backups are readable", d->readable);
    }
    d->f.st = before;
    return result;
}

static void
any_operation_of_a_repair_may_fail(void **state)
{
    struct sweep s = {.d = *state};
    struct store_sweep sweep = {.prepare = prepare_damage,
                                .run = run_repair,
                                .check = check_repaired,
                                .cookie = &s,
                                .ops = STORE_OP_CHANGES};
    uint64_t rounds = 0;

    if (getenv("VMKEEP_ALL_FAULTS")) /* NOLINT(concurrency-mt-unsafe) */
        sweep.ops = STORE_OP_ALL;

    assert_ok(store_sweep(&sweep, &rounds, e));
    print_message("# %llu points of failure\n", (unsigned long long)rounds);
    assert_true(rounds > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(nothing_to_do),
        TEST(dry_run_changes_nothing),
        TEST(index_is_rebuilt),
        TEST(whole_index_is_rebuilt),
        TEST(damaged_pack_is_salvaged_and_healed),
        TEST(pack_without_table_is_salvaged),
        TEST(missing_pack_is_healed_by_a_backup),
        TEST(pack_that_comes_back_is_used_again),
        TEST(damaged_ref_is_put_out_of_use),
        TEST(lost_object_names_its_pack),
        TEST(only_maintenance_may),
        cmocka_unit_test_setup_teardown(any_operation_of_a_repair_may_fail,
                                        setup_small, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
