/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim itself: this program starts itself under it, as a child that makes
 * eleven calls in a folder and says what each returned.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/folder.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "fault_run.h"

/* ---- the child -------------------------------------------------------- */

static void
say(const char *call, long rc)
{
    (void)dprintf(1, "%s=%s ", call, rc == -1 ? strerrorname_np(errno) : "0");
}

static void
one_round(void)
{
    static const struct timespec times[2] = {{.tv_nsec = UTIME_NOW},
                                             {.tv_nsec = UTIME_NOW}};
    int fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    say("open", fd == -1 ? -1 : 0);
    if (fd == -1)
        fd = open("a", O_RDWR | O_CLOEXEC); /* never counted */
    ssize_t n = write(fd, "12345678", 8);
    if (n == -1)
        say("write", -1);
    else
        (void)dprintf(1, "write=%zd ", n);
    say("fsync", fsync(fd));
    say("pwrite", pwrite(fd, "x", 1, 0));
    say("ftruncate", ftruncate(fd, 4));
    say("utimes", futimens(fd, times));
    say("mkdir", mkdir("d", 0700));
    say("rename", rename("a", "b"));
    say("link", link("b", "d/c"));
    say("unlink", unlink("d/c"));
    say("rmdir", rmdir("d"));
    (void)close(fd);
}

static int
child(const char *folder, const char *how)
{
    if (chdir(folder) == -1)
        return 9;
    if (strcmp(how, "fork") != 0) {
        one_round();
        return 0;
    }
    /* The second process makes the calls, then the first. */
    pid_t pid = fork();
    if (pid == 0) {
        one_round();
        _exit(0);
    }
    (void)waitpid(pid, NULL, 0);
    (void)dprintf(1, "/ ");
    one_round();
    return 0;
}

/* ---- running it ------------------------------------------------------- */

enum { CALLS = 11 };

static const char all_well[] =
    "open=0 write=8 fsync=0 pwrite=0 ftruncate=0 utimes=0 mkdir=0 rename=0 "
    "link=0 unlink=0 rmdir=0 ";

struct fixture {
    char *folder;
    struct buf output;
    struct fault_outcome outcome;
};

static int
setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    f->folder = folder_new();
    f->output = buf_of(100000);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    folder_free(f->folder);
    buf_done(&f->output);
    free(f);
    return 0;
}

/* Runs the child in a new folder; returns what it said. */
static const char *
run(struct fixture *f, struct fault_run r, const char *how)
{
    const char *argv[] = {"/proc/self/exe", "child", NULL, how, NULL};
    struct err e = {0};

    folder_free(f->folder);
    f->folder = folder_new();
    argv[2] = f->folder;
    r.argv = argv;
    buf_reset(&f->output);
    if (fault_run(&r, &f->outcome, &f->output, &e) == -1)
        fail_msg("%s", e.msg);
    return buf_text(&f->output);
}

/* The size of a file there, or -1. */
static long
size_of(const struct fixture *f, const char *name)
{
    CLEANUP(freep) char *path = path_join(f->folder, name);
    struct stat s;

    return stat(path, &s) == 0 ? (long)s.st_size : -1;
}

/* all_well, but the n-th "call=..." is "call=WORD". */
static char *
well_but(uint64_t n, const char *word)
{
    struct buf b = buf_of(1000);
    const char *s = all_well;

    for (uint64_t i = 1; *s; i++) {
        size_t call = strcspn(s, "="), item = strcspn(s, " ");
        buf_add(&b, s, i == n ? call + 1 : item);
        buf_printf(&b, "%s ", i == n ? word : "");
        s += item + 1;
    }
    (void)buf_text(&b);
    return (char *)b.p;
}

/* ---- tests ------------------------------------------------------------ */

static void
without_a_plan_it_only_counts(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(run(f, (struct fault_run){0}, ""), all_well);
    assert_int_equal(f->outcome.exit_code, 0);
    assert_int_equal(f->outcome.calls, CALLS);
    assert_int_equal(f->outcome.faults, 0);
    assert_int_equal(f->outcome.processes, 1);
    assert_int_equal(size_of(f, "b"), 4);
}

