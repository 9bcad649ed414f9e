/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/prune.h"

#include "prunefixture.h"
#include "repo/notice.h"

/* ---- from the cradle to the grave ------------------------------------- */

static void
a_retired_backup_goes_in_two_graces(void **state)
{
    struct world *w = *state;
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    vclock_pass_hours(200);
    struct prune_result r = prune(w);
    assert_int_equal(r.backups, 2);
    assert_int_equal(r.condemned + r.deleted + r.repacked, 0);
    retire(w, 0);
    r = prune(w); /* still a root */
    assert_int_equal(r.retired, 1);
    assert_int_equal(r.condemned, 0);
    assert_readable(w, 0);

    vclock_pass_hours(71);
    assert_int_equal(prune(w).condemned, 0);
    vclock_pass_hours(1);
    r = prune(w);
    assert_int_equal(r.condemned, 2); /* one pack of each kind */
    assert_int_equal(r.deleted, 0);
    assert_int_equal(r.due_ns, vclock.now_ns + 72 * HOUR_NS);
    assert_readable(w, 0); /* until it is deleted */
    vclock_pass_hours(71);
    r = prune(w);
    assert_int_equal(r.deleted, 0);
    assert_int_equal(r.waiting, 2);
    assert_int_equal(r.refs_deleted, 1);
    vclock_pass_hours(1);
    r = prune(w);
    assert_int_equal(r.deleted, 2);
    assert_int_equal(usage_of(w->f.st, "packs/").objects, 2);
    assert_readable(w, 1);
    assert_fails(backup_find(w->f.r, w->ids[0], &m, e), ERR_NOENT, "");
}

/* All that maintenance leaves behind goes too, in the end. */
static void
nothing_is_left_behind(void **state)
{
    struct world *w = *state;

    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    retire(w, 0);
    for (int day = 0; day < 60; day++) {
        vclock_pass_hours(24);
        (void)prune(w);
        assert_readable(w, 1);
    }
    assert_int_equal(usage_of(w->f.st, "cond/").objects, 0);
    assert_int_equal(usage_of(w->f.st, "retired/").objects, 0);
    assert_int_equal(usage_of(w->f.st, "refs/").objects, 1);
    assert_int_equal(usage_of(w->f.st, "packs/").objects, 2);
    assert_int_equal(usage_of(w->f.st, "index/").objects, 1);
    assert_true(usage_of(w->f.st, "sess/").objects <= 8);
}

static void
what_two_backups_share_stays(void **state)
{
    struct world *w = *state;

    memcpy(w->p[1], w->p[0], SIZE);
    memset(w->p[1] + SIZE / 2, 7, 64 << 10);
    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    retire(w, 0);
    for (int day = 0; day < 30; day++) {
        vclock_pass_hours(24);
        (void)prune(w);
    }
    assert_readable(w, 1);
}

static int
note_name(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    (void)stat, (void)e;
    (void)snprintf(cookie, NAME_MAX_LEN, "%s", name);
    return 0;
}

/* Of two copies the newer one: who stored it may have known the older one to be
 * damaged, as the nodes of a backup that was begun anew. */
static void
the_newer_copy_stays(void **state)
{
    const struct backup_options anew = {.nodes_anew = 1};
    struct world *w = *state;
    char old[NAME_MAX_LEN] = "";
    struct store_stat stat = {0};
    struct err why = {0};

    for (int i = 0; i < 2; i++) { /* at first with another volume's node */
        CLEANUP(manifest_freep) struct manifest *m = manifest_new();
        struct backup_writer *b = NULL;
        fixture_reopen(&w->f);
        assert_ok(
            backup_begin(w->f.r, i == 0 ? NULL : &anew, w->f.cancel, &b, e));
        for (int k = 0; k < 2 - i; k++) {
            const char *name = k == 0 ? "disk/a" : "disk/b";
            assert_ok(write_volume(b, name, w->p[k], SIZE, &w->roots[k], e));
            manifest_add_volume(m, name, &w->roots[k]);
        }
        assert_ok(backup_commit(&b, m, e));
        if (i == 0)
            assert_ok(store_list(w->f.st, "packs/m/", note_name, old, e));
        vclock_pass_hours(1);
    }
    assert_int_equal(usage_of(w->f.st, "packs/m/").objects, 2);
    assert_int_equal(store_stat(w->f.st, old, &stat, &why), 1);
    for (int day = 0; day < 30; day++) {
        vclock_pass_hours(24);
        (void)prune(w);
    }
    assert_int_equal(store_stat(w->f.st, old, &stat, &why), 0);
    assert_readable(w, 0);
    assert_readable(w, 1);
}

