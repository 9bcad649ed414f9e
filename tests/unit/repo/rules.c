/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each rule of the protocol is for (repo/rules.h): a schedule in the
 * world of sim.h that loses data without the rule and does not with it.  What
 * chance needs a million schedules for is told here step by step; protocol.c
 * is chance.
 *
 * In the stories a chunk is what backups need, and P, Q are packs with it.
 */
#include "sim.h"

/* ---- directing ---------------------------------------------------------- */

static void
pass(int64_t seconds)
{
    sim_clock.now_ns += seconds * TICK;
}

/* Until it is about to do that; false if it has come to its end instead. */
static bool
run_to(struct actor *a, enum sim_op op, const char *prefix)
{
    do {
        if (a->ended)
            return false;
        run_actor(a);
        sim_clock.now_ns++;
    } while (a->ended || a->about != op ||
             strncmp(a->about_name, prefix, strlen(prefix)) != 0);
    return true;
}

static void
run_out(struct actor *a)
{
    bool tell =
        getenv("VMKEEP_PROTOCOL_TRACE") != NULL; /* NOLINT(concurrency-*) */

    while (!a->ended) {
        run_actor(a);
        sim_clock.now_ns++;
    }
    if (tell)
        print_message("%td: %s\n", a - sim.actors,
                      a->rc == -1 ? a->err.msg : "done");
}

static void
task_backup(struct actor *me)
{
    unsigned inherited = 0;

    if (!me->repo && open_repo(&me->base, &me->repo, &me->err) == -1) {
        me->rc = -1;
        return;
    }
    for (size_t i = 0; me->take_over && i < sim.n_refs; i++)
        if (strcmp(sim.refs[i].id, me->take_over) == 0)
            inherited = sim.refs[i].a;
    me->rc = back_up(me, me->repo, me->set, me->take_over, inherited, &me->err);
}

static void
task_prune(struct actor *me)
{
    struct repo *r = NULL;

    me->rc = open_repo(&me->base, &r, &me->err);
    if (me->rc == 0)
        me->rc = prune(r, 0, &me->result, &me->err);
    repo_close(r);
}

static struct actor *
begin(unsigned number, void (*task)(struct actor *))
{
    struct actor *a = &sim.actors[number];

    a->err = (struct err){0};
    a->result = (struct prune_result){0};
    actor_start(a, task);
    return a;
}

/* A backup of the chunks in `set`. */
static struct actor *
begin_backup(unsigned number, unsigned set)
{
    struct actor *a = begin(number, task_backup);

    a->set = set;
    a->take_over = NULL;
    return a;
}

static size_t
whole_backup(unsigned number, unsigned set)
{
    struct actor *a = begin_backup(number, set);

    run_out(a);
    if (a->rc == -1)
        fail_msg("%s", a->err.msg);
    return sim.n_refs - 1;
}

static struct actor *
begin_prune(unsigned number)
{
    return begin(number, task_prune);
}

static struct prune_result
whole_prune(unsigned number)
{
    struct actor *a = begin_prune(number);

    run_out(a);
    if (a->rc == -1)
        fail_msg("%s", a->err.msg);
    return a->result;
}

static void
retire_now(size_t ref)
{
    assert_ok(retire(&sim.actors[0], &sim.refs[ref], e));
}

enum {
    X = 1, /* chunks of the first slot */
    Y = 4,
    Z = 16,
    ELSE = 2, /* and one of the other */
    SHORT_GRACE = 20
};

/* A pack with X that no backup needs any more, and that nobody condemned. */
static void
leave_garbage(void)
{
    size_t old = whole_backup(0, X);

    retire_now(old);
    pass(GRACE + 1);
}

/* ---- the rules ---------------------------------------------------------- */

/* A host is suspended just before it puts its ref, until what it relies on has
 * been condemned and removed. */
static void
needs_lease(void)
{
    leave_garbage();
    struct actor *w = begin_backup(1, X);
    assert_true(run_to(w, OP_PUT, "refs/"));
    assert_true(whole_prune(2).condemned > 0);
    pass(GRACE + 1);
    assert_true(whole_prune(2).deleted > 0);
    run_out(w);
}

/* What it takes over from a base goes while it is suspended: the base is
 * retired.  Only the node on top stays, with others that are needed. */
static void
needs_base_check(void)
{
    size_t first = whole_backup(0, X), base = whole_backup(0, X | ELSE);
    (void)whole_backup(0, ELSE);
    retire_now(first);
    struct actor *w = begin_backup(1, Z);

    w->take_over = sim.refs[base].id;
    assert_true(run_to(w, OP_PUT, "packs/"));
    retire_now(base);
    pass(GRACE + 1);
    assert_true(whole_prune(2).condemned > 0);
    pass(GRACE + 1);
    assert_true(whole_prune(2).deleted > 0);
    run_out(w);
}

