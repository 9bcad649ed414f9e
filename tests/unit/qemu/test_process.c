/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/mem.h"
#include "check.h"
#include "work/pool.h"

#define SLEEP "/bin/sleep"

#define BEGAN "/where/it/began"

/* Has the process the environment of run_it?  The last that execve sets. */
static bool
has_begun(pid_t pid)
{
    CLEANUP(freep) char *pwd = process_env(pid, "PWD");

    return pwd && strcmp(pwd, BEGAN) == 0;
}

/* Runs `path` with the command line `argv` until stop_it. */
static pid_t
run_it(const char *path, char *const argv[])
{
    char *const env[] = {(char[]){"PWDX=no"}, (char[]){"PWD=" BEGAN}, NULL};
    pid_t parent = getpid();
    pid_t pid = fork();

    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            (void)execve(path, argv, env);
        _exit(127);
    }
    while (!has_begun(pid)) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        (void)poll(NULL, 0, 1);
    }
    return pid;
}

static void
stop_it(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
        ;
}

static void
copy_file(const char *from, const char *to)
{
    struct stat st;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    static char bytes[1 << 20];

    assert_int_equal(fstat(in, &st), 0);
    assert_in_range(st.st_size, 1, sizeof(bytes));
    assert_int_equal(read(in, bytes, sizeof(bytes)), st.st_size);
    assert_int_equal(write(out, bytes, (size_t)st.st_size), st.st_size);
    (void)close(in);
    (void)close(out);
}

static void
test_facts(void **state)
{
    char *argv[] = {(char[]){"a b"}, (char[]){"60"}, NULL};
    pid_t pid = run_it(SLEEP, argv);

    (void)state;
    char *comm = process_comm(pid);
    assert_string_equal(comm, "sleep");
    free(comm);
    char **args = process_argv(pid);
    assert_string_equal(args[0], "a b");
    assert_string_equal(args[1], "60");
    assert_null(args[2]);
    process_argv_free(args);
    char *pwd = process_env(pid, "PWD");
    assert_string_equal(pwd, "/where/it/began");
    free(pwd);
    assert_null(process_env(pid, "PW"));
    char *cwd = process_cwd(pid), *ours = realpath(".", NULL);
    assert_string_equal(cwd, ours);
    free(cwd);
    free(ours);
    uint64_t start = process_start_time(pid);
    assert_true(start >= process_start_time(getpid()));
    assert_true(start > 0 && start == process_start_time(pid));
    stop_it(pid);
    assert_null(process_argv(pid));
    assert_null(process_comm(pid));
    assert_null(process_cwd(pid));
    assert_int_equal(process_start_time(pid), 0);
    assert_false(process_is_qemu(pid));
    process_argv_free(NULL);
}

/* A name that could be taken for the end of the name. */
static void
test_hostile_name(void **state)
{
    char dir[] = "/tmp/process-XXXXXX", path[64];
    char *argv[] = {(char[]){"x"}, (char[]){"60"}, NULL};

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/) 1 2 (", dir);
    copy_file(SLEEP, path);
    pid_t pid = run_it(path, argv);
    assert_true(process_start_time(pid) >= process_start_time(getpid()));
    char *comm = process_comm(pid);
    assert_string_equal(comm, ") 1 2 (");
    free(comm);
    stop_it(pid);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void
test_is_qemu(void **state)
{
    static const struct {
        const char *name;
        bool is;
    } cases[] = {
        {"qemu-system-x86_64", true}, {"qemu-system-aarch64", true},
        {"qemu-kvm", true},           {"kvm", true},
        {"qemu-img", false},          {"qemu-storage-daemon", false},
        {"kvmtool", false},           {"not-qemu-system-x86_64", false},
    };
    char dir[] = "/tmp/process-XXXXXX", path[64];
    char *argv[] = {(char[]){"qemu-system-fake"}, (char[]){"60"}, NULL};

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, cases[i].name);
        copy_file(SLEEP, path);
        pid_t pid = run_it(path, argv);
        assert_int_equal(process_is_qemu(pid), cases[i].is);
        (void)unlink(path); /* as an upgrade does */
        assert_int_equal(process_is_qemu(pid), cases[i].is);
        stop_it(pid);
    }
    (void)rmdir(dir);
}

static void
test_list(void **state)
{
    size_t n = 0;
    CLEANUP(freep) pid_t *all = process_list(&n);
    bool found = false;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        found = found || all[i] == getpid();
        assert_true(i == 0 || all[i] > all[i - 1]);
    }
    assert_true(found);
}