/* A pack that is mostly garbage is emptied into a new one. */
static void
packs_that_are_mostly_garbage_are_repacked(void **state)
{
    struct world *w = *state;
    uint64_t repacked = 0;

    memset(w->p[1], 0, SIZE);
    memcpy(w->p[1], w->p[0], SIZE / 4);
    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    retire(w, 0);
    uint64_t before = usage_of(w->f.st, "packs/").bytes;
    for (int day = 0; day < 30; day++) {
        vclock_pass_hours(24);
        repacked += prune(w).repacked;
    }
    assert_true(repacked > 0);
    assert_true(usage_of(w->f.st, "packs/").bytes < before / 2);
    assert_readable(w, 1);
}

static void
many_segments_become_one(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 12; i++) {
        vclock_pass_hours(1);
        w->p[0][0] = (uint8_t)i;
        back_up(w, 0);
    }
    assert_int_equal(usage_of(w->f.st, "index/").objects, 12);
    vclock_pass_hours(30);
    assert_int_equal(prune(w).index_merged, 12);
    assert_int_equal(usage_of(w->f.st, "index/").objects, 13);
    assert_int_equal(prune(w).index_merged, 0);
    vclock_pass_hours(73);
    (void)prune(w);
    assert_int_equal(usage_of(w->f.st, "index/").objects, 1);
    assert_readable(w, 0);
}

/* Each pack is counted, also those at which there was no room for more. */
static void
many_packs_are_all_seen(void **state)
{
    struct world *w = *state;

    for (uint8_t i = 0; i < 70; i++) { /* two packs each */
        memset(w->p[0], 1 + i, SIZE);
        back_up(w, 0);
        vclock_pass_hours(1);
    }
    struct usage u = usage_of(w->f.st, "packs/");
    struct prune_result r = prune(w);
    assert_int_equal(r.packs, u.objects);
    assert_true(r.packs > 128);
    assert_int_equal(r.pack_bytes, u.bytes);
    assert_readable(w, 0);
}

/* ---- writers ---------------------------------------------------------- */

/* What is condemned is stored again by a backup that needs it, and then goes.
 */
static void
a_backup_does_not_build_on_what_is_condemned(void **state)
{
    struct world *w = *state;

    back_up(w, 0);
    retire(w, 0);
    vclock_pass_hours(24 * 7);
    assert_int_equal(prune(w).condemned, 2);
    back_up(w, 0);
    assert_int_equal(usage_of(w->f.st, "packs/").objects, 4);
    vclock_pass_hours(73);
    assert_int_equal(prune(w).deleted, 2);
    assert_readable(w, 0);
}

/* Maintenance condemns what a backup under way, of so many hours, relies on. */
static struct prune_result
condemn_under_way(struct world *w, int64_t hours, struct volume_root *out)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;
    struct repo *other = NULL;

    back_up(w, 0);
    retire(w, 0);
    vclock_pass_hours(24 * 7);
    assert_ok(repo_open(w->f.st, PASSWORD, &other, e));
    assert_ok(backup_begin(other, NULL, w->f.cancel, &b, e));
    assert_ok(write_volume(b, "disk/vda", w->p[0], SIZE, out, e));
    vclock_pass_hours(hours);
    assert_int_equal(prune(w).condemned, 2);
    free(m->machine);
    m->machine = xstrdup("web");
    manifest_add_volume(m, "disk/vda", out);
    assert_ok(backup_commit(&b, m, e));
    assert_int_equal(m->new_bytes, 0);
    repo_close(other);
    vclock_pass_hours(73);
    return prune(w);
}

/* It is copied. */
static void
a_backup_under_way_saves_what_is_condemned(void **state)
{
    struct world *w = *state;
    struct volume_root root = {0};
    struct prune_result r = condemn_under_way(w, 1, &root);

    assert_int_equal(r.deleted, 2);
    assert_int_equal(r.pardoned, 0);
    fixture_reopen(&w->f);
    assert_volume(w->f.r, &root, w->p[0]);
}

