/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/cluster.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/header.h"

static const struct qcow2_header v2 = {.version = 2, .cluster_bits = 16};
static const struct qcow2_header v3 = {.version = 3, .cluster_bits = 16};
static const struct qcow2_header ext = {
    .version = 3,
    .cluster_bits = 16,
    .incompatible = QCOW2_INCOMPAT_EXTENDED_L2,
};
static const struct qcow2_header data = {
    .version = 3,
    .cluster_bits = 16,
    .incompatible = QCOW2_INCOMPAT_DATA_FILE,
};

static int
piece_of(const struct qcow2_header *h, uint64_t descriptor, uint64_t bitmap,
         uint64_t guest_offset, struct qcow2_piece *out, struct err *e)
{
    struct qcow2_geometry g = qcow2_geometry_of(h);
    uint8_t entry[16];

    put_be64(entry, descriptor);
    put_be64(entry + 8, bitmap);
    return qcow2_entry_piece(&g, entry, guest_offset, out, e);
}

static void
test_geometry(void **state)
{
    struct qcow2_geometry g = qcow2_geometry_of(&v3);

    (void)state;
    assert_int_equal(g.cluster_bytes, 65536);
    assert_int_equal(g.entry_bytes, 8);
    assert_int_equal(g.l2_entries, 8192);
    assert_int_equal(qcow2_table_span(&g), 512 << 20);
    assert_false(g.extended || g.data_file);
    g = qcow2_geometry_of(&ext);
    assert_int_equal(g.entry_bytes, 16);
    assert_int_equal(qcow2_table_span(&g), 256 << 20);
    assert_true(g.extended);
    assert_true(qcow2_geometry_of(&data).data_file);
}

#define HOST UINT64_C(0x50000)
#define BIT(n) (UINT64_C(1) << (n))

/* Entries at guest offset 0x30000 + 100. */
static const struct {
    const struct qcow2_header *h;
    uint64_t descriptor, bitmap;
    int kind; /* -1: refused */
    uint64_t len, host_offset;
} entries[] = {
    {&v3, 0, 0, QCOW2_UNALLOCATED, 65436, 0},
    {&v3, HOST, 0, QCOW2_DATA, 65436, HOST + 100},
    {&v3, HOST | BIT(63), 0, QCOW2_DATA, 65436, HOST + 100},
    {&v3, BIT(63), 0, QCOW2_UNALLOCATED, 65436, 0},
    {&v3, 1, 0, QCOW2_ZEROS, 65436, 0},
    {&v3, HOST | 1, 0, QCOW2_ZEROS, 65436, 0},
    {&v3, HOST | 1 | BIT(63), 0, QCOW2_ZEROS, 65436, 0},
    {&v3, UINT64_C(0x00ffffffffff0000), 0, QCOW2_DATA, 65436,
     UINT64_C(0x00ffffffffff0000) + 100},
    {&v3, HOST | 2, 0, -1, 0, 0}, /* reserved bits */
    {&v3, HOST | BIT(8), 0, -1, 0, 0},
    {&v3, HOST | BIT(56), 0, -1, 0, 0},
    {&v3, HOST | BIT(61), 0, -1, 0, 0},
    {&v3, HOST + 512, 0, -1, 0, 0}, /* not at a cluster */
    {&v3, 512 | 1, 0, -1, 0, 0},
    {&v2, HOST, 0, QCOW2_DATA, 65436, HOST + 100},
    {&v2, 0, 0, QCOW2_UNALLOCATED, 65436, 0},
    {&v2, 1, 0, -1, 0, 0}, /* no zero clusters yet */
    {&v2, HOST | 1, 0, -1, 0, 0},
    /* Subclusters of 2 KiB. */
    {&ext, HOST, 1, QCOW2_DATA, 1948, HOST + 100},
    {&ext, HOST, 0xffffffff, QCOW2_DATA, 65436, HOST + 100},
    {&ext, HOST, 0xfffffffe, QCOW2_UNALLOCATED, 1948, 0},
    {&ext, HOST, BIT(32), QCOW2_ZEROS, 1948, 0},
    {&ext, 0, BIT(32), QCOW2_ZEROS, 1948, 0},
    {&ext, 0, BIT(32) | BIT(33), QCOW2_ZEROS, 3996, 0},
    {&ext, 0, 0, QCOW2_UNALLOCATED, 65436, 0},
    {&ext, HOST, 0, QCOW2_UNALLOCATED, 65436, 0},
    {&ext, HOST, BIT(33) | 2, -1, 0, 0}, /* both */
    {&ext, 0, 1, -1, 0, 0},              /* data without a place */
    {&ext, BIT(63), BIT(31), -1, 0, 0},
    {&ext, HOST | 1, 1, -1, 0, 0}, /* the zero bit is reserved */
    {&ext, BIT(62) | HOST, 1, -1, 0, 0},
    {&ext, BIT(62) | HOST, 0, QCOW2_COMPRESSED_DATA, 65436, HOST},
    /* The external data file: the same place, which may be 0. */
    {&data, 0x30000, 0, QCOW2_DATA, 65436, 0x30000 + 100},
    {&data, 0x30000 | BIT(63), 0, QCOW2_DATA, 65436, 0x30000 + 100},
    {&data, HOST, 0, -1, 0, 0},
    {&data, BIT(63), 0, -1, 0, 0},
    {&data, 0, 0, QCOW2_UNALLOCATED, 65436, 0},
    {&data, 0x30000 | 1, 0, QCOW2_ZEROS, 65436, 0},
    {&data, BIT(62) | HOST, 0, -1, 0, 0},
};