static void
each_call_can_be_made_to_fail(void **state)
{
    struct fixture *f = *state;

    /* The others that depend on it then fail too, so one at a time. */
    for (uint64_t n = 3; n <= 6; n++) {
        CLEANUP(freep) char *want = well_but(n, "EIO");
        assert_string_equal(run(f, (struct fault_run){.at = n}, ""), want);
        assert_int_equal(f->outcome.calls, CALLS);
        assert_int_equal(f->outcome.faults, 1);
    }
    assert_non_null(strstr(run(f, (struct fault_run){.at = 2}, ""),
                           "open=0 write=EIO fsync=0 "));
    assert_non_null(
        strstr(run(f, (struct fault_run){.at = 7}, ""), "mkdir=EIO rename=0"));
    assert_int_equal(size_of(f, "d"), -1);
    assert_non_null(
        strstr(run(f, (struct fault_run){.at = 8}, ""), "rename=EIO link=EN"));
    assert_int_equal(size_of(f, "a"), 4);
    assert_non_null(
        strstr(run(f, (struct fault_run){.at = 9}, ""), "link=EIO unlink=EN"));
    assert_non_null(strstr(run(f, (struct fault_run){.at = 10}, ""),
                           "unlink=EIO rmdir=ENOTEMPTY"));
    assert_non_null(
        strstr(run(f, (struct fault_run){.at = 11}, ""), "rmdir=EIO"));
    assert_true(size_of(f, "d") != -1);
    assert_string_equal(run(f, (struct fault_run){.at = 12}, ""), all_well);
    assert_int_equal(f->outcome.faults, 0);
}

static void
a_file_that_was_not_made_is_not_there(void **state)
{
    struct fixture *f = *state;

    assert_non_null(strstr(run(f, (struct fault_run){.at = 1}, ""),
                           "open=EIO write=EBADF"));
    assert_int_equal(size_of(f, "a"), -1);
    assert_int_equal(size_of(f, "b"), -1);
}

static void
a_call_can_be_made_and_yet_fail(void **state)
{
    struct fixture *f = *state;

    for (uint64_t n = 1; n <= CALLS; n++) {
        CLEANUP(freep) char *want = well_but(n, "ENOSPC");
        struct fault_run r = {.at = n, .what = "done", .error = "ENOSPC"};
        assert_string_equal(run(f, r, ""), want);
        assert_int_equal(f->outcome.faults, 1);
        assert_int_equal(size_of(f, "b"), 4);
        assert_int_equal(size_of(f, "d"), -1);
    }
}

static void
a_write_can_be_short(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *want = well_but(2, "4");

    assert_string_equal(
        run(f, (struct fault_run){.at = 2, .what = "short"}, ""), want);
    /* What has no halves is not concerned. */
    assert_string_equal(
        run(f, (struct fault_run){.at = 3, .what = "short"}, ""), all_well);
    assert_int_equal(f->outcome.faults, 1);
}

static void
it_can_stay_broken(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(
        run(f, (struct fault_run){.at = 3, .forever = true}, ""),
        "open=0 write=8 fsync=EIO pwrite=EIO ftruncate=EIO utimes=EIO "
        "mkdir=EIO rename=EIO link=EIO unlink=EIO rmdir=EIO ");
    assert_int_equal(f->outcome.faults, CALLS - 2);
}

static void
a_crash_comes_before_after_or_amid_the_call(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *what;
        long size;
    } crashes[] = {{"crash", 0}, {"crash-half", 4}, {"crash-after", 8}};

    for (size_t i = 0; i < ARRAY_LEN(crashes); i++) {
        struct fault_run r = {.at = 2, .what = crashes[i].what};
        assert_string_equal(run(f, r, ""), "open=0 ");
        assert_int_equal(f->outcome.signal, SIGKILL);
        assert_int_equal(f->outcome.exit_code, -1);
        assert_int_equal(f->outcome.calls, 2);
        assert_int_equal(f->outcome.faults, 1);
        assert_int_equal(size_of(f, "a"), crashes[i].size);
    }
    (void)run(f, (struct fault_run){.at = 7, .what = "crash"}, "");
    assert_int_equal(size_of(f, "d"), -1);
    (void)run(f, (struct fault_run){.at = 7, .what = "crash-half"}, "");
    assert_int_equal(size_of(f, "d"), -1);
    (void)run(f, (struct fault_run){.at = 7, .what = "crash-after"}, "");
    assert_true(size_of(f, "d") != -1);
}

static void
only_the_calls_asked_for_count(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *want = well_but(11, "EIO");
    struct fault_run r = {.at = 3, .calls = "fsync,mkdir,rmdir,link2"};

    assert_string_equal(run(f, r, ""), want);
    assert_int_equal(f->outcome.calls, 3);
}

static void
only_files_below_a_folder_count(void **state)
{
    struct fixture *f = *state;
    CLEANUP(folder_freep) char *other = folder_new();
    struct fault_run r = {.under = other};

    (void)run(f, r, "");
    assert_int_equal(f->outcome.calls, 0);
    r.under = "/tmp";
    if (strncmp(f->folder, "/tmp/", 5) == 0) {
        (void)run(f, r, "");
        assert_int_equal(f->outcome.calls, CALLS);
        r.under = "/tm";
        (void)run(f, r, "");
        assert_int_equal(f->outcome.calls, 0);
    }
}

