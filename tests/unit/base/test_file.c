/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"

/*
 * The system calls that change a disk, on their way to the kernel: while
 * `watching` each is noted as one letter, and number `fail_at` fails, or the
 * process dies just before number `die_at`.
 */
static bool watching;
static char trace[64];
static size_t fail_at, die_at;
static int fail_errno = EIO;
static bool no_tmpfile;        /* a file system that does not know it */
static struct statvfs *answer; /* of statvfs */
static bool pretend;           /* to have made a folder */
static ino_t synced;           /* the last folder that fsync was asked for */
static unsigned careless;      /* opens that leak, or that follow a trap */

static bool
step(char letter)
{
    if (!watching)
        return true;
    size_t n = strlen(trace);
    trace[n++] = letter;
    if (n == die_at)
        _exit(9);
    errno = fail_errno;
    return n != fail_at;
}

int
open(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = va_arg(ap, mode_t); /* rubbish, and ignored, if not given */
    va_end(ap);
    careless += !(flags & O_CLOEXEC);
    careless += (flags & O_CREAT) && !(flags & O_EXCL);
    if ((flags & O_TMPFILE) == O_TMPFILE && no_tmpfile) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if ((flags & O_CREAT) && !step('c'))
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags,
                        flags & (O_CREAT | O_TMPFILE) ? mode : 0);
}

ssize_t
write(int fd, const void *p, size_t n)
{
    return step('w') ? syscall(SYS_write, fd, p, n) : -1;
}

int
fsync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == -1)
        return -1;
    if (S_ISDIR(st.st_mode))
        synced = st.st_ino;
    if (!step(S_ISDIR(st.st_mode) ? 'D' : 'F'))
        return -1;
    return (int)syscall(SYS_fsync, fd);
}

int
rename(const char *from, const char *to)
{
    return step('r') ? renameat(AT_FDCWD, from, AT_FDCWD, to) : -1;
}

int
mkdir(const char *path, mode_t mode)
{
    if (pretend)
        return 0;
    return step('m') ? mkdirat(AT_FDCWD, path, mode) : -1;
}

int
statvfs(const char *path, struct statvfs *v)
{
    (void)path;
    if (!answer)
        return -1;
    *v = *answer;
    return 0;
}

static void
watch(size_t fail, size_t die)
{
    memset(trace, 0, sizeof(trace));
    fail_at = fail;
    die_at = die;
    watching = true;
}

/* Each test works in an empty folder of its own, the current one. */
static int
enter(void **state)
{
    char name[] = "/tmp/vmkeep-test-file.XXXXXX";

    *state = mkdtemp(name) ? xstrdup(name) : NULL;
    return *state ? chdir(*state) : -1;
}

static int
leave(void **state)
{
    char *name = *state;
    watching = false;
    no_tmpfile = false;
    pretend = false;
    fail_errno = EIO;
    CLEANUP(freep) char *command = xasprintf("rm -rf '%s'", name);

    free(name);
    if (chdir("/") == -1 || system(command) != 0)
        return -1;
    return careless ? -1 : 0;
}

/* How many names are in the folder. */
static unsigned
names_in(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    assert_int_equal(closedir(d), 0);
    return n - 2;
}

static void
holds(const char *path, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    struct err e = {0};

    assert_int_equal(file_read(path, &b, &e), 0);
    assert_string_equal(buf_text(&b), want);
}

static mode_t
mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void
a_published_file_is_whole_and_private(void **state)
{
    struct err e = {0};

    (void)state;
    (void)umask(0);
    assert_int_equal(file_publish("ref", "content", 7, &e), 0);
    holds("ref", "content");
    assert_int_equal(mode_of("ref"), 0600);
    assert_int_equal(file_publish("ref", "other", 5, &e), 0);
    holds("ref", "other");
    assert_int_equal(file_publish("empty", NULL, 0, &e), 0);
    holds("empty", "");
    assert_int_equal(names_in("."), 2);
}

/* The order is what makes it safe: the data is on the disk before the name
 * is, and the name before we say so. */
static void
the_data_is_durable_before_the_name(void **state)
{
    struct err e = {0};

    (void)state;
    watch(0, 0);
    assert_int_equal(file_publish("ref", "content", 7, &e), 0);
    assert_string_equal(trace, "cwFrD");
}