/* It does not look again, and need not: maintenance sees its ref in time. */
static void
what_a_short_backup_relies_on_is_pardoned(void **state)
{
    struct world *w = *state;
    struct volume_root root = {0};
    struct prune_result r = condemn_under_way(w, 0, &root);

    assert_int_equal(r.deleted, 0);
    assert_int_equal(r.pardoned, 2);
    for (int i = 0; i < 3; i++) {
        fixture_reopen(&w->f);
        assert_volume(w->f.r, &root, w->p[0]);
        vclock_pass_hours(73);
        (void)prune(w);
    }
}

/* Begins, and commits after `hours`; inherits the volume of backup 0. */
static int
inherit(struct world *w, const char *base, int64_t hours, int retire_base,
        char *out_id, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    const struct backup_options o = {.base = base};
    struct backup_writer *b = NULL;

    fixture_reopen(&w->f);
    if (backup_begin(w->f.r, &o, w->f.cancel, &b, e) == -1)
        return -1;
    manifest_add_volume(m, "disk/vda", &w->roots[0]);
    if (retire_base)
        retire(w, 0);
    vclock_pass_hours(hours);
    int rc = backup_commit(&b, m, e);
    memcpy(out_id, m->id, sizeof(m->id));
    return rc;
}

static void
a_base_vouches_for_what_is_taken_over(void **state)
{
    struct world *w = *state;
    char id[BACKUP_ID_LEN + 1];

    back_up(w, 0);
    assert_ok(inherit(w, w->ids[0], 1, 0, id, e));
    /* Retired meanwhile: all is looked at again, and found. */
    assert_ok(inherit(w, w->ids[0], 1, 1, id, e));
    /* Now it is no base any more. */
    assert_fails(inherit(w, w->ids[0], 0, 0, id, e), ERR_NOENT, "retired");
    assert_fails(inherit(w, "00000000000000000000000000000000", 0, 0, id, e),
                 ERR_NOENT, "");
    /* Without one, all is looked at too. */
    assert_ok(inherit(w, NULL, 0, 0, id, e));
    assert_readable(w, 0);
}

/* ---- refusals --------------------------------------------------------- */

static void
assert_refused(struct world *w, enum err_code code, const char *text)
{
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    struct prune_result r = {0};
    struct usage before = usage_of(w->f.st, "packs/");
    struct usage index = usage_of(w->f.st, "index/");

    fixture_reopen(&w->f);
    assert_fails(repo_prune(w->f.r, &o, w->f.cancel, &r, e), code, text);
    assert_int_equal(usage_of(w->f.st, "packs/").objects, before.objects);
    assert_int_equal(usage_of(w->f.st, "index/").objects, index.objects);
    assert_int_equal(usage_of(w->f.st, "cond/").objects, 1);
}

/* There is one backup, and one whose packs are due. */
static void
come_to_the_brink(struct world *w)
{
    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    retire(w, 0);
    vclock_pass_hours(24 * 7);
    assert_int_equal(prune(w).condemned, 2);
    vclock_pass_hours(73);
}

struct pick {
    char name[NAME_MAX_LEN];
};

static int
pick_first(void *cookie, const char *name, const struct store_stat *stat,
           struct err *e)
{
    struct pick *p = cookie;

    (void)stat;
    (void)e;
    if (!p->name[0])
        (void)snprintf(p->name, sizeof(p->name), "%s", name);
    return 0;
}

static void
whatever_is_damaged_stops_it(void **state)
{
    static const char *const prefixes[] = {"refs/", "retired/", "index/",
                                           "cond/"};
    struct world *w = *state;

    come_to_the_brink(w);
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        CLEANUP(buf_done) struct buf bytes = buf_of(1 << 20);
        struct pick pick = {0};
        assert_ok(store_list(w->f.st, prefixes[i], pick_first, &pick, e));
        assert_ok(store_get_all(w->f.st, pick.name, &bytes, e));
        bytes.p[bytes.len / 2] ^= 1;
        (void)store_mem_replace(w->f.st, pick.name, bytes.p, bytes.len);
        assert_refused(w, ERR_CORRUPT, pick.name);
        bytes.p[bytes.len / 2] ^= 1;
        (void)store_mem_replace(w->f.st, pick.name, bytes.p, bytes.len);
    }
    assert_int_equal(prune(w).deleted, 2);
}

