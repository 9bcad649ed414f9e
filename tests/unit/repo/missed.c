/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hosts remember of the backups that they saw, in the world of sim.h:
 * writers, retention and maintenance, and hosts that list, as chance has it,
 * stopped between any two operations for up to three graces.  No host ever
 * misses what went in good order; what a thief takes out of the storage is
 * missed by each that had seen it.
 *
 * VMKEEP_MISSED_SCHEDULES: how many, instead of 150.
 * VMKEEP_MISSED_SEED: the first of them, instead of a random one.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "../folder.h"
#include "base/file.h"
#include "cast.h"
#include "repo/seen.h"

enum { WRITERS = 2, WATCHERS = 3, CAST = WRITERS + 1 + 1 + WATCHERS };
enum { STEPS = 5000, SCHEDULES = 150, MAX_KNOWN = 4096 };

/* What a host saw lasts so long; a thief may take it until then. */
#define KEEP ((2 * GRACE + LEASE + 2 * VISIBILITY + WINDOW - VISIBILITY) * TICK)

static char cache[64];

/* What a watcher must miss if it is stolen: by our own books. */
static struct watcher {
    int64_t seen_ns[MAX_KNOWN]; /* by its number in sim.refs; 0: never */
} watchers[WATCHERS];

static size_t stolen; /* its number, and 1; 0: nothing yet */
static int64_t stolen_ns;

static struct {
    uint64_t looks, thefts, missed, gone;
} counts_of;

/* ---- hosts that look ----------------------------------------------------- */

struct looking {
    struct watcher *watcher;
    int64_t begun_ns;
    bool saw[MAX_KNOWN];
};

static int
see(void *cookie, const struct manifest *m, const struct backup_state *s,
    struct err *e)
{
    struct looking *l = cookie;

    (void)e;
    for (size_t i = 0; i < sim.n_refs && i < MAX_KNOWN; i++)
        if (strcmp(sim.refs[i].id, m->id) == 0)
            l->saw[i] = s->retired_ns == 0;
    return 0;
}

static void
complain(const char *what, size_t n)
{
    if (!sim.violation[0])
        (void)snprintf(sim.violation, sizeof(sim.violation),
                       "%s: %zu backups, at %lld", what, n,
                       (long long)((sim_clock.now_ns - START) / TICK));
}

/* Does it miss what it must, and nothing else? */
static void
compare_books(const struct looking *l, const struct repo *r)
{
    size_t n = repo_vanished(r);

    if (n > (stolen > 0))
        complain("it misses what is not lost", n);
    if (n == 1 && l->watcher->seen_ns[stolen - 1] == 0)
        complain("it misses what it never saw", n);
    counts_of.missed += n;
    /* Seen, stolen before it was listed now, and not forgotten since. */
    if (stolen == 0 || stolen_ns >= l->begun_ns || n > 0 ||
        sim.refs[stolen - 1].retired_ns)
        return;
    int64_t seen_ns = l->watcher->seen_ns[stolen - 1];
    if (seen_ns > 0 && seen_ns <= l->begun_ns &&
        sim_clock.now_ns - seen_ns < KEEP)
        complain("it does not miss what was stolen", stolen);
}

static int
look(struct repo *r, struct looking *l, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    if (chance(4) > 0)
        return backup_survey(r, see, l, e);
    int rc = backup_find(r, "m@latest", &m, e);
    return rc == -1 && e->code == ERR_NOENT ? 0 : rc;
}

static void
be_watcher(struct actor *me)
{
    size_t number = (size_t)(me - sim.actors) - (CAST - WATCHERS);
    CLEANUP(freep) char *dir = xasprintf("%s/%zu", cache, number);
    CLEANUP(freep) struct looking *l = xcalloc(1, sizeof(*l));

    while (!sim.stopping) {
        CLEANUP(repo_closep) struct repo *r = NULL;
        struct err e = {0};
        stand_still(1 + chance(30));
        if (open_repo(&me->base, &r, &e) == -1)
            continue;
        repo_use_cache(r, dir);
        memset(l, 0, sizeof(*l));
        l->watcher = &watchers[number];
        l->begun_ns = sim_clock.now_ns;
        if (look(r, l, &e) == -1)
            continue;
        counts_of.looks++;
        compare_books(l, r);
        for (size_t i = 0;
             i < MAX_KNOWN && sim_clock.now_ns - l->begun_ns < KEEP; i++)
            if (l->saw[i])
                l->watcher->seen_ns[i] = l->begun_ns;
        /* Often it comes back when what it knows is about to be too old. */
        if (chance(2) == 0)
            me->stalled_until_ns =
                l->begun_ns + KEEP + ((int64_t)chance(120) - 100) * TICK;
    }
}