static void
a_failure_at_any_step_leaves_the_old_or_the_new(void **state)
{
    size_t steps = strlen("cwFrD");

    (void)state;
    for (size_t n = 1; n <= steps; n++) {
        struct err e = {0};
        watching = false;
        assert_int_equal(file_publish("ref", "old", 3, &e), 0);
        watch(n, 0);
        assert_int_equal(file_publish("ref", "new", 3, &e), -1);
        watching = false;
        assert_int_equal(e.code, ERR_IO);
        assert_non_null(strstr(e.msg, n < steps ? " ref." : "the folder ."));
        assert_non_null(strstr(e.msg, ": Input/output error"));
        assert_int_equal(strlen(trace), n); /* and is never retried */
        holds("ref", n < steps ? "old" : "new");
        assert_int_equal(names_in("."), 1); /* no temporary left behind */
    }
}

static void
a_full_disk_says_so(void **state)
{
    struct err e = {0};

    (void)state;
    fail_errno = ENOSPC;
    watch(2, 0);
    assert_int_equal(file_publish("ref", "new", 3, &e), -1);
    assert_int_equal(e.code, ERR_NOSPACE);
    assert_int_equal(names_in("."), 0);
}

static void
death_at_any_step_leaves_the_old_or_the_new(void **state)
{
    size_t steps = strlen("cwFrD");

    (void)state;
    for (size_t n = 1; n <= steps; n++) {
        struct err e = {0};
        int status = 0;
        watching = false;
        assert_int_equal(file_publish("ref", "old", 3, &e), 0);
        (void)fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            watch(0, n);
            (void)file_publish("ref", "new", 3, &e);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 9); /* it got there */
        holds("ref", n < steps ? "old" : "new");
    }
}

