/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ranges.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "hold.h"
#include "packs.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

enum { PACK_LEN = 100000 };

struct made {
    struct store *mem, *st; /* st counts */
    struct ranges *ranges;
    struct location at; /* of an object of 100 bytes in the pack */
    uint8_t bytes[PACK_LEN];
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));
    char name[NAME_MAX_LEN];

    m->mem = store_mem_new(NULL);
    m->st = store_fault_new(m->mem);
    m->ranges = ranges_new(m->st, 50000);
    fill_random(m->bytes, PACK_LEN, 4);
    m->at = (struct location){
        .pack = {7}, .pack_bytes = PACK_LEN, .offset = 1000, .len = 100};
    name_pack(m->at.kind, m->at.pack, name);
    assert_ok(store_put(m->mem, name, m->bytes, PACK_LEN, e));
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    ranges_free(m->ranges);
    store_close(m->st);
    store_close(m->mem);
    free(m);
    return 0;
}

/* Get the object at `offset`, reading [from, to) if it must, and put it. */
static int
get(struct made *m, uint32_t offset, uint32_t from, uint32_t to, struct err *e)
{
    struct location at = m->at;
    const uint8_t *p = NULL;
    struct range *r = NULL;

    at.offset = offset;
    if (ranges_get(m->ranges, &at, from, to - from, &r, &p, e) == -1)
        return -1;
    assert_memory_equal(p, m->bytes + offset, at.len);
    ranges_put(m->ranges, r);
    return 0;
}

/* Is the object here, or about to be? */
static bool
has(struct made *m, const struct location *at)
{
    uint32_t offset = 0, len = 0;

    return !ranges_run(m->ranges, &at, 1, &offset, &len);
}

static void
a_range_is_read_once(void **state)
{
    struct made *m = *state;
    struct location at = m->at;

    assert_false(has(m, &at));
    assert_ok(get(m, 1000, 500, 9000, e));
    assert_true(has(m, &at));
    assert_int_equal(store_fault_count(m->st), 1);
    assert_ok(get(m, 500, 500, 600, e));
    assert_ok(get(m, 8900, 8900, 9000, e));
    assert_int_equal(store_fault_count(m->st), 1);
    assert_ok(get(m, 8901, 8901, 9001, e)); /* one byte is not in it */
    assert_int_equal(store_fault_count(m->st), 2);
    at.pack[0] ^= 1;
    assert_false(has(m, &at));
}

static void
the_oldest_goes_first(void **state)
{
    struct made *m = *state;

    assert_ok(get(m, 0, 0, 20000, e));
    assert_ok(get(m, 20000, 20000, 40000, e));
    assert_ok(get(m, 0, 0, 20000, e)); /* used again */
    assert_ok(get(m, 40000, 40000, 60000, e));
    assert_int_equal(store_fault_count(m->st), 3);
    assert_ok(get(m, 0, 0, 20000, e));
    assert_int_equal(store_fault_count(m->st), 3);
    assert_ok(get(m, 20000, 20000, 40000, e)); /* gone */
    assert_int_equal(store_fault_count(m->st), 4);
}

static void
what_is_cleared_is_read_again(void **state)
{
    struct made *m = *state;
    const uint8_t *p = NULL;
    struct range *r = NULL;

    ranges_clear(m->ranges); /* of nothing */
    assert_ok(get(m, 20000, 20000, 30000, e));
    assert_ok(ranges_get(m->ranges, &m->at, 0, 10000, &r, &p, e));
    assert_ok(get(m, 40000, 40000, 50000, e));
    assert_int_equal(store_fault_count(m->st), 3);
    ranges_clear(m->ranges);
    assert_memory_equal(p, m->bytes + 1000, 100); /* it was in use */
    assert_true(has(m, &m->at));
    ranges_put(m->ranges, r);
    assert_ok(get(m, 1000, 0, 10000, e));
    assert_int_equal(store_fault_count(m->st), 3);
    assert_ok(get(m, 20000, 20000, 30000, e));
    assert_ok(get(m, 40000, 40000, 50000, e));
    assert_int_equal(store_fault_count(m->st), 5);
}

