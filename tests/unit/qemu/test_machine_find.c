/* SPDX-License-Identifier: Apache-2.0 */
/* machines_find against real QEMUs: names, sockets, and where they are. */
#include <sched.h>
#include <sys/mount.h>

#include "base/fd.h"
#include "qemu/machine.h"
#include "real_qemu.h"

static int
setup(void **state)
{
    *state = xcalloc(1, sizeof(struct real));
    return 0;
}

static int
teardown(void **state)
{
    real_stop(*state);
    free(*state);
    return 0;
}

struct list {
    struct machine_found *all;
    size_t n;
};

static void
list_done(struct list *l)
{
    machine_found_free(l->all, l->n);
}

/* The machine with that pid, or NULL; others of this host are none of ours. */
static const struct machine_found *
find(struct list *l, pid_t pid)
{
    struct err e = {0};

    assert_works(machines_find(&l->all, &l->n, &e), &e);
    for (size_t i = 0; i < l->n; i++) {
        assert_true(i == 0 || l->all[i].pid > l->all[i - 1].pid);
        if (l->all[i].pid == pid)
            return &l->all[i];
    }
    return NULL;
}

/* That this path leads to the monitor of that QEMU. */
static void
check_monitor(const char *path, pid_t pid)
{
    struct machine *m = NULL;
    struct err e = {0};
    CLEANUP(qmp_closep) struct qmp *q = NULL;

    assert_works(qmp_connect(path, &q, &e), &e);
    assert_works(machine_describe(q, path, &m, &e), &e);
    assert_int_equal(m->pid, pid);
    machine_free(m);
}

static void
test_plain(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list l = {0};
    char second[64];

    real_require();
    real_make_dir(r);
    real_start(r, (const char *const[]){
                      "-name", "guest=db,debug-threads=on", "-uuid",
                      "0A1B2C3D-0000-4000-8000-0123456789AB", "-chardev",
                      "socket,id=m,path=sec,,ond,server=on,wait=off", "-mon",
                      "chardev=m,mode=control", "-monitor",
                      "unix:hmp,server=on,wait=off", NULL});
    qmp_close(real_connect(r));
    const struct machine_found *f = find(&l, r->pid);
    assert_non_null(f);
    assert_string_equal(f->name, "db");
    assert_string_equal(f->uuid, "0a1b2c3d-0000-4000-8000-0123456789ab");
    (void)snprintf(second, sizeof(second), "%s/sec,ond", r->dir);
    assert_string_equal(f->sockets[0], r->socket);
    assert_string_equal(f->sockets[1], second);
    assert_null(f->sockets[2]);
    check_monitor(f->sockets[0], r->pid);
    check_monitor(f->sockets[1], r->pid);
}

/* Does this QEMU take this option? */
static bool
takes(const struct real *r, const char *option, const char *value)
{
    char *argv[] = {xstrdup(REAL_QEMU), xstrdup(option), xstrdup(value),
                    xstrdup("-version"), NULL};
    pid_t pid = real_spawn(r->dir, argv);
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    return status == 0;
}

/* The monitors of QEMU 11.1. */
static void
test_monitor_object(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list l = {0};

    real_require();
    real_make_dir(r);
    if (!takes(r, "-object", "monitor-qmp,id=x,chardev=m"))
        skip();
    real_start_args(r,
                    (const char *const[]){
                        "-accel", "tcg", "-m", "64", "-S", "-nodefaults",
                        "-display", "none", "-chardev",
                        "socket,id=m,path=qmp,server=on,wait=off", "-object",
                        "{\"qom-type\":\"monitor-qmp\",\"id\":\"x\","
                        "\"chardev\":\"m\"}",
                        NULL},
                    r->socket);
    qmp_close(real_connect(r));
    const struct machine_found *f = find(&l, r->pid);
    assert_non_null(f);
    assert_string_equal(f->sockets[0], r->socket);
    check_monitor(f->sockets[0], r->pid);
}

static void
test_without_monitor(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list l = {0};
    char name[32], hmp[64];

    real_require();
    real_make_dir(r);
    (void)snprintf(hmp, sizeof(hmp), "%s/hmp", r->dir);
    real_start_args(r,
                    (const char *const[]){"-accel", "tcg", "-m", "64", "-S",
                                          "-nodefaults", "-display", "none",
                                          "-monitor",
                                          "unix:hmp,server=on,wait=off", NULL},
                    hmp);
    const struct machine_found *f = find(&l, r->pid);
    assert_non_null(f);
    (void)snprintf(name, sizeof(name), "qemu-%d", (int)r->pid);
    assert_string_equal(f->name, name);
    assert_string_equal(f->uuid, "");
    assert_null(f->sockets[0]);
}

