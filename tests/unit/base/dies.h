/* SPDX-License-Identifier: Apache-2.0 */
/* dies: what asserts and aborts are for is tested in a child process. */
#ifndef TEST_DIES_H
#define TEST_DIES_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The signal that fn() died of; 0 if it came back. */
static inline int
signal_of(void (*fn)(void))
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit none = {0};
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        (void)setrlimit(RLIMIT_CORE, &none);
        (void)dup2(null, STDERR_FILENO);
        fn();
        _exit(0);
    }
    if (pid == -1 || waitpid(pid, &status, 0) != pid)
        abort();
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

#endif
