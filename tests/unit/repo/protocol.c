/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol between writers and maintenance, driven as it is by chance:
 * three writers, retention and two maintenance runs in the world of sim.h,
 * each stopped for as long as a seed says, also for much longer than the
 * grace.  rules.c has the schedules that show what each rule is for.
 *
 * VMKEEP_PROTOCOL_SCHEDULES: how many, instead of 1000.
 * VMKEEP_PROTOCOL_SEED: the first of them, instead of a random one.
 * VMKEEP_PROTOCOL_READ=1: all good backups are read after each commit, and
 * after each schedule; else after every twentieth.
 */
#include "base/rand.h"
#include "sim.h"

enum { WRITERS = 3, GCS = 2, CAST = WRITERS + 1 + GCS };
enum { STEPS = 3000, SCHEDULES = 1000 };

static bool reads_each_commit;

static void
stand_still(uint64_t times)
{
    for (; times > 0 && !sim.stopping; times--) {
        struct err e = {0};
        (void)stop_before(OP_NONE, "", 1, &e);
    }
}

static const struct sim_ref *
pick_base(void)
{
    if (sim.n_refs == 0 || chance(10) >= 6)
        return NULL;
    for (int i = 0; i < 8; i++) {
        size_t last = sim.n_refs > 12 ? 12 : sim.n_refs;
        const struct sim_ref *r = &sim.refs[sim.n_refs - 1 - chance(last)];
        if (is_good(r) && !r->retired_ns)
            return r;
    }
    return NULL;
}

static int
back_up_something(struct actor *me, struct repo *r, struct err *e)
{
    char base_id[BACKUP_ID_LEN + 1];
    unsigned set = 0, inherited = 0;

    for (uint64_t n = 1 + chance(3); n > 0; n--)
        set |= 1U << chance(CHUNKS);
    const struct sim_ref *base = pick_base();
    if (base) {
        memcpy(base_id, base->id, sizeof(base_id));
        inherited = base->a;
        totals.base++;
    }
    int rc = back_up(me, r, set, base ? base_id : NULL, inherited, e);
    if (rc == 0 && reads_each_commit && !sim.violation[0])
        sim_read_all();
    return rc;
}

static void
be_writer(struct actor *me)
{
    while (!sim.stopping) {
        struct err e = {0};
        if (me->repo && chance(4) == 0) {
            repo_close(me->repo);
            me->repo = NULL;
        }
        if (!me->repo && open_repo(&me->base, &me->repo, &e) == -1)
            continue;
        if (back_up_something(me, me->repo, &e) == -1 && !sim.stopping)
            totals.failed++;
        stand_still(chance(4));
    }
}

static void
be_retention(struct actor *me)
{
    while (!sim.stopping) {
        struct err e = {0};
        size_t good = 0;
        stand_still(10 + chance(60));
        for (size_t i = 0; i < sim.n_refs; i++)
            good += is_good(&sim.refs[i]) && !sim.refs[i].retired_ns;
        if (good < 2)
            continue;
        size_t pick = chance(good);
        for (size_t i = 0; i < sim.n_refs; i++) {
            struct sim_ref *r = &sim.refs[i];
            if (!is_good(r) || r->retired_ns || pick-- > 0)
                continue;
            (void)retire(me, r, &e);
            break;
        }
    }
}

static void
be_gc(struct actor *me)
{
    while (!sim.stopping) {
        CLEANUP(repo_closep) struct repo *r = NULL;
        struct prune_result result = {0};
        struct err e = {0};
        stand_still(1 + chance(5));
        if (open_repo(&me->base, &r, &e) == -1)
            continue;
        int rc = prune(r, UINT64_MAX, &result, &e);
        totals.runs++;
        if (rc == -1 && !sim.stopping) {
            totals.aborted++;
            if (getenv("VMKEEP_PROTOCOL_TRACE")) /* NOLINT(concurrency-*) */
                (void)fprintf(stderr, "gc: %s\n", e.msg);
        }
        totals.condemned += result.condemned;
        totals.deleted += result.deleted;
        totals.repacked += result.repacked;
        totals.refs_gone += result.refs_deleted;
        totals.merged += result.index_merged;
        totals.pardoned += result.pardoned;
    }
}

