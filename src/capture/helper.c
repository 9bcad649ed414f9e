/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/helper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/helper_internal.h"

static const struct {
    const char *name;
    int (*main)(void);
} roles[] = {
    {"vmkeep-guard", guard_main},
    {"vmkeep-drainer", drainer_main},
    {"vmkeep-probe", probe_main},
};

bool
helper_main(int argc, char **argv, int *status)
{
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(roles); i++)
        if (strcmp(argv[0], roles[i].name) == 0) {
            *status = roles[i].main();
            return true;
        }
    return false;
}

/* Copies of the descriptors, above all that the child will have. */
static int
lift(const int *fds, size_t n, int *out, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        out[i] =
            fcntl(fds[i], F_DUPFD_CLOEXEC, HELPER_FIRST_FD + HELPER_MAX_FDS);
        if (out[i] == -1)
            return err_set_errno(e, ERR_IO, "cannot copy a descriptor");
    }
    return 0;
}

static int
spawn(char *argv0, const int *lifted, size_t n, pid_t *out)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    char *argv[] = {argv0, NULL};
    sigset_t all;

    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, 0, 1);
    (void)posix_spawn_file_actions_adddup2(&actions, 0, 2);
    for (size_t i = 0; i < n; i++)
        (void)posix_spawn_file_actions_adddup2(&actions, lifted[i],
                                               HELPER_FIRST_FD + (int)i);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID |
                                              POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETSIGMASK);
    (void)sigfillset(&all);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)sigemptyset(&all);
    (void)posix_spawnattr_setsigmask(&attr, &all);
    int rc = posix_spawn(out, "/proc/self/exe", &actions, &attr, argv, environ);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int
helper_spawn(const char *role, const int *fds, size_t n_fds, pid_t *out,
             struct err *e)
{
    CLEANUP(freep) char *argv0 = xasprintf("vmkeep-%s", role);
    int lifted[HELPER_MAX_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1};
    int rc = -1;

    assert(n_fds <= HELPER_MAX_FDS);
    if (lift(fds, n_fds, lifted, e) == 0) {
        errno = spawn(argv0, lifted, n_fds, out);
        rc = errno == 0 ? 0
                        : err_set_errno(e, ERR_IO, "cannot start the %s", role);
    }
    for (size_t i = 0; i < n_fds; i++)
        fd_close(&lifted[i]);
    return rc;
}
