/* SPDX-License-Identifier: Apache-2.0 */
/*
 * damage: reader.h with images that were cut off, damaged, made to mislead, or
 * changed by QEMU while they are read.
 */
#include "qcow2/reader.h"

#include "viewtool.h"

#include <sys/syscall.h>

#include "base/mem.h"

/*
 * The file layer: something may happen right after the n-th read of the file,
 * as QEMU may do it.  This definition is found before that of libc.
 */
static void (*after_read)(int fd, off64_t offset);

ssize_t pread64(int fd, void *buf, size_t nbytes, off64_t offset);
ssize_t
pread64(int fd, void *buf, size_t nbytes, off64_t offset)
{
    ssize_t n = syscall(SYS_pread64, fd, buf, nbytes, offset);

    if (after_read)
        after_read(fd, offset);
    return n;
}

/* The file cut in many places: what can be read is right, and check knows if
 * anything cannot. */
static void
check_cuts(const char *name, int snapshot, unsigned *out_opened)
{
    uint8_t got[DISK];
    struct stat st;
    int fd = scratch_open(name, O_RDWR);

    *out_opened = 0;
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t len = st.st_size; len > 0; len -= 1000) {
        struct opened o;
        struct err e = {0}, later = {0};
        struct qcow2_check c = {0};
        assert_int_equal(ftruncate(fd, len), 0);
        if (try_open(&o, name, snapshot, &e) == -1) {
            assert_int_equal(e.code, ERR_CORRUPT);
            done(&o);
            continue;
        }
        ++*out_opened;
        bool whole = qcow2_view_check(o.view, &c, &e) == 0;
        bool read = qcow2_view_read(o.view, 0, got, DISK, &later) == 0;
        assert_int_equal(whole, read);
        assert_int_equal(whole, len == st.st_size);
        if (read)
            assert_memory_equal(got, disk, DISK);
        done(&o);
    }
    (void)close(fd);
}

static void
test_cuts(void **state)
{
    unsigned opened = 0;

    (void)state;
    make_image("a", 9); /* tables last */
    check_cuts("a", 0, &opened);
    assert_int_equal(opened, 1);
    require_qemu_img();
    memset(disk + DISK - 4096, 1, 4096); /* so that data is last */
    scratch_write("raw", disk, DISK);
    tool_must(
        "qemu-img convert -f raw -O qcow2 -o cluster_size=4k raw q"); /* tables
                                                                         first
                                                                       */
    check_cuts("q", -1, &opened);
    assert_true(opened > 100);
}

/* Tables first, data last: so that a cut takes data. */
static void
test_data_cut(void **state)
{
    uint8_t got[65536];
    struct err e = {0};
    struct qcow2_check c = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 q 10M"
              " && qemu-io -f qcow2 -c 'write -P 1 0 64k'"
              " -c 'write -P 2 5M 64k' q && truncate -s -512 q");
    struct opened o = must_open("q", -1);
    assert_int_equal(qcow2_view_read(o.view, 0, got, 65536, &e), 0);
    assert_int_equal(qcow2_view_read(o.view, 5 << 20, got, 65024, &e), 0);
    assert_int_equal(got[65023], 2);
    assert_int_equal(qcow2_view_read(o.view, 5 << 20, got, 65025, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "disk offset 5242880 is missing"));
    err_clear(&e);
    assert_int_equal(qcow2_view_check(o.view, &c, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "disk offset 5242880 is missing"));
    done(&o);
}

