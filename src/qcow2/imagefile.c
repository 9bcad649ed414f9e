/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/imagefile.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"

static int
size_of(int fd, uint64_t *out, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) == -1)
        return err_set_errno(e, ERR_IO, "cannot look at the image file");
    if (S_ISREG(st.st_mode)) {
        *out = (uint64_t)st.st_size;
        return 0;
    }
    if (!S_ISBLK(st.st_mode))
        return err_set(e, ERR_USAGE,
                       "an image is a regular file or a block device");
    if (ioctl(fd, BLKGETSIZE64, out) == -1)
        return err_set_errno(e, ERR_IO, "cannot ask a device for its size");
    return 0;
}

int
qcow2_file_open(int fd, struct qcow2_file *out, struct err *e)
{
    struct qcow2_file f = {.fd = fd};

    if (size_of(fd, &f.bytes, e) == -1)
        return -1;
    *out = f;
    return 0;
}

bool
qcow2_file_has(struct qcow2_file *f, uint64_t offset, uint64_t len)
{
    struct err e = {0};

    if (range_inside(offset, len, f->bytes))
        return true;
    return size_of(f->fd, &f->bytes, &e) == 0 &&
           range_inside(offset, len, f->bytes);
}

int
qcow2_file_read(struct qcow2_file *f, uint64_t offset, void *p, size_t len,
                const char *what, struct err *e)
{
    /* Also keeps offsets that no file can have from the kernel. */
    if (!qcow2_file_has(f, offset, len))
        return err_set(e, ERR_CORRUPT,
                       "%s at host offset %llu is missing: the image file ends "
                       "at %llu",
                       what, (unsigned long long)offset,
                       (unsigned long long)f->bytes);
    f->read_bytes += len;
    return fd_pread(f->fd, p, len, offset, what, e);
}
