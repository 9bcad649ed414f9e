/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/vmarea.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/alloc.h"

/* Byte for byte through the tables: what was added must be there. */
static void
check_area(const struct qcow2_vmarea *v, int fd, uint64_t cluster_bytes,
           const uint8_t *want, size_t len)
{
    uint8_t *table = xmalloc(cluster_bytes), *data = xmalloc(cluster_bytes);
    uint64_t per = cluster_bytes / 8;
    size_t clusters = div_up(len, cluster_bytes);

    assert_int_equal(v->bytes, len);
    assert_int_equal(v->n_tables, div_up(clusters, per));
    for (size_t k = 0; k < v->n_tables * per; k++) {
        if (k % per == 0)
            assert_int_equal(
                pread(fd, table, cluster_bytes, (off_t)v->tables[k / per]),
                (ssize_t)cluster_bytes);
        uint64_t entry = get_be64(table + k % per * 8);
        if (k >= clusters) {
            assert_int_equal(entry, 0);
            continue;
        }
        size_t part = u64_min(cluster_bytes, len - k * cluster_bytes);
        assert_int_equal(pread(fd, data, part, (off_t)entry), (ssize_t)part);
        assert_memory_equal(data, want + k * cluster_bytes, part);
    }
    free(table);
    free(data);
}

/* Any cutting of the stream gives the same area. */
static void
check_cutting(uint32_t cluster_bits, size_t len, size_t piece_max)
{
    struct qcow2_alloc a;
    struct qcow2_vmarea v;
    struct err e = {0};
    int fd = scratch_create("vm");
    uint8_t *want = xmalloc(len);

    random_fill(want, len);
    qcow2_alloc_init(&a, fd, cluster_bits);
    qcow2_vmarea_init(&v, fd, &a, 100000);
    for (size_t at = 0; at < len;) {
        size_t n = u64_min(len - at, random_below(piece_max + 1));
        assert_int_equal(qcow2_vmarea_add(&v, want + at, n, &e), 0);
        at += n;
    }
    assert_int_equal(qcow2_vmarea_finish(&v, &e), 0);
    check_area(&v, fd, UINT64_C(1) << cluster_bits, want, len);
    qcow2_vmarea_done(&v);
    qcow2_alloc_done(&a);
    free(want);
    (void)close(fd);
}

static void
test_any_cutting(void **state)
{
    static const size_t lens[] = {0,     1,      511,        512,
                                  32768, 262144, 262144 + 1, 3000000};
    static const size_t pieces[] = {700, 65536, 400000, 3000000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++)
        for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
            check_cutting(9, lens[i], pieces[k]);
            check_cutting(12, lens[i], pieces[k]);
            check_cutting(16, lens[i], pieces[k]);
        }
    check_cutting(12, 9000000, 9000000); /* over the end of a table */
    check_cutting(21, 5000000, 1000000);
}

/* Places that are filled in later, in the other order, give the same area. */
static void
check_places(uint32_t cluster_bits, size_t len, size_t piece)
{
    enum { PLACES_MAX = 20000 };
    static struct {
        uint64_t host;
        size_t at, len;
    } places[PLACES_MAX];
    struct qcow2_alloc a;
    struct qcow2_vmarea v;
    struct err e = {0};
    int fd = scratch_create("vm");
    uint8_t *want = xmalloc(len);
    size_t n = 0;

    random_fill(want, len);
    qcow2_alloc_init(&a, fd, cluster_bits);
    qcow2_vmarea_init(&v, fd, &a, 100000);
    for (size_t at = 0; at < len; at += places[n++].len) {
        assert_true(n < PLACES_MAX);
        places[n].at = at;
        assert_int_equal(qcow2_vmarea_place(&v, u64_min(piece, len - at),
                                            &places[n].host, &places[n].len,
                                            &e),
                         0);
        assert_in_range(places[n].len, 1, u64_min(piece, len - at));
    }
    while (n-- > 0)
        assert_int_equal(pwrite(fd, want + places[n].at, places[n].len,
                                (off_t)places[n].host),
                         (ssize_t)places[n].len);
    assert_int_equal(qcow2_vmarea_finish(&v, &e), 0);
    check_area(&v, fd, UINT64_C(1) << cluster_bits, want, len);
    qcow2_vmarea_done(&v);
    qcow2_alloc_done(&a);
    free(want);
    (void)close(fd);
}

static void
test_places(void **state)
{
    static const size_t lens[] = {1, 511, 512, 32768, 32769, 3000000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        check_places(9, lens[i], 512);
        check_places(9, lens[i], 1 << 20);
        check_places(16, lens[i], 65536);
        check_places(16, lens[i], 1 << 20);
    }
    check_places(12, 9000000, 1 << 22); /* over the end of a table */
}

/* After a part of a cluster there can be no more, and nothing is mixed. */
static void
test_places_misused(void **state)
{
    struct qcow2_alloc a;
    struct qcow2_vmarea v;
    uint64_t host = 77;
    size_t len = 77;
    (void)state;

    for (unsigned i = 0; i < 3; i++) {
        struct err e = {0};
        int fd = scratch_create("vm");
        qcow2_alloc_init(&a, fd, 9);
        qcow2_vmarea_init(&v, fd, &a, 10);
        if (i == 0)
            assert_int_equal(qcow2_vmarea_place(&v, 513, &host, &len, &e), 0);
        if (i == 1)
            assert_int_equal(qcow2_vmarea_add(&v, "x", 1, &e), 0);
        assert_int_equal(
            qcow2_vmarea_place(&v, i == 2 ? 0 : 512, &host, &len, &e), -1);
        assert_int_equal(e.code, ERR_USAGE);
        qcow2_vmarea_done(&v);
        qcow2_alloc_done(&a);
        (void)close(fd);
    }
}

/* 2 tables of 64 clusters of 512 bytes hold 64 KiB and not a byte more. */
static void
test_limit(void **state)
{
    static uint8_t p[65537];
    struct qcow2_alloc a;
    struct qcow2_vmarea v;
    struct err e = {0};

    (void)state;
    random_fill(p, sizeof(p));
    for (size_t len = 65536; len <= 65537; len++) {
        int fd = scratch_create("vm");
        qcow2_alloc_init(&a, fd, 9);
        qcow2_vmarea_init(&v, fd, &a, 2);
        assert_int_equal(qcow2_vmarea_add(&v, p, len, &e), 0);
        assert_int_equal(qcow2_vmarea_finish(&v, &e), len == 65536 ? 0 : -1);
        assert_int_equal(e.code, len == 65536 ? ERR_OK : ERR_LIMIT);
        qcow2_vmarea_done(&v);
        qcow2_alloc_done(&a);
        (void)close(fd);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cutting),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_places_misused),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests_name("vmarea", tests, scratch_setup,
                                       scratch_teardown);
}
