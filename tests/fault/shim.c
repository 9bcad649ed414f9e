/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim: a file layer that fails, or kills the process, at the N-th call that
 * changes something.
 *
 * It is preloaded into an unchanged program (LD_PRELOAD), counts the calls
 * below, and does what the environment says:
 *
 *   SHIM_AT=N         it happens at the N-th counted call, from 1; without it
 *                     calls are only counted
 *   SHIM_DO=WHAT      what happens; default "fail":
 *       fail          the call is not made and fails
 *       done          the call is made, but reported as failed
 *       short         a write of several bytes writes half of them and says
 *                     so; other calls work
 *       crash         the process dies (SIGKILL) instead of the call
 *       crash-half    the same, for a write after half of its bytes
 *       crash-after   the process dies when the call was made
 *   SHIM_ERRNO=NAME   with which error: EIO (default), ENOSPC, ...; see below
 *   SHIM_FOREVER=1    it happens to all later counted calls too
 *   SHIM_CALLS=A,B    count only these calls; names as in the table below
 *   SHIM_UNDER=PATH   count only calls on files and folders below this folder
 *                     (an absolute path without links)
 *   SHIM_PROGRAM=NAME count only in processes that run the program NAME
 *   SHIM_PROCESS=K    count only in the K-th process (from 1) that loaded us
 *                     or was forked by one that had; needs SHIM_STATE
 *   SHIM_LACKS=A:ENAME,B:ENAME
 *                     these calls always fail so, uncounted: what the kernel
 *                     or the file system is made to lack
 *   SHIM_STATE=FILE   a file of 4096 zero bytes, in which all processes count
 *                     together, and where the caller finds struct shim_state
 *   SHIM_TRACE=FILE   append a line for each counted call:
 *                     "N CALL PATH" or "N CALL PATH -> PATH", and " !" behind
 *                     it where the fault happens
 *
 * Calls, by the names to be used, with their 64-bit twins:
 *   open (open, openat, creat: only with O_CREAT, O_TRUNC or O_TMPFILE)
 *   write pwrite writev pwritev copy_file_range
 *   ftruncate truncate fallocate (also posix_fallocate)
 *   fsync fdatasync syncfs   utimes (futimens, utimensat)
 *   mkdir rmdir unlink rename renameat2 link symlink (and the -at forms)
 *
 * Without SHIM_UNDER, calls on descriptors count only for regular files and
 * folders: sockets, pipes and terminals are none of its business.
 *
 * It does not see what libc does inside (stdio, mkstemp), static programs, or
 * calls made through syscall(2).  It speaks to the kernel directly and uses no
 * other part of libc that takes locks, so it works after fork and under
 * sanitizers (with ASAN_OPTIONS=verify_asan_link_order=0).  64-bit Linux only.
 */
#undef _FILE_OFFSET_BITS /* so that open and open64 are two names */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

/* ---- the plan, from the environment ----------------------------------- */

enum what { FAIL, DONE, SHORT, CRASH, CRASH_HALF, CRASH_AFTER };

static struct {
    bool ready, mine; /* mine: this process is counted */
    enum what what;
    uint64_t at;
    int error;
    bool forever;
    const char *calls, *under, *lacks;
    uint64_t process; /* 0: any */
    int trace;        /* -1 */
    struct shim_state *state;
    struct shim_state own_state;
} plan = {.trace = -1};

static const struct {
    const char *name;
    int no;
} errors[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
    {"EROFS", EROFS},   {"EINTR", EINTR},   {"EACCES", EACCES},
    {"EPERM", EPERM},   {"EMFILE", EMFILE}, {"ENFILE", ENFILE},
    {"EINVAL", EINVAL}, {"ENOSYS", ENOSYS}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"EEXIST", EEXIST}, {"EXDEV", EXDEV},   {"ESTALE", ESTALE},
    {"ENOENT", ENOENT}, {"EFBIG", EFBIG},   {"ENOMEM", ENOMEM},
    {"EAGAIN", EAGAIN}, {"EMLINK", EMLINK},
};

