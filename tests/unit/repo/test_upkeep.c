/* SPDX-License-Identifier: Apache-2.0 */
/* Where check, repair and maintenance meet. */
#include "prunefixture.h"
#include "repo/checker.h"
#include "repo/prune.h"
#include "repo/repair.h"

static void
tell_fault(void *cookie, const struct check_fault *f)
{
    (void)cookie;
    if (!f->is_note)
        print_message("%s: %s\n", f->name, f->why);
}

static void
assert_clean(struct world *w)
{
    const struct check_options o = {
        .data.read = CHECK_READ_ALL, .threads = 1, .fault = tell_fault};
    struct check_result r = {0};

    fixture_reopen(&w->f);
    assert_ok(check_repo(w->f.r, &o, w->f.cancel, &r, e));
    assert_int_equal(r.faults, 0);
}

static struct repair_result
repair(struct world *w)
{
    const struct repair_options o = {.threads = 1};
    struct repair_result r = {0};

    fixture_reopen(&w->f);
    assert_ok(repair_repo(w->f.r, &o, w->f.cancel, &r, e));
    return r;
}

struct pick {
    char names[8][NAME_MAX_LEN];
    size_t n;
};

static int
pick_all(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    struct pick *p = cookie;

    (void)stat;
    (void)e;
    assert_true(p->n < ARRAY_LEN(p->names));
    (void)snprintf(p->names[p->n++], NAME_MAX_LEN, "%s", name);
    return 0;
}

/* The pack of data that is in the store now and was not in `before`. */
static void
new_pack(struct world *w, const struct pick *before, char out[NAME_MAX_LEN])
{
    struct pick now = {0};
    size_t found = 0;

    assert_ok(store_list(w->f.st, "packs/d/", pick_all, &now, e));
    for (size_t i = 0; i < now.n; i++) {
        bool old = false;
        for (size_t k = 0; k < before->n; k++)
            old |= strcmp(before->names[k], now.names[i]) == 0;
        if (!old) {
            (void)snprintf(out, NAME_MAX_LEN, "%s", now.names[i]);
            found++;
        }
    }
    assert_int_equal(found, 1);
}

/* One byte in the middle, which is data. */
static void
damage(struct world *w, const char *name)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(64 << 20);

    assert_ok(store_get_all(w->f.st, name, &bytes, e));
    bytes.p[bytes.len / 2] ^= 1;
    assert_int_equal(store_mem_replace(w->f.st, name, bytes.p, bytes.len), 1);
}

static bool
is_there(struct world *w, const char *name)
{
    struct store_stat stat = {0};
    struct err e = {0};

    return store_stat(w->f.st, name, &stat, &e) == 1;
}

static void
prune_for_days(struct world *w, int days)
{
    for (int day = 0; day < days; day++) {
        vclock_pass_hours(24);
        (void)prune(w);
    }
}

/* ---- check ------------------------------------------------------------- */

/* At no stage of its work does maintenance leave anything that a check would
 * call a fault. */
static void
it_is_sound_at_every_stage(void **state)
{
    struct world *w = *state;

    memcpy(w->p[1], w->p[0], SIZE / 3); /* so that packs are repacked */
    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    vclock_pass_hours(1);
    back_up(w, 2);
    retire(w, 0);
    uint64_t deleted = 0, repacked = 0, merged = 0;
    for (int day = 0; day < 30; day++) {
        vclock_pass_hours(24);
        struct prune_result r = prune(w);
        deleted += r.deleted;
        repacked += r.repacked;
        merged += r.index_merged;
        assert_clean(w);
    }
    assert_true(deleted > 0 && repacked > 0 && merged > 0);
    assert_readable(w, 1);
    assert_readable(w, 2);
}

/* ---- packs out of use --------------------------------------------------- */

/* While something is missing maintenance touches nothing and names it; once a
 * backup has healed that, the damaged pack goes like any garbage. */
static void
a_pack_out_of_use_goes_when_nothing_is_missing(void **state)
{
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    struct world *w = *state;
    struct pick none = {0}, all = {0}, later = {0};
    struct prune_result r;
    char name[NAME_MAX_LEN];

    back_up(w, 0);
    new_pack(w, &none, name);
    vclock_pass_hours(24 * 8);
    damage(w, name);
    assert_int_equal(repair(w).quarantined, 1);
    fixture_reopen(&w->f);
    assert_ok(store_list(w->f.st, "packs/", pick_all, &all, e));
    assert_fails(repo_prune(w->f.r, &o, w->f.cancel, &r, e), ERR_CORRUPT, name);
    assert_ok(store_list(w->f.st, "packs/", pick_all, &later, e));
    assert_int_equal(all.n, later.n);

    back_up(w, 0);
    assert_clean(w);
    assert_true(prune(w).condemned > 0);
    assert_true(is_there(w, name)); /* somebody may still want to look at it */
    prune_for_days(w, 4);
    assert_false(is_there(w, name));
    assert_clean(w);
    prune_for_days(w, 30);
    assert_clean(w);
    assert_readable(w, 0);
}

/* ---- condemned packs ---------------------------------------------------- */

/* The only good copy is in a pack that maintenance has condemned: it is needed
 * after all, and copied out before the pack goes. */
static void
repair_finds_the_only_copy_condemned(void **state)
{
    struct world *w = *state;
    struct pick before = {0};
    char name[NAME_MAX_LEN];

    back_up(w, 0);
    retire(w, 0);
    vclock_pass_hours(24 * 8);
    assert_int_equal(prune(w).condemned, 2);
    assert_ok(store_list(w->f.st, "packs/d/", pick_all, &before, e));
    back_up(w, 0); /* does not build on it */
    new_pack(w, &before, name);
    damage(w, name);
    assert_true(repair(w).quarantined > 0);
    assert_readable(w, 0);

    vclock_pass_hours(73);
    struct prune_result r = prune(w);
    assert_true(r.pardoned > 0 && r.repacked > 0);
    assert_readable(w, 0);
    prune_for_days(w, 30);
    assert_false(is_there(w, before.names[0]));
    assert_clean(w);
    assert_readable(w, 0);
}

/* A damaged pack that was condemned before is no reason to worry. */
static void
a_condemned_pack_may_be_damaged(void **state)
{
    struct world *w = *state;
    struct pick before = {0};
    char name[NAME_MAX_LEN];

    back_up(w, 0);
    assert_ok(store_list(w->f.st, "packs/d/", pick_all, &before, e));
    vclock_pass_hours(1);
    back_up(w, 1);
    new_pack(w, &before, name);
    retire(w, 1);
    vclock_pass_hours(24 * 8);
    assert_int_equal(prune(w).condemned, 2);
    damage(w, name);
    assert_true(repair(w).quarantined > 0);
    prune_for_days(w, 30);
    assert_false(is_there(w, name));
    assert_clean(w);
    assert_readable(w, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_sound_at_every_stage, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_pack_out_of_use_goes_when_nothing_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(repair_finds_the_only_copy_condemned,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_condemned_pack_may_be_damaged, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
