/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of the local file system; an object is a file of that name below
 * it.
 *
 * Publishing: the object is written under a name in tmp/, synced, moved to its
 * own name without ever replacing one, and its folder is synced.  A process
 * that dies before the move leaves a file in tmp/, which nothing looks at but
 * store_tidy; its name says when it was made.
 *
 * Time: an object's mtime must not be older than its appearance, or a writer
 * that slept between writing and publishing would seem to have been in time.
 * So it is set right before the move and again right after it.
 *
 * Trust: other users of the folder may plant anything in it.  Paths are walked
 * one component at a time and no symbolic link below the folder is followed;
 * only regular files are opened.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/store_folders.h"
#include "store/store_internal.h"
#include "store/store_place.h"
#include "store/store_temps.h"
#include "work/cancel.h"
#include "work/rate.h"

enum {
    /* O_NONBLOCK: a FIFO that someone planted must not hang us. */
    OBJECT_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
    TEMP_NAME_LEN = 64
};
enum {
    DIRECT_MIN_BYTES = 1 << 20,
    DIRECT_BYTES = 1 << 20, /* of one write: fits into a processor's cache */
    DIRECT_ALIGN = 4096
};

struct dir_store {
    struct store base;
    struct place place;
    struct cancel *cancel; /* borrowed, or NULL; so are the next two */
    struct rate *up, *down;
};

static int
fail_type(const struct dir_store *d, const char *name, struct err *e)
{
    return err_set(e, ERR_STORE,
                   "%s in %s is neither a file nor a folder; a symbolic link "
                   "is not followed, use a mount in its place",
                   name, d->base.address);
}

/* ---- writing ---------------------------------------------------------- */

struct temp {
    int folder; /* tmp/ */
    int fd;
    char name[TEMP_NAME_LEN]; /* "" once it has another one */
};

static void
temp_done(struct temp *t)
{
    if (t->name[0])
        (void)unlinkat(t->folder, t->name, 0);
    fd_close(&t->fd);
    fd_close(&t->folder);
}

static void
temp_choose_name(char *out)
{
    time_t now = (time_t)(clock_wall_ns() / 1000000000);
    char when[32];
    struct tm tm;

    if (!gmtime_r(&now, &tm) ||
        strftime(when, sizeof(when), "%Y%m%dt%H%M%Sz", &tm) == 0)
        memcpy(when, "0", 2);
    (void)snprintf(out, TEMP_NAME_LEN, "%s-%016llx", when,
                   (unsigned long long)rand_u64());
}

/* The storage's time, now; it also says that the file can still be written. */
static int
stamp(int fd)
{
    static const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                             {.tv_nsec = UTIME_NOW}};

    return futimens(fd, times);
}

static bool
set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags != -1 &&
           fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/*
 * As much of a large object as goes past the page cache: nobody will read it
 * soon, and it is synced at once, so a copy there would only cost time.  How
 * many bytes; the rest, maybe all, is to be written as usual: not every file
 * system can do it, and what went wrong shows there too.
 */
static size_t
write_direct(struct dir_store *d, int fd, const uint8_t *p, size_t len)
{
    size_t piece = (size_t)u64_min(DIRECT_BYTES, rate_piece(d->up));
    CLEANUP(freep) uint8_t *bounce = NULL;
    size_t at = 0;

    if (len < DIRECT_MIN_BYTES || !set_direct(fd, true))
        return 0;
    bounce = aligned_alloc(DIRECT_ALIGN, DIRECT_BYTES);
    while (bounce && len - at >= DIRECT_ALIGN) {
        size_t n = u64_min(len - at, piece) / DIRECT_ALIGN * DIRECT_ALIGN;
        rate_wait(d->up, n, d->cancel);
        memcpy(bounce, p + at, n);
        ssize_t done = write(fd, bounce, n);
        if (done > 0)
            at += (size_t)done;
        if (done != (ssize_t)n)
            break;
    }
    (void)set_direct(fd, false);
    return at;
}

static int
write_rest(struct dir_store *d, int fd, const uint8_t *p, size_t len,
           const char *what, struct err *e)
{
    while (len > 0) {
        size_t n = (size_t)u64_min(len, rate_piece(d->up));
        rate_wait(d->up, n, d->cancel);
        if (fd_write(fd, p, n, what, e) == -1)
            return place_settle(&d->place, e);
        p += n;
        len -= n;
    }
    return 0;
}