static void
only_one_program_counts(void **state)
{
    struct fixture *f = *state;
    struct fault_run r = {.at = 1, .program = "test_fault_shim"};

    (void)run(f, r, "");
    assert_int_equal(f->outcome.faults, 1);
    r.program = "test_fault_shi";
    assert_string_equal(run(f, r, ""), all_well);
    assert_int_equal(f->outcome.calls, 0);
    (void)run(f, r, "fork");
    assert_int_equal(f->outcome.calls, 0);
}

static void
processes_count_together_or_one_alone(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *second = xasprintf("%s/ %s", all_well, all_well);
    CLEANUP(freep) char *bad = well_but(3, "EIO");
    CLEANUP(freep) char *first_bad = xasprintf("%s/ %s", bad, all_well);
    CLEANUP(freep) char *second_bad = xasprintf("%s/ %s", all_well, bad);

    assert_string_equal(run(f, (struct fault_run){0}, "fork"), second);
    assert_int_equal(f->outcome.calls, 2 * CALLS);
    assert_int_equal(f->outcome.processes, 2);
    assert_string_equal(run(f, (struct fault_run){.at = CALLS + 3}, "fork"),
                        second_bad);
    assert_string_equal(
        run(f, (struct fault_run){.at = 3, .process = 2}, "fork"), first_bad);
    assert_int_equal(f->outcome.calls, CALLS);
    assert_string_equal(
        run(f, (struct fault_run){.at = 3, .process = 1}, "fork"), second_bad);
    assert_string_equal(
        run(f, (struct fault_run){.at = 1, .process = 3}, "fork"), second);
}

static void
a_crash_takes_only_its_process(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) char *want = xasprintf("open=0 write=8 / %s", all_well);
    struct fault_run r = {.at = 3, .what = "crash", .process = 2};

    assert_string_equal(run(f, r, "fork"), want);
    assert_int_equal(f->outcome.exit_code, 0);
}

static void
what_is_lacking_fails_uncounted(void **state)
{
    struct fixture *f = *state;
    struct fault_run r = {.lacks = "renameat2:EINVAL,rename:EXDEV,fsync:EPERM"};
    const char *said = run(f, r, "");

    assert_non_null(strstr(said, "fsync=EPERM "));
    assert_non_null(strstr(said, "rename=EXDEV "));
    assert_int_equal(f->outcome.calls, CALLS - 2);
    assert_int_equal(f->outcome.faults, 0);
}

static void
the_trace_tells_what_was_called(void **state)
{
    struct fixture *f = *state;
    CLEANUP(folder_freep) char *other = folder_new();
    CLEANUP(freep) char *trace = path_join(other, "trace");
    CLEANUP(buf_done) struct buf got = buf_of(100000);
    CLEANUP(buf_done) struct buf want = buf_of(100000);
    struct err e = {0};

    (void)run(f, (struct fault_run){.at = 8, .what = "done", .trace = trace},
              "");
    const char *d = f->folder;
    buf_printf(&want, "1 open %s/a\n2 write %s/a\n3 fsync %s/a\n", d, d, d);
    buf_printf(&want, "4 pwrite %s/a\n5 ftruncate %s/a\n6 utimes %s/a\n", d, d,
               d);
    buf_printf(&want, "7 mkdir %s/d\n8 rename %s/a -> %s/b !\n", d, d, d);
    buf_printf(&want, "9 link %s/b -> %s/d/c\n10 unlink %s/d/c\n", d, d, d);
    buf_printf(&want, "11 rmdir %s/d\n", d);
    assert_int_equal(file_read(trace, &got, &e), 0);
    assert_string_equal(buf_text(&got), buf_text(&want));
}

static void
a_misspelt_plan_stops_the_program(void **state)
{
    struct fixture *f = *state;
    static const struct fault_run bad[] = {
        {.at = 1, .what = "fial"},
        {.at = 1, .error = "EWHAT"},
        {.trace = "/no/such/folder/trace"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_string_equal(run(f, bad[i], ""), "");
        assert_int_equal(f->outcome.exit_code, 127);
    }
}

int
main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_a_plan_it_only_counts),
        TEST(each_call_can_be_made_to_fail),
        TEST(a_file_that_was_not_made_is_not_there),
        TEST(a_call_can_be_made_and_yet_fail),
        TEST(a_write_can_be_short),
        TEST(it_can_stay_broken),
        TEST(a_crash_comes_before_after_or_amid_the_call),
        TEST(only_the_calls_asked_for_count),
        TEST(only_files_below_a_folder_count),
        TEST(only_one_program_counts),
        TEST(processes_count_together_or_one_alone),
        TEST(a_crash_takes_only_its_process),
        TEST(what_is_lacking_fails_uncounted),
        TEST(the_trace_tells_what_was_called),
        TEST(a_misspelt_plan_stops_the_program),
    };

    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
