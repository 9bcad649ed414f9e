/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ahead.h"

#include "fixture.h"
#include "hold.h"
#include "repo/ranges.h"
#include "store/store_fault.h"

#define SIZE (UINT64_C(20) * VOLUME_SLOT_BYTES)
#define SMALL (UINT64_C(5) * VOLUME_SLOT_BYTES)

/* Some of the slots have data, of which none compresses: so much. */
static uint32_t data_bytes = VOLUME_SLOT_BYTES;

static bool
has_data(uint64_t slot)
{
    return slot % 3 != 1;
}

static void
fill_slot(uint64_t slot, uint8_t *p)
{
    fill_random(p, data_bytes, (unsigned)slot + 1);
}

static void
write_some(struct fixture *f, uint64_t size, struct volume_root *out)
{
    struct backup_writer *b = NULL;
    struct volume_writer *v = NULL;
    struct manifest *m = manifest_new();

    assert_ok(
        backup_begin(f->r, &(struct backup_options){0}, f->cancel, &b, e));
    assert_ok(volume_begin(b, "disk/a", size, &v, e));
    for (uint64_t i = 0; i * VOLUME_SLOT_BYTES < size; i++) {
        struct slot *s = NULL;
        if (!has_data(i))
            continue;
        assert_ok(volume_slot(v, i, &s, e));
        fill_slot(i, s->data);
        slot_mark(s, 0, data_bytes);
        volume_submit(v, s);
    }
    assert_ok(volume_end(&v, out, e));
    manifest_add_volume(m, "disk/a", out);
    assert_ok(backup_commit(&b, m, e));
    manifest_free(m);
}

/* Reads all of it, and sees that it is right and in order. */
static int
read_all(struct repo *r, const struct volume_root *root, uint64_t *out_n,
         struct err *e)
{
    CLEANUP(volume_closep) struct volume_reader *reader = NULL;
    uint8_t *want = xcalloc(1, VOLUME_SLOT_BYTES);
    struct ahead_slot s;
    int rc = 0;

    if (volume_open(r, root, &reader, e) == -1)
        return -1;
    CLEANUP(ahead_freep) struct ahead *a = ahead_new(reader);
    *out_n = 0;
    for (uint64_t at = 0; (rc = ahead_next(a, &s, e)) == 1; at++) {
        while (!has_data(at))
            at++;
        assert_int_equal(s.index, at);
        fill_slot(at, want);
        assert_memory_equal(s.data, want, VOLUME_SLOT_BYTES);
        assert_true(s.marked[0] & 1);
        ++*out_n;
    }
    if (rc == 0)
        assert_int_equal(ahead_next(a, &s, e), 0); /* and stays at the end */
    free(want);
    return rc;
}

static void
all_slots_come_in_order(void **state)
{
    struct fixture *f = *state;
    struct volume_root root, empty = {.size_bytes = SIZE, .levels = 1};
    uint64_t n = 0;

    write_some(f, SIZE, &root);
    empty.levels = root.levels;
    fixture_reopen(f);
    assert_ok(read_all(f->r, &root, &n, e));
    assert_int_equal(n, 13);
    assert_ok(read_all(f->r, &empty, &n, e));
    assert_int_equal(n, 0);
}

static void
one_slot_is_enough(void **state)
{
    struct fixture *f = *state;
    struct volume_root root;
    uint64_t n = 0;

    write_some(f, VOLUME_SLOT_BYTES, &root);
    assert_ok(read_all(f->r, &root, &n, e));
    assert_int_equal(n, 1);
}

static void
many_reads_are_under_way(void **state)
{
    struct fixture *f = *state;
    struct hold *h = hold_new(f->st);
    struct repo *r = NULL;
    struct volume_root root;
    uint64_t n = 0;

    write_some(f, SIZE, &root);
    assert_ok(repo_open(&h->base, PASSWORD, &r, e));
    hold_reads(h, 6);
    assert_ok(read_all(r, &root, &n, e));
    assert_int_equal(n, 13);
    assert_true(h->most >= 6);
    /* And none twice: 13 slots, leaves and what is between them. */
    assert_true(h->bytes < 13 * (uint64_t)VOLUME_SLOT_BYTES * 102 / 100);
    repo_close(r);
    store_close(&h->base);
}

/* More than have a seat, where they are small. */
static void
those_behind_are_read_too(void **state)
{
    struct fixture *f = *state;
    struct hold *h = hold_new(f->st);
    struct repo *r = NULL;
    struct volume_root root;
    uint64_t n = 0;

    data_bytes = 16 << 10; /* one read each */
    write_some(f, SIZE, &root);
    assert_ok(repo_open(&h->base, PASSWORD, &r, e));
    hold_reads(h, AHEAD_SLOTS + 3);
    assert_ok(read_all(r, &root, &n, e));
    assert_int_equal(n, 13);
    assert_true(h->most >= AHEAD_SLOTS + 3);
    assert_true(h->bytes < 13 * (uint64_t)data_bytes * 102 / 100);
    data_bytes = VOLUME_SLOT_BYTES;
    repo_close(r);
    store_close(&h->base);
}

static void
a_failure_is_told_in_its_turn(void **state)
{
    struct fixture *f = *state;
    struct store *faulty = store_fault_new(f->st);
    struct repo *r = NULL;
    struct volume_root root;
    unsigned failed = 0;

    write_some(f, SMALL, &root);
    /* Each operation in turn, those of opening included. */
    for (uint64_t at = 1;; at++) {
        struct err e = {0};
        uint64_t n = 0;
        store_fault_set(faulty, &(struct store_fault){.at = at});
        if (repo_open(faulty, PASSWORD, &r, &e) == 0) {
            int rc = read_all(r, &root, &n, &e);
            assert_true(rc == 0 ? n == 3 : n < 3 && e.code == ERR_STORE);
            repo_close(r);
            if (rc == 0 && store_fault_hits(faulty) == 0)
                break;
            failed += rc == -1; /* or it was read for nothing */
        }
    }
    assert_true(failed > 3);
    store_close(faulty);
}

static void
it_may_be_left_early(void **state)
{
    struct fixture *f = *state;
    struct volume_reader *reader = NULL;
    struct volume_root root;
    struct ahead_slot s;

    write_some(f, SIZE, &root);
    for (int taken = 0; taken < 3; taken++) {
        assert_ok(volume_open(f->r, &root, &reader, e));
        struct ahead *a = ahead_new(reader);
        for (int i = 0; i < taken; i++) {
            struct err e = {0};
            assert_int_equal(ahead_next(a, &s, &e), 1);
        }
        ahead_free(a);
        volume_close(reader);
    }
    ahead_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(all_slots_come_in_order),
        FIXTURE_TEST(one_slot_is_enough),
        FIXTURE_TEST(many_reads_are_under_way),
        FIXTURE_TEST(those_behind_are_read_too),
        FIXTURE_TEST(a_failure_is_told_in_its_turn),
        FIXTURE_TEST(it_may_be_left_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