static void
what_is_pinned_stays(void **state)
{
    struct made *m = *state;
    const uint8_t *p = NULL;
    struct range *r = NULL;

    assert_ok(ranges_get(m->ranges, &m->at, 0, 20000, &r, &p, e));
    for (uint32_t i = 1; i < 5; i++)
        assert_ok(get(m, i * 20000, i * 20000, i * 20000 + 20000, e));
    assert_memory_equal(p, m->bytes + 1000, 100);
    assert_ok(get(m, 1000, 0, 20000, e));
    assert_int_equal(store_fault_count(m->st), 5);
    ranges_put(m->ranges, r);
}

static void
one_larger_than_all_is_still_read(void **state)
{
    struct made *m = *state;

    assert_ok(get(m, 0, 0, PACK_LEN, e));
    assert_ok(get(m, 0, 0, PACK_LEN, e));
}

static void
failures_are_not_kept(void **state)
{
    struct made *m = *state;
    char name[NAME_MAX_LEN];

    /* Other bytes than may be left in memory from the tests before. */
    fill_random(m->bytes, PACK_LEN, 99);
    name_pack(m->at.kind, m->at.pack, name);
    (void)store_mem_replace(m->mem, name, m->bytes, PACK_LEN);

    store_fault_set(m->st, &(struct store_fault){.at = 1});
    assert_fails(get(m, 1000, 0, 20000, e), ERR_STORE, "");
    assert_ok(get(m, 1000, 0, 20000, e));
    assert_fails(get(m, PACK_LEN - 50, PACK_LEN - 50, PACK_LEN + 50, e),
                 ERR_CORRUPT, "");
    m->at.pack[0] ^= 1;
    assert_fails(get(m, 1000, 0, 20000, e), ERR_NOENT, "");
}

static void
dropped_bytes_are_read_again(void **state)
{
    struct made *m = *state;
    const uint8_t *p = NULL, *q = NULL;
    struct range *r = NULL, *s = NULL;

    assert_ok(ranges_get(m->ranges, &m->at, 0, 20000, &r, &p, e));
    assert_ok(ranges_get(m->ranges, &m->at, 0, 20000, &s, &q, e));
    assert_ptr_equal(p, q);
    ranges_drop(m->ranges, r);
    assert_memory_equal(q, m->bytes + 1000, 100); /* still pinned by another */
    assert_ok(get(m, 1000, 0, 20000, e));
    assert_int_equal(store_fault_count(m->st), 2);
    ranges_put(m->ranges, s);
}

/* `n` objects of 100 bytes, each `step` behind the one before. */
static void
place(struct made *m, struct location *at, const struct location **all,
      uint32_t n, uint32_t step)
{
    for (uint32_t i = 0; i < n; i++) {
        at[i] = m->at;
        at[i].offset = i * step;
        all[i] = &at[i];
    }
}

static void
what_is_wanted_is_read_in_runs(void **state)
{
    struct made *m = *state;
    const struct location *all[20];
    struct location at[20];
    uint32_t offset = 0, len = 0;

    place(m, at, all, 20, 2000);
    assert_ok(get(m, 10000, 10000, 10100, e)); /* one of them is here */
    assert_int_equal(store_fault_count(m->st), 1);
    ranges_want(m->ranges, all, 20, true);
    assert_false(ranges_run(m->ranges, all, 20, &offset, &len));
    for (int i = 0; i < 20; i++)
        assert_ok(get(m, at[i].offset, at[i].offset, at[i].offset + 100, e));
    assert_int_equal(store_fault_count(m->st), 3); /* before it and behind */
    /* A run ends where another pack begins. */
    at[3].pack[0] ^= 1;
    assert_true(ranges_run(m->ranges, all + 3, 1, &offset, &len));
    assert_int_equal(offset, 6000);
    assert_int_equal(len, 100);
    ranges_clear(m->ranges);
    assert_true(ranges_run(m->ranges, all, 20, &offset, &len));
    assert_int_equal(offset, 0);
    assert_int_equal(len, 4100);
}

