/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/snapshot.h"

#include "imagetool.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/header.h"
#include "qcow2/imagefile.h"

enum { TABLE_AT = 512 };

static struct qcow2_header header;

struct entry {
    uint64_t l1_offset;
    uint32_t l1_len;
    const char *id, *name;
    size_t name_len; /* 0: of the string */
    uint32_t sec, nsec;
    uint64_t clock;
    uint32_t vm_32, extra_len;
    uint64_t vm_64, disk, icount;
};

static void
add_entry(struct buf *b, const struct entry *t)
{
    uint8_t extra[2048] = {0};
    size_t name_len = t->name_len ? t->name_len : strlen(t->name);

    put_be64(extra, t->vm_64);
    put_be64(extra + 8, t->disk);
    put_be64(extra + 16, t->icount);
    buf_be64(b, t->l1_offset);
    buf_be32(b, t->l1_len);
    buf_be16(b, (uint16_t)strlen(t->id));
    buf_be16(b, (uint16_t)name_len);
    buf_be32(b, t->sec);
    buf_be32(b, t->nsec);
    buf_be64(b, t->clock);
    buf_be32(b, t->vm_32);
    buf_be32(b, t->extra_len);
    buf_add(b, extra, u64_min(t->extra_len, sizeof(extra)));
    buf_add(b, t->id, strlen(t->id));
    buf_add(b, t->name, name_len);
    buf_zero(b, round_up(b->len, 8) - b->len);
}

static int
read_table(const struct buf *b, struct qcow2_snapshots *out, struct err *e)
{
    struct qcow2_file f = {0};

    scratch_write("t", b->p, b->len);
    int fd = scratch_open("t", O_RDONLY);
    assert_int_equal(qcow2_file_open(fd, &f, e), 0);
    int r = qcow2_snapshots_read(&f, &header, out, e);
    (void)close(fd);
    return r;
}

static struct buf
new_table(uint32_t n)
{
    struct buf b = buf_of(64 << 20);

    header = (struct qcow2_header){
        .version = 3,
        .cluster_bits = 9,
        .size_bytes = 1 << 20,
        .n_snapshots = n,
        .snapshots_offset = TABLE_AT,
    };
    buf_zero(&b, TABLE_AT);
    return b;
}

/* One entry, in all the sizes of extra data that were ever written. */
static void
test_extra_data(void **state)
{
    static const uint32_t lens[] = {0, 4, 8, 12, 16, 20, 24, 32, 1024};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf b = new_table(2);
        struct qcow2_snapshots s = {0};
        struct err e = {0};
        struct entry t = {.l1_offset = 1024,
                          .l1_len = 3,
                          .id = "12",
                          .name = "before",
                          .sec = 1700000000,
                          .nsec = 5,
                          .clock = UINT64_C(1) << 40,
                          .vm_32 = 77,
                          .extra_len = lens[i],
                          .vm_64 = UINT64_C(5) << 32,
                          .disk = 2 << 20,
                          .icount = 99};
        add_entry(&b, &t);
        t.name = "next"; /* must be found behind any padding */
        add_entry(&b, &t);
        assert_int_equal(read_table(&b, &s, &e), 0);
        assert_int_equal(s.n, 2);
        const struct qcow2_snapshot *x = &s.list[0];
        assert_string_equal(x->id, "12");
        assert_string_equal(x->name, "before");
        assert_string_equal(s.list[1].name, "next");
        assert_int_equal(x->date_sec, 1700000000);
        assert_int_equal(x->date_nsec, 5);
        assert_true(x->vm_clock_ns == UINT64_C(1) << 40);
        assert_int_equal(x->l1_offset, 1024);
        assert_int_equal(x->l1_len, 3);
        assert_true(x->vmstate_bytes ==
                    (lens[i] >= 8 ? UINT64_C(5) << 32 : 77));
        assert_int_equal(x->disk_bytes, lens[i] >= 16 ? 2 << 20 : 1 << 20);
        assert_true(x->icount == (lens[i] >= 24 ? 99 : QCOW2_NO_ICOUNT));
        qcow2_snapshots_done(&s);
        buf_done(&b);
    }
}

