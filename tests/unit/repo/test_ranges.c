/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ranges.h"

#include <pthread.h>

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

static void
a_range_is_read_once(void **state)
{
    struct made *m = *state;
    struct location at = m->at;

    assert_false(ranges_has(m->ranges, &at));
    assert_ok(get(m, 1000, 500, 9000, e));
    assert_true(ranges_has(m->ranges, &at));
    assert_int_equal(store_fault_count(m->st), 1);
    assert_ok(get(m, 500, 500, 600, e));
    assert_ok(get(m, 8900, 8900, 9000, e));
    assert_int_equal(store_fault_count(m->st), 1);
    assert_ok(get(m, 8901, 8901, 9001, e)); /* one byte is not in it */
    assert_int_equal(store_fault_count(m->st), 2);
    at.pack[0] ^= 1;
    assert_false(ranges_has(m->ranges, &at));
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
    assert_true(ranges_has(m->ranges, &m->at));
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

static void *
get_much(void *arg)
{
    struct made *m = arg;
    uint64_t x = (uint64_t)(uintptr_t)&x | 1;

    for (int i = 0; i < 2000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t offset = (uint32_t)(x >> 20) % (PACK_LEN - 100);
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
        TEST(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
