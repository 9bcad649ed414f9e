/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/newfile.h"

#include "../qcow2/imagetool.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#include "base/err.h"

/* The file layer, so that each operation can be made to fail. */
static int fail_fsync, fail_renameat2, fail_linkat; /* an errno, once */
static int no_nameless; /* an errno: the file system has no O_TMPFILE */

int open(const char *path, int flags, ...);
int
open(const char *path, int flags, ...)
{
    if (no_nameless && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = no_nameless;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to,
           int flags);
int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    if (fail_linkat) {
        errno = fail_linkat;
        fail_linkat = 0;
        return -1;
    }
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int fsync(int fd);
int
fsync(int fd)
{
    if (fail_fsync) {
        errno = fail_fsync;
        fail_fsync = 0;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to,
              unsigned flags);
int
renameat2(int from_dir, const char *from, int to_dir, const char *to,
          unsigned flags)
{
    if (fail_renameat2) {
        errno = fail_renameat2;
        fail_renameat2 = 0;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

static const char *
path_of(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
    return path;
}

/* What is in the scratch folder, in one line; it is empty then. */
static const char *
take_list(void)
{
    tool_must("ls -A | tr '\\n' ' '; rm -f -- *");
    return tool_out;
}

static struct newfile *
must_open(const char *name)
{
    struct newfile *f = NULL;
    struct err e = {0};

    if (newfile_open(path_of(name), &f, &e) == -1)
        fail_msg("%s", e.msg);
    assert_int_equal(write(newfile_fd(f), "abc", 3), 3);
    return f;
}

static void
published(void **state)
{
    struct newfile *f = must_open("x");
    struct err e = {0};

    (void)state;
    assert_int_not_equal(access(path_of("x"), F_OK), 0);
    assert_int_equal(access(newfile_path(f), F_OK), no_nameless ? 0 : -1);
    assert_int_equal(newfile_publish(&f, &e), 0);
    assert_null(f);
    tool_must("cat x");
    assert_string_equal(tool_out, "abc");
    tool_must("stat -c %%a x");
    assert_string_equal(tool_out, "600\n");
    assert_string_equal(take_list(), "x ");
}

static void
abandoned(void **state)
{
    struct newfile *f = must_open("x");

    (void)state;
    newfile_abandonp(&f);
    assert_null(f);
    newfile_abandonp(&f);
    assert_string_equal(take_list(), "");
}

/* Nothing is ever replaced: not what was there, not what came meanwhile, not
 * a link to nowhere. */
static void
never_replaces(void **state)
{
    static const char *const there[] = {"echo old > x", "mkdir x",
                                        "ln -s nowhere x", "mkfifo x"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct newfile *f = NULL;
        struct err e = {0};
        tool_must("%s", there[i]);
        assert_int_equal(newfile_open(path_of("x"), &f, &e), -1);
        assert_int_equal(e.code, ERR_EXISTS);
        assert_null(f);
        tool_must("rm -rf x");

        err_clear(&e);
        f = must_open("x");
        tool_must("%s", there[i]);
        assert_int_equal(newfile_publish(&f, &e), -1);
        assert_int_equal(e.code, ERR_EXISTS);
        assert_null(f);
        tool_must("ls -A | tr '\\n' ' '; rm -rf x");
        assert_string_equal(tool_out, "x ");
    }
}

static void
failures(void **state)
{
    struct newfile *f = must_open("x");
    struct err e = {0};

    (void)state;
    fail_fsync = EIO;
    assert_int_equal(newfile_publish(&f, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(take_list(), "");

    err_clear(&e);
    f = must_open("x");
    *(no_nameless ? &fail_renameat2 : &fail_linkat) = EROFS;
    assert_int_equal(newfile_publish(&f, &e), -1);
    assert_int_equal(e.code, ERR_DENIED);
    assert_string_equal(take_list(), "");

    err_clear(&e);
    assert_int_equal(newfile_open(path_of("no/x"), &f, &e), -1);
    assert_int_equal(e.code, ERR_NOENT);
}

/* A file system that does not know the flag. */
static void
old_rename(void **state)
{
    static const int codes[] = {EINVAL, ENOSYS};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct newfile *f = must_open("x");
        struct err e = {0};
        fail_renameat2 = codes[i];
        assert_int_equal(newfile_publish(&f, &e), 0);
        assert_string_equal(take_list(), "x ");
    }
}

/* Killed in the midst of it: nothing is left. */
static void
killed(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        struct newfile *f = NULL;
        struct err e = {0};
        if (newfile_open(path_of("x"), &f, &e) == -1 ||
            write(newfile_fd(f), "abc", 3) != 3)
            _exit(1);
        (void)raise(SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_string_equal(take_list(), "");
}

/* In the folder that we are in, and by a file system without O_TMPFILE. */
static void
relative(void **state)
{
    struct newfile *f = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(chdir(scratch), 0);
    assert_int_equal(newfile_open("x", &f, &e), 0);
    assert_int_equal(newfile_publish(&f, &e), 0);
    assert_int_equal(chdir("/"), 0);
    assert_string_equal(take_list(), "x ");
}

static int
without_nameless(void **state)
{
    static const int codes[] = {EOPNOTSUPP, EISDIR, ENOENT};
    static size_t turn;

    (void)state;
    no_nameless = codes[turn++ % 3];
    return 0;
}

static int
with_nameless(void **state)
{
    (void)state;
    no_nameless = 0;
    return 0;
}

#define UNNAMED(f) cmocka_unit_test(f)
#define NAMED(f) \
    cmocka_unit_test_setup_teardown(f, without_nameless, with_nameless)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNNAMED(published), UNNAMED(abandoned), UNNAMED(never_replaces),
        UNNAMED(failures),  UNNAMED(killed),    UNNAMED(relative),
        NAMED(published),   NAMED(abandoned),   NAMED(never_replaces),
        NAMED(failures),    NAMED(old_rename),  NAMED(relative),
    };

    return cmocka_run_group_tests_name("newfile", tests, scratch_setup,
                                       scratch_teardown);
}
