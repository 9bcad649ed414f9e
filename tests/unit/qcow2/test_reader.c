/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/reader.h"

#include "imagetool.h"

#include <sys/syscall.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/writer.h"

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

enum { DISK = 300 << 10, VMSTATE = 5000 };

static uint8_t disk[DISK], vmstate[VMSTATE];

/* An image of ours with a snapshot "s" of random data, some of it zeros. */
static void
make_image(const char *name, uint32_t cluster_bits)
{
    struct qcow2_write_options o = {
        .size_bytes = DISK, .cluster_bits = cluster_bits, .snapshot = "s"};
    struct qcow2_writer *w = NULL;
    struct err e = {0};
    int fd = scratch_create(name);

    random_fill(disk, sizeof(disk));
    random_fill(vmstate, sizeof(vmstate));
    for (size_t at = 0; at < DISK; at += 4096)
        if (random_below(2))
            memset(disk + at, 0, u64_min(4096, DISK - at));
    assert_int_equal(qcow2_writer_open(fd, &o, &w, &e), 0);
    assert_int_equal(qcow2_write_disk(w, 0, disk, DISK, &e), 0);
    assert_int_equal(qcow2_write_vmstate(w, vmstate, VMSTATE, &e), 0);
    assert_int_equal(qcow2_writer_commit(&w, &e), 0);
    (void)close(fd);
}

struct opened {
    int fd;
    struct qcow2_image *image;
    struct qcow2_view *view;
};

/* The image, and the view of its snapshot number n, or of the active state. */
static int
try_open(struct opened *o, const char *name, int n, struct err *e)
{
    *o = (struct opened){.fd = scratch_open(name, O_RDWR)};
    if (qcow2_image_open(o->fd, -1, &o->image, e) == -1)
        return -1;
    const struct qcow2_snapshots *s = qcow2_image_snapshots(o->image);
    return qcow2_view_open(o->image, n < 0 ? NULL : &s->list[n], &o->view, e);
}

static void
done(struct opened *o)
{
    qcow2_view_closep(&o->view);
    qcow2_image_closep(&o->image);
    assert_null(o->view);
    assert_null(o->image);
    (void)close(o->fd);
}

static struct opened
must_open(const char *name, int n)
{
    struct opened o;
    struct err e = {0};

    if (try_open(&o, name, n, &e) == -1)
        fail_msg("%s", e.msg);
    return o;
}

static uint64_t
peek_be64(int fd, uint64_t at)
{
    uint8_t p[8];

    assert_int_equal(pread(fd, p, 8, (off_t)at), 8);
    return get_be64(p);
}

static void
poke_be64(int fd, uint64_t at, uint64_t v)
{
    uint8_t p[8];

    put_be64(p, v);
    assert_int_equal(pwrite(fd, p, 8, (off_t)at), 8);
}

static void
poke_be32(int fd, uint64_t at, uint32_t v)
{
    uint8_t p[4];

    put_be32(p, v);
    assert_int_equal(pwrite(fd, p, 4, (off_t)at), 4);
}

#define MASKED(v) ((v)&QCOW2_OFFSET_MASK)

/* Where the file keeps the L2 entry of a guest cluster, by an L1 table. */
static uint64_t
entry_place(int fd, uint64_t l1, uint64_t cluster_bytes, uint64_t cluster)
{
    uint64_t per = cluster_bytes / 8;

    return MASKED(peek_be64(fd, l1 + cluster / per * 8)) + cluster % per * 8;
}

static void
test_what_was_written(void **state)
{
    uint8_t got[DISK];
    struct err e = {0};

    (void)state;
    make_image("a", 12);
    for (int n = -1; n <= 0; n++) {
        struct opened o = must_open("a", n);
        struct qcow2_check c = {0};
        assert_int_equal(qcow2_view_bytes(o.view), DISK);
        assert_int_equal(qcow2_view_vmstate_bytes(o.view), n < 0 ? 0 : VMSTATE);
        assert_int_equal(qcow2_view_read(o.view, 0, got, DISK, &e), 0);
        assert_memory_equal(got, disk, DISK);
        assert_int_equal(qcow2_view_check(o.view, &c, &e), 0);
        assert_int_equal(c.overlaps, 0);
        assert_int_equal(c.compressed_clusters, 0);
        assert_true(c.data_bytes > 0 && c.data_bytes < DISK);
        assert_int_equal(qcow2_view_recheck(o.view, &e), 0);
        if (n == 0) {
            assert_int_equal(
                qcow2_view_read_vmstate(o.view, 0, got, VMSTATE, &e), 0);
            assert_memory_equal(got, vmstate, VMSTATE);
        }
        done(&o);
    }
}