/* All of the object under a name in tmp/, synced; to be published at once. */
static int
temp_write(struct dir_store *d, struct temp *t, const char *name, const void *p,
           size_t len, struct err *e)
{
    char temp_name[TEMP_NAME_LEN];
    CLEANUP(freep)
    char *what = xasprintf("object %s in %s", name, d->base.address);

    if (mkdirat(d->place.fd, "tmp", 0700) == -1 && errno != EEXIST)
        return place_fail(&d->place, "make the folder", "tmp", e);
    t->folder = openat(d->place.fd, "tmp", PLACE_FOLDER_FLAGS);
    if (t->folder == -1)
        return place_fail(&d->place, "open the folder", "tmp", e);
    temp_choose_name(temp_name);
    t->fd = openat(t->folder, temp_name,
                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->fd == -1)
        return place_fail(&d->place, "create a temporary file for object", name,
                          e);
    memcpy(t->name, temp_name, sizeof(t->name));
    size_t direct = write_direct(d, t->fd, p, len);
    if (write_rest(d, t->fd, (const uint8_t *)p + direct, len - direct, what,
                   e) == -1)
        return -1;
    if (fsync(t->fd) == -1) {
        (void)place_fail(&d->place, "make durable object", name, e);
        return err_hint(e, "it was discarded; see the kernel's log");
    }
    if (stamp(t->fd) == -1)
        return place_fail(&d->place, "set the time of object", name, e);
    return 0;
}

/* For file systems that cannot rename without replacing, such as NFS. */
static int
publish_by_link(struct temp *t, int folder, const char *leaf)
{
    struct stat s;

    if (linkat(t->folder, t->name, folder, leaf, 0) == 0)
        return 0;
    /* NFS: the reply was lost, and the second try met the first (open(2)). */
    int no = errno;
    if (no == EEXIST && fstat(t->fd, &s) == 0 && s.st_nlink == 2)
        return 0;
    errno = no;
    return -1;
}