/* One that is condemned is missed by nobody; any other stops it. */
static void
a_lost_pack_stops_it(void **state)
{
    struct world *w = *state;
    struct pick first = {0}, second = {0};

    back_up(w, 0);
    assert_ok(store_list(w->f.st, "packs/d/", pick_first, &first, e));
    assert_ok(store_list(w->f.st, "packs/m/", pick_first, &second, e));
    vclock_pass_hours(1);
    back_up(w, 1);
    retire(w, 1);
    vclock_pass_hours(24 * 7);
    assert_int_equal(prune(w).condemned, 2);
    vclock_pass_hours(73);
    const char *const names[] = {first.name, second.name};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(buf_done) struct buf bytes = buf_of(64 << 20);
        assert_ok(store_get_all(w->f.st, names[i], &bytes, e));
        assert_ok(store_remove(w->f.st, names[i], e));
        assert_refused(w, ERR_CORRUPT, names[i]);
        assert_ok(store_put(w->f.st, names[i], bytes.p, bytes.len, e));
    }
    assert_int_equal(prune(w).deleted, 2);
}

static void
clocks_in_doubt_stop_it(void **state)
{
    struct world *w = *state;

    come_to_the_brink(w);
    vclock_skew_ns = 301 * INT64_C(1000000000);
    assert_refused(w, ERR_STORE, "clock");
    vclock_skew_ns = -vclock_skew_ns;
    assert_refused(w, ERR_STORE, "clock");
    vclock_skew_ns = 0;
    vclock_pass_hours(-2000); /* the storage's time went back, ours too */
    assert_refused(w, ERR_STORE, "future");
    vclock_pass_hours(2000);
    assert_int_equal(prune(w).deleted, 2);
}

static void
only_maintenance_may(void **state)
{
    struct world *w = *state;
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    const struct retention_policy none = {0};
    struct prune_result r = {0};
    const char *name = w->ids[0];
    size_t n = 0;

    back_up(w, 0);
    w->f.r->keys.has &= ~(unsigned)KEY_MAINTENANCE;
    assert_fails(repo_prune(w->f.r, &o, w->f.cancel, &r, e), ERR_KEY, "");
    assert_fails(forget_by_name(w->f.r, &name, 1, &plan, e), ERR_KEY,
                 "may not forget");
    w->f.r->keys.has |= KEY_MAINTENANCE;
    assert_ok(forget_by_name(w->f.r, &name, 1, &plan, e));
    w->f.r->keys.has &= ~(unsigned)KEY_MAINTENANCE;
    assert_fails(forget_carry_out(w->f.r, &plan, w->f.cancel, &n, e), ERR_KEY,
                 "maintenance");
    assert_int_equal(usage_of(w->f.st, "retired/").objects, 0);
    forget_plan_done(&plan);
    assert_fails(forget_by_policy(w->f.r, &none, NULL, 0, &plan, e), ERR_USAGE,
                 "no backup at all");
}

static void
a_dry_run_changes_nothing(void **state)
{
    struct world *w = *state;
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX,
                                    .dry_run = true};
    struct prune_result r = {0};

    come_to_the_brink(w);
    struct usage before = usage_of(w->f.st, "");
    assert_ok(repo_prune(w->f.r, &o, w->f.cancel, &r, e));
    assert_int_equal(r.deleted, 2);
    struct usage after = usage_of(w->f.st, "");
    assert_int_equal(after.objects, before.objects);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(prune(w).deleted, 2);
}

/* ---- forget, list, find ------------------------------------------------ */

static int
count_one(void *cookie, const struct manifest *m, struct err *e)
{
    (void)m;
    (void)e;
    ++*(int *)cookie;
    return 0;
}

