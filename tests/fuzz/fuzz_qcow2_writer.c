/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input says what disk to write, in which order, and with what machine
 * state.  What the reader then finds in the image must be that, in the active
 * state and in the snapshot, with nothing over anything else.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/reader.h"
#include "qcow2/writer.h"

enum { DISK_MAX = 32 << 10, STATE_MAX = 8 << 10, TIME_NS = 1700000000 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct script {
    const uint8_t *p;
    size_t n;
    struct qcow2_write_options options;
    uint64_t state_bytes;
};

static uint8_t disk[DISK_MAX], state[STATE_MAX], out[DISK_MAX];
static uint8_t written[DISK_MAX >> 9]; /* by cluster */

static void
must(int yes)
{
    if (!yes)
        abort();
}

static uint64_t
next(struct script *s)
{
    if (s->n == 0)
        return 0;
    s->n--;
    return *s->p++;
}

static int
empty_file(void)
{
    static int fd = -1;

    if (fd == -1)
        fd = memfd_create("image", MFD_CLOEXEC);
    must(fd != -1 && ftruncate(fd, 0) == 0);
    return fd;
}

static void
read_options(struct script *s)
{
    struct qcow2_write_options *o = &s->options;

    o->cluster_bits = 9 + (uint32_t)next(s) % 5;
    o->size_bytes = (next(s) << 8 | next(s)) % (DISK_MAX / 512 + 1) * 512;
    if (next(s) % 4 > 0) {
        o->snapshot = "s";
        o->time_ns = TIME_NS;
        s->state_bytes = (next(s) << 8 | next(s)) % (STATE_MAX + 1);
    }
}

/* Some of the bytes that the rest of the script has, over and over. */
static void
fill(struct script *s, uint8_t *p, size_t len)
{
    uint64_t kind = next(s);

    for (size_t i = 0; i < len; i++)
        p[i] = kind % 4 == 0 ? 0
               : s->n > 0    ? s->p[i % s->n]
                             : (uint8_t)(kind + i);
}

/* Each cluster at most once, in runs, wherever the script wants them. */
static void
write_disk(struct script *s, struct qcow2_writer *w)
{
    uint64_t cluster = UINT64_C(1) << s->options.cluster_bits;
    uint64_t n = (s->options.size_bytes + cluster - 1) / cluster;
    struct err e = {0};

    while (n > 0 && s->n > 0) {
        uint64_t first = (next(s) << 8 | next(s)) % n;
        uint64_t end = first;
        uint64_t most = first + 1 + next(s) % 8;
        while (end < n && end < most && !written[end])
            written[end++] = 1;
        if (end == first)
            continue;
        uint64_t at = first * cluster;
        uint64_t to = u64_min(end * cluster, s->options.size_bytes);
        fill(s, disk + at, to - at);
        must(qcow2_write_disk(w, at, disk + at, to - at, &e) == 0);
    }
}

static void
write_state(struct script *s, struct qcow2_writer *w)
{
    struct err e = {0};

    fill(s, state, s->state_bytes);
    for (uint64_t at = 0; at < s->state_bytes;) {
        uint64_t len = u64_min(1 + next(s) * 97, s->state_bytes - at);
        must(qcow2_write_vmstate(w, state + at, len, &e) == 0);
        at += len;
    }
}

static void
check_view(const struct script *s, struct qcow2_view *v)
{
    uint64_t size = s->options.size_bytes;
    struct qcow2_check check = {0};
    struct err e = {0};

    must(qcow2_view_bytes(v) == size);
    must(qcow2_view_check(v, &check, &e) == 0 && check.overlaps == 0);
    must(size == 0 || qcow2_view_read(v, 0, out, size, &e) == 0);
    must(memcmp(out, disk, size) == 0);
}

static void
check_snapshot(const struct script *s, const struct qcow2_image *image)
{
    const struct qcow2_snapshots *list = qcow2_image_snapshots(image);
    CLEANUP(qcow2_view_closep) struct qcow2_view *v = NULL;
    struct err e = {0};

    must(list->n == (s->options.snapshot ? 1 : 0));
    if (list->n == 0)
        return;
    must(qcow2_view_open(image, &list->list[0], &v, &e) == 0);
    check_view(s, v);
    must(qcow2_view_vmstate_bytes(v) == s->state_bytes);
    must(s->state_bytes == 0 ||
         qcow2_view_read_vmstate(v, 0, out, s->state_bytes, &e) == 0);
    must(memcmp(out, state, s->state_bytes) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    CLEANUP(qcow2_image_closep) struct qcow2_image *image = NULL;
    CLEANUP(qcow2_view_closep) struct qcow2_view *active = NULL;
    struct script s = {.p = p, .n = n};
    struct qcow2_writer *w = NULL;
    struct err e = {0};
    int fd = empty_file();

    read_options(&s);
    memset(disk, 0, s.options.size_bytes);
    memset(written, 0, sizeof(written));
    must(qcow2_writer_open(fd, &s.options, &w, &e) == 0);
    if (s.options.snapshot)
        write_state(&s, w);
    write_disk(&s, w);
    must(qcow2_writer_commit(&w, &e) == 0);

    must(qcow2_image_open(fd, -1, &image, &e) == 0);
    must(qcow2_view_open(image, NULL, &active, &e) == 0);
    check_view(&s, active);
    check_snapshot(&s, image);
    return 0;
}