static const char *const whats[] = {
    [FAIL] = "fail",
    [DONE] = "done",
    [SHORT] = "short",
    [CRASH] = "crash",
    [CRASH_HALF] = "crash-half",
    [CRASH_AFTER] = "crash-after",
};

/* A misspelt plan must not look like a test that passed. */
static void __attribute__((noreturn))
die(const char *variable, const char *value)
{
    (void)fprintf(stderr, "shim: %s=%s is not understood\n", variable, value);
    (void)syscall(SYS_exit_group, 127);
    abort();
}

static const char *
get(const char *variable)
{
    const char *value = getenv(variable); /* NOLINT(concurrency-mt-unsafe) */

    return value && value[0] ? value : NULL;
}

static int
error_named(const char *variable, const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strlen(errors[i].name) == len &&
            strncmp(errors[i].name, name, len) == 0)
            return errors[i].no;
    die(variable, name);
}

static uint64_t
number(const char *variable)
{
    const char *value = get(variable);
    char *end = NULL;

    if (!value)
        return 0;
    uint64_t n = strtoull(value, &end, 10);
    if (*end)
        die(variable, value);
    return n;
}

static enum what
what_named(const char *value)
{
    for (unsigned i = 0; i < sizeof(whats) / sizeof(whats[0]); i++)
        if (strcmp(whats[i], value) == 0)
            return (enum what)i;
    die("SHIM_DO", value);
}

static bool
is_program(const char *name)
{
    char exe[PATH_MAX];
    long n = syscall(SYS_readlink, "/proc/self/exe", exe, sizeof(exe) - 1);

    if (n < 0)
        return false;
    exe[n] = '\0';
    const char *slash = strrchr(exe, '/');
    return strcmp(slash ? slash + 1 : exe, name) == 0;
}

static void
open_state(const char *path)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *p = fd == -1 ? MAP_FAILED
                       : mmap(NULL, sizeof(*plan.state), PROT_READ | PROT_WRITE,
                              MAP_SHARED, fd, 0);

    if (p == MAP_FAILED)
        die("SHIM_STATE", path);
    plan.state = p;
    (void)syscall(SYS_close, fd);
}

/* One more process; is it the one that counts? */
static void
enrol(void)
{
    uint64_t who =
        __atomic_add_fetch(&plan.state->processes, 1, __ATOMIC_SEQ_CST);

    if (plan.process)
        plan.mine = who == plan.process;
}

static void __attribute__((constructor)) start(void)
{
    const char *value = NULL;

    if (plan.ready) /* by a constructor that ran before us */
        return;
    plan.state = &plan.own_state;
    plan.error = EIO;
    plan.mine = true;
    plan.at = number("SHIM_AT");
    plan.process = number("SHIM_PROCESS");
    plan.forever = number("SHIM_FOREVER") != 0;
    plan.calls = get("SHIM_CALLS");
    plan.under = get("SHIM_UNDER");
    plan.lacks = get("SHIM_LACKS");
    if ((value = get("SHIM_DO")))
        plan.what = what_named(value);
    if ((value = get("SHIM_ERRNO")))
        plan.error = error_named("SHIM_ERRNO", value, strlen(value));
    if ((value = get("SHIM_STATE")))
        open_state(value);
    else if (plan.process)
        die("SHIM_PROCESS", "without SHIM_STATE");
    if ((value = get("SHIM_TRACE"))) {
        plan.trace =
            (int)syscall(SYS_openat, AT_FDCWD, value,
                         O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (plan.trace == -1)
            die("SHIM_TRACE", value);
    }
    plan.ready = true;
    if ((value = get("SHIM_PROGRAM")) && !is_program(value)) {
        plan.mine = false;
        return;
    }
    enrol();
    (void)pthread_atfork(NULL, NULL, enrol);
}

/* ---- one call --------------------------------------------------------- */

/* What a call is about: up to two files. */
struct target {
    const char *call;
    int fd;           /* or -1 */
    int at, at2;      /* of the paths */
    const char *path; /* or NULL */
    const char *path2;
};

enum act { GO, NOT_MADE, MADE, HALF, HALF_AND_DIE, AND_DIE };

/* Is `word` (up to ',' or ':') one of the comma-separated list?  Where. */
static const char *
find_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    while (*list) {
        if (strncmp(list, word, n) == 0 &&
            (list[n] == ',' || list[n] == ':' || list[n] == '\0'))
            return list + n;
        list += strcspn(list, ",");
        list += *list == ',';
    }
    return NULL;
}

