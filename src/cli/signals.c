/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "cli/outcome.h"
#include "work/cancel.h"
#include "work/pool.h"

/* A process has one set of signals. */
static struct {
    const char *ended, *first, *again;
    int signals, done; /* a signalfd; an eventfd: the end of the thread */
    struct thread *thread;

    pthread_mutex_t lock; /* guards all below */
    struct cancel *cancel;
    int terminal, usr1; /* or -1 */
    struct termios mode;
} state = {.signals = -1,
           .done = -1,
           .lock = PTHREAD_MUTEX_INITIALIZER,
           .terminal = -1,
           .usr1 = -1};

static void
say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));

    (void)n; /* there is no other place to say it */
}

/* With the lock held, which an end at once never gives back. */
static void
on_stop(void)
{
    if (!state.cancel) {
        if (state.terminal != -1)
            (void)tcsetattr(state.terminal, TCSANOW, &state.mode);
        say(state.ended);
        _exit(OUTCOME_INTERRUPTED);
    }
    say(cancel_raised(state.cancel) ? state.again : state.first);
    cancel_raise(state.cancel);
}

static void
on_usr1(void)
{
    /* It can only fail when it is full, and so readable. */
    if (state.usr1 != -1)
        (void)eventfd_write(state.usr1, 1);
}

/* All that have come. */
static void
hear(void)
{
    struct signalfd_siginfo info;

    while (fd_read_some(state.signals, &info, sizeof(info)) ==
           (ssize_t)sizeof(info)) {
        (void)pthread_mutex_lock(&state.lock);
        if (info.ssi_signo == SIGUSR1)
            on_usr1();
        else
            on_stop();
        (void)pthread_mutex_unlock(&state.lock);
    }
}

static void
watch(void *arg)
{
    struct pollfd fds[] = {{.fd = state.done, .events = POLLIN},
                           {.fd = state.signals, .events = POLLIN}};

    (void)arg;
    do {
        if (poll(fds, ARRAY_LEN(fds), -1) == -1)
            fds[0].revents = 0;
        hear();
    } while (!fds[0].revents);
}

static void
choose_words(bool json)
{
    state.ended = json ? "{\"type\":\"error\",\"code\":\"canceled\","
                         "\"exit\":130,\"message\":\"interrupted\"}\n"
                       : "\nvmkeep: interrupted\n";
    state.first = json ? "{\"type\":\"note\",\"message\":\"interrupted, "
                         "putting everything right\"}\n"
                       : "\nvmkeep: interrupted, putting everything right\n";
    state.again = json ? "{\"type\":\"note\",\"message\":\"still putting "
                         "everything right\"}\n"
                       : "\nvmkeep: still putting everything right, so that "
                         "no machine is left paused\n";
}

void
signals_init(bool json)
{
    static const int ours[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    sigset_t set;

    choose_words(json);
    (void)signal(SIGPIPE, SIG_IGN); /* a write fails instead */
    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        struct sigaction old = {0};
        if (sigaction(ours[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaddset(&set, ours[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    state.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    state.done = eventfd(0, EFD_CLOEXEC);
    if (state.signals == -1 || state.done == -1)
        abort(); /* no descriptors left at the very start */
    state.thread = thread_start(watch, NULL);
}

void
signals_done(void)
{
    if (eventfd_write(state.done, 1) == -1)
        abort(); /* an eventfd at 0 takes a 1 */
    thread_join(STEAL(state.thread));
    fd_close(&state.done);
    fd_close(&state.signals);
}

void
signals_raise(struct cancel *c)
{
    (void)pthread_mutex_lock(&state.lock);
    state.cancel = c;
    (void)pthread_mutex_unlock(&state.lock);
}

void
signals_keep_terminal(int fd, const struct termios *mode)
{
    (void)pthread_mutex_lock(&state.lock);
    state.terminal = fd;
    if (fd != -1)
        state.mode = *mode;
    (void)pthread_mutex_unlock(&state.lock);
}

void
signals_count_usr1(int fd)
{
    (void)pthread_mutex_lock(&state.lock);
    state.usr1 = fd;
    (void)pthread_mutex_unlock(&state.lock);
}