/* Give it its name.  0, or -1 with errno: EEXIST if the name is taken. */
static int
publish(struct temp *t, int folder, const char *leaf)
{
    if (renameat2(t->folder, t->name, folder, leaf, RENAME_NOREPLACE) == 0) {
        t->name[0] = '\0';
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return -1;
    return publish_by_link(t, folder, leaf);
}

static int
fail_publish(const struct dir_store *d, const char *name, struct err *e)
{
    int no = errno;

    (void)place_fail(&d->place, "publish object", name, e);
    if (no == EXDEV)
        return err_hint(e, "all of the folder must be on the file system that "
                           "its tmp/ is on");
    if (no == EPERM || no == EOPNOTSUPP || no == ENOSYS)
        return err_hint(e, "this file system can neither rename without "
                           "replacing nor link, so it cannot hold a "
                           "repository");
    return -1;
}

/*
 * 1 with ERR_EXISTS if `leaf` is there; 0 if not; -1.  Its writer may not have
 * come to sync the folder, but who is told that it exists will build on it.
 */
static int
check_taken(struct dir_store *d, int folder, const char *leaf, const char *name,
            struct err *e)
{
    struct stat s;

    if (fstatat(folder, leaf, &s, AT_SYMLINK_NOFOLLOW) == -1)
        return errno == ENOENT
                   ? 0
                   : place_fail(&d->place, "look for object", name, e);
    if (!S_ISREG(s.st_mode))
        return err_set(e, ERR_STORE,
                       "cannot write object %s in %s: something that is not a "
                       "file has its name",
                       name, d->base.address);
    if (place_sync_folder(folder) == -1)
        return place_fail(&d->place, "make durable the folder of object", name,
                          e);
    (void)store_fail_exists(&d->base, name, e);
    return 1;
}

static int
dir_put(struct store *st, const char *name, const void *p, size_t len,
        struct err *e)
{
    struct dir_store *d = (struct dir_store *)st;
    CLEANUP(temp_done) struct temp t = {.folder = -1, .fd = -1};
    CLEANUP(fd_closep) int folder = -1;
    const char *leaf = NULL;

    if (place_folder_of(&d->place, name, true, &folder, &leaf, e) == -1 ||
        check_taken(d, folder, leaf, name, e) != 0 ||
        temp_write(d, &t, name, p, len, e) == -1)
        return -1;
    if (publish(&t, folder, leaf) == -1) {
        int no = errno;
        if (no == EEXIST && check_taken(d, folder, leaf, name, e) != 0)
            return -1;
        errno = no;
        return fail_publish(d, name, e);
    }
    if (stamp(t.fd) == -1 || place_sync_folder(folder) == -1) {
        (void)place_fail(&d->place, "make durable object", name, e);
        (void)unlinkat(folder, leaf, 0);
        return err_hint(e, "it was removed again; see the kernel's log");
    }
    return 0;
}

/* ---- reading ---------------------------------------------------------- */

/* Open an object.  1, 0 if there is none, -1. */
static int
open_object(struct dir_store *d, const char *name, int *out_fd,
            uint64_t *out_size, struct err *e)
{
    CLEANUP(fd_closep) int folder = -1;
    const char *leaf = NULL;
    struct stat s;
    int rc = place_folder_of(&d->place, name, false, &folder, &leaf, e);

    if (rc != 1)
        return rc == 0 ? place_missing(&d->place, e) : -1;
    CLEANUP(fd_closep) int fd = openat(folder, leaf, OBJECT_FLAGS);
    if (fd == -1 && errno == ENOENT)
        return place_missing(&d->place, e);
    if (fd == -1 && (errno == ELOOP || errno == ENXIO))
        return fail_type(d, name, e);
    if (fd == -1)
        return place_fail(&d->place, "open object", name, e);
    if (fstat(fd, &s) == -1)
        return place_fail(&d->place, "look at object", name, e);
    if (S_ISDIR(s.st_mode))
        return 0;
    if (!S_ISREG(s.st_mode))
        return fail_type(d, name, e);
    *out_fd = place_steal_fd(&fd);
    *out_size = (uint64_t)s.st_size;
    return 1;
}

/* The same for callers that need the object. */
static int
need_object(struct dir_store *d, const char *name, int *out_fd,
            uint64_t *out_size, struct err *e)
{
    int rc = open_object(d, name, out_fd, out_size, e);

    return rc == 0 ? store_fail_noent(&d->base, name, e) : rc;
}

static int
read_object(struct dir_store *d, int fd, const char *name, uint64_t offset,
            void *out, size_t len, struct err *e)
{
    CLEANUP(freep)
    char *what = xasprintf("object %s in %s", name, d->base.address);

    for (size_t at = 0; at < len;) {
        size_t n = (size_t)u64_min(len - at, rate_piece(d->down));
        rate_wait(d->down, n, d->cancel);
        if (fd_pread(fd, (uint8_t *)out + at, n, offset + at, what, e) == -1)
            return e->code == ERR_CORRUPT ? -1 : place_settle(&d->place, e);
        at += n;
    }
    return 0;
}

static int
dir_get(struct store *st, const char *name, uint64_t offset, void *out,
        size_t len, struct err *e)
{
    struct dir_store *d = (struct dir_store *)st;
    CLEANUP(fd_closep) int fd = -1;
    uint64_t size = 0;

    if (need_object(d, name, &fd, &size, e) == -1)
        return -1;
    if (!range_inside(offset, len, size))
        return store_fail_short(st, name, size, offset, len, e);
    return read_object(d, fd, name, offset, out, len, e);
}

static int
dir_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    struct dir_store *d = (struct dir_store *)st;
    CLEANUP(fd_closep) int fd = -1;
    uint64_t size = 0;

    if (need_object(d, name, &fd, &size, e) == -1)
        return -1;
    uint8_t *to = store_room_for(out, size, name, e);
    if (!to)
        return -1;
    return read_object(d, fd, name, 0, to, (size_t)size, e);
}

static struct store_stat
stat_of(const struct stat *s)
{
    int64_t ns = 0;

    /* Some file systems can be told any year. */
    if (__builtin_mul_overflow(s->st_mtim.tv_sec, 1000000000, &ns) ||
        __builtin_add_overflow(ns, s->st_mtim.tv_nsec, &ns))
        ns = s->st_mtim.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return (struct store_stat){.size_bytes = (uint64_t)s->st_size,
                               .mtime_ns = ns};
}

