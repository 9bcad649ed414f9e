/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/drainer.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/helper_internal.h"
#include "capture/ramfeed.h"
#include "capture/ramspool.h"
#include "capture/rescue.h"
#include "work/pool.h"
#include "work/queue.h"

/* What it says to the worker, one byte each. */
enum { SAY_RAM = 'R', SAY_DONE = 'D', SAY_FAILED = 'F' };

/* What it is told first, little-endian: the stall, and QEMU's process. */
enum { TOLD_BYTES = 8 };

/* ---- the worker's side ------------------------------------------------ */

struct drainer {
    int control;
    pid_t pid;
    enum drainer_state state;
};

int
drainer_start(struct ramspool *spool, int stream, uint32_t stall_ms, pid_t qemu,
              struct drainer **out, struct err *e)
{
    uint8_t told[TOLD_BYTES];
    int pair[2] = {-1, -1}, spool_fds[RAMSPOOL_FDS];
    pid_t pid = 0;

    if (fd_socketpair(pair, e) == -1)
        return -1;
    ramspool_fds(spool, spool_fds);
    const int fds[] = {pair[1], stream, spool_fds[0], spool_fds[1],
                       spool_fds[2]};
    int rc = helper_spawn("drainer", fds, ARRAY_LEN(fds), &pid, e);
    fd_close(&pair[1]);
    put_le32(told, stall_ms);
    put_le32(told + 4, (uint32_t)qemu);
    if (rc == 0)
        rc = fd_write(pair[0], told, sizeof(told), "to the drainer", e);
    if (rc == -1) {
        fd_close(&pair[0]);
        return -1;
    }
    *out = xcalloc(1, sizeof(**out));
    (*out)->control = pair[0];
    (*out)->pid = pid;
    return 0;
}

int
drainer_fd(const struct drainer *d)
{
    return d->control;
}

enum drainer_state
drainer_state(struct drainer *d)
{
    char said = 0;

    while (d->state < DRAINER_DONE) {
        ssize_t n = recv(d->control, &said, 1, MSG_DONTWAIT);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN)
            break;
        if (n == 1 && said == SAY_RAM)
            d->state = DRAINER_RAM;
        else
            d->state =
                n == 1 && said == SAY_DONE ? DRAINER_DONE : DRAINER_FAILED;
    }
    return d->state;
}