static void
what_is_here_ends_a_run(void **state)
{
    struct made *m = *state;
    const struct location *all[4];
    struct location at[4];
    uint32_t offset = 0, len = 0;

    place(m, at, all, 4, 2000);
    assert_ok(get(m, 4000, 4000, 4100, e));
    assert_true(ranges_run(m->ranges, all, 4, &offset, &len));
    assert_int_equal(offset, 0);
    assert_int_equal(len, 2100);
    ranges_clear(m->ranges);
    assert_true(ranges_run(m->ranges, all, 4, &offset, &len));
    assert_int_equal(len, 6100);
}

static void
no_more_is_wanted_than_there_is_room_for(void **state)
{
    struct made *m = *state;
    const struct location *all[4];
    struct location at[4];

    /* Packs of their own, as these are too near for two runs. */
    for (uint32_t i = 0; i < 4; i++) {
        char name[NAME_MAX_LEN];
        at[i] = m->at;
        at[i].pack[1] = (uint8_t)i;
        at[i].offset = 0;
        at[i].len = 20000;
        all[i] = &at[i];
        name_pack(at[i].kind, at[i].pack, name);
        if (i > 0)
            assert_ok(store_put(m->mem, name, m->bytes, PACK_LEN, e));
    }
    ranges_want(m->ranges, all, 4, true); /* two fit into 50000 */
    assert_true(has(m, &at[0]) && has(m, &at[1]));
    assert_false(has(m, &at[2]) || has(m, &at[3]));
    /* What nobody has got yet does not go for what is wanted later. */
    ranges_want(m->ranges, all + 2, 2, true);
    assert_true(has(m, &at[0]) && has(m, &at[1]));
    for (uint32_t i = 0; i < 4; i++) {
        const uint8_t *p = NULL;
        struct range *r = NULL;
        assert_ok(ranges_get(m->ranges, &at[i], 0, 20000, &r, &p, e));
        assert_memory_equal(p, m->bytes, 20000);
        ranges_put(m->ranges, r);
    }
    assert_int_equal(store_fault_count(m->st), 4);
}

static void
many_are_read_at_a_time(void **state)
{
    struct made *m = *state;
    struct hold *h = hold_new(m->mem);
    struct ranges *ranges = ranges_new(&h->base, 10 * PACK_LEN);
    const struct location *all[RANGES_LOADERS];
    struct location at[RANGES_LOADERS];

    for (uint32_t i = 0; i < RANGES_LOADERS; i++) {
        char name[NAME_MAX_LEN];
        at[i] = m->at;
        at[i].pack[1] = (uint8_t)i;
        all[i] = &at[i];
        name_pack(at[i].kind, at[i].pack, name);
        if (i > 0)
            assert_ok(store_put(m->mem, name, m->bytes, PACK_LEN, e));
    }
    hold_reads(h, RANGES_LOADERS);
    ranges_want(ranges, all, RANGES_LOADERS, true);
    for (uint32_t i = 0; i < RANGES_LOADERS; i++) {
        const uint8_t *p = NULL;
        struct range *r = NULL;
        assert_ok(ranges_get(ranges, &at[i], 1000, 100, &r, &p, e));
        assert_memory_equal(p, m->bytes + 1000, 100);
        ranges_put(ranges, r);
    }
    assert_int_equal(h->most, RANGES_LOADERS);
    assert_int_equal(h->reads, RANGES_LOADERS);
    ranges_free(ranges);
    store_close(&h->base);
}