/* The path that the kernel knows a descriptor by; "" if none. */
static void
path_of_fd(int fd, char *out)
{
    char link[64];

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlink, link, out, PATH_MAX - 1);
    out[n < 0 ? 0 : n] = '\0';
}

static void
full_path(int at, const char *path, char *out)
{
    size_t n = 0;

    if (path[0] != '/' && at == AT_FDCWD) {
        if (syscall(SYS_getcwd, out, PATH_MAX) < 0)
            out[0] = '\0';
    } else if (path[0] != '/') {
        path_of_fd(at, out);
    } else {
        out[0] = '\0';
    }
    n = strlen(out);
    (void)snprintf(out + n, PATH_MAX - n, "%s%s", n ? "/" : "", path);
}

static bool
is_under(const char *path)
{
    size_t n = strlen(plan.under);

    return strncmp(path, plan.under, n) == 0 &&
           (path[n] == '/' || path[n] == '\0' || path[n] == ' ');
}

static bool
is_file(int fd)
{
    struct stat s;

    /* newfstatat, because that is what every 64-bit kernel has */
    return syscall(SYS_newfstatat, fd, "", &s, AT_EMPTY_PATH) == 0 &&
           (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode));
}

/* The names of what the call is about; does it count at all? */
static bool
counts(const struct target *t, char *path, char *path2)
{
    path[0] = path2[0] = '\0';
    if (!plan.ready || !plan.mine)
        return false;
    if (plan.calls && !find_word(plan.calls, t->call))
        return false;
    if (t->path)
        full_path(t->at, t->path, path);
    else
        path_of_fd(t->fd, path);
    if (t->path2)
        full_path(t->at2, t->path2, path2);
    if (plan.under)
        return is_under(path) || (t->path2 && is_under(path2));
    return t->path || is_file(t->fd);
}

static void __attribute__((noreturn)) crash(void)
{
    for (;;)
        (void)syscall(SYS_kill, (long)getpid(), (long)SIGKILL);
}

static void
trace(uint64_t n, const char *call, const char *path, const char *path2,
      bool faulty)
{
    char line[2 * PATH_MAX + 100];
    int len = snprintf(line, sizeof(line), "%llu %s %s%s%s%s\n",
                       (unsigned long long)n, call, path,
                       path2[0] ? " -> " : "", path2, faulty ? " !" : "");

    if (plan.trace != -1)
        (void)syscall(SYS_write, plan.trace, line, (size_t)len);
}

static enum act
act_of(enum what what, bool is_write)
{
    switch (what) {
    case FAIL:
        return NOT_MADE;
    case DONE:
        return MADE;
    case SHORT:
        return is_write ? HALF : GO;
    case CRASH_HALF:
        if (is_write)
            return HALF_AND_DIE;
        crash();
    case CRASH_AFTER:
        return AND_DIE;
    case CRASH:
        break;
    }
    crash();
}

