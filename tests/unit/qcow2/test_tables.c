/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/tables.h"

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/header.h"

enum {
    CLUSTER = 512,
    ENTRIES = CLUSTER / 8,
    TABLES = 3 * QCOW2_TABLES_SLOTS,
    L1_AT = CLUSTER,
    L2_AT = 8 * CLUSTER, /* 192 entries of L1 are 3 clusters */
    SPAN = CLUSTER * ENTRIES
};

static const struct qcow2_header header = {.version = 3, .cluster_bits = 9};

/* Each L2 table is filled with its number and the entry's. */
static uint64_t
entry_of(unsigned table, unsigned k)
{
    return (uint64_t)table << 32 | k;
}

static uint8_t *
new_file(size_t *out_len)
{
    size_t len = L2_AT + (size_t)TABLES * CLUSTER;
    uint8_t *p = xcalloc(1, len);

    for (unsigned t = 0; t < TABLES; t++) {
        uint64_t at = L2_AT + (uint64_t)t * CLUSTER;
        put_be64(p + L1_AT + (size_t)t * 8, at | (t % 2 ? QCOW2_COPIED : 0));
        for (unsigned k = 0; k < ENTRIES; k++)
            put_be64(p + at + (size_t)k * 8, entry_of(t, k));
    }
    *out_len = len;
    return p;
}

struct open_tables {
    int fd;
    struct qcow2_file file;
    struct qcow2_geometry g;
    struct qcow2_tables t;
};

static int
open_tables(struct open_tables *o, const uint8_t *p, size_t len, uint64_t at,
            uint32_t l1_len, struct err *e)
{
    scratch_write("t", p, len);
    *o = (struct open_tables){.fd = scratch_open("t", O_RDONLY),
                              .g = qcow2_geometry_of(&header)};
    assert_int_equal(qcow2_file_open(o->fd, &o->file, e), 0);
    return qcow2_tables_open(&o->t, &o->file, &o->g, at, l1_len, e);
}

static void
close_tables(struct open_tables *o)
{
    qcow2_tables_done(&o->t);
    (void)close(o->fd);
}

/* More tables than are kept, in any order. */
static void
test_entries(void **state)
{
    size_t len = 0;
    uint8_t *p = new_file(&len);
    struct open_tables o;
    struct err e = {0};

    (void)state;
    put_be64(p + L1_AT + sizeof(uint64_t) * 5, 0); /* a hole */
    assert_int_equal(open_tables(&o, p, len, L1_AT, TABLES, &e), 0);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned t = (unsigned)random_below(TABLES + 2);
        unsigned k = (unsigned)random_below(ENTRIES);
        uint64_t offset =
            (uint64_t)t * SPAN + (uint64_t)k * CLUSTER + random_below(512);
        const uint8_t *entry = NULL;
        bool there = t < TABLES && t != 5;
        assert_int_equal(qcow2_tables_entry(&o.t, offset, &entry, &e), there);
        assert_int_equal(qcow2_tables_place(&o.t, offset),
                         there ? L2_AT + t * CLUSTER : 0);
        if (there)
            assert_true(get_be64(entry) == entry_of(t, k));
    }
    assert_int_equal(o.t.n_slots, QCOW2_TABLES_SLOTS);
    const uint8_t *entry = NULL;
    assert_int_equal(qcow2_tables_entry(&o.t, UINT64_MAX, &entry, &e), 0);
    close_tables(&o);
    free(p);
}

static void
check_refused(const uint8_t *p, size_t len, uint64_t at, uint32_t l1_len,
              enum err_code code)
{
    struct open_tables o;
    struct err e = {0};

    assert_int_equal(open_tables(&o, p, len, at, l1_len, &e), -1);
    if (e.code != code)
        fail_msg("%s: %s", err_code_name(e.code), e.msg);
    assert_null(o.t.l1);
    close_tables(&o);
}

