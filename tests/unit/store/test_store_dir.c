/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a folder can do to us: links, strangers' files, permissions, full
 * and foreign file systems.  The rest is in conformance.c, and failing calls
 * are in tests/fault.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "folder.h"
#include "store/store.h"
#include "work/pool.h"

struct fixture {
    char *path;
    struct store *st;
};

static int
setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct err e = {0};

    f->path = folder_new();
    *state = f;
    return store_open(f->path, &f->st, &e);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->st);
    folder_free(f->path);
    free(f);
    return 0;
}

/* ---- writing past the page cache --------------------------------------- */

enum direct { AS_IT_IS, REFUSED, CUT_SHORT, DISK_FULL };

static enum direct direct_is;
static unsigned direct_writes;

/* In place of libc's; only what has O_DIRECT goes otherwise. */
ssize_t
write(int fd, const void *p, size_t n)
{
    int flags = fcntl(fd, F_GETFL);

    if (!(flags & O_DIRECT))
        return syscall(SYS_write, fd, p, n);
    direct_writes++;
    if (direct_is == AS_IT_IS)
        return syscall(SYS_write, fd, p, n);
    if (direct_is != CUT_SHORT) {
        errno = direct_is == REFUSED ? EINVAL : ENOSPC;
        return -1;
    }
    (void)fcntl(fd, F_SETFL, flags & ~O_DIRECT);
    ssize_t done = syscall(SYS_write, fd, p, n > 777 ? 777 : n);
    (void)fcntl(fd, F_SETFL, flags);
    return done;
}

static void
large_objects_are_whole(void **state)
{
    static const size_t sizes[] = {(1 << 20) - 1,    1 << 20,
                                   (1 << 20) + 4095, (1 << 20) + 4096,
                                   (3 << 20) + 1,    4 << 20};
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(4 << 20);

    for (size_t i = 0; i < 4 << 20; i++)
        p[i] = (uint8_t)(i * 2654435761U >> 24);
    for (direct_is = AS_IT_IS; direct_is <= DISK_FULL; direct_is++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            CLEANUP(buf_done) struct buf back = buf_of(8 << 20);
            struct err e = {0};
            char name[40];
            (void)snprintf(name, sizeof(name), "large/%d-%zu", direct_is, i);
            direct_writes = 0;
            assert_int_equal(store_put(f->st, name, p, sizes[i], &e), 0);
            /* Where the file system has it, and once if it does not work. */
            assert_true(sizes[i] >= 1 << 20 || direct_writes == 0);
            assert_true(direct_is == AS_IT_IS || direct_writes <= 1);
            assert_int_equal(store_get_all(f->st, name, &back, &e), 0);
            assert_int_equal(back.len, sizes[i]);
            assert_memory_equal(back.p, p, sizes[i]);
        }
    direct_is = AS_IT_IS;
}

/* ---- helpers ---------------------------------------------------------- */

static char *
below(const struct fixture *f, const char *name)
{
    return xasprintf("%s/%s", f->path, name);
}

static void
write_file(const struct fixture *f, const char *name, const char *text)
{
    CLEANUP(freep) char *path = below(f, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd != -1);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void
make_folder(const struct fixture *f, const char *name)
{
    CLEANUP(freep) char *path = below(f, name);

    assert_int_equal(mkdir(path, 0700), 0);
}

static void
make_link(const struct fixture *f, const char *name, const char *to)
{
    CLEANUP(freep) char *path = below(f, name);

    assert_int_equal(symlink(to, path), 0);
}

static bool
exists(const struct fixture *f, const char *name)
{
    CLEANUP(freep) char *path = below(f, name);
    struct stat s;

    return lstat(path, &s) == 0;
}

static void
put(struct store *st, const char *name, const char *text)
{
    struct err e = {0};

    if (store_put(st, name, text, strlen(text), &e) == -1)
        fail_msg("%s", e.msg);
}

static void
expect(int rc, const struct err *e, enum err_code code, const char *about)
{
    if (rc != -1)
        fail_msg("it worked, instead of an error about '%s'", about);
    if (e->code != code || !strstr(e->msg, about))
        fail_msg("%s: '%s' instead of %s about '%s'", err_code_name(e->code),
                 e->msg, err_code_name(code), about);
}

static int
add_name(void *cookie, const char *name, const struct store_stat *stat,
         struct err *e)
{
    (void)stat, (void)e;
    buf_printf(cookie, "%s ", name);
    return 0;
}

static int
count_files(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;

    if (!d)
        return 0;
    while (readdir(d)) /* NOLINT(concurrency-mt-unsafe) */
        n++;
    (void)closedir(d);
    return n - 2;
}

static int
count_temporaries(const struct fixture *f)
{
    CLEANUP(freep) char *tmp = below(f, "tmp");

    return count_files(tmp);
}

/* Every call with `name` must fail as storage does, saying `about`. */
static void
expect_refused(struct fixture *f, const char *name, const char *about)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct store_stat s;
    char byte = 0;
    struct err e = {0};

    expect(store_get(f->st, name, 0, &byte, 1, &e), &e, ERR_STORE, about);
    e = (struct err){0};
    expect(store_get_all(f->st, name, &b, &e), &e, ERR_STORE, about);
    e = (struct err){0};
    expect(store_stat(f->st, name, &s, &e), &e, ERR_STORE, about);
    e = (struct err){0};
    expect(store_remove(f->st, name, &e), &e, ERR_STORE, about);
    e = (struct err){0};
    expect(store_put(f->st, name, "x", 1, &e), &e, ERR_STORE, name);
}