static void
retired_backups_are_not_listed_and_not_the_latest(void **state)
{
    struct world *w = *state;
    CLEANUP(manifest_freep) struct manifest *latest = NULL, *by_id = NULL;
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const char *name = w->ids[1];
    int n = 0;

    back_up(w, 0);
    vclock_pass_hours(1);
    back_up(w, 1);
    retire(w, 1);
    assert_ok(backup_list(w->f.r, count_one, &n, e));
    assert_int_equal(n, 1);
    assert_ok(backup_find(w->f.r, "latest", &latest, e));
    assert_string_equal(latest->id, w->ids[0]);
    assert_ok(backup_find(w->f.r, w->ids[1], &by_id, e));
    assert_string_equal(by_id->id, w->ids[1]);
    assert_fails(forget_by_name(w->f.r, &name, 1, &plan, e), ERR_USAGE,
                 "already");
}

static void
a_policy_goes_by_the_storages_time(void **state)
{
    struct world *w = *state;
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const struct retention_policy two = {.last = 2};
    const char *other = "db-01";
    size_t n = 0;

    for (int i = 0; i < 4; i++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        vclock_pass_hours(1);
        fixture_reopen(&w->f);
        /* The host's clock runs backwards. */
        assert_ok(write_backup(w->f.r, w->f.cancel, "web", 1000 - i, w->p[i],
                               SIZE, &m, e));
        memcpy(w->ids[i], m->id, sizeof(w->ids[i]));
    }
    assert_fails(forget_by_policy(w->f.r, &two, &other, 1, &plan, e), ERR_NOENT,
                 "db-01");
    forget_plan_done(&plan);
    assert_ok(forget_by_policy(w->f.r, &two, NULL, 0, &plan, e));
    assert_int_equal(plan.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(plan.items[i].id, w->ids[3 - i]);
        assert_int_equal(plan.items[i].reasons, i < 2 ? KEPT_LAST : 0);
    }
    assert_ok(forget_carry_out(w->f.r, &plan, w->f.cancel, &n, e));
    assert_int_equal(n, 2);
    forget_plan_done(&plan);
    assert_ok(forget_by_policy(w->f.r, &two, NULL, 0, &plan, e));
    assert_int_equal(plan.n, 2);
}

/* Neither a host whose clock is ahead nor backups that are from the future make
 * a policy forget what it should keep. */
static void
a_policy_does_not_trust_the_hosts_clock(void **state)
{
    struct world *w = *state;
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const struct retention_policy days = {.within_ns = 48 * HOUR_NS};

    for (int i = 0; i < 4; i++) {
        back_up(w, i);
        vclock_pass_hours(24);
    }
    vclock_skew_ns = 100 * 24 * HOUR_NS;
    assert_ok(forget_by_policy(w->f.r, &days, NULL, 0, &plan, e));
    for (int i = 0; i < 4; i++)
        assert_int_equal(plan.items[i].reasons, i < 3 ? KEPT_WITHIN : 0);
    forget_plan_done(&plan);
    vclock_skew_ns = -25 * HOUR_NS;
    assert_fails(forget_by_policy(w->f.r, &days, NULL, 0, &plan, e), ERR_STORE,
                 "future");
    forget_plan_done(&plan);
    const char *last = w->ids[3]; /* asked for by its id, it goes */
    assert_ok(forget_by_name(w->f.r, &last, 1, &plan, e));
    assert_int_equal(plan.n, 1);
    vclock_skew_ns = 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_retired_backup_goes_in_two_graces),
        TEST(nothing_is_left_behind),
        TEST(what_two_backups_share_stays),
        TEST(the_newer_copy_stays),
        TEST(packs_that_are_mostly_garbage_are_repacked),
        TEST(many_segments_become_one),
        TEST(many_packs_are_all_seen),
        TEST(a_backup_does_not_build_on_what_is_condemned),
        TEST(a_backup_under_way_saves_what_is_condemned),
        TEST(what_a_short_backup_relies_on_is_pardoned),
        TEST(a_base_vouches_for_what_is_taken_over),
        TEST(whatever_is_damaged_stops_it),
        TEST(a_lost_pack_stops_it),
        TEST(clocks_in_doubt_stop_it),
        TEST(only_maintenance_may),
        TEST(a_dry_run_changes_nothing),
        TEST(retired_backups_are_not_listed_and_not_the_latest),
        TEST(a_policy_goes_by_the_storages_time),
        TEST(a_policy_does_not_trust_the_hosts_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