/* One entry damaged: only what it is for cannot be read. */
static void
test_damaged_entries(void **state)
{
    uint8_t got[DISK];

    (void)state;
    make_image("a", 12);
    struct opened o = must_open("a", 0);
    uint64_t l1 = qcow2_image_snapshots(o.image)->list[0].l1_offset;
    done(&o);
    for (uint64_t k = 0; k < DISK / 4096; k++) {
        struct err e = {0};
        struct qcow2_check c = {0};
        char what[64];
        int fd = scratch_open("a", O_RDWR);
        uint64_t start = k * 4096, end = start + 4096;
        uint64_t at = entry_place(fd, l1, 4096, k), was = peek_be64(fd, at);

        poke_be64(fd, at, (was | 4096) + 512);
        o = must_open("a", 0);
        assert_int_equal(qcow2_view_read(o.view, 0, got, DISK, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        (void)snprintf(what, sizeof(what), "disk offset %llu ",
                       (unsigned long long)start);
        assert_non_null(strstr(e.msg, what));
        err_clear(&e);
        assert_int_equal(qcow2_view_check(o.view, &c, &e), -1);
        err_clear(&e);
        assert_int_equal(qcow2_view_read(o.view, 0, got, start, &e), 0);
        assert_memory_equal(got, disk, start);
        size_t rest = DISK - end;
        assert_int_equal(qcow2_view_read(o.view, end, got, rest, &e), 0);
        assert_memory_equal(got, disk + end, rest);
        done(&o);
        poke_be64(fd, at, was);
        (void)close(fd);
    }
}

static void
test_overlaps(void **state)
{
    struct err e = {0};
    struct qcow2_check c = {0};

    (void)state;
    make_image("a", 12);
    struct opened o = must_open("a", 0);
    uint64_t l1 = qcow2_image_snapshots(o.image)->list[0].l1_offset;
    uint64_t first = entry_place(o.fd, l1, 4096, 0);
    poke_be64(o.fd, first + 80, 20480);
    poke_be64(o.fd, first + 88, 20480); /* the same again */
    poke_be64(o.fd, first + 96, l1);    /* over a table */
    poke_be64(o.fd, first + 104, 0);
    done(&o);
    o = must_open("a", 0);
    if (qcow2_view_check(o.view, &c, &e) == -1)
        fail_msg("%s", e.msg);
    /* Cluster 5 of the file may be one's that comes later, too. */
    assert_true(c.overlaps == 2 || c.overlaps == 3);
    assert_true(c.first_overlap == 40960 || c.first_overlap == 45056);
    done(&o);
}

/* Compressed data that is not there, or that lies in a cluster of others. */
static void
test_compressed_damage(void **state)
{
    struct qcow2_check c = {0};
    struct err e = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 a 1M && qemu-io -f qcow2"
              " -c 'write -c -P 1 0 64k' -c 'write -c -P 2 64k 64k'"
              " -c 'write -P 3 128k 64k' a");
    struct opened o = must_open("a", -1);
    uint64_t l1 = qcow2_image_header(o.image)->l1_offset;
    uint64_t first = entry_place(o.fd, l1, 65536, 0);
    uint64_t host = peek_be64(o.fd, first) & ((UINT64_C(1) << 54) - 1);
    uint64_t plain = peek_be64(o.fd, first + 16);
    assert_int_equal(qcow2_view_check(o.view, &c, &e), 0);
    assert_int_equal(c.overlaps, 0); /* the two share a cluster */
    assert_int_equal(c.compressed_clusters, 2);
    done(&o);

    /* Plain data in the cluster of the compressed, seen after and before. */
    for (uint64_t k = 0; k < 2; k++) {
        o = must_open("a", -1);
        poke_be64(o.fd, first + 16, k ? plain : host - host % 65536);
        poke_be64(o.fd, first + 24,
                  k ? QCOW2_COMPRESSED | (MASKED(plain) + 100) : 0);
        done(&o);
        o = must_open("a", -1);
        assert_int_equal(qcow2_view_check(o.view, &c, &e), 0);
        assert_int_equal(c.overlaps, 1);
        assert_int_equal(c.first_overlap, k ? 196608 : 131072);
        poke_be64(o.fd, first + 24, QCOW2_COMPRESSED | 1 << 30);
        done(&o);
        o = must_open("a", -1);
        assert_int_equal(qcow2_view_check(o.view, &c, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "disk offset 196608 is missing"));
        err_clear(&e);
        poke_be64(o.fd, first + 24, 0);
        done(&o);
    }
}

/* The L1 table over the header, an L2 table over the L1 table. */
static void
test_table_overlaps(void **state)
{
    struct err e = {0};
    struct qcow2_check c = {0};

    (void)state;
    make_image("a", 12);
    struct opened o = must_open("a", -1);
    uint64_t l1 = qcow2_image_header(o.image)->l1_offset;
    uint64_t was = peek_be64(o.fd, l1);
    poke_be64(o.fd, l1, l1);
    done(&o);
    o = must_open("a", -1);
    assert_int_equal(qcow2_view_check(o.view, &c, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    poke_be64(o.fd, l1, was);
    done(&o);

    /* Both name one L2 table. */
    make_image("b", 9);
    o = must_open("b", -1);
    l1 = qcow2_image_header(o.image)->l1_offset;
    poke_be64(o.fd, l1 + 8, peek_be64(o.fd, l1));
    done(&o);
    err_clear(&e);
    assert_int_equal(try_open(&o, "b", -1, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "two entries"));
    done(&o);
}

/* A hole in the machine state, by its L1 and by its L2 table. */
static void
test_vmstate_holes(void **state)
{
    uint8_t got[VMSTATE];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct err e = {0};
        struct qcow2_check c = {0};
        make_image("a", 9);
        struct opened o = must_open("a", 0);
        const struct qcow2_snapshot *s = qcow2_image_snapshots(o.image)->list;
        uint64_t vm_l1 = (s->disk_bytes + 32767) / 32768;
        uint64_t l2 = peek_be64(o.fd, s->l1_offset + 8 * vm_l1);
        if (i == 0)
            poke_be64(o.fd, s->l1_offset + 8 * vm_l1, 0);
        else
            poke_be64(o.fd, MASKED(l2) + 24, 0);
        done(&o);
        o = must_open("a", 0);
        assert_int_equal(qcow2_view_check(o.view, &c, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "hole"));
        err_clear(&e);
        assert_int_equal(qcow2_view_read_vmstate(o.view, 0, got, VMSTATE, &e),
                         -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "hole"));
        done(&o);
    }
}

/* Sizes in the snapshot table that the L1 table does not reach to. */
static void
test_snapshot_sizes(void **state)
{
    static const uint64_t too_large[] = {
        32769, 1 << 30, UINT64_C(0xffffffffffff0000), UINT64_MAX};
    uint8_t got[DISK];
    struct err e = {0};
    struct opened o;

    (void)state;
    make_image("a", 9);
    int fd = scratch_open("a", O_RDWR);
    uint64_t table = peek_be64(fd, QCOW2_AT_SNAPSHOTS_OFFSET);
    for (size_t i = 0; i < ARRAY_LEN(too_large); i++) {
        poke_be64(fd, table + 40, too_large[i]);
        err_clear(&e);
        assert_int_equal(try_open(&o, "a", 0, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        done(&o);
    }
    poke_be64(fd, table + 40, 0);

    /* A smaller disk, and larger ones, which would read as zeros in part. */
    poke_be64(fd, table + 48, 100 << 10);
    o = must_open("a", 0);
    assert_int_equal(qcow2_view_bytes(o.view), 100 << 10);
    assert_int_equal(qcow2_view_read(o.view, 0, got, 100 << 10, &e), 0);
    assert_memory_equal(got, disk, 100 << 10);
    done(&o);
    poke_be32(fd, table + 32, 0);
    for (size_t i = 1; i < ARRAY_LEN(too_large); i++) {
        poke_be64(fd, table + 48, too_large[i]);
        err_clear(&e);
        assert_int_equal(try_open(&o, "a", 0, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "the snapshot 's'"));
        assert_non_null(strstr(e.msg, "too small for a disk"));
        done(&o);
        o = must_open("a", -1); /* the rest is as it was */
        done(&o);
    }
    (void)close(fd);
}

/* 5 GiB of machine state, of which the file holds the tables and holes. */
static void
test_large_vmstate(void **state)
{
    const uint64_t vm_bytes = (UINT64_C(5) << 30) + 7, cluster = 2 << 20;
    struct qcow2_write_options o = {
        .size_bytes = 1 << 20, .cluster_bits = 21, .snapshot = "s"};
    struct qcow2_writer *w = NULL;
    struct err e = {0};
    uint8_t got[10] = {0};
    int fd = scratch_create("a");

    (void)state;
    assert_int_equal(qcow2_writer_open(fd, &o, &w, &e), 0);
    assert_int_equal(qcow2_write_vmstate(w, "x", 1, &e), 0);
    assert_int_equal(qcow2_writer_commit(&w, &e), 0);

    uint64_t table = peek_be64(fd, QCOW2_AT_SNAPSHOTS_OFFSET);
    uint64_t l1 = peek_be64(fd, table), l2 = MASKED(peek_be64(fd, l1 + 8));
    for (uint64_t k = 1; k <= vm_bytes / cluster; k++)
        poke_be64(fd, l2 + k * 8, (UINT64_C(1) << 30) + k * cluster);
    poke_be32(fd, table + 32, 0); /* the 32-bit size */
    poke_be64(fd, table + 40, vm_bytes);
    uint64_t last = (UINT64_C(1) << 30) + vm_bytes / cluster * cluster;
    assert_int_equal(pwrite(fd, "1234567", 7, (off_t)last), 7);

    struct opened op = must_open("a", 0);
    assert_true(qcow2_view_vmstate_bytes(op.view) == vm_bytes);
    assert_int_equal(
        qcow2_view_read_vmstate(op.view, vm_bytes - 10, got, 10, &e), 0);
    assert_memory_equal(got, "\0\0\0001234567", 10);
    struct qcow2_check c = {0};
    if (qcow2_view_check(op.view, &c, &e) == -1)
        fail_msg("%s", e.msg);
    assert_int_equal(c.overlaps, 0);
    done(&op);
    (void)close(fd);
}

/* What QEMU does to the file while it is read. */
static void
test_recheck(void **state)
{
    struct err e = {0};

    (void)state;
    require_qemu_img();
    make_image("a", 16);
    struct opened o = must_open("a", 0);
    tool_must("qemu-img snapshot -c t a && qemu-io -f qcow2"
              " -c 'write 0 300k' a");
    assert_int_equal(qcow2_view_recheck(o.view, &e), 0); /* still there */
    tool_must("qemu-img snapshot -d t a");
    assert_int_equal(qcow2_view_recheck(o.view, &e), 0);
    tool_must("qemu-img snapshot -d s a && qemu-img snapshot -c s a");
    assert_int_equal(qcow2_view_recheck(o.view, &e), -1); /* another s */
    assert_int_equal(e.code, ERR_NOENT);
    err_clear(&e);
    tool_must("qemu-img snapshot -d s a");
    assert_int_equal(qcow2_view_recheck(o.view, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    err_clear(&e);
    tool_must("truncate -s 0 a");
    assert_int_equal(qcow2_view_recheck(o.view, &e), -1);
    done(&o);

    make_image("a", 16);
    o = must_open("a", -1);
    err_clear(&e);
    assert_int_equal(qcow2_view_recheck(o.view, &e), 0);
    uint64_t was = peek_be64(o.fd, QCOW2_AT_L1_OFFSET);
    poke_be64(o.fd, QCOW2_AT_L1_OFFSET, was - 65536);
    assert_int_equal(qcow2_view_recheck(o.view, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    poke_be64(o.fd, QCOW2_AT_L1_OFFSET, was);
    err_clear(&e);
    tool_must("qemu-img resize -q -f qcow2 a 200G");
    assert_int_equal(qcow2_view_recheck(o.view, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    done(&o);
}

/* QEMU replaces the snapshot table between our reads of header and table. */
static uint64_t table_at, new_table_at;
static unsigned moves, moves_wanted;
static bool old_table_stays;

static void
move_table(int fd, off64_t offset)
{
    if (offset != 0 || moves >= moves_wanted)
        return;
    /* The new table, then the header, then the old one is overwritten. */
    void (*self)(int, off64_t) = after_read;
    after_read = NULL;
    uint8_t p[128];
    assert_int_equal(pread(fd, p, sizeof(p), (off_t)table_at), sizeof(p));
    p[40 + 24 + 1]++; /* the name, behind an id of one byte */
    assert_int_equal(pwrite(fd, p, sizeof(p), (off_t)new_table_at), sizeof(p));
    poke_be64(fd, QCOW2_AT_SNAPSHOTS_OFFSET, new_table_at);
    memset(p, 0xff, sizeof(p));
    if (!old_table_stays)
        assert_int_equal(pwrite(fd, p, sizeof(p), (off_t)table_at), sizeof(p));
    table_at = new_table_at;
    new_table_at += 65536;
    moves++;
    after_read = self;
}

static void
open_while_moving(unsigned times, int want)
{
    struct err e = {0};
    struct opened o;

    make_image("a", 16);
    int fd = scratch_open("a", O_RDWR);
    table_at = peek_be64(fd, QCOW2_AT_SNAPSHOTS_OFFSET);
    new_table_at = 4 << 20;
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    moves = 0;
    moves_wanted = times;
    after_read = move_table;
    int r = try_open(&o, "a", 0, &e);
    after_read = NULL;
    assert_true(moves > 0);
    assert_int_equal(r, want);
    if (want == 0) /* the last one, not an old one */
        assert_int_equal(qcow2_image_snapshots(o.image)->list[0].name[0],
                         's' + times);
    else
        assert_non_null(strstr(e.msg, "changes all the time"));
    done(&o);
    (void)close(fd);
}

static void
test_table_moves(void **state)
{
    (void)state;
    old_table_stays = false;
    for (unsigned times = 1; times < 6; times++)
        open_while_moving(times, 0);
    open_while_moving(UINT32_MAX, -1);
    old_table_stays = true;
    for (unsigned times = 1; times < 6; times++)
        open_while_moving(times, 0);
    open_while_moving(UINT32_MAX, -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_data_cut),
        cmocka_unit_test(test_damaged_entries),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_compressed_damage),
        cmocka_unit_test(test_table_overlaps),
        cmocka_unit_test(test_vmstate_holes),
        cmocka_unit_test(test_snapshot_sizes),
        cmocka_unit_test(test_large_vmstate),
        cmocka_unit_test(test_recheck),
        cmocka_unit_test(test_table_moves),
    };

    return cmocka_run_group_tests_name("damage", tests, scratch_setup,
                                       scratch_teardown);
}
