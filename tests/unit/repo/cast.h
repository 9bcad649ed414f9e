/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cast: who plays in the world of sim.h, each doing what it does again and
 * again as chance has it: writers, retention, maintenance.
 *
 * Included by one file only.
 */
#ifndef TEST_REPO_CAST_H
#define TEST_REPO_CAST_H

#include <sys/random.h>

#include "sim.h"

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

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return value ? strtoull(value, NULL, 10) : otherwise;
}

/* The variable's number, else one by real chance: rand.h's is the test's. */
static uint64_t
seed_from(const char *name)
{
    uint32_t random = 0;

    assert_int_equal(getrandom(&random, sizeof(random), 0), sizeof(random));
    return from_environment(name, random);
}

#endif
