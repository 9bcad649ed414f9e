/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: a program of tests/remote that serves until its standard input ends,
 * and says "ready TEXT" or "skip REASON" when it starts.
 */
#ifndef TESTS_STORE_SERVER_H
#define TESTS_STORE_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SERVER_TEXT = 512, SERVER_PATH = 400 };

struct server {
    pid_t pid;
    int to;                 /* its standard input */
    bool skipped;           /* it cannot be here */
    char text[SERVER_TEXT]; /* what it said behind "ready " or "skip " */
};

static inline void
server_stop(struct server *s)
{
    if (s->pid <= 0)
        return;
    close(s->to);
    while (waitpid(s->pid, NULL, 0) == -1 && errno == EINTR)
        continue;
    s->pid = 0;
}

/* True if it is ready; argv[0] is the program, looked for in the folder that
 * VMTEST_REMOTE names. */
static inline bool
server_start(struct server *s, char *const argv[])
{
    const char *folder = getenv("VMTEST_REMOTE"); /* NOLINT */
    posix_spawn_file_actions_t files;
    int to[2], from[2];
    char path[SERVER_PATH], line[SERVER_TEXT];

    *s = (struct server){0};
    if (pipe2(to, O_CLOEXEC) == -1 || pipe2(from, O_CLOEXEC) == -1)
        abort();
    (void)snprintf(path, sizeof(path), "%s/%s", folder ? folder : ".", argv[0]);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, to[0], 0);
    posix_spawn_file_actions_adddup2(&files, from[1], 1);
    int no = posix_spawn(&s->pid, path, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    close(to[0]);
    close(from[1]);
    s->to = to[1];
    FILE *f = fdopen(from[0], "r");
    bool said = no == 0 && f && fgets(line, sizeof(line), f);
    if (f)
        (void)fclose(f);
    if (!said) {
        (void)snprintf(s->text, sizeof(s->text), "%s does not start", path);
        server_stop(s);
        return false;
    }
    line[strcspn(line, "\n")] = '\0';
    bool ready = strncmp(line, "ready ", 6) == 0;
    s->skipped = strncmp(line, "skip ", 5) == 0;
    (void)snprintf(s->text, sizeof(s->text), "%s",
                   line + (ready        ? 6
                           : s->skipped ? 5
                                        : 0));
    if (!ready)
        server_stop(s);
    return ready;
}

#endif
