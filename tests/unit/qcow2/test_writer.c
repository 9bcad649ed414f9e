/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/writer.h"

#include "imagetool.h"

#include <errno.h>
#include <sys/syscall.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"

/*
 * The file layer, so that any operation can be made to fail: these definitions
 * are found before those of libc.
 */
static long ops_until_failure = -1; /* -1: never */
static unsigned n_fsync;

static bool
failure_is_due(int error)
{
    if (ops_until_failure < 0 || ops_until_failure-- > 0)
        return false;
    ops_until_failure = -1;
    errno = error;
    return true;
}

int fsync(int fd);
int
fsync(int fd)
{
    n_fsync++;
    return failure_is_due(EIO) ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset);
ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    if (failure_is_due(ENOSPC))
        return -1;
    return syscall(SYS_pwrite64, fd, buf, n, offset);
}

/* A disk and a machine state, as they should come out of an image. */
struct model {
    struct qcow2_write_options o;
    uint8_t *disk; /* size_bytes */
    uint8_t *vmstate;
    size_t vmstate_len;
};

static void
model_done(struct model *m)
{
    free(m->disk);
    free(m->vmstate);
}

static uint64_t
cluster_bytes_of(const struct model *m)
{
    return UINT64_C(1) << (m->o.cluster_bits ? m->o.cluster_bits : 16);
}

/* Clusters of data with this chance in percent; of the others half are left
 * out and half are written as zeros. */
static struct model
model_of(struct qcow2_write_options o, size_t vmstate_len, unsigned percent)
{
    struct model m = {.o = o, .vmstate_len = vmstate_len};

    m.disk = xcalloc(1, o.size_bytes);
    m.vmstate = xmalloc(vmstate_len);
    random_fill(m.vmstate, vmstate_len);
    for (uint64_t at = 0; at < o.size_bytes; at += cluster_bytes_of(&m)) {
        size_t n = u64_min(cluster_bytes_of(&m), o.size_bytes - at);
        if (random_below(100) >= percent)
            continue;
        /* One byte is enough to be no zeros, be it the last one. */
        if (random_below(4) == 0)
            m.disk[at + (random_below(2) ? n - 1 : random_below(n))] = 1;
        else
            random_fill(m.disk + at, n);
    }
    return m;
}

static struct qcow2_writer *
open_image(const char *name, const struct qcow2_write_options *o, int *out_fd)
{
    struct qcow2_writer *w = NULL;
    struct err e = {0};

    *out_fd = scratch_create(name);
    if (qcow2_writer_open(*out_fd, o, &w, &e) == -1)
        fail_msg("open: %s", e.msg);
    return w;
}

/* The disk in pieces of 1 to piece_max clusters, ascending or in any order;
 * zero pieces are left out now and then. */
static int
write_pieces(struct qcow2_writer *w, const struct model *m, uint64_t piece_max,
             bool shuffle, struct err *e)
{
    uint64_t cluster = cluster_bytes_of(m), n_pieces = 0, clusters = 0;
    uint64_t all = div_up(m->o.size_bytes, cluster);
    uint64_t *starts = xcalloc(all + 1, sizeof(*starts));
    uint64_t *order = xcalloc(all + 1, sizeof(*order));
    int r = 0;

    while (clusters < all) {
        order[n_pieces] = n_pieces;
        starts[n_pieces++] = clusters;
        clusters += 1 + random_below(piece_max);
    }
    starts[n_pieces] = all;
    for (uint64_t i = n_pieces; shuffle && i > 1; i--) {
        uint64_t k = random_below(i), t = order[i - 1];
        order[i - 1] = order[k];
        order[k] = t;
    }
    for (uint64_t i = 0; r == 0 && i < n_pieces; i++) {
        uint64_t at = starts[order[i]] * cluster;
        uint64_t end = u64_min(starts[order[i] + 1] * cluster, m->o.size_bytes);
        if (bytes_are_zero(m->disk + at, end - at) && random_below(2))
            continue;
        r = qcow2_write_disk(w, at, m->disk + at, end - at, e);
    }
    free(starts);
    free(order);
    return r;
}

