/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "qcow2/writer.h"

struct image {
    int fd;
    char *path;                 /* final */
    char *partial;              /* until then */
    struct qcow2_writer *qcow2; /* NULL: raw */
    uint64_t appended;          /* raw */
};

static void
image_free(struct image *im)
{
    qcow2_writer_abandonp(&im->qcow2);
    fd_close(&im->fd);
    free(im->path);
    free(im->partial);
    free(im);
}

void
image_abandonp(struct image **im)
{
    if (!*im)
        return;
    if ((*im)->fd != -1)
        (void)unlink((*im)->partial);
    image_free(*im);
    *im = NULL;
}

static int
create(const char *dir, const char *name, const char *ending,
       struct image **out, struct err *e)
{
    CLEANUP(image_abandonp) struct image *im = xcalloc(1, sizeof(*im));

    im->path = xasprintf("%s/%s%s", dir, name, ending);
    im->partial = xasprintf("%s.partial", im->path);
    im->fd = open(im->partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (im->fd == -1)
        return err_set_errno(e, ERR_IO, "cannot create %s", im->partial);
    *out = STEAL(im);
    return 0;
}

int
image_open_qcow2(const char *dir, const char *name,
                 const struct qcow2_write_options *o, struct image **out,
                 struct err *e)
{
    CLEANUP(image_abandonp) struct image *im = NULL;

    if (create(dir, name, ".qcow2", &im, e) == -1)
        return -1;
    if (qcow2_writer_open(im->fd, o, &im->qcow2, e) == -1)
        return err_wrap(e, "%s", im->path);
    *out = STEAL(im);
    return 0;
}

int
image_open_raw(const char *dir, const char *name, uint64_t size,
               struct image **out, struct err *e)
{
    CLEANUP(image_abandonp) struct image *im = NULL;

    if (create(dir, name, "", &im, e) == -1)
        return -1;
    if (ftruncate(im->fd, (off_t)size) == -1)
        return err_set_errno(e, ERR_IO, "cannot size %s", im->partial);
    *out = STEAL(im);
    return 0;
}

int
image_write(struct image *im, uint64_t offset, const void *p, size_t len,
            struct err *e)
{
    if (!im->qcow2)
        return fd_pwrite(im->fd, p, len, offset, im->partial, e);
    if (qcow2_write_disk(im->qcow2, offset, p, len, e) == -1)
        return err_wrap(e, "%s", im->partial);
    return 0;
}

int
image_append(struct image *im, const void *p, size_t len, struct err *e)
{
    if (im->qcow2)
        return qcow2_write_vmstate(im->qcow2, p, len, e) == -1
                   ? err_wrap(e, "%s", im->partial)
                   : 0;
    if (fd_pwrite(im->fd, p, len, im->appended, im->partial, e) == -1)
        return -1;
    im->appended += len;
    return 0;
}

int
image_finish(struct image *im, struct err *e)
{
    if (im->qcow2)
        return qcow2_writer_commit(&im->qcow2, e) == -1
                   ? err_wrap(e, "%s", im->partial)
                   : 0;
    if (fsync(im->fd) == -1)
        return err_set_errno(e, ERR_IO, "cannot make %s durable", im->partial);
    return 0;
}

int
image_publish(struct image **im, struct err *e)
{
    if (rename((*im)->partial, (*im)->path) == -1) {
        (void)err_set_errno(e, ERR_IO, "cannot rename %s", (*im)->partial);
        image_abandonp(im);
        return -1;
    }
    image_free(STEAL(*im));
    return 0;
}

const char *
image_path(const struct image *im)
{
    return im->path;
}