/* Look at an object: 1, and its folder open in *out_folder; 0; -1. */
static int
look(struct dir_store *d, const char *name, int *out_folder, const char **leaf,
     struct stat *s, struct err *e)
{
    int rc = place_folder_of(&d->place, name, false, out_folder, leaf, e);

    if (rc != 1)
        return rc == 0 ? place_missing(&d->place, e) : -1;
    if (fstatat(*out_folder, *leaf, s, AT_SYMLINK_NOFOLLOW) == -1)
        return errno == ENOENT
                   ? place_missing(&d->place, e)
                   : place_fail(&d->place, "look at object", name, e);
    if (S_ISDIR(s->st_mode))
        return 0;
    return S_ISREG(s->st_mode) ? 1 : fail_type(d, name, e);
}

static int
dir_stat(struct store *st, const char *name, struct store_stat *out,
         struct err *e)
{
    struct dir_store *d = (struct dir_store *)st;
    CLEANUP(fd_closep) int folder = -1;
    const char *leaf = NULL;
    struct stat s = {0};
    int rc = look(d, name, &folder, &leaf, &s, e);

    if (rc == 1)
        *out = stat_of(&s);
    return rc;
}

/* ---- removing --------------------------------------------------------- */

static int
dir_remove(struct store *st, const char *name, struct err *e)
{
    struct dir_store *d = (struct dir_store *)st;
    CLEANUP(fd_closep) int folder = -1;
    const char *leaf = NULL;
    struct stat s = {0};
    int rc = look(d, name, &folder, &leaf, &s, e);

    if (rc != 1)
        return rc == 0 ? store_fail_noent(st, name, e) : -1;
    if (unlinkat(folder, leaf, 0) == -1) {
        if (errno == ENOENT)
            return store_fail_noent(st, name, e);
        bool denied = errno == EACCES || errno == EPERM || errno == EROFS;
        (void)place_fail(&d->place, "remove object", name, e);
        if (denied)
            e->code = ERR_DENIED;
        return -1;
    }
    if (place_sync_folder(folder) == -1)
        return place_fail(&d->place, "make durable the removal of object", name,
                          e);
    return 0;
}

/* ---- listing ---------------------------------------------------------- */

static void
dir_closep(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

/* What a listing needs at every step. */
struct lister {
    struct dir_store *d;
    struct folders todo;
    store_list_fn *fn;
    void *cookie;
};

/* One entry of the folder `in`, whose whole name is `name`. */
static int
list_entry(struct lister *l, DIR *in, const char *entry, const char *name,
           struct err *e)
{
    struct stat s;

    if (fstatat(dirfd(in), entry, &s, AT_SYMLINK_NOFOLLOW) == -1)
        return errno == ENOENT ? 0
                               : place_fail(&l->d->place, "look at", name, e);
    if (S_ISREG(s.st_mode)) {
        struct store_stat stat = stat_of(&s);
        return l->fn(l->cookie, name, &stat, e);
    }
    if (S_ISDIR(s.st_mode)) {
        CLEANUP(freep) char *folder = xasprintf("%s/", name);
        folders_add(&l->todo, folder);
        return 0;
    }
    /* It could stand for a folder of objects, which would then be missing. */
    return fail_type(l->d, name, e);
}

static int
fail_list(const struct dir_store *d, const char *folder, struct err *e)
{
    return place_fail(&d->place, "list the folder", folder[0] ? folder : "./",
                      e);
}

static int
list_folder(struct lister *l, const char *folder, struct err *e)
{
    size_t len = strlen(folder);
    int fd = -1;
    int rc =
        place_folder(&l->d->place, folder, len ? len - 1 : 0, false, &fd, e);

    if (rc != 1)
        return rc == 0 ? place_missing(&l->d->place, e) : -1;
    CLEANUP(dir_closep) DIR *in = fdopendir(fd);
    if (!in) {
        fd_close(&fd);
        return fail_list(l->d, folder, e);
    }
    for (;;) {
        errno = 0;
        const struct dirent *de =
            readdir(in); /* NOLINT(concurrency-mt-unsafe) */
        if (!de)
            return errno ? fail_list(l->d, folder, e) : 0;
        CLEANUP(freep) char *name = xasprintf("%s%s", folder, de->d_name);
        if (!store_name_ok(name)) /* tmp/, and what is not ours */
            continue;
        if (list_entry(l, in, de->d_name, name, e) == -1)
            return -1;
    }
}

static int
dir_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
         struct err *e)
{
    struct lister l = {.d = (struct dir_store *)st, .fn = fn, .cookie = cookie};
    int rc = 0;