static int
write_model(struct qcow2_writer **w, const struct model *m, uint64_t piece_max,
            bool shuffle, struct err *e)
{
    /* Machine state before, between and behind the disk. */
    size_t half = m->vmstate_len / 2;

    if (half > 0 && qcow2_write_vmstate(*w, m->vmstate, half, e) == -1)
        return -1;
    if (write_pieces(*w, m, piece_max, shuffle, e) == -1)
        return -1;
    if (m->vmstate_len > 0 &&
        qcow2_write_vmstate(*w, m->vmstate + half, m->vmstate_len - half, e) ==
            -1)
        return -1;
    return qcow2_writer_commit(w, e);
}

static void
make_image(const char *name, const struct model *m, uint64_t piece_max,
           bool shuffle)
{
    int fd = -1;
    struct err e = {0};
    struct qcow2_writer *w = open_image(name, &m->o, &fd);

    if (write_model(&w, m, piece_max, shuffle, &e) == -1)
        fail_msg("%s", e.msg);
    assert_null(w);
    assert_int_equal(close(fd), 0);
}

/* An image whose disk is the snapshot's with the machine state behind it:
 * QEMU reads that for us, too. */
static void
check_vmstate(const char *name, const struct model *m)
{
    uint64_t unit = cluster_bytes_of(m) * cluster_bytes_of(m) / 8;
    uint64_t vm_at = div_up(m->o.size_bytes, unit) * unit;
    uint64_t size = vm_at + round_up(m->vmstate_len, 512);
    uint8_t h[QCOW2_HEADER_BYTES], s[64], *got = xmalloc(m->vmstate_len);

    tool_must("cp --sparse=always %s vm.qcow2", name);
    int fd = scratch_open("vm.qcow2", O_RDWR);
    assert_int_equal(pread(fd, h, sizeof(h), 0), sizeof(h));
    assert_int_equal(
        pread(fd, s, sizeof(s), (off_t)get_be64(h + QCOW2_AT_SNAPSHOTS_OFFSET)),
        sizeof(s));
    assert_int_equal(get_be32(s + 32), m->vmstate_len);
    assert_int_equal(get_be64(s + 40), m->vmstate_len);
    put_be64(h + QCOW2_AT_SIZE, size);
    put_be64(h + QCOW2_AT_L1_OFFSET, get_be64(s));
    put_be32(h + QCOW2_AT_L1_SIZE, get_be32(s + 8));
    put_be32(h + QCOW2_AT_SNAPSHOTS, 0);
    assert_int_equal(pwrite(fd, h, sizeof(h), 0), sizeof(h));
    assert_int_equal(close(fd), 0);

    tool_must("qemu-img convert -f qcow2 -O raw vm.qcow2 vm.raw");
    fd = scratch_open("vm.raw", O_RDONLY);
    assert_int_equal(pread(fd, got, m->vmstate_len, (off_t)vm_at),
                     (ssize_t)m->vmstate_len);
    assert_memory_equal(got, m->vmstate, m->vmstate_len);
    assert_int_equal(close(fd), 0);
    free(got);
}

static void
check_image(const char *name, const struct model *m)
{
    scratch_write("disk.raw", m->disk, m->o.size_bytes);
    tool_must("qemu-img check -f qcow2 %s", name);
    tool_must("qemu-img compare -f raw -F qcow2 disk.raw %s", name);
    if (!m->o.snapshot)
        return;
    tool_must("qemu-img convert -f qcow2 -O raw -l snapshot.name=%s %s out.raw"
              " && cmp out.raw disk.raw",
              m->o.snapshot, name);
    if (m->vmstate_len > 0)
        check_vmstate(name, m);
}

static const uint64_t sizes[] = {0, 512, 66048, 1 << 20, (5 << 20) + 1536};
static const uint32_t bits[] = {9, 12, 16, 21};
static const size_t vmstates[] = {0, 1, 70000, 3000000};

static void
test_matrix(void **state)
{
    uint64_t rounds = env_u64("QCOW2_ROUNDS", 1);

    (void)state;
    require_qemu_img();
    for (uint64_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(bits); i++)
            for (size_t k = 0; k <= ARRAY_LEN(vmstates); k++) {
                /* The last k: no snapshot at all. */
                bool snapshot = k < ARRAY_LEN(vmstates);
                struct qcow2_write_options o = {
                    .size_bytes = sizes[i / ARRAY_LEN(bits)],
                    .cluster_bits = bits[i % ARRAY_LEN(bits)],
                    .snapshot = snapshot ? "saved" : NULL,
                };
                struct model m =
                    model_of(o, snapshot ? vmstates[k] : 0,
                             (unsigned[]){0, 30, 80, 100}[random_below(4)]);
                make_image("a.qcow2", &m, 1 + random_below(100),
                           random_below(2));
                check_image("a.qcow2", &m);
                model_done(&m);
            }
}

