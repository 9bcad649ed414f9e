/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_qmp: a QMP server that does what a test tells it, in a thread.
 *
 * A test gives a function that plays one connection.  It ends by returning,
 * which closes the connection.
 */
#ifndef TEST_QEMU_FAKE_QMP_H
#define TEST_QEMU_FAKE_QMP_H

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "check.h"
#include "qemu/qmp.h"
#include "work/pool.h"

#define FAKE_GREETING                                                   \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, " \
    "\"major\": 7}, \"package\": \"Debian 1:7.2\"}, \"capabilities\": " \
    "[\"oob\"]}}\r\n"

struct fake {
    char dir[32], path[64];
    int listener;
    int fd; /* of the connection being played */
    void (*play)(struct fake *);
    struct thread *thread;
    char id[64];      /* of the command read last */
    char line[65536]; /* that command */
    int passed_fd;    /* that came with a command, or -1 */
};

/* A dead client is no reason to die: the client's view is what is tested. */
static inline void
fake_say(struct fake *f, const char *text)
{
    size_t n = strlen(text);

    while (n > 0) {
        ssize_t w = send(f->fd, text, n, MSG_NOSIGNAL);
        if (w <= 0)
            return;
        text += w;
        n -= (size_t)w;
    }
}

static inline void
fake_reply(struct fake *f, const char *what, const char *value)
{
    char *text =
        xasprintf("{\"%s\": %s, \"id\": \"%s\"}\r\n", what, value, f->id);

    fake_say(f, text);
    free(text);
}

static inline void
fake_take_fd(struct fake *f, struct msghdr *m)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(m);

    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&f->passed_fd, CMSG_DATA(c), sizeof(int));
}

/* The next command, which is compact JSON of depth 1 or 2; false at the end. */
static inline bool
fake_hear(struct fake *f)
{
    int depth = 0;

    for (size_t n = 0; n + 1 < sizeof(f->line); n++) {
        char control[64];
        struct iovec iov = {.iov_base = f->line + n, .iov_len = 1};
        struct msghdr m = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof(control)};
        if (recvmsg(f->fd, &m, 0) != 1)
            return false;
        fake_take_fd(f, &m);
        depth += (f->line[n] == '{') - (f->line[n] == '}');
        f->line[n + 1] = '\0';
        if (depth == 0 && f->line[n] == '}') {
            const char *id = strstr(f->line, "\"id\":\"");
            (void)snprintf(f->id, sizeof(f->id), "%s", id ? id + 6 : "");
            f->id[strcspn(f->id, "\"")] = '\0';
            return true;
        }
    }
    return false;
}

/* Until the client goes away. */
static inline void
fake_wait_for_end(struct fake *f)
{
    char c[4096];

    while (recv(f->fd, c, sizeof(c), 0) > 0)
        ;
}

static inline void
fake_run(void *arg)
{
    struct fake *f = arg;

    f->fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    if (f->fd == -1)
        return;
    f->play(f);
    fd_close(&f->fd);
}

/* A played connection after greeting and negotiation. */
static inline bool
fake_negotiate(struct fake *f)
{
    fake_say(f, FAKE_GREETING);
    if (!fake_hear(f) || !strstr(f->line, "\"qmp_capabilities\""))
        return false;
    fake_reply(f, "return", "{}");
    return true;
}

static inline struct fake *
fake_start(void (*play)(struct fake *))
{
    struct fake *f = xcalloc(1, sizeof(*f));
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/fake-qmp-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/qmp", f->dir);
    at = address_of(f->path);
    f->fd = f->passed_fd = -1;
    f->play = play;
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(f->listener, 1), 0);
    if (play)
        f->thread = thread_start(fake_run, f);
    return f;
}

static inline void
fake_stop(struct fake *f)
{
    (void)shutdown(f->listener, SHUT_RDWR);
    thread_join(f->thread);
    fd_close(&f->listener);
    fd_close(&f->passed_fd);
    (void)unlink(f->path);
    (void)rmdir(f->dir);
    free(f);
}

#endif