static void
test_bad_l1(void **state)
{
    static const uint64_t bad[] = {
        L2_AT | 1, /* reserved bits */
        L2_AT | UINT64_C(1) << 56,
        L2_AT | UINT64_C(1) << 62,
        L2_AT + CLUSTER,   /* the next one's */
        UINT64_C(1) << 40, /* past the end */
        UINT64_C(0x00fffffffffffe00),
        L2_AT + (uint64_t)TABLES * CLUSTER, /* right at the end */
    };
    size_t len = 0;
    uint8_t *p = new_file(&len);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        put_be64(p + L1_AT, bad[i]);
        check_refused(p, len, L1_AT, TABLES, ERR_CORRUPT);
    }
    put_be64(p + L1_AT, L2_AT);
    check_refused(p, len, L1_AT + 8, TABLES, ERR_CORRUPT);
    check_refused(p, len, UINT64_C(1) << 62, TABLES, ERR_CORRUPT);
    check_refused(p, len, L1_AT, 1 << 22, ERR_CORRUPT); /* not all there */
    check_refused(p, len, L1_AT, (1 << 22) + 1, ERR_LIMIT);
    check_refused(p, len, L1_AT, UINT32_MAX, ERR_LIMIT);
    /* The last L2 table is cut short by one byte. */
    check_refused(p, len - 1, L1_AT, TABLES, ERR_CORRUPT);
    free(p);
}

/* With clusters of more than 512 bytes there is more to be unaligned. */
static void
test_unaligned_l2(void **state)
{
    struct qcow2_header h = {.version = 3, .cluster_bits = 12};
    struct open_tables o = {.g = qcow2_geometry_of(&h)};
    uint8_t p[16384] = {0};
    struct err e = {0};

    (void)state;
    put_be64(p + 4096, 8192 + 512);
    scratch_write("t", p, sizeof(p));
    o.fd = scratch_open("t", O_RDONLY);
    assert_int_equal(qcow2_file_open(o.fd, &o.file, &e), 0);
    assert_int_equal(qcow2_tables_open(&o.t, &o.file, &o.g, 4096, 1, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    (void)close(o.fd);
}

static void
test_empty_l1(void **state)
{
    uint8_t p[CLUSTER] = {0};
    struct open_tables o;
    struct err e = {0};
    const uint8_t *entry = NULL;

    (void)state;
    assert_int_equal(open_tables(&o, p, sizeof(p), 0, 0, &e), 0);
    assert_int_equal(qcow2_tables_entry(&o.t, 0, &entry, &e), 0);
    close_tables(&o);
}

/* A table that cannot be read any more is no other table. */
static void
test_file_shrinks(void **state)
{
    size_t len = 0;
    uint8_t *p = new_file(&len);
    struct open_tables o;
    struct err e = {0};
    const uint8_t *entry = NULL;

    (void)state;
    assert_int_equal(open_tables(&o, p, len, L1_AT, TABLES, &e), 0);
    tool_must("truncate -s %d t", L2_AT + CLUSTER);
    assert_int_equal(qcow2_tables_entry(&o.t, 0, &entry, &e), 1);
    assert_int_equal(qcow2_tables_entry(&o.t, SPAN, &entry, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    err_clear(&e);
    assert_int_equal(qcow2_tables_entry(&o.t, SPAN, &entry, &e), -1);
    err_clear(&e);
    assert_int_equal(qcow2_tables_entry(&o.t, 0, &entry, &e), 1);
    close_tables(&o);
    free(p);
}

/* As many entries as QEMU takes, from a sparse file. */
static void
test_largest_l1(void **state)
{
    struct open_tables o;
    struct err e = {0};
    const uint8_t *entry = NULL;
    uint8_t p[2 * CLUSTER] = {0};

    (void)state;
    scratch_write("big", p, sizeof(p));
    tool_must("truncate -s 40M big");
    o = (struct open_tables){.fd = scratch_open("big", O_RDONLY),
                             .g = qcow2_geometry_of(&header)};
    assert_int_equal(qcow2_file_open(o.fd, &o.file, &e), 0);
    assert_int_equal(qcow2_tables_open(&o.t, &o.file, &o.g, L1_AT, 4 << 20, &e),
                     0);
    assert_int_equal(qcow2_tables_entry(&o.t, UINT64_C(127) << 30, &entry, &e),
                     0);
    close_tables(&o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),      cmocka_unit_test(test_bad_l1),
        cmocka_unit_test(test_unaligned_l2), cmocka_unit_test(test_empty_l1),
        cmocka_unit_test(test_file_shrinks), cmocka_unit_test(test_largest_l1),
    };

    return cmocka_run_group_tests_name("tables", tests, scratch_setup,
                                       scratch_teardown);
}