/* Was data lost? */
static bool
run_schedule(uint64_t seed, bool read, bool loud)
{
    static const int64_t stalls[] = {5,          LEASE,     LEASE + 5, GRACE,
                                     GRACE + 30, 2 * GRACE, 3 * GRACE};

    sim_start(seed);
    for (unsigned i = 0; i < CAST; i++)
        actor_start(&sim.actors[i], i < WRITERS    ? be_writer
                                    : i == WRITERS ? be_retention
                                                   : be_gc);
    for (int step = 0; step < STEPS && !sim.violation[0]; step++) {
        struct actor *a = &sim.actors[chance(CAST)];
        if (a->stalled_until_ns > sim_clock.now_ns) {
            sim_clock.now_ns += (int64_t)chance(2) * TICK;
            continue;
        }
        run_actor(a);
        if (chance(100) == 0)
            a->stalled_until_ns =
                sim_clock.now_ns + stalls[chance(ARRAY_LEN(stalls))] * TICK;
        sim_clock.now_ns += (chance(5) == 0) * TICK + 1;
    }
    if (read && !sim.violation[0])
        sim_read_all();
    bool lost = sim.violation[0] != '\0';
    if (lost && loud)
        print_message("seed %llu: %s\n", (unsigned long long)seed,
                      sim.violation);
    sim_end();
    return lost;
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return value ? strtoull(value, NULL, 10) : otherwise;
}

/* Of `n` schedules, how many lose data? */
static unsigned
run_many(const char *what, uint64_t n, bool loud)
{
    uint64_t first = from_environment("VMKEEP_PROTOCOL_SEED", rand_u64() >> 32);
    unsigned lost = 0;
    uint64_t i = 0;

    totals = (struct totals){0};
    for (; i < n; i++) {
        if (loud && i > 0 && i % 1000 == 0)
            print_message("# %llu schedules, %u lost data\n",
                          (unsigned long long)i, lost);
        lost += run_schedule(first + i, reads_each_commit || i % 20 == 0, loud);
    }
    print_message(
        "%s: %u of %llu schedules from seed %llu lost data; %llu "
        "refs (%llu late, %llu with a base, %llu failed), %llu "
        "maintenance runs (%llu aborted): %llu packs condemned, "
        "%llu deleted, %llu repacked, %llu pardoned, %llu refs "
        "removed, %llu segments merged\n",
        what, lost, (unsigned long long)i, (unsigned long long)first,
        (unsigned long long)totals.refs, (unsigned long long)totals.late,
        (unsigned long long)totals.base, (unsigned long long)totals.failed,
        (unsigned long long)totals.runs, (unsigned long long)totals.aborted,
        (unsigned long long)totals.condemned,
        (unsigned long long)totals.deleted, (unsigned long long)totals.repacked,
        (unsigned long long)totals.pardoned,
        (unsigned long long)totals.refs_gone,
        (unsigned long long)totals.merged);
    return lost;
}

static void
no_schedule_loses_data(void **state)
{
    (void)state;
    reads_each_commit = from_environment("VMKEEP_PROTOCOL_READ", 0) != 0;
    assert_int_equal(
        run_many("protocol",
                 from_environment("VMKEEP_PROTOCOL_SCHEDULES", SCHEDULES),
                 true),
        0);
    assert_true(totals.deleted > 0 && totals.repacked > 0 &&
                totals.refs_gone > 0 && totals.merged > 0 && totals.late > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_schedule_loses_data),
    };

    return cmocka_run_group_tests(tests, learn, forget);
}