/* In parts: places first, in any order; the data later, the last first. */
struct place {
    uint64_t host;
    const uint8_t *p;
    size_t len;
};

static size_t
place_disk(struct qcow2_writer *w, const struct model *m, struct place *out)
{
    uint64_t cluster = cluster_bytes_of(m), piece = 7 * cluster;
    uint64_t pieces = div_up(m->o.size_bytes, piece);
    struct err e = {0};
    size_t n = 0;

    for (uint64_t i = 0; i < pieces; i++) {
        uint64_t at = (i % 2 ? i : (pieces - 1) / 2 * 2 - i) * piece;
        uint64_t end = u64_min(at + piece, m->o.size_bytes);
        while (at < end) {
            bool zero = false;
            uint64_t host = 1;
            size_t len = qcow2_writer_run(w, at, m->disk + at, end - at, &zero);
            assert_in_range(len, 1, end - at);
            assert_int_equal(qcow2_writer_place(w, at, len, zero, &host, &e),
                             0);
            if (zero)
                assert_int_equal(host, 0);
            else
                out[n++] = (struct place){host, m->disk + at, len};
            at += len;
        }
    }
    return n;
}

static size_t
place_vmstate(struct qcow2_writer *w, const struct model *m, struct place *out)
{
    struct err e = {0};
    size_t n = 0;

    for (size_t at = 0; at < m->vmstate_len; at += out[n++].len) {
        out[n].p = m->vmstate + at;
        assert_int_equal(
            qcow2_writer_place_vmstate(w, u64_min(4 << 20, m->vmstate_len - at),
                                       &out[n].host, &out[n].len, &e),
            0);
    }
    return n;
}

static void
test_in_parts(void **state)
{
    enum { PLACES = 100000 };
    struct place *places = xcalloc(PLACES, sizeof(places[0]));

    (void)state;
    require_qemu_img();
    for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(bits); i++) {
        struct qcow2_write_options o = {
            .size_bytes = sizes[i / ARRAY_LEN(bits)],
            .cluster_bits = bits[i % ARRAY_LEN(bits)],
            .snapshot = "saved"};
        struct model m = model_of(o, vmstates[i % ARRAY_LEN(vmstates)], 60);
        struct err e = {0};
        int fd = -1;
        struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
        size_t n = place_disk(w, &m, places);
        n += place_vmstate(w, &m, places + n);
        while (n-- > 0)
            assert_int_equal(
                pwrite(fd, places[n].p, places[n].len, (off_t)places[n].host),
                (ssize_t)places[n].len);
        if (qcow2_writer_commit(&w, &e) == -1)
            fail_msg("%s", e.msg);
        (void)close(fd);
        check_image("a.qcow2", &m);
        model_done(&m);
    }
    free(places);
}

static void
test_parts_misused(void **state)
{
    /* Over the end of an L2 table, nothing, over the end of the disk. */
    static const struct {
        uint64_t offset;
        size_t len;
    } wrong[] = {{0, 32769}, {32768 - 512, 1024}, {0, 0}, {65536, 512}};
    struct qcow2_write_options o = {.size_bytes = 65536, .cluster_bits = 9};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err e = {0};
        uint64_t host = 0;
        int fd = -1;
        struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
        assert_int_equal(qcow2_writer_place(w, wrong[i].offset, wrong[i].len,
                                            false, &host, &e),
                         -1);
        assert_int_equal(e.code, ERR_USAGE);
        err_clear(&e);
        assert_int_equal(qcow2_writer_commit(&w, &e), -1);
        (void)close(fd);
    }
}

