/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/rawsource.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/inuse.h"
#include "repo/volume.h"
#include "work/cancel.h"

enum {
    AHEAD_BYTES = 4 * VOLUME_SLOT_BYTES,
    MAGIC_BYTES = 8,
    QCOW2_MAGIC_BYTES = 4
};

struct rawsource {
    int fd;
    char *path;
    uint64_t size;
    struct stat opened; /* as it was then */
    bool has_holes;     /* the file system tells where they are */
};

/* ---- what it is ---------------------------------------------------------- */

/* Formats that QEMU writes and that a raw disk has no reason to begin with.
 * Source: QEMU docs/interop, and the bdrv_probe functions of block/. */
static const struct {
    const char *magic, *format;
} formats[] = {
    {"QFI\xfb", "qcow2"},
    {"KDMV", "vmdk"},
    {"COWD", "vmdk"},
    {"conectix", "vpc"},
    {"vhdxfile", "vhdx"},
    {"QED", "qed"},
    {"WithoutFreeSpace", "parallels"},
};

static int
check_format(const struct rawsource *s, struct err *e)
{
    uint8_t start[MAGIC_BYTES] = {0};
    size_t len = (size_t)u64_min(s->size, sizeof(start));

    if (fd_pread(s->fd, start, len, 0, s->path, e) == -1)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        size_t n = u64_min(strlen(formats[i].magic), MAGIC_BYTES);
        if (len < n || memcmp(start, formats[i].magic, n) != 0)
            continue;
        (void)err_set(e, ERR_UNSUP,
                      "%s is a %s image; raw and qcow2 ones can be imported",
                      s->path, formats[i].format);
        return err_hint(e,
                        "convert it by `qemu-img convert -O raw`, or, if these "
                        "are a raw disk's own bytes, say --format raw");
    }
    return 0;
}

static int
get_size(struct rawsource *s, struct err *e)
{
    if (S_ISREG(s->opened.st_mode)) {
        s->size = (uint64_t)s->opened.st_size;
        s->has_holes = true;
        return 0;
    }
    if (ioctl(s->fd, BLKGETSIZE64, &s->size) == -1)
        return err_set_errno(e, ERR_IO, "cannot get the size of %s", s->path);
    return 0;
}

static int
check_unused(const struct rawsource *s, struct err *e)
{
    int used = qcow2_in_use(s->fd, e);

    if (used == -1)
        return err_wrap(e, "%s", s->path);
    if (used == 0)
        return 0;
    (void)err_set(e, ERR_QEMU, "a running QEMU has %s open for writing",
                  s->path);
    return err_hint(e, "shut the machine down first, or save it while it runs "
                       "by `vmkeep backup`");
}

/* O_EXCL keeps away from a device that is mounted or part of another one. */
static int
open_path(struct rawsource *s, struct err *e)
{
    struct stat st;
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

    if (stat(s->path, &st) == -1)
        return err_set_errno(e, ERR_IO, "cannot open %s", s->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, ERR_USAGE, "%s is neither a file nor a block device",
                       s->path);
    s->fd = open(s->path, S_ISBLK(st.st_mode) ? flags | O_EXCL : flags);
    if (s->fd == -1 && errno == EBUSY)
        return err_set(e, ERR_DENIED,
                       "%s is in use: mounted, or part of another device; "
                       "unmount it first, or import a snapshot of it",
                       s->path);
    if (s->fd == -1 || fstat(s->fd, &s->opened) == -1)
        return err_set_errno(e, ERR_IO, "cannot open %s", s->path);
    if (S_IFMT & (s->opened.st_mode ^ st.st_mode))
        return err_set(e, ERR_IO, "%s was replaced just now", s->path);
    return 0;
}

int
rawsource_looks_qcow2(const char *path, struct err *e)
{
    CLEANUP(rawsource_closep) struct rawsource *s = xcalloc(1, sizeof(*s));
    uint8_t start[QCOW2_MAGIC_BYTES];

    s->fd = -1;
    s->path = xstrdup(path);
    if (open_path(s, e) == -1 || get_size(s, e) == -1)
        return -1;
    if (s->size < sizeof(start))
        return 0;
    if (fd_pread(s->fd, start, sizeof(start), 0, s->path, e) == -1)
        return -1;
    return get_be32(start) == QCOW2_MAGIC;
}

int
rawsource_open(const char *path, bool surely_raw, struct rawsource **out,
               struct err *e)
{
    CLEANUP(rawsource_closep) struct rawsource *s = xcalloc(1, sizeof(*s));