struct settler {
    struct ranges *ranges;
    struct hold *hold;
    unsigned left; /* under way when it was settled */
};

static void *
settle(void *arg)
{
    struct settler *s = arg;

    ranges_settle(s->ranges);
    s->left = hold_under_way(s->hold);
    return NULL;
}

static void
what_nobody_gets_any_more_is_settled(void **state)
{
    enum { N = RANGES_LOADERS + 4 };
    struct made *m = *state;
    struct hold *h = hold_new(m->mem);
    struct ranges *ranges = ranges_new(&h->base, 100 * PACK_LEN);
    struct settler s = {.ranges = ranges, .hold = h};
    const struct location *all[N];
    struct location at[N];
    uint32_t offset = 0, len = 0;
    pthread_t settler;

    for (uint32_t i = 0; i < N; i++) {
        at[i] = m->at; /* only the first is there */
        at[i].pack[1] = (uint8_t)i;
        all[i] = &at[i];
    }
    hold_reads(h, N); /* all loaders are not enough */
    ranges_want(ranges, all, N, false);
    hold_await(h, RANGES_LOADERS);
    assert_int_equal(pthread_create(&settler, NULL, settle, &s), 0);
    while (!ranges_run(ranges, &all[N - 1], 1, &offset, &len))
        (void)sched_yield(); /* the last is still wanted */
    (void)usleep(20000);     /* who does not wait has come back by now */
    hold_let_go(h);
    assert_int_equal(pthread_join(settler, NULL), 0);
    assert_int_equal(s.left, 0);
    assert_int_equal(h->reads, RANGES_LOADERS);
    ranges_free(ranges);
    assert_int_equal(h->reads, RANGES_LOADERS);
    store_close(&h->base);
}

static void
what_fails_ahead_is_told_once(void **state)
{
    struct made *m = *state;
    const struct location *all[2];
    struct location at[2];

    place(m, at, all, 2, 1000);
    at[0].pack[0] ^= 1; /* there is no such pack */
    at[1].pack[0] ^= 2;
    ranges_want(m->ranges, all, 2, true);
    for (int i = 0; i < 2; i++) {
        const uint8_t *p = NULL;
        struct range *r = NULL;
        assert_fails(
            ranges_get(m->ranges, &at[i], at[i].offset, 100, &r, &p, e),
            ERR_NOENT, "");
        assert_false(has(m, &at[i]));
    }
    assert_int_equal(store_fault_count(m->st), 2);
}

static void *
get_much(void *arg)
{
    struct made *m = arg;
    uint64_t x = (uint64_t)(uintptr_t)&x | 1;

    for (int i = 0; i < 2000; i++) {
        const struct location *all[8];
        struct location at[8];
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t offset = (uint32_t)(x >> 20) % (PACK_LEN - 100);
        if (i % 5 == 0) {
            place(m, at, all, 8, 11000);
            ranges_want(m->ranges, all + i / 5 % 8, 8 - i / 5 % 8, true);
        }
        uint32_t from = offset / 10000 * 10000;
        uint32_t to = from + 11000 < PACK_LEN ? from + 11000 : PACK_LEN;
        assert_ok(get(m, offset, from, to, e));
    }
    return NULL;
}

static void
threads_share_it(void **state)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_much, *state),
                         0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_range_is_read_once),
        TEST(the_oldest_goes_first),
        TEST(what_is_cleared_is_read_again),
        TEST(what_is_pinned_stays),
        TEST(one_larger_than_all_is_still_read),
        TEST(failures_are_not_kept),
        TEST(dropped_bytes_are_read_again),
        TEST(what_is_wanted_is_read_in_runs),
        TEST(what_is_here_ends_a_run),
        TEST(no_more_is_wanted_than_there_is_room_for),
        TEST(many_are_read_at_a_time),
        TEST(what_nobody_gets_any_more_is_settled),
        TEST(what_fails_ahead_is_told_once),
        TEST(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