/* Not QEMUs, not listed; and what has ended is gone from the list. */
static void
test_others(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list before = {0};
    CLEANUP(list_done) struct list after = {0};

    real_require();
    real_make_dir(r);
    real_start(r, NULL);
    pid_t pid = r->pid;
    assert_non_null(find(&before, pid));
    (void)kill(pid, SIGKILL); /* a zombie until real_stop waits for it */
    siginfo_t si;
    assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
    assert_null(find(&after, pid));
    for (size_t i = 0; i < after.n; i++)
        assert_int_not_equal(after.all[i].pid, getpid());
}

/* QEMU shut itself in, after it had made the socket outside. */
static void
test_chroot(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list l = {0};
    char jail[64], qmp[80];

    real_require();
    if (geteuid() != 0)
        skip();
    real_make_dir(r);
    (void)snprintf(jail, sizeof(jail), "%s/jail", r->dir);
    (void)snprintf(qmp, sizeof(qmp), "unix:%s/second,server=on,wait=off",
                   r->dir);
    assert_int_equal(mkdir(jail, 0700), 0);
    bool old = takes(r, "-chroot", "jail");
    real_start(r, (const char *const[]){old ? "-chroot" : "-run-with",
                                        old ? "jail" : "chroot=jail", "-qmp",
                                        qmp, NULL});
    qmp_close(real_connect(r)); /* it is shut in now */
    const struct machine_found *f = find(&l, r->pid);
    assert_non_null(f);
    /* nothing tells any more which folder the relative one was in */
    check_monitor(f->sockets[1], r->pid);
}

/* QEMU went into the background and left the folder of its socket. */
static void
test_daemon(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list l = {0};
    char pidfile[64], text[32] = "", *old = getenv("PWD");
    CLEANUP(freep) char *pwd = old ? xstrdup(old) : NULL;

    real_require();
    real_make_dir(r);
    (void)setenv("PWD", r->dir, 1); /* as a shell does */
    real_start(r, (const char *const[]){"-daemonize", "-pidfile", "pid", NULL});
    if (pwd)
        (void)setenv("PWD", pwd, 1);
    real_wait_exit(r->pid);
    r->pid = 0;
    (void)snprintf(pidfile, sizeof(pidfile), "%s/pid", r->dir);
    int fd = open(pidfile, O_RDONLY | O_CLOEXEC);
    assert_true(fd_read_some(fd, text, sizeof(text) - 1) > 0);
    (void)close(fd);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    const struct machine_found *f = find(&l, pid);
    char *path = f ? xstrdup(f->sockets[0]) : NULL;
    (void)kill(pid, SIGKILL);
    assert_true(pid > 1);
    assert_non_null(path);
    assert_string_equal(path, r->socket);
    free(path);
}

/* QEMU in a container: mounts that we do not have. */
static void
test_container(void **state)
{
    struct real *r = *state;
    CLEANUP(list_done) struct list l = {0};
    char private[64], qmp[128], outside[128];
    int ready[2];
    char c = 'n';

    real_require();
    if (geteuid() != 0)
        skip();
    real_make_dir(r);
    (void)snprintf(private, sizeof(private), "%s/private", r->dir);
    (void)snprintf(qmp, sizeof(qmp), "unix:%s/qmp,server=on,wait=off", private);
    assert_int_equal(mkdir(private, 0700), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        bool ok = unshare(CLONE_NEWNS) == 0 &&
                  mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                  mount("none", private, "tmpfs", 0, NULL) == 0;
        (void)!write(ready[1], ok ? "y" : "n", 1);
        if (ok && getppid() == parent)
            (void)execl(REAL_QEMU, REAL_QEMU, "-accel", "tcg", "-m", "64", "-S",
                        "-nodefaults", "-display", "none", "-qmp", qmp,
                        (char *)NULL);
        _exit(127);
    }
    assert_int_equal(fd_read_some(ready[0], &c, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    if (c != 'y')
        skip();
    (void)snprintf(outside, sizeof(outside), "/proc/%d/root%s/qmp", (int)r->pid,
                   private);
    (void)snprintf(r->socket, sizeof(r->socket), "%s", outside);
    struct deadline d = deadline_in_ms(REAL_START_MS);
    while (access(outside, F_OK) == -1 && !deadline_passed(d))
        (void)poll(NULL, 0, 5);
    qmp_close(real_connect(r));
    const struct machine_found *f = find(&l, r->pid);
    assert_non_null(f);
    assert_string_equal(f->sockets[0], outside);
    check_monitor(f->sockets[0], r->pid);
}

#define REAL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        REAL_TEST(test_plain),           REAL_TEST(test_monitor_object),
        REAL_TEST(test_without_monitor), REAL_TEST(test_others),
        REAL_TEST(test_chroot),          REAL_TEST(test_daemon),
        REAL_TEST(test_container),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