/* More L2 tables than the cache holds, in any order. */
static void
test_any_order(void **state)
{
    struct qcow2_write_options o = {
        .size_bytes = 8 << 20, .cluster_bits = 9, .snapshot = "s"};

    (void)state;
    require_qemu_img();
    struct model m = model_of(o, 100, 60);
    make_image("a.qcow2", &m, 3, true);
    check_image("a.qcow2", &m);
    model_done(&m);
}

static void
test_what_qemu_says(void **state)
{
    static const uint8_t vmstate[12345] = {1};
    struct qcow2_write_options o = {
        .size_bytes = 1 << 20,
        .snapshot = "before \"it\" broke",
        .time_ns = 1700000000123456789,
        .vm_clock_ns = 3723004000000,
    };
    struct err e = {0};
    int fd = -1;

    (void)state;
    require_qemu_img();
    struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
    assert_int_equal(qcow2_write_vmstate(w, vmstate, sizeof(vmstate), &e), 0);
    assert_int_equal(qcow2_writer_commit(&w, &e), 0);
    tool_must("qemu-img info --output=json a.qcow2");
    assert_non_null(strstr(tool_out, "\"vm-state-size\": 12345"));
    assert_non_null(strstr(tool_out, "\"name\": \"before \\\"it\\\" broke\""));
    assert_non_null(strstr(tool_out, "\"date-sec\": 1700000000"));
    assert_non_null(strstr(tool_out, "\"date-nsec\": 123456789"));
    assert_non_null(strstr(tool_out, "\"vm-clock-sec\": 3723"));
    assert_non_null(strstr(tool_out, "\"vm-clock-nsec\": 4000000"));
    assert_non_null(strstr(tool_out, "\"cluster-size\": 65536"));
    assert_null(strstr(tool_out, "icount"));
    assert_non_null(strstr(tool_out, "\"id\": \"1\""));
    tool_must("TZ=UTC qemu-img snapshot -l a.qcow2");
    assert_non_null(strstr(tool_out, "before \"it\" broke"));
    assert_non_null(strstr(tool_out, "2023-11-14 22:13:20 01:02:03.004"));
    (void)close(fd);
}

static void
test_id_and_icount(void **state)
{
    const uint64_t icount = 12345678;
    char long_id[QCOW2_SNAPSHOT_ID_MAX + 2] = "";
    struct qcow2_write_options o = {
        .snapshot = "s", .snapshot_id = "17", .icount = &icount};
    struct err e = {0};

    (void)state;
    require_qemu_img();
    struct model m = model_of(o, 0, 0);
    make_image("a.qcow2", &m, 1, false);
    tool_must("qemu-img info --output=json a.qcow2");
    assert_non_null(strstr(tool_out, "\"id\": \"17\""));
    assert_non_null(strstr(tool_out, "\"icount\": 12345678"));
    model_done(&m);

    memset(long_id, '7', sizeof(long_id) - 1);
    for (unsigned i = 0; i < 3; i++) {
        struct qcow2_writer *w = NULL;
        o.snapshot_id = i == 0 ? "" : long_id + (i == 2);
        int fd = scratch_create("a.qcow2");
        assert_int_equal(qcow2_writer_open(fd, &o, &w, &e), i == 2 ? 0 : -1);
        assert_int_equal(e.code, i == 2 ? ERR_OK : ERR_USAGE);
        err_clear(&e);
        qcow2_writer_abandonp(&w);
        (void)close(fd);
    }
}

/* QEMU goes on with the image: writes, goes back, writes, deletes. */
static void
test_usable(void **state)
{
    (void)state;
    require_qemu_img();
    for (unsigned i = 0; i < 4; i++) {
        struct qcow2_write_options o = {
            .size_bytes = (3 << 20) + 512,
            .cluster_bits = (uint32_t[]){9, 12, 16, 21}[i],
            .snapshot = "s",
        };
        struct model m = model_of(o, 200000, 50);
        make_image("a.qcow2", &m, 10, false);
        scratch_write("disk.raw", m.disk, m.o.size_bytes);
        tool_must("qemu-io -f qcow2 -c 'write -P 7 0 1M' -c 'discard 2M 1M'"
                  " a.qcow2 && qemu-img check a.qcow2");
        tool_must("qemu-img convert -O raw -l s a.qcow2 out.raw"
                  " && cmp out.raw disk.raw");
        tool_must("qemu-img snapshot -a s a.qcow2 && qemu-img check a.qcow2"
                  " && qemu-img compare -f raw -F qcow2 disk.raw a.qcow2");
        tool_must("qemu-img snapshot -c t a.qcow2 && qemu-img check a.qcow2");
        tool_must("qemu-img snapshot -d s a.qcow2 && qemu-img check a.qcow2");
        tool_must("qemu-img snapshot -d t a.qcow2 && qemu-img check a.qcow2"
                  " && qemu-img compare -f raw -F qcow2 disk.raw a.qcow2");
        model_done(&m);
    }
}