static void
test_entries(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        struct qcow2_piece p = {.len = 1};
        struct err e = {0};
        int r = piece_of(entries[i].h, entries[i].descriptor, entries[i].bitmap,
                         0x30000 + 100, &p, &e);
        if (entries[i].kind == -1) {
            if (r != -1 || e.code != ERR_CORRUPT || p.len != 1)
                fail_msg("entry %zu was accepted", i);
        } else if (r == -1 || p.kind != (enum qcow2_kind)entries[i].kind ||
                   p.len != entries[i].len ||
                   p.host_offset != entries[i].host_offset) {
            fail_msg("entry %zu: kind %d, len %llu, host 0x%llx; %s", i, p.kind,
                     (unsigned long long)p.len,
                     (unsigned long long)p.host_offset, e.msg);
        }
    }
}

/* Offset 0 of a data file is told by COPIED alone. */
static void
test_data_file_start(void **state)
{
    struct qcow2_piece p = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(piece_of(&data, BIT(63), 0, 7, &p, &e), 0);
    assert_int_equal(p.kind, QCOW2_DATA);
    assert_int_equal(p.host_offset, 7);
    assert_int_equal(piece_of(&data, 0, 0, 7, &p, &e), 0);
    assert_int_equal(p.kind, QCOW2_UNALLOCATED);
}

/* Against the definition, subcluster by subcluster. */
static void
test_random_bitmaps(void **state)
{
    struct qcow2_header h = ext;

    (void)state;
    for (unsigned i = 0; i < 3000; i++) {
        h.cluster_bits = 14 + (uint32_t)random_below(8);
        uint64_t cluster = UINT64_C(1) << h.cluster_bits, sub = cluster / 32;
        uint32_t is_data = (uint32_t)random_u64();
        uint32_t is_zero = (uint32_t)random_u64() & ~is_data;
        uint64_t bitmap = (uint64_t)is_zero << 32 | is_data;
        uint64_t base = cluster * random_below(1000), end = base + cluster;
        uint64_t at = base + random_below(cluster);
        while (at < end) {
            struct qcow2_piece p = {0};
            struct err e = {0};
            assert_int_equal(
                piece_of(&h, cluster * 9 | BIT(63), bitmap, at, &p, &e), 0);
            assert_true(p.len > 0 && p.len <= end - at);
            for (uint64_t k = at; k < at + p.len; k = (k / sub + 1) * sub) {
                unsigned n = (unsigned)(k % cluster / sub);
                enum qcow2_kind want = is_zero >> n & 1   ? QCOW2_ZEROS
                                       : is_data >> n & 1 ? QCOW2_DATA
                                                          : QCOW2_UNALLOCATED;
                assert_int_equal(p.kind, want);
            }
            if (p.kind == QCOW2_DATA)
                assert_int_equal(p.host_offset, cluster * 9 + at % cluster);
            at += p.len;
        }
    }
}

/* The split of bits depends on the cluster size. */
static void
test_compressed(void **state)
{
    (void)state;
    for (uint32_t bits = 9; bits <= 21; bits++) {
        struct qcow2_header h = {.version = 2, .cluster_bits = bits};
        struct qcow2_piece p = {0};
        struct err e = {0};
        unsigned x = 62 - (bits - 8);
        uint64_t most = (UINT64_C(1) << (bits - 8)) - 1, host = 0x123456;

        for (uint64_t n = 0; n <= most; n = 2 * n + 1) {
            assert_int_equal(
                piece_of(&h, BIT(62) | n << x | host, 0, 3, &p, &e), 0);
            assert_int_equal(p.kind, QCOW2_COMPRESSED_DATA);
            assert_int_equal(p.host_offset, host);
            assert_int_equal(p.host_len, (n + 1) * 512 - 0x56);
            assert_int_equal(p.len, (1 << bits) - 3);
        }
        if (x > 56) {
            assert_int_equal(piece_of(&h, BIT(62) | BIT(56), 0, 0, &p, &e), -1);
            assert_int_equal(e.code, ERR_CORRUPT);
        }
    }
}

static void
test_equal(void **state)
{
    struct qcow2_geometry g = qcow2_geometry_of(&v3);
    struct qcow2_geometry x = qcow2_geometry_of(&ext);
    uint8_t a[16] = {0}, b[16] = {0};

    (void)state;
    put_be64(a, HOST | BIT(63));
    put_be64(b, HOST);
    assert_true(qcow2_entries_equal(&g, a, b)); /* COPIED does not count */
    b[15] = 1;
    assert_true(qcow2_entries_equal(&g, a, b)); /* the next one's */
    assert_false(qcow2_entries_equal(&x, a, b));
    a[15] = 1;
    assert_true(qcow2_entries_equal(&x, a, b));
    b[7] = 1; /* zeros now */
    assert_false(qcow2_entries_equal(&g, a, b));
    assert_false(qcow2_entries_equal(&g, a, NULL));
    assert_false(qcow2_entries_equal(&g, NULL, b));
    assert_true(qcow2_entries_equal(&x, NULL, NULL));
    memset(a, 0, sizeof(a));
    assert_true(qcow2_entries_equal(&x, a, NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_data_file_start),
        cmocka_unit_test(test_random_bitmaps),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_equal),
    };

    return cmocka_run_group_tests_name("cluster", tests, scratch_setup,
                                       scratch_teardown);
}
