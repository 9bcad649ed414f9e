/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/l2cache.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "qcow2/alloc.h"

enum { TABLES = 3 * QCOW2_L2CACHE_SLOTS, CLUSTER_BITS = 9, ENTRIES = 64 };

/* Random writes to more tables than fit: each must keep what it was told, in
 * memory and, after a flush, in the file. */
static void
test_more_tables_than_slots(void **state)
{
    static uint64_t model[TABLES][ENTRIES];
    uint64_t place[TABLES] = {0};
    uint8_t *table = NULL, bytes[512];
    struct qcow2_alloc a;
    struct qcow2_l2cache c;
    struct err e = {0};
    int fd = scratch_create("l2");

    (void)state;
    memset(model, 0, sizeof(model));
    qcow2_alloc_init(&a, fd, CLUSTER_BITS);
    qcow2_l2cache_init(&c, fd, &a, 2);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t t = random_below(TABLES), k = random_below(ENTRIES);
        assert_int_equal(qcow2_l2cache_get(&c, &place[t], &table, &e), 0);
        assert_int_not_equal(place[t], 0);
        assert_true(get_be64(table + k * 8) == model[t][k]);
        model[t][k] = random_u64();
        put_be64(table + k * 8, model[t][k]);
    }
    assert_int_equal(c.n_slots, QCOW2_L2CACHE_SLOTS);
    assert_int_equal(qcow2_l2cache_flush(&c, &e), 0);
    for (unsigned t = 0; t < TABLES; t++) {
        assert_int_equal(pread(fd, bytes, 512, (off_t)place[t]), 512);
        for (unsigned k = 0; k < ENTRIES; k++)
            assert_true(get_be64(bytes + (size_t)k * 8) == model[t][k]);
    }
    qcow2_l2cache_done(&c);
    qcow2_alloc_done(&a);
    (void)close(fd);
}

/* The one that was used last stays; memory is bounded for large clusters. */
static void
test_least_recently_used_goes(void **state)
{
    uint64_t place[5] = {0};
    uint8_t *table = NULL;
    struct qcow2_alloc a;
    struct qcow2_l2cache c;
    struct err e = {0};
    int fd = scratch_create("l2");

    (void)state;
    qcow2_alloc_init(&a, fd, 21);
    qcow2_l2cache_init(&c, fd, &a, 1);
    assert_int_equal(c.max_slots, 4); /* 8 MiB */
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(qcow2_l2cache_get(&c, &place[i], &table, &e), 0);
    assert_int_equal(qcow2_l2cache_get(&c, &place[0], &table, &e), 0);
    assert_int_equal(qcow2_l2cache_get(&c, &place[4], &table, &e), 0);
    for (unsigned i = 0; i < 4; i++) /* number 1 went */
        assert_true(c.slots[i].host_offset != place[1]);
    assert_true(c.slots[0].host_offset == place[0]);
    qcow2_l2cache_done(&c);
    qcow2_alloc_done(&a);
    (void)close(fd);
}

static void
test_write_fails(void **state)
{
    uint64_t place = 0;
    uint8_t *table = NULL;
    struct qcow2_alloc a;
    struct qcow2_l2cache c;
    struct err e = {0};

    (void)state;
    (void)close(scratch_create("l2"));
    int fd = scratch_open("l2", O_RDONLY);
    qcow2_alloc_init(&a, fd, CLUSTER_BITS);
    qcow2_l2cache_init(&c, fd, &a, 1);
    assert_int_equal(qcow2_l2cache_get(&c, &place, &table, &e), 0);
    assert_int_equal(qcow2_l2cache_flush(&c, &e), -1);
    assert_int_equal(e.code, ERR_IO);

    /* A table that the file does not have is no table of zeros. */
    err_clear(&e);
    place = 1 << 20;
    assert_int_equal(qcow2_l2cache_get(&c, &place, &table, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    qcow2_l2cache_done(&c);
    qcow2_alloc_done(&a);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_tables_than_slots),
        cmocka_unit_test(test_least_recently_used_goes),
        cmocka_unit_test(test_write_fails),
    };

    return cmocka_run_group_tests_name("l2cache", tests, scratch_setup,
                                       scratch_teardown);
}
