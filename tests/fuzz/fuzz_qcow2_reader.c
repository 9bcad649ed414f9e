/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is an image file.  All that reader.h can do is done to it, within
 * limits that an image cannot choose.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "qcow2/reader.h"

enum { VIEWS = 3, EXTENTS = 20, READ_BYTES = 1 << 13, FILE_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint8_t out[READ_BYTES];

/* A file that is nowhere but in memory: system calls are most of the time
 * otherwise. */
enum { IMAGE_FD = 1 << 20 };
static struct {
    const uint8_t *p;
    size_t n;
} image_file;

ssize_t pread(int fd, void *to, size_t len, off_t offset);
ssize_t
pread(int fd, void *to, size_t len, off_t offset)
{
    if (fd != IMAGE_FD)
        return (ssize_t)syscall(SYS_pread64, fd, to, len, offset);
    if (offset < 0 || (size_t)offset >= image_file.n)
        return 0;
    len = u64_min(len, image_file.n - (size_t)offset);
    memcpy(to, image_file.p + offset, len);
    return (ssize_t)len;
}

int fstat(int fd, struct stat *st);
int
fstat(int fd, struct stat *st)
{
    if (fd != IMAGE_FD)
        return (int)syscall(SYS_fstat, fd, st);
    *st = (struct stat){.st_mode = S_IFREG, .st_size = (off_t)image_file.n};
    return 0;
}

/* Reading must not go further than it was told to. */
static void
read_some(struct qcow2_view *v, uint64_t offset, uint64_t len)
{
    struct err e = {0};

    (void)qcow2_view_read(v, offset, out, u64_min(len, sizeof(out)), &e);
}

static void
walk(struct qcow2_view *v)
{
    struct qcow2_extent x = {0};
    uint64_t at = 0, bytes = qcow2_view_bytes(v);

    for (unsigned i = 0; i < EXTENTS && at < bytes; i++, at += x.len) {
        struct err e = {0};
        if (qcow2_view_map(v, at, &x, &e) == -1) {
            if (e.code == ERR_OK)
                abort();
            break;
        }
        if (x.offset != at || x.len == 0 || x.len > bytes - at)
            abort();
        read_some(v, at, x.len);
        read_some(v, at + x.len / 2, x.len - x.len / 2);
    }
    if (bytes > 0)
        read_some(v, bytes - u64_min(bytes, 5000), u64_min(bytes, 5000));
}

static void
read_vmstate(struct qcow2_view *v)
{
    uint64_t bytes = qcow2_view_vmstate_bytes(v);
    struct err e = {0};

    (void)qcow2_view_read_vmstate(v, 0, out, u64_min(bytes, sizeof(out)), &e);
    err_clear(&e);
    if (bytes > 0)
        (void)qcow2_view_read_vmstate(v, bytes - 1, out, 1, &e);
}

static void
compare(struct qcow2_view *a, struct qcow2_view *b)
{
    struct qcow2_change c = {0};
    uint64_t bytes = qcow2_view_bytes(b);

    for (uint64_t i = 0, at = 0; i < EXTENTS && at < bytes; i++, at += c.len) {
        struct err e = {0};
        if (qcow2_view_diff(a, b, at, &c, &e) == -1)
            return;
        if (c.offset != at || c.len == 0 || c.len > bytes - at)
            abort();
    }
}

static void
use_view(struct qcow2_view *v)
{
    struct qcow2_check check = {0};
    struct err e = {0};

    walk(v);
    read_vmstate(v);
    (void)qcow2_view_check(v, &check, &e);
    err_clear(&e);
    if (qcow2_view_recheck(v, &e) == -1)
        abort(); /* nobody touched it */
}

static void
use_image(const struct qcow2_image *image)
{
    const struct qcow2_snapshots *s = qcow2_image_snapshots(image);
    struct qcow2_view *views[VIEWS] = {0};

    for (size_t i = 0; i < VIEWS && i <= s->n; i++) {
        struct err e = {0};
        if (qcow2_view_open(image, i ? &s->list[i - 1] : NULL, &views[i], &e) ==
            0)
            use_view(views[i]);
        else if (e.code == ERR_OK || e.msg[0] == '\0')
            abort();
    }
    for (size_t i = 1; i < VIEWS; i++)
        if (views[i - 1] && views[i]) {
            compare(views[i - 1], views[i]);
            compare(views[i], views[i - 1]);
        }
    for (size_t i = 0; i < VIEWS; i++)
        qcow2_view_close(views[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct qcow2_image *image = NULL;
    struct err e = {0};

    if (n > FILE_MAX)
        return 0;
    image_file.p = p;
    image_file.n = n;
    if (qcow2_image_open(IMAGE_FD, IMAGE_FD, &image, &e) == 0)
        use_image(image);
    else if (e.code == ERR_OK || e.msg[0] == '\0')
        abort();
    qcow2_image_close(image);
    return 0;
}