/* One cluster at the end of the largest disks. */
static void
check_far_end(uint64_t size, uint32_t cluster_bits, bool snapshot)
{
    struct qcow2_write_options o = {
        .size_bytes = size,
        .cluster_bits = cluster_bits,
        .snapshot = snapshot ? "s" : NULL,
    };
    uint64_t cluster = UINT64_C(1) << cluster_bits;
    uint8_t *p = xmalloc(cluster);
    struct err e = {0};
    int fd = -1;

    memset(p, 0x5a, cluster);
    struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
    assert_int_equal(qcow2_write_disk(w, size - cluster, p, cluster, &e), 0);
    if (qcow2_writer_commit(&w, &e) == -1)
        fail_msg("%s", e.msg);
    tool_must("qemu-img check a.qcow2");
    tool_must("qemu-io -r -f qcow2 -c 'read -P 0x5a %llu 512'"
              " -c 'read -P 0x5a %llu 512' -c 'read -P 0 %llu 512'"
              " -c 'read -P 0 0 64k' a.qcow2",
              (unsigned long long)(size - cluster),
              (unsigned long long)(size - 512),
              (unsigned long long)(size - cluster - 512));
    assert_null(strstr(tool_out, "failed")); /* it exits 0 all the same */
    if (snapshot)
        tool_must("qemu-img snapshot -a s a.qcow2 && qemu-img check a.qcow2");
    free(p);
    (void)close(fd);
}

static void
test_far_end(void **state)
{
    (void)state;
    require_qemu_img();
    check_far_end(UINT64_C(16) << 40, 16, true);
    check_far_end(UINT64_C(16) << 40, 16, false);
    check_far_end(UINT64_C(2) << 50, 16, true); /* 32 MiB of L1 table */
    check_far_end(UINT64_C(64) << 30, 9, true);
    check_far_end(UINT64_C(128) << 30, 9, false); /* and again */
    check_far_end(UINT64_C(1) << 59, 21, true);
}

static void
test_backing(void **state)
{
    (void)state;
    require_qemu_img();
    for (unsigned i = 0; i < 4; i++) {
        struct qcow2_write_options o = {
            .size_bytes = (2 << 20) + 1024,
            .cluster_bits = (uint32_t[]){9, 12, 16, 21}[i],
            .snapshot = i % 2 ? "s" : NULL,
            .backing = "base.raw",
            .backing_format = "raw",
        };
        struct err e = {0};
        int fd = -1;
        struct model m = model_of(o, 0, 100), over = model_of(o, 0, 50);
        uint64_t cluster = cluster_bytes_of(&m);
        scratch_write("base.raw", m.disk, o.size_bytes);

        struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
        for (uint64_t at = 0; at < o.size_bytes; at += cluster) {
            size_t n = u64_min(cluster, o.size_bytes - at);
            if (random_below(3) == 0)
                continue;
            memcpy(m.disk + at, over.disk + at, n); /* zeros, too */
            assert_int_equal(qcow2_write_disk(w, at, over.disk + at, n, &e), 0);
        }
        assert_int_equal(qcow2_writer_commit(&w, &e), 0);
        check_image("a.qcow2", &m);
        tool_must("qemu-img info a.qcow2");
        assert_non_null(strstr(tool_out, "backing file: base.raw"));
        assert_non_null(strstr(tool_out, "backing file format: raw"));
        model_done(&m);
        model_done(&over);
        (void)close(fd);
    }
}