static void
publishing_goes_nowhere_without_a_folder(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(file_publish("none/ref", "x", 1, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    err_clear(&e);
    assert_int_equal(dir_make("taken", &e), 0);
    assert_int_equal(file_publish("taken", "x", 1, &e), -1);
    assert_int_equal(names_in("."), 1);
    assert_int_equal(names_in("taken"), 0);
}

static void
reading_appends(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct err e = {0};

    (void)state;
    assert_int_equal(file_publish("a", "first ", 6, &e), 0);
    assert_int_equal(file_publish("b", "second", 6, &e), 0);
    assert_int_equal(file_read("a", &b, &e), 0);
    assert_int_equal(file_read("b", &b, &e), 0);
    assert_string_equal(buf_text(&b), "first second");
}

static void
a_file_may_be_as_long_as_the_limit(void **state)
{
    enum { LONG = 40000 }; /* several reads */
    CLEANUP(freep) char *p = xcalloc(1, LONG + 1);
    struct err e = {0};

    (void)state;
    memset(p, 'z', LONG);
    assert_int_equal(file_publish("long", p, LONG, &e), 0);

    CLEANUP(buf_done) struct buf exact = buf_of(LONG);
    assert_int_equal(file_read("long", &exact, &e), 0);
    assert_string_equal(buf_text(&exact), p);

    CLEANUP(buf_done) struct buf less = buf_of(LONG - 1);
    assert_int_equal(file_read("long", &less, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.msg, "long is larger than 39999 bytes");
}

static void
reading_an_endless_file_ends(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100000);
    struct err e = {0};

    (void)state;
    assert_int_equal(file_read("/dev/zero", &b, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
}

static void
what_cannot_be_read_is_named(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct err e = {0};

    (void)state;
    assert_int_equal(file_read("none", &b, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    assert_string_equal(e.msg, "cannot open none: No such file or directory");
    err_clear(&e);
    assert_int_equal(file_read(".", &b, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg, "cannot read .: Is a directory");
    err_clear(&e);
    assert_int_equal(file_publish("f", "x", 1, &e), 0);
    assert_int_equal(file_read("f/g", &b, &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

static void
folders_are_made_with_their_parents(void **state)
{
    static const char *const paths[] = {"a/b/c", "a/b/c", "a//b/d/", "e/",
                                        "./f",   ".",     "/",       "a/../g"};
    struct err e = {0};

    (void)state;
    (void)umask(0);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(dir_make(paths[i], &e), 0);
        assert_true(file_exists(paths[i]));
    }
    assert_int_equal(mode_of("a"), 0700);
    assert_int_equal(mode_of("a/b/c"), 0700);
    assert_int_equal(names_in("a/b"), 2);
    assert_int_equal(names_in("."), 4);
}

static void
a_new_folder_is_durable_in_its_parent(void **state)
{
    struct err e = {0};

    (void)state;
    watch(0, 0);
    assert_int_equal(dir_make("a/b/c", &e), 0);
    assert_string_equal(trace, "mDmDmD");
    watch(0, 0);
    assert_int_equal(dir_make("a/b", &e), 0); /* is there */
    assert_string_equal(trace, "mm");
    watch(2, 0);
    assert_int_equal(dir_make("c", &e), -1);
    assert_string_equal(e.msg,
                        "cannot make the folder . durable: Input/output error");
    err_clear(&e);
    watch(1, 0);
    assert_int_equal(dir_make("d", &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg, "cannot make the folder d: Input/output error");
}

static void
it_is_the_parent_that_is_synced(void **state)
{
    static const struct {
        const char *path, *parent;
    } cases[] = {
        {"x", "."},           {"x/", "."},   {"x//", "."}, {"a/x", "a"},
        {"a/x/", "a"},        {"a//x", "a"}, {"./x", "."}, {"a/b/x", "a/b"},
        {"a/../x", "."},      {"/x", "/"},   {"/x/", "/"}, {"//x", "/"},
        {"/proc/x", "/proc"},
    };
    struct err e = {0};

    (void)state;
    assert_int_equal(dir_make("a/b", &e), 0);
    pretend = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stat st;
        synced = 0;
        assert_int_equal(dir_make(cases[i].path, &e), 0);
        assert_int_equal(stat(cases[i].parent, &st), 0);
        if (synced != st.st_ino)
            fail_msg("%s: not %s was synced", cases[i].path, cases[i].parent);
    }
    pretend = false;
    synced = 0;
    assert_int_equal(file_publish("a/b/ref", "x", 1, &e), 0);
    struct stat st;
    assert_int_equal(stat("a/b", &st), 0);
    assert_true(synced == st.st_ino);
}

static void
a_folder_cannot_be_made_over_something_else(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(file_publish("file", "x", 1, &e), 0);
    assert_int_equal(dir_make("file", &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
    err_clear(&e);
    assert_int_equal(dir_make("file/b", &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
    assert_string_equal(e.msg, "cannot make the folder file: File exists");
    err_clear(&e);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(dir_make("dangling", &e), -1);
    err_clear(&e);
    assert_int_equal(dir_make("", &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    /* A link to a folder is one. */
    assert_int_equal(symlink("/", "root"), 0);
    err_clear(&e);
    assert_int_equal(dir_make("root", &e), 0);
}

static void
an_empty_folder_has_no_names_not_even_hidden_ones(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(dir_is_empty(".", &e), 1);
    assert_int_equal(file_publish(".hidden", "x", 1, &e), 0);
    assert_int_equal(dir_is_empty(".", &e), 0);
    assert_int_equal(dir_is_empty("none", &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    err_clear(&e);
    assert_int_equal(dir_is_empty(".hidden", &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

static void
syncing_needs_a_folder(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(dir_fsync(".", &e), 0);
    assert_int_equal(dir_fsync("none", &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    err_clear(&e);
    assert_int_equal(file_publish("file", "x", 1, &e), 0);
    assert_int_equal(dir_fsync("file", &e), -1);
    assert_int_equal(e.code, ERR_IO);
    err_clear(&e);
    fail_errno = EINVAL; /* there is no such thing here: not a failure */
    watch(1, 0);
    assert_int_equal(dir_fsync(".", &e), 0);
    assert_string_equal(trace, "D");
    fail_errno = EIO;
    watch(1, 0);
    assert_int_equal(dir_fsync(".", &e), -1);
    assert_string_equal(e.msg,
                        "cannot make the folder . durable: Input/output error");
}

static void
existence_follows_links(void **state)
{
    struct err e = {0};

    (void)state;
    assert_false(file_exists("f"));
    assert_false(file_exists(""));
    assert_int_equal(symlink("f", "link"), 0);
    assert_false(file_exists("link"));
    assert_int_equal(file_publish("f", "x", 1, &e), 0);
    assert_true(file_exists("f"));
    assert_true(file_exists("link"));
    assert_true(file_exists("."));
}

static void
joined(const char *a, const char *b, const char *want)
{
    CLEANUP(freep) char *path = path_join(a, b);

    assert_string_equal(path, want);
}

static void
paths_are_joined_by_one_slash(void **state)
{
    (void)state;
    joined("a", "b", "a/b");
    joined("a/", "b", "a/b");
    joined("/", "b", "/b");
    joined("a", "/b", "/b");
    joined("", "b", "b"); /* not /b */
    joined("", "/b", "/b");
    joined("a", "", "a/");
    joined("", "", "");
}

static void
a_nameless_file_is_sparse_private_and_gone(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        struct err e = {0};
        struct stat st;
        int fd = -1;
        char back[4] = "";

        no_tmpfile = round == 1;
        assert_int_equal(file_nameless(".", 1 << 30, &fd, &e), 0);
        assert_int_equal(names_in("."), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_nlink, 0);
        assert_int_equal(st.st_size, 1 << 30);
        assert_true(st.st_blocks * 512 < 1 << 20);
        assert_int_equal(st.st_mode & 077, 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fd_pwrite(fd, "end", 3, (1 << 30) - 3, "f", &e), 0);
        assert_int_equal(fd_pread(fd, back, 3, (1 << 30) - 3, "f", &e), 0);
        assert_string_equal(back, "end");
        fd_close(&fd);
    }
}

static void
a_nameless_file_needs_a_folder_and_a_size(void **state)
{
    struct err e = {0};
    int fd = -7;

    (void)state;
    assert_int_equal(file_nameless("none", 1, &fd, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    assert_string_equal(e.msg, "cannot create a nameless file in none: "
                               "No such file or directory");
    err_clear(&e);
    assert_int_equal(file_nameless(".", UINT64_MAX, &fd, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(fd, -7);
    assert_int_equal(names_in("."), 0);
    err_clear(&e);
    assert_int_equal(file_publish("f", "x", 1, &e), 0);
    assert_int_equal(file_nameless("f", 1, &fd, &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

static void
free_space_is_what_a_user_gets_in_bytes(void **state)
{
    struct statvfs v = {.f_bsize = 1 << 20,
                        .f_frsize = 4096,
                        .f_bfree = 1 << 30,
                        .f_bavail = (fsblkcnt_t)3 << 40};
    struct err e = {0};
    uint64_t n = 42;

    (void)state;
    answer = &v;
    assert_int_equal(dir_free_bytes("/b", &n, &e), 0);
    assert_true(n == (uint64_t)3 << 52);
    answer = NULL;
    errno = ENOENT;
    n = 42;
    assert_int_equal(dir_free_bytes("/b", &n, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
    assert_true(n == 42);
    err_clear(&e);
    errno = EIO;
    assert_int_equal(dir_free_bytes("/b", &n, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.msg,
                        "cannot ask for free space in /b: Input/output error");
}

static void
nothing_stays_open(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(10);
    unsigned before = names_in("/proc/self/fd");
    int fd = -1;

    (void)state;
    for (size_t n = 0; n < 6; n++) {
        struct err e = {0};
        watch(n, 0);
        (void)file_publish("ref", "new", 3, &e);
        watching = false;
        err_clear(&e);
        (void)file_read("ref", &b, &e);
        err_clear(&e);
        (void)file_nameless(".", UINT64_MAX, &fd, &e);
        err_clear(&e);
        errno = EOPNOTSUPP; /* from before: no reason for a second file */
        assert_int_equal(file_nameless(".", 1, &fd, &e), 0);
        fd_close(&fd);
        (void)dir_is_empty(".", &e);
    }
    assert_int_equal(names_in("/proc/self/fd"), before);
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, enter, leave)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_FOLDER(a_published_file_is_whole_and_private),
        IN_FOLDER(the_data_is_durable_before_the_name),
        IN_FOLDER(a_failure_at_any_step_leaves_the_old_or_the_new),
        IN_FOLDER(a_full_disk_says_so),
        IN_FOLDER(death_at_any_step_leaves_the_old_or_the_new),
        IN_FOLDER(publishing_goes_nowhere_without_a_folder),
        IN_FOLDER(reading_appends),
        IN_FOLDER(a_file_may_be_as_long_as_the_limit),
        IN_FOLDER(reading_an_endless_file_ends),
        IN_FOLDER(what_cannot_be_read_is_named),
        IN_FOLDER(folders_are_made_with_their_parents),
        IN_FOLDER(a_new_folder_is_durable_in_its_parent),
        IN_FOLDER(it_is_the_parent_that_is_synced),
        IN_FOLDER(a_folder_cannot_be_made_over_something_else),
        IN_FOLDER(an_empty_folder_has_no_names_not_even_hidden_ones),
        IN_FOLDER(syncing_needs_a_folder),
        IN_FOLDER(existence_follows_links),
        IN_FOLDER(paths_are_joined_by_one_slash),
        IN_FOLDER(a_nameless_file_is_sparse_private_and_gone),
        IN_FOLDER(a_nameless_file_needs_a_folder_and_a_size),
        IN_FOLDER(free_space_is_what_a_user_gets_in_bytes),
        IN_FOLDER(nothing_stays_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
