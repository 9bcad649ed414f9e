/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"

struct newfile {
    int fd;
    char *path;    /* final */
    char *partial; /* until then; NULL: it has none */
};

static int
exists(const char *path, struct err *e)
{
    return err_set(e, ERR_EXISTS, "%s exists; remove it, or name another file",
                   path);
}

static void
newfile_free(struct newfile *f)
{
    fd_close(&f->fd);
    free(f->path);
    free(f->partial);
    free(f);
}

void
newfile_abandonp(struct newfile **f)
{
    if (!*f)
        return;
    if ((*f)->fd != -1 && (*f)->partial)
        (void)unlink((*f)->partial);
    newfile_free(*f);
    *f = NULL;
}

static char *
folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/")
                         : xstrndup(path, (size_t)(slash - path));
}

/* A way to the nameless file by which linkat(2) gives it a name. */
static char *
handle_of(int fd)
{
    return xasprintf("/proc/self/fd/%d", fd);
}

/* -1: there cannot be one here. */
static int
open_nameless(const char *path)
{
    CLEANUP(freep) char *folder = folder_of(path);
    int fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    CLEANUP(freep) char *handle = handle_of(fd);

    if (fd != -1 && access(handle, F_OK) == -1)
        fd_close(&fd);
    return fd;
}

int
newfile_open(const char *path, struct newfile **out, struct err *e)
{
    CLEANUP(newfile_abandonp) struct newfile *f = xcalloc(1, sizeof(*f));
    struct stat st;

    f->fd = -1;
    f->path = xstrdup(path);
    if (lstat(path, &st) == 0)
        return exists(path, e);
    f->fd = open_nameless(path);
    if (f->fd == -1) {
        f->partial = xasprintf("%s.%016llx.partial", path,
                               (unsigned long long)rand_u64());
        f->fd = open(f->partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (f->fd == -1)
        return err_set_errno(e, ERR_IO, "cannot create %s", f->partial);
    *out = STEAL(f);
    return 0;
}

int
newfile_fd(const struct newfile *f)
{
    return f->fd;
}

const char *
newfile_path(const struct newfile *f)
{
    return f->partial ? f->partial : f->path;
}

void
newfile_start_writing(const struct newfile *f, uint64_t offset, uint64_t len)
{
    (void)sync_file_range(f->fd, (off_t)offset, (off_t)len,
                          SYNC_FILE_RANGE_WRITE);
}

static int
link_nameless(const struct newfile *f, struct err *e)
{
    CLEANUP(freep) char *handle = handle_of(f->fd);

    if (linkat(AT_FDCWD, handle, AT_FDCWD, f->path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno == EEXIST)
        return exists(f->path, e);
    return err_set_errno(e, ERR_IO, "cannot create %s", f->path);
}

/* rename(2) would replace what somebody has put there meanwhile. */
static int
give_name(const struct newfile *f, struct err *e)
{
    if (!f->partial)
        return link_nameless(f, e);
    if (renameat2(AT_FDCWD, f->partial, AT_FDCWD, f->path, RENAME_NOREPLACE) ==
        0)
        return 0;
    if (errno == EEXIST)
        return exists(f->path, e);
    /* EINVAL, ENOSYS: a file system that cannot, such as NFS. */
    if ((errno != EINVAL && errno != ENOSYS) ||
        rename(f->partial, f->path) == -1)
        return err_set_errno(e, ERR_IO, "cannot rename %s to %s", f->partial,
                             f->path);
    return 0;
}

int
newfile_publish(struct newfile **fp, struct err *e)
{
    CLEANUP(newfile_abandonp) struct newfile *f = STEAL(*fp);
    CLEANUP(freep) char *folder = folder_of(f->path);

    if (fsync(f->fd) == -1)
        return err_set_errno(e, ERR_IO, "cannot make %s durable",
                             newfile_path(f));
    if (give_name(f, e) == -1)
        return -1;
    if (dir_fsync(folder, e) == -1) {
        (void)unlink(f->path);
        return -1;
    }
    /* It is there; abandoning removes nothing now. */
    fd_close(&f->fd);
    return 0;
}
