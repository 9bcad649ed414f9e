/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/helper_internal.h"
#include "capture/intent.h"
#include "capture/rescue.h"
#include "capture/scratchprobe.h"
#include "capture/snapshot.h"
#include "capture/undo.h"
#include "qemu/qmp.h"
#include "work/pool.h"

/*
 * What the worker says: a type, a little-endian u64 argument, and after
 * SAY_INTENT as many bytes of the record as the argument says.
 */
enum {
    SAY_INTENT = 'I',
    SAY_OPEN = 'O', /* argument: longest pause, ms */
    SAY_CLOSE = 'C',
    SAY_DRAIN = 'R',
    SAY_THAWED = 'T',
    SAY_DISMISS = 'D',
    MESSAGE_BYTES = 9,
    INTENT_MAX_BYTES = 1 << 20,
    TRIES = 10,
    RETRY_MS = 1000,
    GREETING_MS = 10000,
    SCRATCH_PATIENCE_MS = 600000,
    SCRATCH_LOOK_MS = 1000
};

/* ---- the worker's side ------------------------------------------------ */

struct guard {
    int control;
    pid_t pid;
};

static int
tell(struct guard *g, char type, uint64_t argument, struct err *e)
{
    uint8_t m[MESSAGE_BYTES];

    m[0] = (uint8_t)type;
    put_le64(m + 1, argument);
    if (send(g->control, m, sizeof(m), MSG_NOSIGNAL) != sizeof(m))
        return err_set_errno(e, ERR_IO, "the guard does not listen");
    return 0;
}

/* Its single byte says that it has read the record and watches. */
static int
await_greeting(struct guard *g, struct err *e)
{
    struct pollfd p = {.fd = g->control, .events = POLLIN};
    char byte = 0;

    int n = -1;
    do
        n = poll(&p, 1, GREETING_MS);
    while (n == -1 && errno == EINTR);
    if (n != 1 || fd_read_some(g->control, &byte, 1) != 1)
        return err_set(e, ERR_IO, "the guard process did not start");
    return 0;
}

/* It is not to act: the worker will, over the same connection. */
static void
guard_kill(struct guard *g)
{
    if (g->pid > 0) {
        (void)kill(g->pid, SIGKILL);
        (void)waitpid(g->pid, NULL, 0);
    }
    guard_hand_over(g);
}

int
guard_start(const struct intent *in, int monitor, int stream,
            struct guard **out, struct err *e)
{
    struct guard *g = xcalloc(1, sizeof(*g));
    CLEANUP(freep) char *text = intent_format(in);
    int pair[2] = {-1, -1};

    g->control = -1;
    int rc = fd_socketpair(pair, e);
    if (rc == 0) {
        const int fds[] = {pair[1], monitor, stream, in->lock_fd};
        g->control = pair[0];
        rc = helper_spawn("guard", fds, ARRAY_LEN(fds), &g->pid, e);
        fd_close(&pair[1]);
    }
    if (rc == 0)
        rc = tell(g, SAY_INTENT, strlen(text), e);
    if (rc == 0)
        rc = fd_write(g->control, text, strlen(text), "to the guard", e);
    if (rc == 0)
        rc = fd_write(g->control, in->path, strlen(in->path) + 1,
                      "to the guard", e);
    if (rc == 0)
        rc = await_greeting(g, e);
    if (rc == -1) {
        guard_kill(g);
        return -1;
    }
    *out = g;
    return 0;
}

int
guard_open_window(struct guard *g, uint64_t max_ms, struct err *e)
{
    return tell(g, SAY_OPEN, max_ms, e);
}

int
guard_close_window(struct guard *g, struct err *e)
{
    return tell(g, SAY_CLOSE, 0, e);
}

int
guard_forget_agent(struct guard *g, struct err *e)
{
    return tell(g, SAY_THAWED, 0, e);
}

int
guard_drain(struct guard *g, struct err *e)
{
    return tell(g, SAY_DRAIN, 0, e);
}

void
guard_dismiss(struct guard *g)
{
    struct err ignored = {0};

    if (!g)
        return;
    if (tell(g, SAY_DISMISS, 0, &ignored) == -1) {
        guard_kill(g);
        return;
    }
    (void)waitpid(g->pid, NULL, 0);
    guard_hand_over(g);
}

void
guard_hand_over(struct guard *g)
{
    fd_close(&g->control);
    free(g);
}

/* ---- the process ------------------------------------------------------- */

enum { CONTROL = HELPER_FIRST_FD, MONITOR, STREAM, LOCK };

struct watch {
    struct intent *intent;
    struct deadline window; /* never: it is closed */
    int worker;             /* pidfd, or -1 */
    struct thread *drain;
    int monitor; /* the worker's connection, or -1: given up */
};

static void
drain_stream(void *arg)
{
    static uint8_t waste[1 << 20];

    (void)arg;
    while (fd_read_some(STREAM, waste, sizeof(waste)) > 0)
        ;
}

static void
start_draining(struct watch *w)
{
    if (!w->drain)
        w->drain = thread_start(drain_stream, NULL);
}

/* n bytes of the worker's, or false if it is gone. */
static bool
hear(void *out, size_t n)
{
    uint8_t *at = out;

    while (n > 0) {
        ssize_t r = fd_read_some(CONTROL, at, n);
        if (r <= 0)
            return false;
        at += r;
        n -= (size_t)r;
    }
    return true;
}