/* Until the very end there is no magic in the file. */
static void
test_no_image_before_commit(void **state)
{
    struct qcow2_write_options o = {.size_bytes = 8 << 20, .snapshot = "s"};
    struct model m = model_of(o, 3000000, 100);
    struct err e = {0};
    uint8_t head[4] = {0};
    int fd = -1;
    (void)state;

    struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
    assert_int_equal(write_pieces(w, &m, 10, false, &e), 0);
    assert_int_equal(qcow2_write_vmstate(w, m.vmstate, m.vmstate_len, &e), 0);
    assert_int_equal(pread(fd, head, 4, 0), 4);
    assert_int_equal(get_be32(head), 0);
    qcow2_writer_abandonp(&w);
    assert_null(w);
    qcow2_writer_abandonp(&w); /* allowed */
    assert_int_equal(pread(fd, head, 4, 0), 4);
    assert_int_equal(get_be32(head), 0);
    model_done(&m);
    (void)close(fd);
}

/* Every write and fsync fails in turn: never an image, always an error. */
static void
test_every_failure(void **state)
{
    struct qcow2_write_options o = {
        .size_bytes = 199680, .cluster_bits = 9, .snapshot = "s"};
    struct model m = model_of(o, 70000, 50);
    long n = 0;
    int r = -1;
    (void)state;

    for (; r == -1 && n < 10000; n++) {
        struct err e = {0};
        uint8_t head[4] = {0};
        int fd = -1;
        struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);

        random_seed(7); /* each round the same */
        ops_until_failure = n;
        n_fsync = 0;
        r = write_model(&w, &m, 20, true, &e);
        if (r == -1) {
            assert_true(e.code == ERR_NOSPACE || e.code == ERR_IO);
            assert_int_equal(ops_until_failure, -1);
            /* Void: not even a second try helps. */
            struct err again = {0};
            assert_true(!w || qcow2_writer_commit(&w, &again) == -1);
            assert_null(w);
            if (pread(fd, head, 4, 0) == 4)
                assert_int_equal(get_be32(head), 0);
        } else {
            assert_int_equal(pread(fd, head, 4, 0), 4);
            assert_int_equal(get_be32(head), QCOW2_MAGIC);
            assert_int_equal(n_fsync, 2);
        }
        (void)close(fd);
    }
    ops_until_failure = -1;
    assert_int_equal(r, 0);
    assert_true(n > 100); /* there was something to fail */
    printf("# %ld operations failed in turn\n", n - 1);
    model_done(&m);
}

static void
check_refused(struct qcow2_write_options o, enum err_code code)
{
    struct qcow2_writer *w = NULL;
    struct err e = {0};
    int fd = scratch_create("a.qcow2");

    assert_int_equal(qcow2_writer_open(fd, &o, &w, &e), -1);
    assert_int_equal(e.code, code);
    assert_null(w);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0); /* nothing was written */
    (void)close(fd);
}

#define REFUSED(code, ...) \
    check_refused((struct qcow2_write_options){__VA_ARGS__}, code)

static void
test_options(void **state)
{
    char name[1100];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    REFUSED(ERR_USAGE, .size_bytes = 511);
    REFUSED(ERR_USAGE, .size_bytes = 513);
    REFUSED(ERR_USAGE, .size_bytes = UINT64_MAX);
    REFUSED(ERR_USAGE, .cluster_bits = 8);
    REFUSED(ERR_USAGE, .cluster_bits = 22);
    REFUSED(ERR_USAGE, .snapshot = "");
    REFUSED(ERR_USAGE, .snapshot = name);
    REFUSED(ERR_USAGE, .backing = "x");
    REFUSED(ERR_USAGE, .backing_format = "raw");
    REFUSED(ERR_USAGE, .backing = "", .backing_format = "raw");
    REFUSED(ERR_LIMIT, .size_bytes = (UINT64_C(128) << 30) + 512,
            .cluster_bits = 9);
    REFUSED(ERR_LIMIT, .size_bytes = (UINT64_C(1) << 61) + 512,
            .cluster_bits = 21);
    REFUSED(ERR_LIMIT, .size_bytes = UINT64_MAX - 511);
    name[256] = 'n';
    name[400] = '\0';
    REFUSED(ERR_LIMIT, .cluster_bits = 9, .backing = name,
            .backing_format = "raw");
    name[400] = 'n';
    name[1024] = '\0';
    REFUSED(ERR_USAGE, .backing = name, .backing_format = "raw");
}