static void
expect_no_listing(struct fixture *f, const char *prefix, const char *about)
{
    CLEANUP(buf_done) struct buf b = buf_of(10000);
    struct err e = {0};

    expect(store_list(f->st, prefix, add_name, &b, &e), &e, ERR_STORE, about);
}

/* ---- the place -------------------------------------------------------- */

static void
creating_makes_parents_and_may_be_repeated(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *path = below(f, "a/b/c");
    struct stat s;

    for (int i = 0; i < 2; i++) {
        CLEANUP(store_closep) struct store *st = NULL;
        struct err e = {0};
        if (store_create(path, &st, &e) == -1)
            fail_msg("%s", e.msg);
        assert_int_equal(store_put(st, i ? "x" : "y", "1", 1, &e), 0);
    }
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0700);
}

static void
the_place_may_be_a_link(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *link = below(f, "link");
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};

    make_folder(f, "real");
    make_link(f, "link", "real");
    if (store_open(link, &st, &e) == -1)
        fail_msg("%s", e.msg);
    put(st, "a/b", "x");
    assert_true(exists(f, "real/a/b"));
}

static void
a_file_is_no_place(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *file = below(f, "file");
    CLEANUP(freep) char *below_file = below(f, "file/x");
    struct store *st = NULL;
    struct err e = {0};

    write_file(f, "file", "");
    expect(store_open(file, &st, &e), &e, ERR_STORE, file);
    e = (struct err){0};
    expect(store_create(file, &st, &e), &e, ERR_STORE, file);
    e = (struct err){0};
    expect(store_create(below_file, &st, &e), &e, ERR_STORE, file);
    assert_null(st);
}

static void
a_place_that_was_removed_is_not_empty(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *path = below(f, "p");
    CLEANUP(store_closep) struct store *st = NULL;
    struct fixture gone = {.path = path};
    struct err e = {0};

    assert_int_equal(store_create(path, &st, &e), 0);
    gone.st = st;
    assert_int_equal(rmdir(path), 0);
    expect_refused(&gone, "a", path);
    expect_refused(&gone, "a/b", path);
    expect_no_listing(&gone, "", path);
    expect_no_listing(&gone, "refs/", path);
}

/* ---- files ------------------------------------------------------------ */