static void
test_sockets(void **state)
{
    struct stat st;
    int fds[2];
    struct err e = {0};

    (void)state;
    assert_works(fd_socketpair(fds, &e), &e);
    assert_int_equal(fstat(fds[0], &st), 0);
    assert_true(process_holds_socket(getpid(), st.st_ino));
    assert_int_equal(process_with_socket(st.st_ino), getpid());
    fd_close(&fds[0]);
    assert_false(process_holds_socket(getpid(), st.st_ino));
    fd_close(&fds[1]);
}

static pid_t
here(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static void
tell_thread(void *arg)
{
    int *pipes = arg;
    pid_t thread = here();
    char c = 0;

    assert_int_equal(write(pipes[1], &thread, sizeof(thread)), sizeof(thread));
    assert_int_equal(read(pipes[2], &c, 1), 1);
}

static void
test_threads(void **state)
{
    int pipes[4];
    pid_t thread = 0;

    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
    struct thread *other = thread_start(tell_thread, pipes);
    assert_int_equal(read(pipes[0], &thread, sizeof(thread)), sizeof(thread));
    assert_true(thread > 0 && thread != getpid());
    assert_true(process_has_thread(getpid(), thread));
    assert_true(process_has_thread(getpid(), getpid()));
    assert_false(process_has_thread(getppid(), thread));
    assert_false(process_has_thread(getpid(), getppid()));
    assert_false(process_has_thread(getpid(), 0));
    assert_int_equal(write(pipes[3], "", 1), 1);
    thread_join(other);
    assert_false(process_has_thread(getpid(), thread));
    for (size_t i = 0; i < ARRAY_LEN(pipes); i++)
        (void)close(pipes[i]);
}

/* In a PID namespace of its own a process is number 1. */
static void
test_inner_threads(void **state)
{
    int ready[2];

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t between = fork();
    assert_int_not_equal(between, -1);
    if (between == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        pid_t inner = unshare(CLONE_NEWPID) == 0 ? fork() : -1;
        if (inner == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            (void)pause();
            _exit(0);
        }
        (void)!write(ready[1], &inner, sizeof(inner));
        (void)pause();
        _exit(0);
    }
    pid_t inner = -1;
    assert_int_equal(read(ready[0], &inner, sizeof(inner)), sizeof(inner));
    if (inner > 0) {
        assert_true(process_has_thread(inner, 1));
        assert_false(process_has_thread(inner, inner));
        assert_false(process_has_thread(between, 1));
        (void)kill(inner, SIGKILL);
    }
    stop_it(between);
    (void)close(ready[0]);
    (void)close(ready[1]);
    if (inner <= 0)
        skip();
}

static void
check_path(pid_t pid, const char *path, const char *wanted)
{
    CLEANUP(freep) char *got = process_path(pid, path);

    assert_string_equal(got, wanted);
}

/* A process with a root of its own, or with mounts of its own; 0 if this place
 * does not allow it. */
static pid_t
shut_in(bool with_root)
{
    char c = 'n';
    int ready[2];

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        bool ok = with_root ? chroot("/tmp") == 0 : unshare(CLONE_NEWNS) == 0;
        (void)!write(ready[1], ok ? "y" : "n", 1);
        (void)pause();
        _exit(0);
    }
    assert_int_equal(fd_read_some(ready[0], &c, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    if (c == 'y')
        return pid;
    stop_it(pid);
    return 0;
}

static void
test_path(void **state)
{
    char *argv[] = {(char[]){"x"}, (char[]){"60"}, NULL}, wanted[128];
    CLEANUP(freep) char *ours = realpath(".", NULL);
    CLEANUP(freep) char *there = path_join(ours, "sub/qmp");
    pid_t pid = run_it(SLEEP, argv);

    (void)state;
    check_path(pid, "/run/qmp", "/run/qmp");
    check_path(pid, "sub/qmp", there);
    stop_it(pid);
    if (geteuid() != 0)
        skip();

    pid = shut_in(true);
    if (pid > 0) {
        (void)snprintf(wanted, sizeof(wanted), "/proc/%d/root/run/qmp", pid);
        check_path(pid, "/run/qmp", wanted);
        stop_it(pid);
    }
    pid = shut_in(false);
    if (pid > 0) {
        (void)snprintf(wanted, sizeof(wanted), "/proc/%d/root/run/qmp", pid);
        check_path(pid, "/run/qmp", wanted);
        (void)snprintf(wanted, sizeof(wanted), "/proc/%d/cwd/qmp", pid);
        check_path(pid, "qmp", wanted);
        stop_it(pid);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),   cmocka_unit_test(test_hostile_name),
        cmocka_unit_test(test_is_qemu), cmocka_unit_test(test_list),
        cmocka_unit_test(test_sockets), cmocka_unit_test(test_path),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_inner_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
