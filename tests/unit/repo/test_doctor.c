/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/doctor.h"

#include "fixture.h"
#include "store/store_fault.h"

#define S INT64_C(1000000000)

static void
nothing_is_left(void **state)
{
    struct fixture *f = *state;
    struct doctor_result d = {0};
    struct usage before = usage_of(f->st, "");

    assert_ok(doctor_look(f->r, f->cancel, &d, e));
    assert_true(d.may_write && d.removed && d.keeps && d.is_exclusive &&
                d.is_listed);
    assert_true(d.ahead_ns < 10 * S && d.ahead_ns > -10 * S);
    assert_int_equal(d.writers, 0);
    assert_int_equal(d.traits.versioned, STORE_UNKNOWN);
    struct usage after = usage_of(f->st, "");
    assert_int_equal(after.objects, before.objects);
    assert_int_equal(after.bytes, before.bytes);
}

/* Whatever operation fails: an error, and the marker is taken away if that
 * works. */
static void
it_fails_where_backups_would(void **state)
{
    struct fixture *f = *state;
    struct usage before = usage_of(f->st, "");
    struct store *faulty = store_fault_new(f->st);
    struct doctor_result d = {0};
    struct repo *r = NULL;
    uint64_t at = 1;

    assert_ok(repo_open(faulty, PASSWORD, &r, e));
    for (int rc = -1; rc == -1; at++) {
        struct err e = {0};
        store_fault_set(faulty, &(struct store_fault){.at = at});
        rc = doctor_look(r, f->cancel, &d, &e);
        assert_true(rc == 0 || e.code == ERR_STORE);
        if (rc == -1)
            assert_int_equal(usage_of(f->st, "").objects, before.objects);
    }
    /* The last: it could not be removed, which is an answer. */
    assert_false(d.removed);
    assert_int_equal(d.refused.code, ERR_STORE);
    assert_int_equal(at - 1, 7);
    assert_int_equal(usage_of(f->st, "").objects, before.objects + 1);
    repo_close(r);
    store_close(faulty);
}

static void
a_canceled_one_takes_its_marker_away(void **state)
{
    struct fixture *f = *state;
    struct usage before = usage_of(f->st, "");
    struct doctor_result d = {0};

    cancel_raise(f->cancel);
    assert_fails(doctor_look(f->r, f->cancel, &d, e), ERR_CANCELED, "");
    assert_int_equal(usage_of(f->st, "").objects, before.objects);
}

static void
others_are_seen(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xcalloc(1, MIB);
    struct doctor_result d = {0};

    assert_ok(write_backup(f->r, f->cancel, "web", 1, p, MIB, NULL, e));
    assert_ok(doctor_look(f->r, f->cancel, &d, e));
    assert_int_equal(d.writers, 1);
    assert_true(d.markers > 0);
    assert_int_equal(d.last_writer_ns, 0); /* it was ourselves */
    assert_int_equal(d.maintained_ns, 0);
}

/* Without what it takes to write it only looks. */
static void
who_may_not_write_does_not_try(void **state)
{
    struct fixture *f = *state;
    struct doctor_result d = {0};

    f->r->keys.has &= ~(unsigned)KEY_WRITER;
    struct store *faulty = store_fault_new(f->st);
    struct store *own = f->r->store;
    f->r->store = faulty;
    store_fault_set(faulty, NULL);
    assert_ok(doctor_look(f->r, f->cancel, &d, e));
    f->r->store = own;
    assert_int_equal(store_fault_count(faulty), 1);
    assert_false(d.may_write || d.removed);
    store_close(faulty);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(nothing_is_left),
        FIXTURE_TEST(it_fails_where_backups_would),
        FIXTURE_TEST(a_canceled_one_takes_its_marker_away),
        FIXTURE_TEST(others_are_seen),
        FIXTURE_TEST(who_may_not_write_does_not_try),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