static void
test_ends(void **state)
{
    uint8_t p[2] = {0};
    struct qcow2_extent x = {0};
    struct qcow2_change c = {0};
    struct err e = {0};

    (void)state;
    make_image("a", 12);
    struct opened o = must_open("a", 0);
    assert_int_equal(qcow2_view_read(o.view, DISK, p, 0, &e), 0);
    assert_int_equal(qcow2_view_read(o.view, DISK - 1, p, 1, &e), 0);
#define USAGE(call)                          \
    do {                                     \
        err_clear(&e);                       \
        assert_int_equal(call, -1);          \
        assert_int_equal(e.code, ERR_USAGE); \
    } while (0)
    USAGE(qcow2_view_read(o.view, DISK - 1, p, 2, &e));
    USAGE(qcow2_view_read(o.view, DISK + 1, p, 0, &e));
    USAGE(qcow2_view_read(o.view, UINT64_MAX, p, 2, &e));
    USAGE(qcow2_view_map(o.view, DISK, &x, &e));
    USAGE(qcow2_view_map(o.view, UINT64_MAX, &x, &e));
    USAGE(qcow2_view_diff(o.view, o.view, DISK, &c, &e));
    USAGE(qcow2_view_read_vmstate(o.view, VMSTATE - 1, p, 2, &e));
    USAGE(qcow2_view_read_vmstate(o.view, UINT64_MAX, p, 2, &e));
    struct opened other = must_open("a", 0);
    USAGE(qcow2_view_diff(o.view, other.view, 0, &c, &e)); /* not one image */
    done(&other);
    done(&o);
}

