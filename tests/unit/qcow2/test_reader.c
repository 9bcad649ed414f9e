/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/reader.h"

#include "viewtool.h"

#include "base/mem.h"

static void
test_what_was_written(void **state)
{
    uint8_t got[DISK];
    uint64_t data_bytes = 0;
    struct err e = {0};

    (void)state;
    make_image("a", 12);
    for (size_t at = 0; at < DISK; at += 4096)
        data_bytes += bytes_are_zero(disk + at, 4096) ? 0 : 4096;
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
        assert_int_equal(c.data_bytes, data_bytes); /* no machine state */
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

        /* The second cluster gets half its sectors: it ends in the middle. */
        uint64_t l1 = qcow2_image_header(o.image)->l1_offset;
        uint64_t at = entry_place(o.fd, l1, 65536, 1);
        uint64_t entry = peek_be64(o.fd, at), n = entry >> 54 & 0xff;
        assert_true(n > 2);
        poke_be64(o.fd, at, entry - ((n - n / 2) << 54));
        qcow2_view_closep(&o.view);
        assert_int_equal(qcow2_view_open(o.image, NULL, &o.view, &e), 0);
        assert_int_equal(qcow2_view_read(o.view, 0, got, 131072, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_non_null(strstr(e.msg, "disk offset 65536"));
        err_clear(&e);
        assert_int_equal(qcow2_view_read(o.view, 0, got, 65536, &e), 0);
        assert_memory_equal(got, disk, 65536);
        done(&o);
    }
}

/* Two compressed clusters that only their place tells apart. */
static void
test_compressed_of_equal_length(void **state)
{
    uint8_t got[512], packed[512];
    struct err e = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 a 1M && qemu-io -f qcow2"
              " -c 'write -c -P 1 0 64k' -c 'write -c -P 2 64k 64k' a"
              " && truncate -s 1M a");
    struct opened o = must_open("a", -1);
    uint64_t l1 = qcow2_image_header(o.image)->l1_offset;
    for (uint64_t k = 0; k < 2; k++) {
        uint64_t at = entry_place(o.fd, l1, 65536, k), to = 999424 + k * 512;
        uint64_t host = peek_be64(o.fd, at) & ((UINT64_C(1) << 54) - 1);
        assert_int_equal(pread(o.fd, packed, 512, (off_t)host), 512);
        assert_int_equal(pwrite(o.fd, packed, 512, (off_t)to), 512);
        poke_be64(o.fd, at, QCOW2_COMPRESSED | to);
    }
    for (uint8_t k = 1; k <= 2; k++) {
        uint8_t want[512];
        memset(want, k, sizeof(want));
        assert_int_equal(
            qcow2_view_read(o.view, UINT64_C(65536) * k - 512, got, 512, &e),
            0);
        assert_memory_equal(got, want, 512);
    }
    done(&o);
}

/* Subclusters of one cluster, with holes between them, are no overlap. */
static void
test_subclusters(void **state)
{
    static uint8_t got[1 << 20], want[1 << 20];
    struct qcow2_check c = {0};
    struct err e = {0};

    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 -o extended_l2=on a 1M"
              " && qemu-io -f qcow2 -c 'write -P 1 64k 2k'"
              " -c 'write -P 2 70k 4k' -c 'write -P 3 126k 2k' a");
    memset(want + (64 << 10), 1, 2 << 10);
    memset(want + (70 << 10), 2, 4 << 10);
    memset(want + (126 << 10), 3, 2 << 10);
    struct opened o = must_open("a", -1);
    assert_int_equal(qcow2_view_read(o.view, 0, got, sizeof(got), &e), 0);
    assert_memory_equal(got, want, sizeof(got));
    assert_int_equal(qcow2_view_check(o.view, &c, &e), 0);
    assert_int_equal(c.overlaps, 0);
    assert_int_equal(c.data_bytes, 8 << 10);
    done(&o);
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
        uint64_t end = (want[i].at_kib + want[i].len_kib) << 10;
        assert_true(at == want[i].at_kib << 10);
        for (; at < end; at += c.len) { /* long answers come in parts */
            assert_int_equal(qcow2_view_diff(o.view, newer, at, &c, &e), 0);
            assert_true(c.offset == at);
            assert_int_equal(c.changed, want[i].changed);
        }
        assert_true(at == end);
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
    assert_true(calls < 20);
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
        cmocka_unit_test(test_encrypted),
        cmocka_unit_test(test_backing),
        cmocka_unit_test(test_data_file),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_compressed_of_equal_length),
        cmocka_unit_test(test_subclusters),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_diff_of_sizes),
        cmocka_unit_test(test_sparse),
    };

    return cmocka_run_group_tests_name("reader", tests, scratch_setup,
                                       scratch_teardown);
}