static void
an_object_is_a_file_only_we_can_read(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *path = below(f, "packs/ab/x");
    CLEANUP(freep) char *folder = below(f, "packs/ab");
    struct stat s;
    struct store_stat seen;
    struct err e = {0};

    put(f->st, "packs/ab/x", "hello");
    assert_int_equal(stat(path, &s), 0);
    assert_true(S_ISREG(s.st_mode));
    assert_int_equal(s.st_mode & 07777, 0600);
    assert_int_equal(s.st_size, 5);
    assert_int_equal(s.st_nlink, 1);
    assert_int_equal(store_stat(f->st, "packs/ab/x", &seen, &e), 1);
    assert_int_equal(seen.mtime_ns, s.st_mtim.tv_sec * (int64_t)1000000000 +
                                        s.st_mtim.tv_nsec);
    assert_int_equal(stat(folder, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0700);
    assert_int_equal(count_temporaries(f), 0);
}

static void
files_of_strangers_are_skipped_and_kept(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(10000);
    static const char *const strangers[] = {
        "README",       ".hidden",       "lost+found/x",           "a b",
        "sub/.nfs0001", "sub/Thumbs.db", "tmp/20260101t000000z-00"};
    struct err e = {0};

    make_folder(f, "lost+found");
    make_folder(f, "sub");
    make_folder(f, "tmp");
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
        write_file(f, strangers[i], "mine");
    put(f->st, "sub/ours", "x");
    assert_int_equal(store_list(f->st, "", add_name, &b, &e), 0);
    assert_string_equal(buf_text(&b), "sub/ours ");
    assert_int_equal(store_remove(f->st, "sub/ours", &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
        assert_true(exists(f, strangers[i]));
}

static void
a_link_is_not_followed(void **state)
{
    struct fixture *f = *state;
    CLEANUP(folder_freep) char *outside = folder_new();
    struct fixture other = {.path = outside};
    CLEANUP(freep) char *secret = below(&other, "secret");

    write_file(&other, "secret", "s");
    make_folder(f, "a");
    make_link(f, "a/leaf", secret);
    make_link(f, "a/dangling", "nowhere");
    make_link(f, "b", outside);
    expect_refused(f, "a/leaf", "symbolic link");
    expect_refused(f, "a/dangling", "symbolic link");
    expect_refused(f, "b/secret", "symbolic link");
    expect_refused(f, "b/c/d", "symbolic link");
    expect_no_listing(f, "", "symbolic link");
    expect_no_listing(f, "a/", "symbolic link");
    expect_no_listing(f, "b/", "symbolic link");
    assert_true(exists(f, "a/leaf"));
    assert_true(exists(f, "a/dangling"));
    assert_int_equal(count_files(outside), 1);
}

static void
temporaries_do_not_go_through_a_link(void **state)
{
    struct fixture *f = *state;
    CLEANUP(folder_freep) char *outside = folder_new();
    struct err e = {0};

    make_link(f, "tmp", outside);
    expect(store_put(f->st, "a", "x", 1, &e), &e, ERR_STORE, "tmp");
    assert_int_equal(count_files(outside), 0);
    assert_false(exists(f, "a"));
}

static void
a_fifo_does_not_hang_us(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *path = below(f, "pipe");

    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(f, "pipe", "neither a file nor a folder");
    expect_no_listing(f, "", "neither a file nor a folder");
    assert_true(exists(f, "pipe"));
}

static void
a_name_is_a_folder_or_an_object(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};

    put(f->st, "a/b", "x");
    expect(store_put(f->st, "a", "x", 1, &e), &e, ERR_STORE, "not a file");
    e = (struct err){0};
    expect(store_put(f->st, "a/b/c", "x", 1, &e), &e, ERR_STORE,
           "not a folder");
    assert_int_equal(count_temporaries(f), 0);
}

static void
an_object_that_lost_bytes_is_corrupt(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *path = below(f, "a");
    char out[5];
    struct err e = {0};

    put(f->st, "a", "12345");
    assert_int_equal(truncate(path, 3), 0);
    expect(store_get(f->st, "a", 0, out, 5, &e), &e, ERR_CORRUPT,
           "only 3 bytes");
    e = (struct err){0};
    assert_int_equal(store_get(f->st, "a", 0, out, 3, &e), 0);
}

static void
two_handles_on_one_place_agree(void **state)
{
    struct fixture *f = *state;
    CLEANUP(store_closep) struct store *other = NULL;
    struct err e = {0};

    assert_int_equal(store_open(f->path, &other, &e), 0);
    put(f->st, "new/a", "1");
    expect(store_put(other, "new/a", "2", 1, &e), &e, ERR_EXISTS, "new/a");
    put(other, "new/b", "2");
    e = (struct err){0};
    assert_int_equal(store_remove(f->st, "new/b", &e), 0);
    expect(store_remove(other, "new/b", &e), &e, ERR_NOENT, "new/b");
}

/* A folder that someone removes is made again. */
static void
a_folder_may_come_and_go(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *a = below(f, "a/b");
    CLEANUP(freep) char *tmp = below(f, "tmp");
    struct err e = {0};

    for (int i = 0; i < 2; i++) {
        put(f->st, "a/b/c", "x");
        assert_int_equal(store_remove(f->st, "a/b/c", &e), 0);
        assert_int_equal(rmdir(a), 0);
        assert_int_equal(rmdir(tmp), 0);
    }
}

static void
nothing_is_left_open(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(10000);
    char out[5];
    struct store_stat s;
    int before = count_files("/proc/self/fd");

    for (int i = 0; i < 3; i++) {
        struct err e[8] = {{0}};
        (void)store_put(f->st, "a/b/c", "12345", 5, &e[0]);
        (void)store_put(f->st, "a/b/c/d", "12345", 5, &e[1]);
        (void)store_get(f->st, "a/b/c", 0, out, 5, &e[2]);
        (void)store_get(f->st, "a/b/c", 9, out, 5, &e[3]);
        (void)store_get_all(f->st, "a/b", &b, &e[4]);
        (void)store_stat(f->st, "a/x", &s, &e[5]);
        (void)store_list(f->st, "", add_name, &b, &e[6]);
        (void)store_remove(f->st, "a/b/x", &e[7]);
    }
    assert_int_equal(count_files("/proc/self/fd"), before);
}

/* ---- permissions ------------------------------------------------------ */

enum { NOBODY = 65534 };

static void
set_mode(const struct fixture *f, const char *name, mode_t mode)
{
    CLEANUP(freep) char *path = below(f, name);

    assert_int_equal(chmod(path, mode), 0);
}

/* Until be_root_again, permissions count for us too. */
static void
be_nobody(const struct fixture *f)
{
    static const char *const names[] = {"", "a", "a/x", "tmp", "a/deep"};

    if (geteuid() != 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(freep) char *path = below(f, names[i]);
        (void)!chown(path, NOBODY, NOBODY);
    }
    assert_int_equal(seteuid(NOBODY), 0);
}

static void
be_root_again(void)
{
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

static void
removing_may_be_denied(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};

    put(f->st, "a/x", "1");
    set_mode(f, "a", 0500);
    be_nobody(f);
    int rc = store_remove(f->st, "a/x", &e);
    be_root_again();
    set_mode(f, "a", 0700);
    expect(rc, &e, ERR_DENIED, "a/x");
    assert_true(exists(f, "a/x"));
}

static void
writing_may_be_denied(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};

    put(f->st, "a/x", "1");
    set_mode(f, "a", 0500);
    be_nobody(f);
    int rc = store_put(f->st, "a/y", "1", 1, &e);
    be_root_again();
    set_mode(f, "a", 0700);
    expect(rc, &e, ERR_STORE, "Permission denied");
    assert_false(exists(f, "a/y"));
    assert_int_equal(count_temporaries(f), 0);
}

static void
a_folder_that_cannot_be_read_is_an_error(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    struct err e = {0};

    put(f->st, "a/x", "1");
    put(f->st, "a/deep/y", "1");
    set_mode(f, "a/deep", 0000);
    be_nobody(f);
    int rc = store_list(f->st, "", add_name, &b, &e);
    be_root_again();
    set_mode(f, "a/deep", 0700);
    expect(rc, &e, ERR_STORE, "a/deep");
}

/* ---- other file systems: for root only -------------------------------- */

static bool
may_mount(void)
{
    return unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static char *
mount_at(const struct fixture *f, const char *name, const char *options)
{
    char *path = below(f, name);

    if (mount("small", path, "tmpfs", 0, options) == -1)
        fail_msg("cannot mount a tmpfs at %s", path);
    return path;
}

static void
unmountp(char **path)
{
    (void)umount2(*path, MNT_DETACH);
    free(*path);
}

static void
a_full_disk_says_which_and_what_to_do(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "m m");
    CLEANUP(unmountp) char *path = mount_at(f, "m m", "size=1m");
    CLEANUP(store_closep) struct store *st = NULL;
    struct fixture inner = {.path = path};
    CLEANUP(freep) char *big = xcalloc(1, 2 << 20);
    CLEANUP(freep) char *where = xasprintf("small on %s (tmpfs) has ", path);
    struct err e = {0};

    assert_int_equal(store_open(path, &st, &e), 0);
    put(st, "a/small", "1");
    expect(store_put(st, "a/big", big, 2 << 20, &e), &e, ERR_STORE,
           "No space left on device");
    assert_non_null(strstr(e.msg, "a/big"));
    assert_non_null(strstr(e.msg, where));
    assert_non_null(strstr(e.msg, "vmkeep prune"));
    assert_false(exists(&inner, "a/big"));
    assert_int_equal(count_temporaries(&inner), 0);
    e = (struct err){0};
    assert_int_equal(store_put(st, "a/other", big, 100000, &e), 0);
}

static void
room_for_bytes_but_not_for_files(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "m");
    CLEANUP(unmountp) char *path = mount_at(f, "m", "size=1m,nr_inodes=4");
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};

    assert_int_equal(store_open(path, &st, &e), 0);
    put(st, "a/1", "1");
    expect(store_put(st, "a/2", "1", 1, &e), &e, ERR_STORE,
           "room for no more files");
}