/* ---- the thief --------------------------------------------------------------
 */

/* One that some host saw and nobody is about to forget. */
static void
steal(void)
{
    struct err e = {0};
    size_t i = sim.n_refs ? chance(sim.n_refs) : 0;

    if (stolen || i >= sim.n_refs || i >= MAX_KNOWN || !is_good(&sim.refs[i]) ||
        sim.refs[i].retired_ns)
        return;
    if (true_remove(&sim.truth, sim.refs[i].name, &e) == -1)
        return;
    sim.refs[i].gone = true;
    stolen = i + 1;
    stolen_ns = sim_clock.now_ns;
    counts_of.thefts++;
}

/* ---- schedules ----------------------------------------------------------- */

static void
begin(uint64_t seed)
{
    (void)snprintf(cache, sizeof(cache), "/tmp/vmkeep-missed-XXXXXX");
    assert_non_null(mkdtemp(cache));
    memset(watchers, 0, sizeof(watchers));
    stolen = 0;
    sim_start(seed);
    for (unsigned i = 0; i < CAST; i++)
        actor_start(&sim.actors[i], i < WRITERS        ? be_writer
                                    : i == WRITERS     ? be_retention
                                    : i == WRITERS + 1 ? be_gc
                                                       : be_watcher);
}

/* Is it as it must be? */
static bool
run_schedule(uint64_t seed)
{
    static const int64_t stalls[] = {2,          5,         LEASE,    GRACE,
                                     GRACE + 30, 2 * GRACE, 3 * GRACE};
    bool thievish = seed % 2;

    begin(seed);
    for (int step = 0; step < STEPS && !sim.violation[0]; step++) {
        struct actor *a = &sim.actors[chance(CAST)];
        if (thievish && step > STEPS / 4 && chance(50) == 0)
            steal();
        if (a->stalled_until_ns > sim_clock.now_ns) {
            sim_clock.now_ns += (int64_t)chance(2) * TICK;
            continue;
        }
        run_actor(a);
        if (chance(200) == 0 && a->stalled_until_ns < sim_clock.now_ns)
            a->stalled_until_ns =
                sim_clock.now_ns + stalls[chance(ARRAY_LEN(stalls))] * TICK;
        sim_clock.now_ns += (chance(5) == 0) * TICK + 1;
    }
    for (size_t i = 0; i < sim.n_refs; i++)
        counts_of.gone += sim.refs[i].gone;
    bool good = !sim.violation[0];
    if (!good)
        print_message("# seed %llu: %s\n", (unsigned long long)seed,
                      sim.violation);
    sim_end();
    folder_remove(cache);
    return good;
}

static void
what_is_missed_was_stolen(void **state)
{
    uint64_t n = from_environment("VMKEEP_MISSED_SCHEDULES", SCHEDULES);
    uint64_t first = seed_from("VMKEEP_MISSED_SEED");
    unsigned bad = 0;

    (void)state;
    for (uint64_t i = 0; i < n; i++)
        bad += !run_schedule(first + i);
    print_message("# %llu schedules from seed %llu, %u bad: %llu looks, "
                  "%llu refs gone, %llu of them stolen, missed %llu times\n",
                  (unsigned long long)n, (unsigned long long)first, bad,
                  (unsigned long long)counts_of.looks,
                  (unsigned long long)counts_of.gone,
                  (unsigned long long)counts_of.thefts,
                  (unsigned long long)counts_of.missed);
    assert_int_equal(bad, 0);
    assert_true(counts_of.gone > counts_of.thefts && counts_of.missed > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missed_was_stolen),
    };

    return cmocka_run_group_tests(tests, learn, forget);
}