static void
check_refused(const struct entry *t, enum err_code code)
{
    struct buf b = new_table(1);
    struct qcow2_snapshots s = {0};
    struct err e = {0};

    add_entry(&b, t);
    assert_int_equal(read_table(&b, &s, &e), -1);
    assert_int_equal(e.code, code);
    assert_null(s.list);
    buf_done(&b);
}

static void
test_bad_entries(void **state)
{
    struct entry good = {
        .l1_offset = 1024, .l1_len = 1, .id = "1", .name = "n"};
    struct entry t = good;

    (void)state;
    t.extra_len = 1025;
    check_refused(&t, ERR_LIMIT);
    t.extra_len = UINT32_MAX;
    check_refused(&t, ERR_LIMIT);
}

/* What one of them says of its disk keeps nobody from the others. */
static void
test_odd_entries(void **state)
{
    const struct entry odd = {.l1_offset = 1025,
                              .l1_len = UINT32_MAX,
                              .id = "1",
                              .name = "odd",
                              .extra_len = 16,
                              .disk = UINT64_MAX};
    struct buf b = new_table(2);
    struct qcow2_snapshots s = {0};
    struct err e = {0};

    (void)state;
    add_entry(&b, &odd);
    add_entry(&b, &(struct entry){.id = "2", .name = "sound"});
    assert_int_equal(read_table(&b, &s, &e), 0);
    assert_int_equal(s.list[0].l1_len, UINT32_MAX);
    assert_string_equal(s.list[1].name, "sound");
    qcow2_snapshots_done(&s);
    buf_done(&b);
}

