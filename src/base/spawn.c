/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static void
give(posix_spawn_file_actions_t *files, int fd, int as)
{
    if (fd != -1)
        (void)posix_spawn_file_actions_adddup2(files, fd, as);
}

/* The texts, which posix_spawn may not change but does not say so of. */
static char **
copy_args(const char *const *argv)
{
    size_t n = 0;

    while (argv[n])
        n++;
    char **out = xcalloc(n + 1, sizeof(*out));
    memcpy(out, argv, n * sizeof(*out));
    return out;
}

int
spawn_shell(const struct spawn *s, pid_t *out)
{
    CLEANUP(freep) char **argv = copy_args(s->argv);
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t defaults, none;

    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    (void)posix_spawn_file_actions_init(&files);
    give(&files, s->in, STDIN_FILENO);
    give(&files, s->out, STDOUT_FILENO);
    give(&files, s->err, STDERR_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    if (s->apart)
        flags |= POSIX_SPAWN_SETPGROUP;
    (void)posix_spawnattr_setflags(&attributes, flags);
    errno = posix_spawn(out, "/bin/sh", &files, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return errno ? -1 : 0;
}