static void
one_place_is_one_file_system(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "packs");
    CLEANUP(unmountp) char *path = mount_at(f, "packs", "size=1m");
    struct err e = {0};

    expect(store_put(f->st, "packs/x", "1", 1, &e), &e, ERR_STORE,
           "all of the folder must be on the file system");
    assert_int_equal(count_temporaries(f), 0);
    assert_int_equal(count_files(path), 0);
}

static void
a_read_only_file_system_denies(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "m");
    CLEANUP(unmountp) char *path = mount_at(f, "m", "size=1m");
    CLEANUP(store_closep) struct store *st = NULL;
    char out = 0;
    struct err e = {0};

    assert_int_equal(store_open(path, &st, &e), 0);
    put(st, "a/1", "1");
    assert_int_equal(mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    expect(store_put(st, "a/2", "1", 1, &e), &e, ERR_STORE,
           "Read-only file system");
    e = (struct err){0};
    expect(store_remove(st, "a/1", &e), &e, ERR_DENIED,
           "Read-only file system");
    e = (struct err){0};
    assert_int_equal(store_get(st, "a/1", 0, &out, 1, &e), 0);
}

static void
a_year_out_of_reach_is_the_last_one(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "m");
    CLEANUP(unmountp) char *path = mount_at(f, "m", "size=1m");
    CLEANUP(freep) char *file = below(f, "m/x");
    CLEANUP(store_closep) struct store *st = NULL;
    struct timespec far[2] = {{.tv_sec = INT64_C(1) << 40},
                              {.tv_sec = INT64_C(1) << 40}};
    struct store_stat s;
    struct err e = {0};

    assert_int_equal(store_open(path, &st, &e), 0);
    put(st, "x", "1");
    assert_int_equal(utimensat(AT_FDCWD, file, far, 0), 0);
    assert_int_equal(store_stat(st, "x", &s, &e), 1);
    assert_true(s.mtime_ns == INT64_MAX);
}