static void
test_not_an_empty_file(void **state)
{
    struct qcow2_write_options o = {.size_bytes = 512};
    struct qcow2_writer *w = NULL;
    struct err e = {0};
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(qcow2_writer_open(fds[1], &o, &w, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    err_clear(&e);
    scratch_write("full", "x", 1);
    int fd = scratch_open("full", O_RDWR);
    assert_int_equal(qcow2_writer_open(fd, &o, &w, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    err_clear(&e);
    assert_int_equal(qcow2_writer_open(-1, &o, &w, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    (void)close(fd);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* One wrong call, then the image is void. */
static void
check_misuse(const struct qcow2_write_options *o, uint64_t offset, size_t len,
             bool twice)
{
    static const uint8_t p[200000] = {1};
    struct err e = {0}, later = {0};
    int fd = -1;
    struct qcow2_writer *w = open_image("a.qcow2", o, &fd);

    if (twice)
        assert_int_equal(qcow2_write_disk(w, offset, p, len, &e), 0);
    assert_int_equal(qcow2_write_disk(w, offset, p, len, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_int_equal(qcow2_write_disk(w, 0, p, 65536, &later), -1);
    assert_int_equal(later.code, ERR_IO);
    err_clear(&later);
    assert_int_equal(qcow2_write_vmstate(w, p, 1, &later), -1);
    assert_int_equal(later.code, ERR_IO);
    err_clear(&later);
    assert_int_equal(qcow2_writer_commit(&w, &later), -1);
    assert_int_equal(later.code, ERR_IO);
    assert_null(w);
    (void)close(fd);
}

static void
test_misuse(void **state)
{
    struct qcow2_write_options o = {.size_bytes = 196096};
    struct err e = {0};
    int fd = -1;
    (void)state;

    check_misuse(&o, 512, 65536, false);    /* not at a cluster */
    check_misuse(&o, 0, 65535, false);      /* not to the end of one */
    check_misuse(&o, 65536, 131072, false); /* past the disk */
    check_misuse(&o, UINT64_MAX - 65535, 65536, false);
    check_misuse(&o, 65536, 65536, true);
    check_misuse(&o, 131072, 65024, true);

    struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
    assert_int_equal(qcow2_write_vmstate(w, "x", 1, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    err_clear(&e);
    assert_int_equal(qcow2_writer_commit(&w, &e), -1);
    (void)close(fd);
}

/* No room behind a disk that fills its table. */
static void
test_vmstate_limit(void **state)
{
    static const uint8_t p[300000] = {1};
    struct qcow2_write_options o = {
        .size_bytes = UINT64_C(128) << 30, .cluster_bits = 9, .snapshot = "s"};
    struct err e = {0};
    int fd = -1;
    (void)state;

    struct qcow2_writer *w = open_image("a.qcow2", &o, &fd);
    assert_int_equal(qcow2_write_vmstate(w, p, sizeof(p), &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    qcow2_writer_abandonp(&w);
    (void)close(fd);
}

/* A time that 32 bits of seconds cannot say is no time. */
static void
test_strange_times(void **state)
{
    static const int64_t times[] = {-1, INT64_MIN, INT64_MAX,
                                    INT64_C(4294967296) * 1000000000};

    (void)state;
    require_qemu_img();
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct qcow2_write_options o = {.snapshot = "s", .time_ns = times[i]};
        struct model m = model_of(o, 0, 0);
        make_image("a.qcow2", &m, 1, false);
        tool_must("qemu-img info --output=json a.qcow2");
        assert_non_null(strstr(tool_out, "\"date-sec\": 0"));
        assert_non_null(strstr(tool_out, "\"date-nsec\": 0"));
        model_done(&m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_in_parts),
        cmocka_unit_test(test_parts_misused),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_what_qemu_says),
        cmocka_unit_test(test_id_and_icount),
        cmocka_unit_test(test_usable),
        cmocka_unit_test(test_far_end),
        cmocka_unit_test(test_backing),
        cmocka_unit_test(test_no_image_before_commit),
        cmocka_unit_test(test_every_failure),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_not_an_empty_file),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_vmstate_limit),
        cmocka_unit_test(test_strange_times),
    };

    return cmocka_run_group_tests_name("writer", tests, scratch_setup,
                                       scratch_teardown);
}
