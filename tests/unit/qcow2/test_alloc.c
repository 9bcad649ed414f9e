/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/alloc.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

enum { RUNS_MAX = 4000, CLUSTERS_MAX = 1 << 20 };

/* What the file's own tables say about a cluster. */
static unsigned
refcount_in_file(const uint8_t *file, uint64_t cluster_bytes, uint64_t table,
                 uint64_t table_clusters, uint64_t cluster)
{
    uint64_t per = cluster_bytes / 2;

    assert_true(cluster / per < table_clusters * cluster_bytes / 8);
    uint64_t block = get_be64(file + table + cluster / per * 8);
    if (block == 0)
        return 0;
    return get_be16(file + block + cluster % per * 2);
}

/* Hand out random runs; then the refcount of each cluster of the file must be
 * what it was asked to be, and 1 for those of the allocator's own. */
static void
check_random_runs(uint32_t cluster_bits, unsigned n_runs, uint64_t run_max)
{
    uint64_t cluster_bytes = UINT64_C(1) << cluster_bits, table = 0;
    uint32_t table_clusters = 0;
    struct qcow2_alloc a;
    struct err e = {0};
    int fd = scratch_create("alloc");
    uint8_t *want = xcalloc(CLUSTERS_MAX, 1);

    want[0] = 1;
    qcow2_alloc_init(&a, fd, cluster_bits);
    for (unsigned i = 0; i < n_runs; i++) {
        uint64_t n = 1 + random_below(run_max), at = 0;
        uint8_t refcount = (uint8_t)(2 + random_below(3));
        assert_int_equal(qcow2_alloc_run(&a, n, refcount, &at, &e), 0);
        assert_int_equal(at % cluster_bytes, 0);
        at /= cluster_bytes;
        assert_true(at > 0 && at + n <= CLUSTERS_MAX);
        for (uint64_t k = 0; k < n; k++) {
            assert_int_equal(want[at + k], 0); /* handed out once */
            want[at + k] = refcount;
        }
    }
    assert_int_equal(qcow2_alloc_finish(&a, &table, &table_clusters, &e), 0);
    uint64_t bytes = qcow2_alloc_bytes(&a);
    qcow2_alloc_done(&a);

    uint8_t *file = xmalloc(bytes);
    assert_int_equal(scratch_read("alloc", file, bytes), bytes);
    for (uint64_t k = 0; k < bytes / cluster_bytes; k++) {
        unsigned is =
            refcount_in_file(file, cluster_bytes, table, table_clusters, k);
        if (is != (want[k] ? want[k] : 1))
            fail_msg("cluster %llu: refcount %u, not %u", (unsigned long long)k,
                     is, want[k]);
    }
    /* What lies behind the end must be free. */
    for (uint64_t k = bytes / cluster_bytes; k % (cluster_bytes / 2) != 0; k++)
        assert_int_equal(
            refcount_in_file(file, cluster_bytes, table, table_clusters, k), 0);
    free(file);
    free(want);
    (void)close(fd);
}

static void
test_refcounts(void **state)
{
    (void)state;
    check_random_runs(9, 1, 1);
    check_random_runs(9, 3000, 1);
    check_random_runs(9, 300, 1000); /* over several blocks at a time */
    check_random_runs(10, 200, 700);
    check_random_runs(12, 5, 5);
    check_random_runs(12, 20, 2000);
    check_random_runs(16, 3, 20);
}

/* Every way to end near the edge of a block, where the block of the table
 * itself is the question. */
static void
test_every_end(void **state)
{
    (void)state;
    for (uint64_t n = 500; n < 530; n++) {
        struct qcow2_alloc a;
        struct err e = {0};
        uint64_t at = 0, table = 0;
        uint32_t clusters = 0;
        uint8_t file[1024 * 512];
        int fd = scratch_create("alloc");

        qcow2_alloc_init(&a, fd, 9);
        assert_int_equal(qcow2_alloc_run(&a, n, 1, &at, &e), 0);
        assert_int_equal(qcow2_alloc_finish(&a, &table, &clusters, &e), 0);
        size_t len = scratch_read("alloc", file, sizeof(file));
        assert_int_equal(len, qcow2_alloc_bytes(&a));
        for (uint64_t k = 0; k < len / 512; k++)
            assert_int_equal(refcount_in_file(file, 512, table, clusters, k),
                             1);
        qcow2_alloc_done(&a);
        (void)close(fd);
    }
}

/* 8 MiB of table, 256 clusters of 512 bytes a block: 128 GiB. */
static void
test_limit(void **state)
{
    struct qcow2_alloc a;
    struct err e = {0};
    uint64_t at = 0;
    int fd = scratch_create("alloc");

    (void)state;
    qcow2_alloc_init(&a, fd, 9);
    assert_int_equal(qcow2_alloc_run(&a, UINT64_C(1) << 28, 1, &at, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    err_clear(&e);
    assert_int_equal(qcow2_alloc_run(&a, UINT64_MAX, 1, &at, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    err_clear(&e);
    assert_int_equal(at, 0);
    assert_int_equal(qcow2_alloc_bytes(&a), 1024); /* nothing was taken */
    assert_int_equal(qcow2_alloc_run(&a, 1, 1, &at, &e), 0);
    assert_int_equal(at, 1024);
    qcow2_alloc_done(&a);
    (void)close(fd);
}

static void
test_write_fails(void **state)
{
    struct qcow2_alloc a;
    struct err e = {0};
    uint64_t at = 0;
    uint32_t clusters = 0;
    (void)state;
    (void)close(scratch_create("alloc"));
    int fd = scratch_open("alloc", O_RDONLY);

    qcow2_alloc_init(&a, fd, 9);
    assert_int_equal(qcow2_alloc_run(&a, 10, 1, &at, &e), 0);
    assert_int_equal(qcow2_alloc_run(&a, 300, 1, &at, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    qcow2_alloc_done(&a);

    err_clear(&e);
    qcow2_alloc_init(&a, fd, 9);
    assert_int_equal(qcow2_alloc_finish(&a, &at, &clusters, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    qcow2_alloc_done(&a);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refcounts),
        cmocka_unit_test(test_every_end),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_write_fails),
    };

    return cmocka_run_group_tests_name("alloc", tests, scratch_setup,
                                       scratch_teardown);
}