static bool
hear_intent(struct watch *w, uint64_t len)
{
    struct err e = {0};
    char path[4096];
    size_t i = 0;

    if (len > INTENT_MAX_BYTES)
        return false;
    CLEANUP(freep) char *text = xcalloc(1, len + 1);
    if (!hear(text, len) || intent_parse(text, &w->intent, &e) == -1)
        return false;
    do /* the path, with its NUL */
        if (i == sizeof(path) || !hear(&path[i], 1))
            return false;
    while (path[i++] != '\0');
    w->intent->path = xstrdup(path);
    w->intent->lock_fd = LOCK;
    return true;
}

/* Carries out one message.  False: there is nothing more to watch; *dismissed
 * says whether because all is well. */
static bool
obey(struct watch *w, bool *dismissed)
{
    uint8_t m[MESSAGE_BYTES];

    if (!hear(m, sizeof(m)))
        return false;
    switch (m[0]) {
    case SAY_INTENT:
        return hear_intent(w, get_le64(m + 1)) && send(CONTROL, "", 1, 0) == 1;
    case SAY_OPEN:
        w->window = deadline_in_ms(get_le64(m + 1));
        w->intent->window_open = true;
        return true;
    case SAY_CLOSE:
        w->window = deadline_never();
        w->intent->window_open = false;
        return true;
    case SAY_THAWED:
        free(w->intent->agent);
        w->intent->agent = xstrdup("");
        return true;
    case SAY_DRAIN:
        start_draining(w);
        return true;
    case SAY_DISMISS:
        *dismissed = true;
        return false;
    default:
        return false;
    }
}

/* True if the worker sent us home. */
static bool
watch(struct watch *w)
{
    bool dismissed = false;

    for (;;) {
        struct pollfd p = {.fd = CONTROL, .events = POLLIN};
        int n = poll(&p, 1, deadline_poll_ms(w->window));
        if (n == 0 && deadline_passed(w->window)) {
            if (w->worker != -1)
                (void)syscall(SYS_pidfd_send_signal, w->worker, SIGKILL, NULL,
                              0);
            return false;
        }
        if (n == 1 && !obey(w, &dismissed))
            return dismissed;
    }
}

/* For one who closes it. */
static int
dup_of(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* The worker's connection, or if that is cut one of our own. */
static int
reach_machine(const struct watch *w, struct qmp **out, struct err *e)
{
    const struct intent *in = w->intent;
    /* While QEMU writes a snapshot its monitor is silent. */
    uint64_t ms = in->snapshot[0] ? SNAPSHOT_PATIENCE_MS : QMP_TIMEOUT_MS;

    if (w->monitor != -1 &&
        qmp_adopt_patiently(dup_of(w->monitor), ms, out, e) == 0)
        return 0;
    err_clear(e);
    return qmp_connect(in->socket, out, e);
}

/*
 * The stream is to be read on, or the guest waits for it; but not to its end
 * while the scratch folder hangs (see undo.c).
 */
static void
read_on(struct watch *w)
{
    CLEANUP(scratchprobe_freep) struct scratchprobe *p = NULL;
    const struct intent *in = w->intent;
    struct err ignored = {0};

    bool hangs = in->scratch[0] != '\0' &&
                 scratchprobe_start(in->scratch, -1, &p, &ignored) == 0 &&
                 !scratchprobe_wait(p, deadline_in_ms(SCRATCH_LOOK_MS));
    if (!hangs || !in->pid || rescue_lift(in->pid, &ignored) < 1)
        start_draining(w);
}

/* The guest runs, and all that can be undone without the scratch folder has
 * been: wait until it answers.  The monitor is everybody's meanwhile. */
static void
await_scratch(struct watch *w)
{
    const struct intent *in = w->intent;
    CLEANUP(scratchprobe_freep) struct scratchprobe *p = NULL;
    struct deadline end = deadline_in_ms(SCRATCH_PATIENCE_MS);
    struct err ignored = {0};

    if (in->scratch[0] == '\0' ||
        scratchprobe_start(in->scratch, -1, &p, &ignored) == -1 ||
        scratchprobe_wait(p, deadline_in_ms(SCRATCH_LOOK_MS)))
        return;
    fd_close(&w->monitor);
    while (!scratchprobe_wait(p, deadline_in_ms(SCRATCH_LOOK_MS)) &&
           !deadline_passed(end) && intent_machine_lives(in))
        ;
}

static int
put_right(struct watch *w)
{
    CLEANUP(qmp_closep) struct qmp *q = NULL;
    struct err e = {0};

    /* A monitor that is gone may come back; a machine that is ending ends. */
    for (int i = 0; i < TRIES; i++) {
        err_clear(&e);
        if (!w->drain)
            read_on(w);
        if (!intent_machine_lives(w->intent) ||
            (reach_machine(w, &q, &e) == 0 && undo(q, w->intent, &e) == 0)) {
            intent_remove(w->intent);
            return 0;
        }
        /* A QEMU before 8.1 that ends while it saves RAM cancels that, and then
         * waits for ever for a processor that waits for a page. */
        if (!q && w->intent->pid) {
            struct err ignored = {0};
            (void)rescue_lift(w->intent->pid, &ignored);
        }
        qmp_close(STEAL(q));
        await_scratch(w);
        (void)poll(NULL, 0, RETRY_MS);
    }
    intent_note_failure(w->intent, e.msg);
    return 1; /* the record stays, for the next start of vmkeep */
}

int
guard_main(void)
{
    struct watch w = {
        .window = deadline_never(), .worker = -1, .monitor = MONITOR};

    (void)prctl(PR_SET_NAME, "vmkeep-guard");
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    w.worker = (int)syscall(SYS_pidfd_open, getppid(), 0);
    bool dismissed = watch(&w);
    int status = !dismissed && w.intent ? put_right(&w) : 0;
    intent_free(w.intent);
    return status;
}
