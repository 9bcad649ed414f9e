/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/rand.h"

int
file_read(const char *path, struct buf *out, struct err *e)
{
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t chunk[16384];

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot open %s", path);
    for (;;) {
        ssize_t n = fd_read_some(fd, chunk, sizeof(chunk));
        if (n == -1)
            return err_set_errno(e, ERR_IO, "cannot read %s", path);
        if (n == 0)
            return 0;
        buf_add(out, chunk, (size_t)n);
        if (buf_check(out, path, e) == -1)
            return -1;
    }
}

/* The folder of `path`, to be freed. */
static char *
parent_of(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/') /* the last component, "b/" */
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n == 0)
        return xstrdup(".");
    while (n > 1 && path[n - 1] == '/')
        n--;
    return xstrndup(path, n);
}

static int
write_and_sync(const char *path, const void *p, size_t len, struct err *e)
{
    CLEANUP(fd_closep)
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot create %s", path);
    if (fd_write(fd, p, len, path, e) == -1)
        return -1;
    if (fsync(fd) == -1)
        return err_set_errno(e, ERR_IO, "cannot make %s durable", path);
    return 0;
}

int
file_publish(const char *path, const void *p, size_t len, struct err *e)
{
    CLEANUP(freep) char *dir = parent_of(path);
    CLEANUP(freep)
    char *temp =
        xasprintf("%s.%016llx.tmp", path, (unsigned long long)rand_u64());

    if (write_and_sync(temp, p, len, e) == -1) {
        (void)unlink(temp);
        return -1;
    }
    if (rename(temp, path) == -1) {
        (void)err_set_errno(e, ERR_IO, "cannot rename %s to %s", temp, path);
        (void)unlink(temp);
        return -1;
    }
    return dir_fsync(dir, e);
}

static int
make_one(const char *path, struct err *e)
{
    CLEANUP(freep) char *parent = parent_of(path);
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return dir_fsync(parent, e);
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return err_set_errno(e, ERR_IO, "cannot make the folder %s", path);
}

int
dir_make(const char *path, struct err *e)
{
    CLEANUP(freep) char *part = xstrdup(path);
    size_t n = 0;

    do { /* "/a", "/a/b", ... */
        n += strspn(path + n, "/");
        n += strcspn(path + n, "/");
        part[n] = '\0';
        if (make_one(part, e) == -1)
            return -1;
        part[n] = path[n];
    } while (path[n]);
    return 0;
}

int
dir_fsync(const char *path, struct err *e)
{
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot open the folder %s", path);
    /* EINVAL: a file system whose folders have no fsync, such as CIFS. */
    if (fsync(fd) == -1 && errno != EINVAL)
        return err_set_errno(e, ERR_IO, "cannot make the folder %s durable",
                             path);
    return 0;
}

static void
dir_closep(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

int
dir_is_empty(const char *path, struct err *e)
{
    CLEANUP(dir_closep) DIR *d = opendir(path);

    if (!d)
        return err_set_errno(e, ERR_IO, "cannot open the folder %s", path);
    for (;;) {
        errno = 0;
        const struct dirent *de =
            readdir(d); /* NOLINT(concurrency-mt-unsafe) */
        if (!de && errno)
            return err_set_errno(e, ERR_IO, "cannot list the folder %s", path);
        if (!de)
            return 1;
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
            return 0;
    }
}

bool
file_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

char *
path_join(const char *a, const char *b)
{
    size_t n = strlen(a);

    if (b[0] == '/' || n == 0)
        return xstrdup(b);
    return xasprintf("%s%s%s", a, a[n - 1] == '/' ? "" : "/", b);
}

/* For file systems without O_TMPFILE, such as NFS and older overlayfs. */
static int
create_and_unlink(const char *dir)
{
    CLEANUP(freep)
    char *path =
        xasprintf("%s/vmkeep.%016llx.tmp", dir, (unsigned long long)rand_u64());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd != -1)
        (void)unlink(path);
    return fd;
}

int
file_nameless(const char *dir, uint64_t size, int *out_fd, struct err *e)
{
    CLEANUP(fd_closep)
    int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

    if (fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR))
        fd = create_and_unlink(dir);
    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot create a nameless file in %s",
                             dir);
    if (ftruncate(fd, (off_t)size) == -1)
        return err_set_errno(e, ERR_IO, "cannot size a nameless file in %s",
                             dir);
    *out_fd = fd;
    fd = -1;
    return 0;
}

int
dir_free_bytes(const char *path, uint64_t *out, struct err *e)
{
    struct statvfs v;

    if (statvfs(path, &v) == -1)
        return err_set_errno(e, ERR_IO, "cannot ask for free space in %s",
                             path);
    *out = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}