static void
test_no_image(void **state)
{
    struct qcow2_image *image = NULL;
    struct err e = {0};
    int fds[2];

    (void)state;
    scratch_write("r",
                  "this is a disk, not an image, and longer than "
                  "the header of one is: seventy-two bytes",
                  80);
    int fd = scratch_open("r", O_RDONLY);
    assert_int_equal(qcow2_image_open(fd, -1, &image, &e), -1);
    assert_int_equal(e.code, ERR_UNSUP);
    assert_null(image);
    (void)close(fd);
    err_clear(&e);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(qcow2_image_open(fds[0], -1, &image, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    (void)close(fds[0]);
    (void)close(fds[1]);
    qcow2_image_close(NULL);
    qcow2_view_close(NULL);
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

    /* A smaller disk, a larger one, the largest: behind the table there is
     * nothing, and to find that out takes no time. */
    poke_be64(fd, table + 48, 100 << 10);
    o = must_open("a", 0);
    assert_int_equal(qcow2_view_bytes(o.view), 100 << 10);
    assert_int_equal(qcow2_view_read(o.view, 0, got, 100 << 10, &e), 0);
    assert_memory_equal(got, disk, 100 << 10);
    done(&o);
    poke_be64(fd, table + 48, INT64_MAX);
    o = must_open("a", 0);
    struct qcow2_extent x = {0};
    unsigned calls = 0;
    for (uint64_t at = 1 << 20; at < INT64_MAX; at += x.len, calls++)
        assert_int_equal(qcow2_view_map(o.view, at, &x, &e), 0);
    assert_int_equal(calls, 1);
    assert_int_equal(x.kind, QCOW2_UNALLOCATED);
    struct qcow2_change c = {0};
    assert_int_equal(qcow2_view_diff(o.view, o.view, 0, &c, &e), 0);
    assert_true(c.len == INT64_MAX && !c.changed);
    struct qcow2_check check = {0};
    assert_int_equal(qcow2_view_check(o.view, &check, &e), 0);
    done(&o);
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

static void
test_encrypted(void **state)
{
    struct err e = {0};
    struct opened o;

    (void)state;
    make_image("a", 16);
    int fd = scratch_open("a", O_RDWR);
    for (uint32_t method = 1; method <= 2; method++) {
        poke_be32(fd, QCOW2_AT_CRYPT_METHOD, method);
        err_clear(&e);
        assert_int_equal(try_open(&o, "a", 0, &e), -1);
        assert_int_equal(e.code, ERR_UNSUP);
        assert_non_null(strstr(e.msg, method == 1 ? "AES" : "LUKS"));
        assert_int_equal(qcow2_image_snapshots(o.image)->n, 1); /* to list */
        done(&o);
    }
    (void)close(fd);
}

static void
test_backing(void **state)
{
    static uint8_t got[3 << 20], want[3 << 20], base[1 << 20];
    struct qcow2_source raw = {0}, view = {0};
    struct err e = {0};

    (void)state;
    require_qemu_img();
    random_fill(base, sizeof(base));
    scratch_write("base", base, (1 << 20) - 100);
    tool_must("qemu-img create -q -f qcow2 -b base -F raw mid 2M"
              " && qemu-io -f qcow2 -c 'write -P 7 64k 64k' mid"
              " && qemu-img create -q -f qcow2 -b mid -F qcow2 top 3M"
              " && qemu-io -f qcow2 -c 'write -P 9 1984k 128k'"
              " -c 'write -z 192k 64k' top");
    memcpy(want, base, (1 << 20) - 100);
    memset(want + (64 << 10), 7, 64 << 10);
    memset(want + (1984 << 10), 9, 128 << 10);
    memset(want + (192 << 10), 0, 64 << 10);

    int fd = scratch_open("base", O_RDONLY);
    struct opened mid = must_open("mid", -1), top = must_open("top", -1);
    assert_string_equal(qcow2_image_header(top.image)->backing, "mid");
    /* Not handed in: what is in the image can be read, nothing else. */
    assert_int_equal(qcow2_view_read(top.view, 1984 << 10, got, 128 << 10, &e),
                     0);
    assert_memory_equal(got, want + (1984 << 10), 128 << 10);
    assert_int_equal(qcow2_view_read(top.view, 0, got, 1, &e), -1);
    assert_int_equal(e.code, ERR_UNSUP);
    err_clear(&e);

    assert_int_equal(qcow2_source_of_raw(&fd, &raw, &e), 0);
    assert_int_equal(raw.size_bytes, (1 << 20) - 100);
    qcow2_view_set_backing(mid.view, &raw);
    view = qcow2_source_of_view(mid.view);
    assert_int_equal(view.size_bytes, 2 << 20);
    qcow2_view_set_backing(top.view, &view);
    memset(got, 0xee, sizeof(got));
    if (qcow2_view_read(top.view, 0, got, sizeof(got), &e) == -1)
        fail_msg("%s", e.msg);
    assert_memory_equal(got, want, sizeof(got));

    tool_must("truncate -s 500k base"); /* meanwhile */
    assert_int_equal(qcow2_view_read(top.view, 0, got, sizeof(got), &e), -1);
    assert_non_null(strstr(e.msg, "backing file"));
    done(&top);
    done(&mid);
    (void)close(fd);
}

static void
test_data_file(void **state)
{
    static uint8_t got[1 << 20], want[1 << 20];
    struct qcow2_image *image = NULL;
    struct qcow2_view *v = NULL;
    struct err e = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 -o data_file=d a 1M"
              " && qemu-io -f qcow2 -c 'write -P 3 0 64k'"
              " -c 'write -P 4 512k 64k' a");
    memset(want, 3, 64 << 10);
    memset(want + (512 << 10), 4, 64 << 10);
    int fd = scratch_open("a", O_RDONLY), data = scratch_open("d", O_RDONLY);
    assert_int_equal(qcow2_image_open(fd, -1, &image, &e), 0);
    assert_string_equal(qcow2_image_header(image)->data_file, "d");
    assert_int_equal(qcow2_view_open(image, NULL, &v, &e), -1);
    assert_int_equal(e.code, ERR_UNSUP);
    assert_null(v);
    qcow2_image_closep(&image);
    err_clear(&e);

    assert_int_equal(qcow2_image_open(fd, data, &image, &e), 0);
    assert_int_equal(qcow2_view_open(image, NULL, &v, &e), 0);
    assert_int_equal(qcow2_view_read(v, 0, got, sizeof(got), &e), 0);
    assert_memory_equal(got, want, sizeof(got));
    struct qcow2_extent x = {0};
    assert_int_equal(qcow2_view_map(v, (512 << 10) + 5, &x, &e), 0);
    assert_int_equal(x.kind, QCOW2_DATA);
    assert_int_equal(x.host_offset, (512 << 10) + 5);
    struct qcow2_snapshot s = {.l1_len = 1};
    struct qcow2_view *of_snapshot = NULL;
    assert_int_equal(qcow2_view_open(image, &s, &of_snapshot, &e), -1);
    assert_int_equal(e.code, ERR_UNSUP);
    err_clear(&e);
    tool_must("truncate -s 520k d");
    assert_int_equal(qcow2_view_read(v, 0, got, sizeof(got), &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    qcow2_view_closep(&v);
    qcow2_image_closep(&image);
    (void)close(fd);
    (void)close(data);
}

static void
test_compressed(void **state)
{
    uint8_t got[200 << 10];
    struct qcow2_extent x = {0};
    struct err e = {0};

    (void)state;
    require_qemu_img();
    for (unsigned i = 0; i < 2; i++) {
        random_fill(disk, sizeof(disk));
        for (size_t at = 0; at < DISK; at++)
            disk[at] &= 3; /* can be compressed, but not to nothing */
        scratch_write("raw", disk, DISK);
        tool_must("qemu-img convert -c -f raw -O qcow2"
                  " -o compression_type=%s raw a",
                  i ? "zstd" : "zlib");
        struct opened o = must_open("a", -1);
        /* Backwards and across clusters, so that no cluster is kept. */
        for (uint64_t at = DISK; at >= 70000; at -= 70000) {
            assert_int_equal(
                qcow2_view_read(o.view, at - 70000, got, 70000, &e), 0);
            assert_memory_equal(got, disk + at - 70000, 70000);
        }
        assert_int_equal(qcow2_view_map(o.view, 1000, &x, &e), 0);
        assert_int_equal(x.kind, QCOW2_COMPRESSED_DATA);
        assert_int_equal(x.len, 65536 - 1000);

        /* Damage in the second cluster. */
        uint64_t l1 = qcow2_image_header(o.image)->l1_offset;
        uint64_t entry = peek_be64(o.fd, entry_place(o.fd, l1, 65536, 1));
        uint64_t host = entry & ((UINT64_C(1) << 54) - 1);
        for (uint64_t k = 0; k < 3000; k += 8)
            poke_be64(o.fd, host + k, UINT64_MAX);
        assert_int_equal(qcow2_view_read(o.view, 0, got, 131072, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "disk offset 65536"));
        err_clear(&e);
        assert_int_equal(qcow2_view_read(o.view, 0, got, 65536, &e), 0);
        assert_memory_equal(got, disk, 65536);
        done(&o);
    }
}

/* Unchanged is exactly what was not written. */
static void
test_diff(void **state)
{
    struct qcow2_change c = {0};
    struct qcow2_view *newer = NULL;
    struct err e = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 a 4G"
              " && qemu-io -f qcow2 -c 'write -P 1 0 10M'"
              " -c 'write -P 2 1G 1M' -c 'write -P 2 3G 1M' a"
              " && qemu-img snapshot -c one a"
              " && qemu-io -f qcow2 -c 'write -P 3 1M 64k'"
              " -c 'write -P 3 1200k 4k' -c 'write -z 1G 64k'"
              " -c 'discard 1088M 64k' a && qemu-img snapshot -c two a");
    struct opened o = must_open("a", 0);
    const struct qcow2_snapshots *s = qcow2_image_snapshots(o.image);
    assert_int_equal(qcow2_view_open(o.image, &s->list[1], &newer, &e), 0);
    static const struct {
        uint64_t at_kib, len_kib;
        bool changed;
    } want[] = {
        {0, 1024, false},       {1024, 64, true},    {1088, 64, false},
        {1152, 64, true}, /* 1200 KiB is in it */
        {1216, 1047360, false}, {1048576, 64, true}, {1048640, 3145664, false},
    };
    uint64_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(qcow2_view_diff(o.view, newer, at, &c, &e), 0);
        assert_true(c.offset == want[i].at_kib << 10);
        assert_true(c.len == want[i].len_kib << 10);
        assert_int_equal(c.changed, want[i].changed);
        at += c.len;
    }
    assert_true(at == UINT64_C(4) << 30);
    /* From the middle of a cluster. */
    assert_int_equal(qcow2_view_diff(o.view, newer, (1024 << 10) + 5, &c, &e),
                     0);
    assert_true(c.changed && c.len == 65531);
    qcow2_view_close(newer);
    done(&o);
}

/* The older disk ends in the middle of a cluster of the newer. */
static void
test_diff_of_sizes(void **state)
{
    struct qcow2_change c = {0};
    struct qcow2_view *newer = NULL;
    struct err e = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 a 1000k"
              " && qemu-io -f qcow2 -c 'write -P 1 0 1000k' a"
              " && qemu-img snapshot -c one a"
              " && qemu-img resize -q -f qcow2 a 2M"
              " && qemu-img snapshot -c two a");
    struct opened o = must_open("a", 0);
    const struct qcow2_snapshots *s = qcow2_image_snapshots(o.image);
    assert_int_equal(qcow2_view_open(o.image, &s->list[1], &newer, &e), 0);
    assert_int_equal(qcow2_view_bytes(o.view), 1000 << 10);
    assert_int_equal(qcow2_view_bytes(newer), 2 << 20);
    assert_int_equal(qcow2_view_diff(o.view, newer, 0, &c, &e), 0);
    assert_true(!c.changed && c.len == 960 << 10);
    assert_int_equal(qcow2_view_diff(o.view, newer, 960 << 10, &c, &e), 0);
    assert_true(c.changed && c.len == 1088 << 10);
    /* The other way round there is nothing new. */
    assert_int_equal(qcow2_view_diff(newer, o.view, 0, &c, &e), 0);
    assert_true(!c.changed && c.len == 1000 << 10);
    qcow2_view_close(newer);
    done(&o);
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

/* 16 TiB with one cluster: few steps, little memory. */
static void
test_sparse(void **state)
{
    const uint64_t size = UINT64_C(16) << 40;
    struct qcow2_write_options wo = {.size_bytes = size, .snapshot = "s"};
    struct qcow2_writer *w = NULL;
    struct qcow2_extent x = {0};
    struct err e = {0};
    static uint8_t p[65536];
    int fd = scratch_create("a");
    unsigned calls = 0;

    (void)state;
    memset(p, 5, sizeof(p));
    assert_int_equal(qcow2_writer_open(fd, &wo, &w, &e), 0);
    assert_int_equal(qcow2_write_disk(w, size - 65536, p, 65536, &e), 0);
    assert_int_equal(qcow2_writer_commit(&w, &e), 0);
    struct opened o = must_open("a", 0);
    for (uint64_t at = 0; at < size; at += x.len, calls++)
        assert_int_equal(qcow2_view_map(o.view, at, &x, &e), 0);
    assert_int_equal(calls, 2);
    assert_true(x.offset == size - 65536 && x.kind == QCOW2_DATA);
    struct qcow2_check c = {0};
    assert_int_equal(qcow2_view_check(o.view, &c, &e), 0);
    assert_int_equal(c.data_bytes, 65536);
    done(&o);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_no_image),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_data_cut),
        cmocka_unit_test(test_damaged_entries),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_table_overlaps),
        cmocka_unit_test(test_vmstate_holes),
        cmocka_unit_test(test_snapshot_sizes),
        cmocka_unit_test(test_large_vmstate),
        cmocka_unit_test(test_encrypted),
        cmocka_unit_test(test_backing),
        cmocka_unit_test(test_data_file),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_diff_of_sizes),
        cmocka_unit_test(test_recheck),
        cmocka_unit_test(test_table_moves),
        cmocka_unit_test(test_sparse),
    };

    return cmocka_run_group_tests_name("reader", tests, scratch_setup,
                                       scratch_teardown);
}