/* ---- what dead processes left -------------------------------------------- */

static void
make_aged(const struct fixture *f, const char *name, int age_s)
{
    CLEANUP(freep) char *path = below(f, name);
    struct timespec times[2];

    assert_int_equal(clock_gettime(CLOCK_REALTIME, &times[0]), 0);
    times[0].tv_sec -= age_s;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void
what_was_left_behind_goes_after_a_day(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};

    assert_int_equal(store_tidy(f->st, &e), 0); /* there is no tmp/ yet */
    assert_int_equal(store_put(f->st, "a", "x", 1, &e), 0);
    write_file(f, "tmp/old", "x");
    write_file(f, "tmp/fresh", "x");
    make_folder(f, "tmp/folder");
    make_link(f, "tmp/link", "/etc/passwd");
    make_aged(f, "a", 25 * 3600);
    make_aged(f, "tmp/old", 25 * 3600);
    make_aged(f, "tmp/fresh", 23 * 3600);
    make_aged(f, "tmp/folder", 25 * 3600);
    make_aged(f, "tmp/link", 25 * 3600);
    assert_int_equal(store_tidy(f->st, &e), 0);
    assert_false(exists(f, "tmp/old"));
    assert_true(exists(f, "tmp/fresh"));
    assert_true(exists(f, "tmp/folder"));
    assert_true(exists(f, "tmp/link"));
    assert_true(exists(f, "a"));
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(large_objects_are_whole),
        TEST(creating_makes_parents_and_may_be_repeated),
        TEST(the_place_may_be_a_link),
        TEST(a_file_is_no_place),
        TEST(a_place_that_was_removed_is_not_empty),
        TEST(an_object_is_a_file_only_we_can_read),
        TEST(files_of_strangers_are_skipped_and_kept),
        TEST(a_link_is_not_followed),
        TEST(temporaries_do_not_go_through_a_link),
        TEST(a_fifo_does_not_hang_us),
        TEST(a_name_is_a_folder_or_an_object),
        TEST(an_object_that_lost_bytes_is_corrupt),
        TEST(two_handles_on_one_place_agree),
        TEST(a_folder_may_come_and_go),
        TEST(nothing_is_left_open),
        TEST(removing_may_be_denied),
        TEST(writing_may_be_denied),
        TEST(a_folder_that_cannot_be_read_is_an_error),
        TEST(what_was_left_behind_goes_after_a_day),
        /* The rest need mounts; keep them last. */
        TEST(a_full_disk_says_which_and_what_to_do),
        TEST(room_for_bytes_but_not_for_files),
        TEST(one_place_is_one_file_system),
        TEST(a_read_only_file_system_denies),
        TEST(a_year_out_of_reach_is_the_last_one),
    };
    enum { MOUNTING = 5 };
    size_t n = ARRAY_LEN(tests);

    if (!may_mount()) {
        (void)fprintf(stderr, "# not root: no tests of file systems\n");
        n -= MOUNTING;
    }
    return _cmocka_run_group_tests("store_dir", tests, n, NULL, NULL);
}