/* A backup is published upon P, just before P is condemned, and is retired
 * when P is about to be carried out. */
static void
needs_retire_grace(void)
{
    leave_garbage();
    struct actor *w = begin_backup(1, X);
    assert_true(run_to(w, OP_PUT, "refs/"));
    assert_true(whole_prune(2).condemned > 0);
    run_out(w);
    pass(GRACE - 1);
    retire_now(sim.n_refs - 1);
    pass(2);
    (void)whole_prune(2);
}

/*
 * P and Q have X each.  One run of maintenance condemns Q, as P has it; it
 * stands still before it says so.  What else they hold changes so that a
 * second run condemns P, as Q has it.  R1 and R2 are those runs; backup `kept`
 * needs X all the time.
 */
static struct actor *
condemn_both(bool both_now)
{
    struct actor *w1 = begin_backup(1, X | Y), *w2 = begin_backup(2, X | Z);
    assert_true(run_to(w1, OP_PUT, "packs/"));
    run_out(w2);
    size_t needs_q = sim.n_refs - 1;
    run_out(w1);
    size_t needs_p = sim.n_refs - 1;
    (void)whole_backup(3, X);
    pass(AGE);
    retire_now(needs_q);
    pass(20);
    retire_now(needs_p);
    pass(GRACE - 19);
    struct actor *r1 = begin_prune(4);
    assert_true(run_to(r1, OP_PUT, "cond/"));
    size_t again = whole_backup(3, X | Z); /* Q is the fuller one now */
    retire_now(again);
    pass(20);
    if (both_now) {
        struct actor *r2 = begin_prune(5);
        assert_true(run_to(r2, OP_PUT, "cond/"));
        run_out(r1);
        run_out(r2);
        return NULL;
    }
    assert_true(whole_prune(5).condemned > 0);
    return r1;
}

static void
needs_second_copy(void)
{
    (void)condemn_both(true);
    pass(GRACE + 1);
    (void)whole_prune(6);
}

/*
 * Maintenance decides that P can go, as Q has the same, and stands still before
 * it removes it.  Then Q is condemned too, so P is pardoned by another run;
 * were P as good as new after that, a third would remove Q.
 */
static void
needs_relist(void)
{
    struct actor *r1 = condemn_both(false);
    pass(GRACE + 1);
    struct actor *slow = begin_prune(6);
    assert_true(run_to(slow, OP_REMOVE, "packs/d/"));
    run_out(r1); /* says only now that Q is condemned */
    assert_true(whole_prune(5).pardoned > 0);
    pass(GRACE + 1);
    struct actor *stuck = begin_prune(7);
    assert_true(run_to(stuck, OP_PUT, "cond/"));
    pass(1);
    (void)whole_prune(5);
    run_out(slow);
}

/*
 * A backup relies on P, and is retired when P's list is due.  One run of
 * maintenance sees it as a root and pardons P, a later one doesn't and is about
 * to remove it.  Another backup must still see that P is condemned.
 */
static void
needs_tombstone(void)
{
    leave_garbage();
    struct actor *w = begin_backup(1, X);
    assert_true(run_to(w, OP_PUT, "refs/"));
    assert_true(whole_prune(2).condemned > 0);
    run_out(w);
    pass(3);
    retire_now(sim.n_refs - 1);
    pass(GRACE - 2);
    struct actor *early = begin_prune(4), *late = begin_prune(5);
    assert_true(run_to(early, OP_LIST, "refs/"));
    pass(4);
    assert_true(run_to(late, OP_REMOVE, "packs/"));
    assert_true(run_to(early, OP_PUT, "cond/"));
    (void)whole_backup(1, X);
    run_out(late);
}

/* The index is in memory since long ago: it names P, which is gone, and so is
 * the list that said so. */
static void
needs_there(void)
{
    leave_garbage();
    assert_true(whole_prune(2).condemned > 0);
    for (int i = 0; i < 3; i++) {
        pass(GRACE + 1);
        (void)whole_prune(2);
    }
    run_out(begin_backup(0, X));
}

/*
 * P is condemned, and Q too, by one that did not see the other's list.  A run
 * that knows of P's alone is about to remove P, for a long time.  Another looks
 * at what there is, P included; then P goes, and in time the list that named
 * it.  If that run looks only now at what is condemned, P is a copy to it.
 */