/* Count a call, and say what is to be done; *error is for a failing one. */
static enum act
consult(const struct target *t, bool is_write, int *error)
{
    char path[PATH_MAX], path2[PATH_MAX];
    int kept = errno;
    enum act act = GO;
    const char *lacks = plan.lacks ? find_word(plan.lacks, t->call) : NULL;

    *error = plan.error;
    if (lacks && *lacks == ':') {
        *error = error_named("SHIM_LACKS", lacks + 1, strcspn(lacks + 1, ","));
        return NOT_MADE;
    }
    if (counts(t, path, path2)) {
        uint64_t n =
            __atomic_add_fetch(&plan.state->calls, 1, __ATOMIC_SEQ_CST);
        bool faulty =
            plan.at && (n == plan.at || (n > plan.at && plan.forever));
        trace(n, t->call, path, path2, faulty);
        if (faulty) {
            (void)__atomic_add_fetch(&plan.state->faults, 1, __ATOMIC_SEQ_CST);
            act = act_of(plan.what, is_write);
        }
    }
    errno = kept;
    return act;
}

static long
settle(enum act act, long rc, int error)
{
    if (act == AND_DIE || act == HALF_AND_DIE)
        crash();
    if (act == NOT_MADE || act == MADE) {
        errno = error;
        return -1;
    }
    return rc;
}

static size_t
halve(enum act act, size_t n)
{
    return act == HALF || act == HALF_AND_DIE ? (n + 1) / 2 : n;
}

static struct target
on_fd(const char *call, int fd)
{
    return (struct target){.call = call, .fd = fd};
}

static struct target
on_path(const char *call, int at, const char *path)
{
    return (struct target){.call = call, .fd = -1, .at = at, .path = path};
}

static struct target
on_paths(const char *call, int at, const char *path, int at2, const char *path2)
{
    struct target t = on_path(call, at, path);

    t.at2 = at2;
    t.path2 = path2;
    return t;
}

/* Ask about `about`, make the call `made` unless told not to, and return what
 * is to be reported. */
#define CALL(about, made)                             \
    do {                                              \
        const struct target t_ = about;               \
        int error_ = 0;                               \
        enum act act_ = consult(&t_, false, &error_); \
        long rc_ = act_ == NOT_MADE ? -1 : (made);    \
        return (int)settle(act_, rc_, error_);        \
    } while (0)

/* The same for writes of `n` bytes, the variable that `made` uses. */
#define WRITE(about, n, made)                        \
    do {                                             \
        const struct target t_ = about;              \
        int error_ = 0;                              \
        enum act act_ = consult(&t_, true, &error_); \
        (n) = halve(act_, n);                        \
        long rc_ = act_ == NOT_MADE ? -1 : (made);   \
        return settle(act_, rc_, error_);            \
    } while (0)

/* The libc names them otherwise; clang 14 does not see a va_start in a macro.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name)
 * NOLINTBEGIN(clang-analyzer-valist.Uninitialized) */

/* ---- open ------------------------------------------------------------- */

static int
do_open(int at, const char *path, int flags, mode_t mode)
{
    const struct target target = on_path("open", at, path);
    int error = 0;
    enum act act = GO;

    if (flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE)
        act = consult(&target, false, &error);
    long rc = act == NOT_MADE
                  ? -1
                  : syscall(SYS_openat, at, path, flags, (unsigned)mode);
    if (act == MADE && rc >= 0)
        (void)syscall(SYS_close, rc);
    return (int)settle(act, rc, error);
}

#define WITH_MODE(flags)                                       \
    mode_t mode = 0;                                           \
    if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) { \
        va_list ap;                                            \
        va_start(ap, flags);                                   \
        mode = va_arg(ap, mode_t);                             \
        va_end(ap);                                            \
    }