bool
drainer_lives(const struct drainer *d)
{
    char said = 0;

    return recv(d->control, &said, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

void
drainer_free(struct drainer *d)
{
    if (!d)
        return;
    fd_close(&d->control);
    /* One that still reads is left to init, which outlives us. */
    (void)waitpid(d->pid, NULL, d->state == DRAINER_DONE ? 0 : WNOHANG);
    free(d);
}

/* ---- the process ------------------------------------------------------- */

enum { CONTROL = HELPER_FIRST_FD, STREAM, SPOOL_FDS };
enum {
    CHUNK_BYTES = 1 << 20,
    CHUNKS = 32, /* on their way to the spool */
    NAP_MS = 5,
    HOLD_LOOK_MS = 100
};

struct chunk {
    size_t len;
    uint8_t bytes[CHUNK_BYTES];
};

/* The main thread reads; another one writes to the spool, which may hang. */
struct draining {
    struct ramspool *spool;
    struct ramfeed *feed; /* the writer's */
    struct queue *empty, *full;
    struct err failed;      /* the writer's, until it has ended */
    atomic_bool has_failed; /* one of them: nothing is kept any more */
    uint64_t stall_ms;
    pid_t qemu;
};

static void
say(char what)
{
    /* Nobody may be listening any more; the stream must be read all the same.
     */
    (void)send(CONTROL, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
say_ram(void)
{
    say(SAY_RAM);
}

static void
fail(struct draining *d, const struct err *why)
{
    if (atomic_exchange(&d->has_failed, true))
        return;
    ramspool_fail(d->spool, why);
    say(SAY_FAILED);
}

static void
write_chunks(void *arg)
{
    struct draining *d = arg;
    struct chunk *c = NULL;

    while ((c = queue_pop(d->full))) {
        if (!atomic_load(&d->has_failed) &&
            ramfeed_push(d->feed, c->bytes, c->len, &d->failed) == -1)
            fail(d, &d->failed);
        (void)queue_push(d->empty, c);
    }
}

/* An empty chunk, or NULL if there was none for too long: then the spool has
 * failed, and the writer is not to be waited for. */
static struct chunk *
take_chunk(struct draining *d)
{
    struct deadline end = deadline_in_ms(d->stall_ms);
    struct chunk *c = NULL;
    struct err e = {0};

    while (!(c = queue_try_pop(d->empty))) {
        if (deadline_passed(end)) {
            (void)err_set(&e, ERR_TIMEOUT,
                          "the scratch folder took none of the RAM for %llu ms",
                          (unsigned long long)d->stall_ms);
            fail(d, &e);
            return NULL;
        }
        (void)poll(NULL, 0, NAP_MS);
    }
    return c;
}

/* The next bytes, and what else has come by then. */
static ssize_t
read_chunk(uint8_t *out)
{
    ssize_t n = fd_read_some(STREAM, out, CHUNK_BYTES);
    ssize_t more = n;

    while (more > 0 && n < CHUNK_BYTES) {
        more = recv(STREAM, out + n, (size_t)(CHUNK_BYTES - n), MSG_DONTWAIT);
        n += more > 0 ? more : 0;
    }
    return n;
}

/*
 * Let the guest go on without us, and then wait with the rest of the stream
 * until the writer is at work again.  False if that cannot be: then it is to be
 * read on at once.
 */
static bool
hold(struct draining *d)
{
    struct pollfd p = {.fd = STREAM, .events = POLLRDHUP};
    struct err ignored = {0};
    struct chunk *c = NULL;

    if (d->qemu == 0 || rescue_lift(d->qemu, &ignored) < 1)
        return false;
    while (!(c = queue_try_pop(d->empty)))
        if (poll(&p, 1, HOLD_LOOK_MS) == 1)
            return false; /* QEMU has gone */
    (void)queue_push(d->empty, c);
    return true;
}

/* Reads on whatever happens.  False if the writer hangs. */
static bool
read_to_the_end(struct draining *d)
{
    static uint8_t waste[CHUNK_BYTES];
    struct chunk *c = NULL;
    bool hangs = false;

    for (;;) {
        if (!c && !hangs) {
            c = take_chunk(d);
            hangs = !c && !hold(d);
            if (!c && !hangs)
                continue;
        }
        ssize_t n = read_chunk(c ? c->bytes : waste);
        if (n == -1) {
            struct err e = {0};
            (void)err_set_errno(&e, ERR_IO, "cannot read the stream");
            fail(d, &e);
        }
        if (n <= 0)
            break;
        ramspool_count(d->spool, (uint64_t)n);
        if (c) {
            c->len = (size_t)n;
            (void)queue_push(d->full, STEAL(c));
        }
    }
    free(c);
    queue_close(d->full);
    return !hangs;
}

static int
finish(struct draining *d)
{
    struct err e = {0};

    if (!atomic_load(&d->has_failed) && ramfeed_end(d->feed, &e) == -1)
        fail(d, &e);
    if (atomic_load(&d->has_failed))
        return 1;
    say(SAY_DONE);
    return 0;
}

static int
drain(struct draining *d)
{
    struct chunk *c = NULL;

    d->empty = queue_new(CHUNKS);
    d->full = queue_new(CHUNKS);
    for (int i = 0; i < CHUNKS; i++)
        (void)queue_push(d->empty, xmalloc(sizeof(struct chunk)));
    struct thread *writer = thread_start(write_chunks, d);
    if (!read_to_the_end(d))
        return 1; /* the writer has all of this; the process ends now */
    thread_join(writer);
    int status = finish(d);
    while ((c = queue_try_pop(d->empty)))
        free(c);
    queue_free(d->empty);
    queue_free(d->full);
    ramfeed_free(d->feed);
    ramspool_free(d->spool);
    return status;
}

int
drainer_main(void)
{
    const int spool_fds[RAMSPOOL_FDS] = {SPOOL_FDS, SPOOL_FDS + 1,
                                         SPOOL_FDS + 2};
    static struct draining d; /* the writer may outlive this function */
    uint8_t told[TOLD_BYTES];
    struct err e = {0};

    (void)prctl(PR_SET_NAME, "vmkeep-drainer");
    (void)prctl(PR_SET_DUMPABLE, 0);
    /* If not: it is before anything was armed, and the worker sees the end. */
    if (recv(CONTROL, told, sizeof(told), MSG_WAITALL) != sizeof(told) ||
        ramspool_attach(spool_fds, &d.spool, &e) == -1)
        return 1;
    d.stall_ms = get_le32(told);
    d.qemu = (pid_t)get_le32(told + 4);
    d.feed = ramfeed_new(d.spool, say_ram);
    return drain(&d);
}