    folders_add(&l.todo, prefix);
    while (rc == 0 && l.todo.n > 0) {
        CLEANUP(freep) char *folder = l.todo.names[--l.todo.n];
        rc = list_folder(&l, folder, e);
    }
    folders_done(&l.todo);
    /* readdir(3) says of a removed folder that it is empty. */
    return rc == 0 ? place_missing(&l.d->place, e) : rc;
}

/* ---- opening ---------------------------------------------------------- */

static void
dir_close(struct store *st)
{
    struct dir_store *d = (struct dir_store *)st;

    place_done(&d->place);
    free(d);
}

static int
dir_tidy(struct store *st, struct err *e)
{
    struct dir_store *d = (struct dir_store *)st;

    return store_temps_sweep(&d->place, e);
}

static void
dir_set_cancel(struct store *st, struct cancel *c)
{
    ((struct dir_store *)st)->cancel = c;
}

static void
dir_set_rates(struct store *st, struct rate *up, struct rate *down)
{
    struct dir_store *d = (struct dir_store *)st;

    d->up = up;
    d->down = down;
}

static void
dir_traits(struct store *st, struct store_traits *out)
{
    struct dir_store *d = (struct dir_store *)st;
    struct statvfs v;

    if (fstatvfs(d->place.fd, &v) == 0 && v.f_frsize > 0) {
        out->has_space = u64_mul(v.f_bavail, v.f_frsize, &out->free_bytes) &&
                         u64_mul(v.f_blocks, v.f_frsize, &out->total_bytes);
    }
    out->syncs_files = STORE_YES; /* or store_put fails */
    if (fsync(d->place.fd) == 0)
        out->syncs_folders = STORE_YES;
    else
        out->syncs_folders = STORE_NO;
}

static enum store_known
dir_try_overwrite(struct store *st, const char *own, const void *p, size_t len,
                  const char *old)
{
    struct dir_store *d = (struct dir_store *)st;
    CLEANUP(fd_close) int folder = -1;
    const char *leaf = NULL;
    struct err ignored = {0};

    (void)own, (void)p, (void)len;
    if (place_folder_of(&d->place, old, false, &folder, &leaf, &ignored) != 1)
        return STORE_UNKNOWN;
    CLEANUP(fd_close)
    int fd = openat(folder, leaf, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd != -1)
        return STORE_YES;
    return errno == EACCES || errno == EPERM || errno == EROFS ? STORE_NO
                                                               : STORE_UNKNOWN;
}

static const struct store_ops dir_ops = {
    .put = dir_put,
    .get = dir_get,
    .get_all = dir_get_all,
    .stat = dir_stat,
    .list = dir_list,
    .remove = dir_remove,
    .tidy = dir_tidy,
    .set_cancel = dir_set_cancel,
    .set_rates = dir_set_rates,
    .try_overwrite = dir_try_overwrite,
    .traits = dir_traits,
    .close = dir_close,
};

int
store_dir_open(const char *address, const char *path, bool create,
               struct store **out, struct err *e)
{
    if (create && dir_make(path, e) == -1) {
        e->code = ERR_STORE;
        return -1;
    }
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root == -1 && errno == ENOENT)
        return err_set(e, ERR_NOENT,
                       "there is no folder %s; is its disk mounted?", path);
    if (root == -1) {
        (void)err_set_errno(e, ERR_STORE, "cannot open the folder %s", path);
        e->code = ERR_STORE;
        return -1;
    }
    struct dir_store *d = xcalloc(1, sizeof(*d));
    d->base = (struct store){.ops = &dir_ops, .address = xstrdup(address)};
    place_init(&d->place, d->base.address, root);
    *out = &d->base;
    return 0;
}