static void
needs_order(void)
{
    struct actor *r1 = condemn_both(false);
    pass(GRACE + 1);
    struct actor *slow = begin_prune(6);
    assert_true(run_to(slow, OP_REMOVE, "packs/d/"));
    pass(VISIBILITY + 1);
    run_out(r1);
    pass(GRACE + 1);
    struct actor *torn = begin_prune(7);
    assert_true(run_to(torn, OP_LIST, "cond/"));
    run_out(slow);
    pass(GRACE + 1);
    struct actor *stuck = begin_prune(5);
    assert_true(run_to(stuck, OP_PUT, "cond/"));
    run_out(torn);
}

/* Without any suspension: what a backup relies on goes while it is under way,
 * if the grace is shorter than the lease. */
static void
needs_grace(void)
{
    leave_garbage();
    struct actor *w = begin_backup(1, X);
    assert_true(run_to(w, OP_PUT, "refs/"));
    assert_true(whole_prune(2).condemned > 0);
    pass(SHORT_GRACE + 1);
    (void)whole_prune(2);
    run_out(w);
}

static bool names_repeat;

/* A backup whose packs have the same names as others with the same content, if
 * names can repeat. */
static void
back_up_again(unsigned number)
{
    struct actor *w = begin_backup(number, X);

    assert_true(run_to(w, OP_LIST, "index/d/"));
    rand_is_stuck = names_repeat;
    assert_true(run_to(w, OP_PUT, "packs/"));
    assert_true(run_to(w, OP_PUT, "packs/"));
    rand_is_stuck = false;
    run_out(w);
    assert_int_equal(w->rc, 0);
}

/* Maintenance is about to remove P, for a long time.  Others do it, and forget
 * it; then a backup stores the same again. */
static void
needs_names(void)
{
    back_up_again(0);
    retire_now(sim.n_refs - 1);
    pass(GRACE + 1);
    assert_true(whole_prune(2).condemned > 0);
    pass(GRACE + 1);
    struct actor *slow = begin_prune(3);
    assert_true(run_to(slow, OP_REMOVE, "packs/d/"));
    assert_true(whole_prune(2).deleted > 0);
    for (int i = 0; i < 2; i++) {
        pass(GRACE + 1);
        (void)whole_prune(2);
    }
    back_up_again(1);
    run_out(slow);
}

/* ---- each with and without ----------------------------------------------- */

static const struct {
    const char *what;
    void (*play)(void);
    struct protocol_rules off;
    uint32_t grace;    /* instead of GRACE, or 0 */
    bool names_repeat; /* a pack's name says only what is in it */
} stories[] = {
    {"lease", needs_lease, .off = {.lease = true}},
    {"order", needs_order, .off = {.order = true}},
    {"retire_grace", needs_retire_grace, .off = {.retire_grace = true}},
    {"second_copy", needs_second_copy, .off = {.second_copy = true}},
    {"tombstone", needs_tombstone, .off = {.tombstone = true}},
    {"relist", needs_relist, .off = {.relist = true}},
    {"base_check", needs_base_check, .off = {.base_check = true}},
    {"there", needs_there, .off = {.there = true}},
    {"a grace longer than the lease", needs_grace, .grace = SHORT_GRACE},
    {"names that never repeat", needs_names, .names_repeat = true},
};

static bool
loses(size_t story, bool without)
{
    const bool *off = (const bool *)&stories[story].off;
    bool *rules = (bool *)&protocol_rules;

    protocol_rules = all_rules;
    for (size_t i = 0; without && i < sizeof(protocol_rules); i++)
        rules[i] = !off[i];
    sim_grace = without && stories[story].grace ? stories[story].grace : GRACE;
    names_repeat = without && stories[story].names_repeat;
    sim_start(story + 1);
    sim.directed = sim.at_once = true;
    stories[story].play();
    if (!sim.violation[0] && !without)
        sim_read_all();
    bool lost = sim.violation[0] != '\0';
    print_message("%s %s: %s\n", without ? "without" : "with",
                  stories[story].what,
                  lost ? sim.violation : "nothing is lost");
    sim_end();
    return lost;
}

static void
each_rule_has_a_story(void **state)
{
    bool told[sizeof(struct protocol_rules)] = {false};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stories); i++)
        for (size_t k = 0; k < sizeof(told); k++)
            told[k] |= ((const bool *)&stories[i].off)[k];
    for (size_t k = 0; k < sizeof(told); k++)
        assert_true(told[k]);
}

static void
each_rule_is_needed(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(stories); i++) {
        wrong += loses(i, false);
        wrong += !loses(i, true);
    }
    assert_int_equal(wrong, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_has_a_story),
        cmocka_unit_test(each_rule_is_needed),
    };

    return cmocka_run_group_tests(tests, learn, forget);
}