int
open(const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return do_open(AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return do_open(AT_FDCWD, path, flags, mode);
}

int
openat(int at, const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return do_open(at, path, flags, mode);
}

int
openat64(int at, const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return do_open(at, path, flags, mode);
}

int
creat(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int
creat64(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* ---- data ------------------------------------------------------------- */

ssize_t
write(int fd, const void *p, size_t n)
{
    WRITE(on_fd("write", fd), n, syscall(SYS_write, fd, p, n));
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t offset)
{
    WRITE(on_fd("pwrite", fd), n, syscall(SYS_pwrite64, fd, p, n, offset));
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t offset)
{
    return pwrite(fd, p, n, offset);
}

/* Half of a vector is half of its parts. */
ssize_t
writev(int fd, const struct iovec *v, int n_parts)
{
    size_t n = (size_t)n_parts;

    WRITE(on_fd("writev", fd), n, syscall(SYS_writev, fd, v, n));
}

ssize_t
pwritev(int fd, const struct iovec *v, int n_parts, off_t offset)
{
    size_t n = (size_t)n_parts;

    WRITE(on_fd("pwritev", fd), n, syscall(SYS_pwritev, fd, v, n, offset, 0));
}

ssize_t
pwritev64(int fd, const struct iovec *v, int n_parts, off64_t offset)
{
    return pwritev(fd, v, n_parts, offset);
}

ssize_t
copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset,
                size_t n, unsigned flags)
{
    WRITE(
        on_fd("copy_file_range", out), n,
        syscall(SYS_copy_file_range, in, in_offset, out, out_offset, n, flags));
}

int
ftruncate(int fd, off_t size)
{
    CALL(on_fd("ftruncate", fd), syscall(SYS_ftruncate, fd, size));
}

int
ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

int
truncate(const char *path, off_t size)
{
    CALL(on_path("truncate", AT_FDCWD, path),
         syscall(SYS_truncate, path, size));
}

int
truncate64(const char *path, off64_t size)
{
    return truncate(path, size);
}

int
fallocate(int fd, int mode, off_t offset, off_t len)
{
    CALL(on_fd("fallocate", fd), syscall(SYS_fallocate, fd, mode, offset, len));
}

int
fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return fallocate(fd, mode, offset, len);
}

int
posix_fallocate(int fd, off_t offset, off_t len)
{
    return fallocate(fd, 0, offset, len) == -1 ? errno : 0;
}

int
posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return posix_fallocate(fd, offset, len);
}

/* ---- durability and times --------------------------------------------- */

int
fsync(int fd)
{
    CALL(on_fd("fsync", fd), syscall(SYS_fsync, fd));
}

int
fdatasync(int fd)
{
    CALL(on_fd("fdatasync", fd), syscall(SYS_fdatasync, fd));
}

int
syncfs(int fd)
{
    CALL(on_fd("syncfs", fd), syscall(SYS_syncfs, fd));
}

int
futimens(int fd, const struct timespec t[2])
{
    CALL(on_fd("utimes", fd),
         syscall(SYS_utimensat, fd, (const char *)NULL, t, 0));
}

int
utimensat(int at, const char *path, const struct timespec t[2], int flags)
{
    CALL(on_path("utimes", at, path),
         syscall(SYS_utimensat, at, path, t, flags));
}

/* ---- names ------------------------------------------------------------ */

int
mkdirat(int at, const char *path, mode_t mode)
{
    CALL(on_path("mkdir", at, path),
         syscall(SYS_mkdirat, at, path, (unsigned)mode));
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int
unlinkat(int at, const char *path, int flags)
{
    CALL(on_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", at, path),
         syscall(SYS_unlinkat, at, path, flags));
}

int
unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int
renameat(int at, const char *from, int at2, const char *to)
{
    CALL(on_paths("rename", at, from, at2, to),
         syscall(SYS_renameat2, at, from, at2, to, 0));
}

int
rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int
renameat2(int at, const char *from, int at2, const char *to, unsigned flags)
{
    CALL(on_paths("renameat2", at, from, at2, to),
         syscall(SYS_renameat2, at, from, at2, to, flags));
}

int
linkat(int at, const char *from, int at2, const char *to, int flags)
{
    CALL(on_paths("link", at, from, at2, to),
         syscall(SYS_linkat, at, from, at2, to, flags));
}

int
link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
symlinkat(const char *content, int at, const char *path)
{
    CALL(on_path("symlink", at, path),
         syscall(SYS_symlinkat, content, at, path));
}

int
symlink(const char *content, const char *path)
{
    return symlinkat(content, AT_FDCWD, path);
}
/* NOLINTEND(clang-analyzer-valist.Uninitialized) */
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
