/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sftp_ssh.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "base/text.h"
#include "store/sftp_address.h"

enum {
    MESSAGE_MAX = 300,
    SAID_MAX = 4096,
    ARGS_MAX = 32,
    END_STEPS = 200 /* of 10 ms that ssh has to end */
};

static int
start(const struct sftp_address *where, struct ssh *s, struct err *e)
{
    const char *own =
        getenv("VMKEEP_SSH_COMMAND"); /* NOLINT(concurrency-mt-unsafe) */
    CLEANUP(freep)
    char *script = xasprintf("exec %s \"$@\"", own && *own ? own : "ssh");
    const char *argv[ARGS_MAX] = {"sh",
                                  "-c",
                                  script,
                                  "ssh",
                                  "-T",
                                  "-x",
                                  "-a",
                                  "-oBatchMode=yes",
                                  "-oServerAliveInterval=15",
                                  "-oServerAliveCountMax=4",
                                  "-oClearAllForwardings=yes",
                                  "-oConnectTimeout=30"};
    size_t n = 12;
    CLEANUP(fd_closep) int theirs = -1;
    CLEANUP(fd_closep) int their_said = -1;
    int pair[2], said[2];

    if (where->port) {
        argv[n++] = "-p";
        argv[n++] = where->port;
    }
    if (where->user) {
        argv[n++] = "-l";
        argv[n++] = where->user;
    }
    argv[n++] = "-s";
    argv[n++] = "--";
    argv[n++] = where->host;
    argv[n++] = "sftp";
    if (fd_socketpair(pair, e) == -1)
        return -1;
    s->fd = pair[0];
    theirs = pair[1];
    /* Non-blocking, so that a program that says too much is not kept. */
    if (pipe2(said, O_CLOEXEC | O_NONBLOCK) == -1)
        return err_set_errno(e, ERR_IO, "cannot make a pipe");
    s->said = said[0];
    their_said = said[1];
    const struct spawn ssh = {.argv = argv,
                              .in = theirs,
                              .out = theirs,
                              .err = their_said,
                              .apart = true};
    if (spawn_shell(&ssh, &s->pid) == -1) {
        s->pid = 0;
        return err_set_errno(e, ERR_STORE, "cannot run ssh");
    }
    if (fcntl(s->fd, F_SETFL, O_NONBLOCK) == -1)
        return err_set_errno(e, ERR_IO, "cannot set up a socket");
    return 0;
}

int
ssh_start(const struct sftp_address *where, struct ssh *out, struct err *e)
{
    *out = (struct ssh){.fd = -1, .said = -1};
    if (start(where, out, e) == 0)
        return 0;
    e->code = ERR_STORE;
    return -1;
}

static void
nap(void)
{
    struct timespec t = {.tv_nsec = 10000000};

    (void)nanosleep(&t, NULL);
}

void
ssh_end(struct ssh *s, bool greeted)
{
    fd_close(&s->fd);
    if (s->pid > 0 && !greeted)
        (void)kill(s->pid, SIGTERM);
    for (int i = 0; s->pid > 0 && i < END_STEPS; i++) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            s->pid = 0;
        else
            nap();
    }
    if (s->pid > 0) {
        (void)kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) == -1 && errno == EINTR)
            continue;
        s->pid = 0;
    }
    fd_close(&s->said);
}

char *
ssh_said(const struct ssh *s)
{
    char text[SAID_MAX + 1];
    ssize_t n = fd_read_some(s->said, text, SAID_MAX);

    text[n > 0 ? n : 0] = '\0';
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    for (size_t len = strlen(text); len > 0 && text[len - 1] == ' '; len--)
        text[len - 1] = '\0';
    return text_quote(text, MESSAGE_MAX);
}