    s->fd = -1;
    s->path = xstrdup(path);
    if (open_path(s, e) == -1 || get_size(s, e) == -1 ||
        check_unused(s, e) == -1)
        return -1;
    if (!surely_raw && check_format(s, e) == -1)
        return -1;
    (void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *out = STEAL(s);
    return 0;
}

void
rawsource_close(struct rawsource *s)
{
    if (!s)
        return;
    fd_close(&s->fd);
    free(s->path);
    free(s);
}

void
rawsource_closep(struct rawsource **s)
{
    rawsource_close(*s);
}

uint64_t
rawsource_size_bytes(const struct rawsource *s)
{
    return s->size;
}

/* ---- reading --------------------------------------------------------------
 * The threads share the descriptor's offset, which SEEK_DATA moves; nobody
 * uses it. */

static uint64_t
next_data(const struct rawsource *s, uint64_t at)
{
    if (!s->has_holes)
        return at;
    off_t found = lseek(s->fd, (off_t)at, SEEK_DATA);
    if (found == -1)
        return errno == ENXIO ? s->size : at; /* no data, or nobody knows */
    return u64_max(at, (uint64_t)found - (uint64_t)found % VOLUME_BLOCK_BYTES);
}

static uint64_t
data_end(const struct rawsource *s, uint64_t at)
{
    off_t found = s->has_holes ? lseek(s->fd, (off_t)at, SEEK_HOLE) : -1;

    if (found == -1 || (uint64_t)found <= at)
        return s->size;
    return u64_min(s->size,
                   round_up((uint64_t)found, (uint64_t)VOLUME_BLOCK_BYTES));
}

static int
changed(const struct rawsource *s, const char *how, struct err *e)
{
    err_clear(e);
    return err_set(e, ERR_IO,
                   "%s %s while it was read; import it when nobody writes to "
                   "it",
                   s->path, how);
}

static int
fill(void *cookie, struct slot *slot, struct err *e)
{
    const struct rawsource *s = cookie;
    uint64_t base = slot->index * VOLUME_SLOT_BYTES, end = base + slot->len;
    uint64_t at = next_data(s, base);

    while (at < end) {
        uint64_t to = u64_min(end, data_end(s, at));
        if (fd_pread(s->fd, slot->data + (at - base), to - at, at, s->path,
                     e) == -1)
            return e->code == ERR_CORRUPT ? changed(s, "became shorter", e)
                                          : -1;
        slot_mark(slot, (uint32_t)(at - base), (uint32_t)(to - at));
        at = to < end ? next_data(s, to) : end;
    }
    return 0;
}

/* The kernel reads what the workers will ask for next. */
static void
read_ahead(const struct rawsource *s, uint64_t at)
{
    (void)posix_fadvise(s->fd, (off_t)at, AHEAD_BYTES, POSIX_FADV_WILLNEED);
}

static int
read_all(struct rawsource *s, struct volume_writer *v,
         rawsource_progress_fn *fn, void *cookie, struct cancel *cancel,
         struct err *e)
{
    uint64_t at = next_data(s, 0);

    while (at < s->size) {
        uint64_t index = at / VOLUME_SLOT_BYTES;
        read_ahead(s, at + AHEAD_BYTES);
        if (cancel_check(cancel, e) == -1 ||
            volume_fill(v, index, fill, s, e) == -1)
            return -1;
        at = (index + 1) * VOLUME_SLOT_BYTES;
        fn(cookie, u64_min(at, s->size));
        at = at < s->size ? next_data(s, at) : at;
    }
    return 0;
}

static int
check_unchanged(struct rawsource *s, struct err *e)
{
    const struct stat *was = &s->opened;
    struct stat is;
    uint64_t size = s->size;

    if (fstat(s->fd, &is) == -1)
        return err_set_errno(e, ERR_IO, "cannot look at %s", s->path);
    if (get_size(s, e) == -1 || check_unused(s, e) == -1)
        return -1;
    if (!S_ISREG(is.st_mode))
        return s->size == size ? 0 : changed(s, "changed its size", e);
    if (is.st_size != was->st_size)
        return changed(s, "changed its size", e);
    if (is.st_mtim.tv_sec != was->st_mtim.tv_sec ||
        is.st_mtim.tv_nsec != was->st_mtim.tv_nsec)
        return changed(s, "was written to", e);
    return 0;
}

int
rawsource_copy(struct rawsource *s, struct volume_writer **v,
               struct volume_root *out, rawsource_progress_fn *fn, void *cookie,
               struct cancel *cancel, struct err *e)
{
    struct volume_root root = {0};

    if (read_all(s, *v, fn, cookie, cancel, e) == -1 ||
        volume_end(v, &root, e) == -1)
        return -1;
    fn(cookie, s->size);
    if (check_unchanged(s, e) == -1)
        return -1;
    *out = root;
    return 0;
}
