/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_agent: a guest agent behind a socket, in a thread, one client at a time.
 *
 * It freezes and thaws as it is told, unless `odd` answers a command in its
 * place: that is how a test has it lie, stall or break.
 */
#ifndef TEST_QEMU_FAKE_AGENT_H
#define TEST_QEMU_FAKE_AGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "check.h"
#include "work/pool.h"

struct fake_agent {
    char dir[32], path[64];
    int listener;
    atomic_int fd;         /* of the client, or -1 */
    char line[4096];       /* the command under way, without its delimiter */
    atomic_bool frozen;    /* the guest, in truth */
    atomic_uint told[4];   /* how often each of enum fake_word */
    atomic_uint n_clients; /* so far */
    atomic_int left;       /* for the use of `odd` */
    bool (*odd)(struct fake_agent *); /* true: it has answered */
    struct thread *thread;
};

enum fake_word { SYNC, STATUS, FREEZE, THAW };

static const char *const fake_words[] = {
    "guest-sync-delimited", "guest-fsfreeze-status", "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw"};

/* A client that is gone is no reason to die. */
static inline void
fake_say(struct fake_agent *f, const char *text)
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

/* A command is a line of the client's; false at its end. */
static inline bool
fake_hear(struct fake_agent *f)
{
    size_t n = 0;

    for (;;) {
        char c = 0;
        if (recv(f->fd, &c, 1, 0) != 1)
            return false;
        if (c == '\n')
            break;
        if (c != '\xff' && n + 1 < sizeof(f->line))
            f->line[n++] = c;
    }
    f->line[n] = '\0';
    return true;
}

static inline bool
fake_is(const struct fake_agent *f, enum fake_word w)
{
    return strstr(f->line, fake_words[w]) != NULL;
}

static inline long long
fake_id(const struct fake_agent *f)
{
    const char *id = strstr(f->line, "\"id\":");

    return id ? strtoll(id + strlen("\"id\":"), NULL, 10) : -1;
}

static inline void
fake_sync(struct fake_agent *f, long long id)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "\xff{\"return\": %lld}\n", id);
    fake_say(f, text);
}

/* As qemu-ga does. */
static inline void
fake_obey(struct fake_agent *f)
{
    if (fake_is(f, SYNC)) {
        fake_sync(f, fake_id(f));
    } else if (fake_is(f, STATUS)) {
        fake_say(f, f->frozen ? "{\"return\": \"frozen\"}\n"
                              : "{\"return\": \"thawed\"}\n");
    } else {
        f->frozen = fake_is(f, FREEZE);
        fake_say(f, "{\"return\": 2}\n");
    }
}

static inline void
fake_serve(void *arg)
{
    struct fake_agent *f = arg;

    for (;;) {
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1)
            return;
        f->fd = fd;
        f->n_clients++;
        while (fake_hear(f)) {
            for (size_t i = 0; i < ARRAY_LEN(fake_words); i++)
                f->told[i] += fake_is(f, (enum fake_word)i);
            if (!f->odd || !f->odd(f))
                fake_obey(f);
        }
        f->fd = -1;
        (void)close(fd);
    }
}

static inline struct fake_agent *
fake_start(bool (*odd)(struct fake_agent *))
{
    struct fake_agent *f = xcalloc(1, sizeof(*f));
    struct sockaddr_un at;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/fake-agent-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/ga", f->dir);
    at = address_of(f->path);
    f->fd = -1;
    f->odd = odd;
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (void *)&at, sizeof(at)), 0);
    assert_int_equal(listen(f->listener, 4), 0);
    f->thread = thread_start(fake_serve, f);
    return f;
}

/* Its clients must be gone. */
static inline void
fake_stop(struct fake_agent *f)
{
    (void)shutdown(f->listener, SHUT_RDWR);
    thread_join(f->thread);
    fd_close(&f->listener);
    (void)unlink(f->path);
    (void)rmdir(f->dir);
    free(f);
}

#endif
