/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real_qemu: a small QEMU of one's own: no guest code, no devices but those
 * asked for, a monitor at DIR/qmp.  It dies with the test.
 */
#ifndef TEST_QEMU_REAL_QEMU_H
#define TEST_QEMU_REAL_QEMU_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "check.h"
#include "qemu/qmp.h"

#define REAL_QEMU "/usr/bin/qemu-system-x86_64"
#define REAL_IMG "/usr/bin/qemu-img"

enum { REAL_ARGS_MAX = 64, REAL_START_MS = 20000 };

struct real {
    char dir[32], socket[128];
    pid_t pid;
};

static inline void
real_require(void)
{
    if (access(REAL_QEMU, X_OK) == -1 || access(REAL_IMG, X_OK) == -1)
        skip();
}

/* Starts a program that dies with us; its output goes nowhere. */
static inline pid_t
real_spawn(const char *dir, char *const argv[])
{
    pid_t parent = getpid();
    pid_t pid = fork();

    assert_int_not_equal(pid, -1);
    if (pid > 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open("/dev/null", O_WRONLY);
    const char *keep = getenv("REAL_QEMU_LOG");
    if (keep)
        log = open(keep, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)dup2(log, 1);
    (void)dup2(log, 2);
    if (getppid() != parent || chdir(dir) == -1)
        _exit(126);
    (void)execv(argv[0], argv);
    _exit(127);
}

static inline void
real_wait_exit(pid_t pid)
{
    while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
        ;
}

static inline void
real_make_dir(struct real *r)
{
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/real-qemu-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    size_t n = strlen(r->dir);
    memcpy(r->socket, r->dir, n);
    memcpy(r->socket + n, "/qmp", sizeof("/qmp"));
}

/* An image DIR/NAME. */
static inline void
real_image(const struct real *r, const char *name, const char *format,
           const char *size)
{
    char *argv[] = {
        (char[]){REAL_IMG}, (char[]){"create"}, (char[]){"-q"}, (char[]){"-f"},
        xstrdup(format),    xstrdup(name),      xstrdup(size),  NULL};

    real_wait_exit(real_spawn(r->dir, argv));
    for (size_t i = 4; argv[i]; i++)
        free(argv[i]);
}

/* Starts QEMU in DIR with exactly these arguments, and waits for `ready`. */
static inline void
real_start_args(struct real *r, const char *const *args, const char *ready)
{
    char *argv[REAL_ARGS_MAX + 1] = {xstrdup(REAL_QEMU)};
    struct deadline d = deadline_in_ms(REAL_START_MS);
    size_t n = 1;

    for (size_t i = 0; args[i]; i++) {
        assert_in_range(n, 0, REAL_ARGS_MAX - 1);
        argv[n++] = xstrdup(args[i]);
    }
    r->pid = real_spawn(r->dir, argv);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    while (ready && access(ready, F_OK) == -1) {
        if (waitpid(r->pid, NULL, WNOHANG) != 0 || deadline_passed(d))
            fail_msg("QEMU does not start");
        (void)poll(NULL, 0, 5);
    }
}

/* The usual machine and more arguments, up to NULL. */
static inline void
real_start(struct real *r, const char *const *more)
{
    const char *args[REAL_ARGS_MAX] = {
        "-accel",   "tcg",         "-m",   "64",
        "-S",       "-nodefaults", "-qmp", "unix:qmp,server=on,wait=off",
        "-display", "none"};
    size_t n = 10;

    for (size_t i = 0; more && more[i]; i++) {
        assert_in_range(n, 0, REAL_ARGS_MAX - 2);
        args[n++] = more[i];
    }
    args[n] = NULL;
    real_start_args(r, args, r->socket);
}

/* Connects, also if QEMU has made the socket but does not listen yet. */
static inline struct qmp *
real_connect(const struct real *r)
{
    struct deadline d = deadline_in_ms(REAL_START_MS);
    struct qmp *q = NULL;
    struct err e = {0};

    while (qmp_connect(r->socket, &q, &e) == -1) {
        if (e.code != ERR_NOENT || deadline_passed(d))
            fail_msg("%s", e.msg);
        err_clear(&e);
        (void)poll(NULL, 0, 5);
    }
    return q;
}

static inline int
real_remove_one(const char *path, const struct stat *st, int type,
                struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static inline void
real_kill(struct real *r)
{
    if (r->pid <= 0)
        return;
    (void)kill(r->pid, SIGKILL);
    real_wait_exit(r->pid);
    r->pid = 0;
}

/* Also for one that never began. */
static inline void
real_stop(struct real *r)
{
    real_kill(r);
    if (r->dir[0])
        (void)nftw(r->dir, real_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
