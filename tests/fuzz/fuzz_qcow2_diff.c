/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input changes the header, the snapshot table and the tables of a small
 * image that has two snapshots of one disk.  Where the comparison of two states
 * says that they are the same, reading them must say so, too: the same bytes,
 * or the same error.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "qcow2/format.h"
#include "qcow2/reader.h"

enum {
    CLUSTER = 512,
    PER_TABLE = CLUSTER / 8,
    DISK = 96 * CLUSTER, /* two L2 tables, the second in part */
    /* Clusters of the file. */
    L1 = 2,
    L2 = 3,
    TABLE = 5, /* of snapshots, two clusters */
    SNAP_L1 = 7,
    SNAP_L2 = 9, /* two, and two; the last is in nobody's L1 table */
    DATA = 13,
    CLUSTERS = 40,
    CHANGEABLE = DATA * CLUSTER,
    STATES = 3,
    STEPS_MAX = 1000
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint8_t image_file[CLUSTERS * CLUSTER], a_bytes[DISK], b_bytes[DISK];

enum { IMAGE_FD = 1 << 20 };

ssize_t pread(int fd, void *to, size_t len, off_t offset);
ssize_t
pread(int fd, void *to, size_t len, off_t offset)
{
    if (fd != IMAGE_FD)
        return (ssize_t)syscall(SYS_pread64, fd, to, len, offset);
    if (offset < 0 || (size_t)offset >= sizeof(image_file))
        return 0;
    len = u64_min(len, sizeof(image_file) - (size_t)offset);
    memcpy(to, image_file + offset, len);
    return (ssize_t)len;
}

int fstat(int fd, struct stat *st);
int
fstat(int fd, struct stat *st)
{
    if (fd != IMAGE_FD)
        return (int)syscall(SYS_fstat, fd, st);
    *st = (struct stat){.st_mode = S_IFREG, .st_size = sizeof(image_file)};
    return 0;
}

static void
must(int yes)
{
    if (!yes)
        abort();
}

static uint8_t *
cluster(size_t i)
{
    return image_file + i * CLUSTER;
}

static void
make_tables(void)
{
    static const uint8_t l1[STATES][2] = {
        {L2, L2 + 1}, {SNAP_L2, SNAP_L2 + 1}, {SNAP_L2 + 2, SNAP_L2 + 1}};
    static const uint8_t l1_at[STATES] = {L1, SNAP_L1, SNAP_L1 + 1};

    for (size_t i = 0; i < STATES; i++)
        for (size_t k = 0; k < 2; k++)
            put_be64(cluster(l1_at[i]) + k * 8, (uint64_t)l1[i][k] * CLUSTER);
    for (size_t i = L2; i < DATA; i++)
        for (size_t k = 0; k < 8 && (i < TABLE || i >= SNAP_L2); k++)
            put_be64(cluster(i) + k * 8, (DATA + i + k) * CLUSTER);
    for (size_t i = DATA; i < CLUSTERS; i++)
        memset(cluster(i), (int)i, CLUSTER);
}

static void
make_snapshot(uint8_t *p, uint64_t l1, char name)
{
    put_be64(p, l1 * CLUSTER);
    put_be32(p + 8, 2);
    put_be16(p + 12, 1);
    put_be16(p + 14, 1);
    put_be32(p + 36, 24);
    put_be64(p + 48, DISK);
    p[64] = (uint8_t)name;
    p[65] = (uint8_t)name;
}

static void
make_image(void)
{
    uint8_t *h = cluster(0);

    memset(image_file, 0, sizeof(image_file));
    put_be32(h, QCOW2_MAGIC);
    put_be32(h + QCOW2_AT_VERSION, 3);
    put_be32(h + QCOW2_AT_CLUSTER_BITS, 9);
    put_be64(h + QCOW2_AT_SIZE, DISK);
    put_be32(h + QCOW2_AT_L1_SIZE, 2);
    put_be64(h + QCOW2_AT_L1_OFFSET, L1 * CLUSTER);
    put_be64(h + QCOW2_AT_REFTABLE_OFFSET, CLUSTER);
    put_be32(h + QCOW2_AT_REFTABLE_CLUSTERS, 1);
    put_be32(h + QCOW2_AT_SNAPSHOTS, 2);
    put_be64(h + QCOW2_AT_SNAPSHOTS_OFFSET, TABLE * CLUSTER);
    put_be32(h + QCOW2_AT_REFCOUNT_ORDER, 4);
    put_be32(h + QCOW2_AT_HEADER_LEN, QCOW2_HEADER_BYTES);
    make_snapshot(cluster(TABLE), SNAP_L1, 'a');
    make_snapshot(cluster(TABLE) + 72, SNAP_L1 + 1, 'b');
    make_tables();
}

/* Four bytes each: where, how, what. */
static void
change_image(const uint8_t *p, size_t n)
{
    for (; n >= 4; p += 4, n -= 4) {
        size_t at = get_be16(p) % CHANGEABLE;
        uint64_t flags = (uint64_t)(p[2] & 0xc0) << 56 | (p[2] & 1);
        if (p[2] & 2)
            put_be64(image_file + at - at % 8,
                     flags | (uint64_t)p[3] % (CLUSTERS + 2) * CLUSTER);
        else if (p[2] & 4)
            image_file[at] ^= p[3];
        else
            image_file[at] = p[3];
    }
}

/* Bytes that are surely the same. */
static void
read_both(struct qcow2_view *a, struct qcow2_view *b, uint64_t at, uint64_t len)
{
    struct err ea = {0}, eb = {0};

    for (uint64_t n = 0; len > 0; at += n, len -= n) {
        n = u64_min(len, CLUSTER - at % CLUSTER);
        int ra = qcow2_view_read(a, at, a_bytes, n, &ea);
        int rb = qcow2_view_read(b, at, b_bytes, n, &eb);
        must(ra == rb && ea.code == eb.code);
        if (ra == -1)
            return;
        must(memcmp(a_bytes, b_bytes, n) == 0);
    }
}

static void
compare(struct qcow2_view *a, struct qcow2_view *b)
{
    uint64_t bytes = qcow2_view_bytes(b), at = 0;
    struct qcow2_change c = {0};

    for (unsigned i = 0; i < STEPS_MAX && at < bytes; i++, at += c.len) {
        struct err e = {0};
        if (qcow2_view_diff(a, b, at, &c, &e) == -1) {
            must(e.code != ERR_OK && e.msg[0] != '\0');
            return;
        }
        must(c.offset == at && c.len > 0 && c.len <= bytes - at);
        must(c.changed || at + c.len <= qcow2_view_bytes(a));
        if (!c.changed)
            read_both(a, b, at, u64_min(c.len, DISK));
    }
}

static void
use_image(const struct qcow2_image *image)
{
    const struct qcow2_snapshots *s = qcow2_image_snapshots(image);
    struct qcow2_view *views[STATES] = {0};

    for (size_t i = 0; i < STATES && i <= s->n; i++) {
        struct err e = {0};
        if (qcow2_view_open(image, i ? &s->list[i - 1] : NULL, &views[i], &e) ==
            -1)
            must(e.code != ERR_OK && e.msg[0] != '\0');
        else
            must(qcow2_view_recheck(views[i], &e) == 0);
    }
    for (size_t i = 0; i < STATES; i++)
        for (size_t k = 0; k < STATES; k++)
            if (views[i] && views[k])
                compare(views[i], views[k]);
    for (size_t i = 0; i < STATES; i++)
        qcow2_view_close(views[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct qcow2_image *image = NULL;
    struct err e = {0};

    make_image();
    change_image(p, n);
    if (qcow2_image_open(IMAGE_FD, IMAGE_FD, &image, &e) == 0)
        use_image(image);
    else
        must(e.code != ERR_OK && e.msg[0] != '\0');
    qcow2_image_close(image);
    return 0;
}
