/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/outcome.h"
#include "work/cancel.h"

/* What the handlers need; a process has one set of signal handlers. */
static struct {
    _Atomic(struct cancel *) cancel;
    atomic_int terminal;
    struct termios mode; /* written before `terminal` is set */
    atomic_int usr1;
    const char *ended, *first, *again;
} state = {.terminal = -1, .usr1 = -1};

static void
say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));

    (void)n; /* there is no other place to say it */
}

static void
on_stop(int signal)
{
    int no = errno;
    struct cancel *c = state.cancel;

    (void)signal;
    if (!c) {
        if (state.terminal != -1)
            (void)tcsetattr(state.terminal, TCSANOW, &state.mode);
        say(state.ended);
        _exit(OUTCOME_INTERRUPTED);
    }
    say(cancel_raised(c) ? state.again : state.first);
    cancel_raise(c);
    errno = no;
}

static void
on_usr1(int signal)
{
    static const uint64_t one = 1;
    int no = errno, fd = state.usr1;

    (void)signal;
    if (fd != -1 && write(fd, &one, sizeof(one)) == -1)
        errno = no; /* it is full: readable all the same */
    errno = no;
}

void
signals_init(bool json)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_flags = SA_RESTART}, old;

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
    (void)sigfillset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(stops); i++) {
        action.sa_handler = on_stop;
        if (sigaction(stops[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(stops[i], &action, NULL);
    }
    action.sa_handler = on_usr1;
    (void)sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = SIG_IGN; /* a write fails instead, and says where */
    (void)sigaction(SIGPIPE, &action, NULL);
}

void
signals_raise(struct cancel *c)
{
    state.cancel = c;
}

void
signals_keep_terminal(int fd, const struct termios *mode)
{
    state.terminal = -1;
    if (fd != -1)
        state.mode = *mode;
    state.terminal = fd;
}

void
signals_count_usr1(int fd)
{
    state.usr1 = fd;
}
