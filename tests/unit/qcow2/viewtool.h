/* SPDX-License-Identifier: Apache-2.0 */
/*
 * viewtool: an image of our own, and hands to open and to damage it with.
 */
#ifndef TEST_QCOW2_VIEWTOOL_H
#define TEST_QCOW2_VIEWTOOL_H

#include "imagetool.h"

#include "base/bytes.h"
#include "base/err.h"
#include "qcow2/format.h"
#include "qcow2/reader.h"
#include "qcow2/writer.h"

enum { DISK = 300 << 10, VMSTATE = 5000 };

static uint8_t disk[DISK], vmstate[VMSTATE];

/* An image of ours with a snapshot "s" of random data, some of it zeros. */
static inline void
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
static inline int
try_open(struct opened *o, const char *name, int n, struct err *e)
{
    *o = (struct opened){.fd = scratch_open(name, O_RDWR)};
    if (qcow2_image_open(o->fd, -1, &o->image, e) == -1)
        return -1;
    const struct qcow2_snapshots *s = qcow2_image_snapshots(o->image);
    return qcow2_view_open(o->image, n < 0 ? NULL : &s->list[n], &o->view, e);
}

static inline void
done(struct opened *o)
{
    qcow2_view_closep(&o->view);
    qcow2_image_closep(&o->image);
    assert_null(o->view);
    assert_null(o->image);
    (void)close(o->fd);
}

static inline struct opened
must_open(const char *name, int n)
{
    struct opened o;
    struct err e = {0};

    if (try_open(&o, name, n, &e) == -1)
        fail_msg("%s", e.msg);
    return o;
}

static inline uint64_t
peek_be64(int fd, uint64_t at)
{
    uint8_t p[8];

    assert_int_equal(pread(fd, p, 8, (off_t)at), 8);
    return get_be64(p);
}

static inline void
poke_be64(int fd, uint64_t at, uint64_t v)
{
    uint8_t p[8];

    put_be64(p, v);
    assert_int_equal(pwrite(fd, p, 8, (off_t)at), 8);
}

static inline void
poke_be32(int fd, uint64_t at, uint32_t v)
{
    uint8_t p[4];

    put_be32(p, v);
    assert_int_equal(pwrite(fd, p, 4, (off_t)at), 4);
}

#define MASKED(v) ((v)&QCOW2_OFFSET_MASK)

/* Where the file keeps the L2 entry of a guest cluster, by an L1 table. */
static inline uint64_t
entry_place(int fd, uint64_t l1, uint64_t cluster_bytes, uint64_t cluster)
{
    uint64_t per = cluster_bytes / 8;

    return MASKED(peek_be64(fd, l1 + cluster / per * 8)) + cluster % per * 8;
}

#endif
