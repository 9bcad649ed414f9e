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
#include "cast.h"

enum { WRITERS = 3, GCS = 2, CAST = WRITERS + 1 + GCS };
enum { STEPS = 2000, SCHEDULES = 1000 };

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

/* Of `n` schedules, how many lose data? */
static unsigned
run_many(const char *what, uint64_t n, bool loud)
{
    uint64_t first = seed_from("VMKEEP_PROTOCOL_SEED");
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