static void
test_bad_tables(void **state)
{
    struct entry t = {.l1_offset = 1024, .id = "1", .name = "n"};
    struct buf b = new_table(1);
    struct qcow2_snapshots s = {0};
    struct err e = {0};

    (void)state;
    add_entry(&b, &t);
    /* Every cut of it is noticed. */
    for (size_t len = TABLE_AT + 40 + 2; len-- > TABLE_AT;) {
        b.len = len;
        err_clear(&e);
        assert_int_equal(read_table(&b, &s, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
    }
    b.len = TABLE_AT + 40 + 2;
    err_clear(&e);
    assert_int_equal(read_table(&b, &s, &e), 0); /* padding may be missing */
    qcow2_snapshots_done(&s);

    static const struct {
        uint64_t n, offset;
        enum err_code code;
    } tables[] = {
        {1, 513, ERR_CORRUPT},        {1, UINT64_MAX - 511, ERR_CORRUPT},
        {1, 1 << 20, ERR_CORRUPT},    {2, 512, ERR_CORRUPT},
        {65536, 512, ERR_CORRUPT},    {65537, 512, ERR_LIMIT},
        {UINT32_MAX, 512, ERR_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        header.n_snapshots = (uint32_t)tables[i].n;
        header.snapshots_offset = tables[i].offset;
        err_clear(&e);
        assert_int_equal(read_table(&b, &s, &e), -1);
        assert_int_equal(e.code, tables[i].code);
    }
    /* A good table, but not at the start of a cluster. */
    buf_reset(&b);
    buf_zero(&b, TABLE_AT + 8);
    add_entry(&b, &t);
    header.n_snapshots = 1;
    header.snapshots_offset = TABLE_AT + 8;
    err_clear(&e);
    assert_int_equal(read_table(&b, &s, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    header.n_snapshots = 0; /* QEMU does not open it either */
    err_clear(&e);
    assert_int_equal(read_table(&b, &s, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    header.snapshots_offset = 1 << 20; /* nothing is there, nor has to be */
    err_clear(&e);
    assert_int_equal(read_table(&b, &s, &e), 0);
    assert_int_equal(s.n, 0);
    buf_done(&b);
}

/* 64 MiB of longest names, and one entry more. */
static void
test_large_table(void **state)
{
    static char name[65536];
    struct qcow2_snapshots s = {0};
    struct err e = {0};
    struct buf b = new_table(1100);
    struct entry t = {.l1_offset = 1024, .id = "1", .name = name};

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    b.max_bytes = 80 << 20;
    for (unsigned i = 0; i < 1100; i++)
        add_entry(&b, &t);
    assert_int_equal(read_table(&b, &s, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    err_clear(&e);
    header.n_snapshots = 1000;
    assert_int_equal(read_table(&b, &s, &e), 0);
    assert_int_equal(strlen(s.list[999].name), 65535);
    qcow2_snapshots_done(&s);
    buf_done(&b);
}

static void
test_names_of_any_bytes(void **state)
{
    struct buf b = new_table(2);
    struct qcow2_snapshots s = {0};
    struct err e = {0};
    struct entry t = {.l1_offset = 0, .id = "", .name = "a\0b", .name_len = 3};

    (void)state;
    add_entry(&b, &t);
    t.name = "\xff\n";
    t.name_len = 2;
    add_entry(&b, &t);
    assert_int_equal(read_table(&b, &s, &e), 0);
    assert_string_equal(s.list[0].id, "");
    assert_string_equal(s.list[0].name, "a");
    assert_string_equal(s.list[1].name, "\xff\n");
    qcow2_snapshots_done(&s);
    buf_done(&b);
}

static void
test_find(void **state)
{
    struct buf b = new_table(4);
    struct qcow2_snapshots s = {0};
    struct err e = {0};

    (void)state;
    add_entry(&b, &(struct entry){.id = "1", .name = "a"});
    add_entry(&b, &(struct entry){.id = "2", .name = "1"});
    add_entry(&b, &(struct entry){.id = "3", .name = "twice"});
    add_entry(&b, &(struct entry){.id = "4", .name = "twice"});
    assert_int_equal(read_table(&b, &s, &e), 0);
    assert_ptr_equal(qcow2_snapshot_find(&s, "a"), &s.list[0]);
    assert_ptr_equal(qcow2_snapshot_find(&s, "1"), &s.list[1]); /* name first */
    assert_ptr_equal(qcow2_snapshot_find(&s, "2"), &s.list[1]);
    assert_ptr_equal(qcow2_snapshot_find(&s, "twice"), &s.list[2]);
    assert_ptr_equal(qcow2_snapshot_find(&s, "4"), &s.list[3]);
    assert_null(qcow2_snapshot_find(&s, ""));
    assert_null(qcow2_snapshot_find(&s, "5"));
    qcow2_snapshots_done(&s);
    buf_done(&b);
}

static void
test_equal(void **state)
{
    char id[] = "1", name[] = "n", other[] = "x";
    const struct qcow2_snapshot a = {.id = id, .name = name, .date_sec = 1};

    (void)state;
    assert_true(qcow2_snapshot_equal(&a, &a));
#define DIFFERS(field, value)                       \
    do {                                            \
        struct qcow2_snapshot b = a;                \
        b.field = value;                            \
        assert_false(qcow2_snapshot_equal(&a, &b)); \
    } while (0)
    DIFFERS(id, other);
    DIFFERS(name, other);
    DIFFERS(date_sec, 2);
    DIFFERS(date_nsec, 2);
    DIFFERS(vm_clock_ns, 2);
    DIFFERS(vmstate_bytes, 2);
    DIFFERS(disk_bytes, 2);
    DIFFERS(icount, 2);
    DIFFERS(l1_offset, 2);
    DIFFERS(l1_len, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extra_data),
        cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_odd_entries),
        cmocka_unit_test(test_bad_tables),
        cmocka_unit_test(test_large_table),
        cmocka_unit_test(test_names_of_any_bytes),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_equal),
    };

    return cmocka_run_group_tests_name("snapshot", tests, scratch_setup,
                                       scratch_teardown);
}
