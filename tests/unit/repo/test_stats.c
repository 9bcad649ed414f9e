/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/stats.h"

#include "crypto/hash.h"
#include "fixture.h"

struct rows {
    struct stats of[3];
    char names[3][20];
    size_t n;
};

static int
add(void *cookie, const char *machine, const struct stats *s, struct err *e)
{
    struct rows *r = cookie;

    (void)e;
    assert_true(r->n < 3);
    (void)strncpy(r->names[r->n], machine, sizeof(r->names[0]) - 1);
    r->of[r->n++] = *s;
    return 0;
}

/* web: 256 KiB twice the same, then with 64 KiB changed; db: the last 128 KiB
 * of it, and nothing else. */
static void
make_backups(struct fixture *f)
{
    CLEANUP(freep) uint8_t *p = xcalloc(1, 12 * MIB);

    fill_random(p + 8 * MIB, 256 * KIB, 1);
    assert_ok(write_backup(f->r, f->cancel, "web", 1, p, 12 * MIB, NULL, e));
    assert_ok(write_backup(f->r, f->cancel, "web", 2, p, 12 * MIB, NULL, e));
    assert_ok(write_backup(f->r, f->cancel, "db", 3, p + 8 * MIB + 128 * KIB,
                           1 * MIB, NULL, e));
    fill_random(p + 8 * MIB, 64 * KIB, 2);
    assert_ok(write_backup(f->r, f->cancel, "web", 4, p, 12 * MIB, NULL, e));
}

static void
sums_are_right(void **state)
{
    struct fixture *f = *state;
    struct rows r = {0};
    struct stats all = {0};
    const struct stats_options o = {.machine = add, .cookie = &r};

    make_backups(f);
    assert_ok(stats_repo(f->r, &o, f->cancel, &all, e));
    assert_int_equal(r.n, 2);
    assert_string_equal(r.names[0], "db");
    assert_int_equal(r.of[0].backups, 1);
    assert_int_equal(r.of[0].logical_bytes, MIB);
    assert_int_equal(r.of[0].data_bytes, 128 * KIB);
    assert_int_equal(r.of[0].unique_bytes, 128 * KIB);
    assert_int_equal(r.of[1].backups, 3);
    assert_int_equal(r.of[1].logical_bytes, 36 * MIB);
    assert_int_equal(r.of[1].data_bytes, 3 * 256 * KIB);
    /* A leaf that begins in what changed may end in what did not. */
    assert_true(r.of[1].unique_bytes >= 320 * KIB &&
                r.of[1].unique_bytes <= 512 * KIB);
    assert_true(r.of[1].objects >= 3);
    assert_int_equal(all.backups, 4);
    assert_int_equal(all.data_bytes, 7 * 128 * KIB);
    assert_true(all.unique_bytes >= r.of[1].unique_bytes &&
                all.unique_bytes <=
                    r.of[0].unique_bytes + r.of[1].unique_bytes);
    assert_true(all.objects >= r.of[1].objects &&
                all.objects <= r.of[0].objects + r.of[1].objects);
    assert_true(all.stored_bytes >= r.of[1].stored_bytes);
    assert_true(all.stored_bytes > 100 * KIB && all.stored_bytes < 512 * KIB);
    assert_false(all.is_estimate);
}

static void
one_machine(void **state)
{
    struct fixture *f = *state;
    static const char *const db[] = {"db"}, *const none[] = {"db", "mail"};
    struct rows r = {0};
    struct stats all = {0};
    struct stats_options o = {
        .machines = db, .n_machines = 1, .machine = add, .cookie = &r};

    make_backups(f);
    assert_ok(stats_repo(f->r, &o, f->cancel, &all, e));
    assert_int_equal(r.n, 1);
    assert_int_equal(all.data_bytes, 128 * KIB);
    o.machines = none;
    o.n_machines = 2;
    assert_fails(stats_repo(f->r, &o, f->cancel, &all, e), ERR_NOENT, "mail");
}

static void
nothing_is_nothing(void **state)
{
    struct fixture *f = *state;
    struct stats all = {0};
    const struct stats_options o = {0};

    assert_ok(stats_repo(f->r, &o, f->cancel, &all, e));
    assert_int_equal(all.backups + all.data_bytes + all.stored_bytes, 0);
}

/* Many ids: the estimate is near, and memory bounded. */
static void
many_are_sampled(void **state)
{
    const uint64_t n = 3 * (uint64_t)STATS_EXACT_OBJECTS;
    struct tally t = tally_new();
    uint8_t id[HASH_BYTES];

    (void)state;
    for (int twice = 0; twice < 2; twice++)
        for (uint64_t i = 0; i < n; i += 1 + (uint64_t)twice * 7) {
            uint8_t number[8];
            put_le64(number, i);
            hash_sha256(number, sizeof(number), id);
            bool wanted = tally_wants(&t, id);
            uint64_t had = t.objects;
            tally_add(&t, id, 4096, 1000 + i % 2);
            assert_true(wanted ? !tally_wants(&t, id) : t.objects == had);
        }
    assert_true(t.skip_bits == 2 || t.skip_bits == 1);
    assert_true(t.objects <= STATS_EXACT_OBJECTS);
    uint64_t estimate = t.objects << t.skip_bits;
    assert_true(estimate > n - n / 100 && estimate < n + n / 100);
    assert_int_equal(t.plain_bytes, 4096 * t.objects);
    tally_done(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(sums_are_right),
        FIXTURE_TEST(one_machine),
        FIXTURE_TEST(nothing_is_nothing),
        FIXTURE_TEST(many_are_sampled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
