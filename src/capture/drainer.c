/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/drainer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/helper_internal.h"
#include "capture/ramfeed.h"
#include "capture/ramspool.h"

/* What it says to the worker, one byte each. */
enum { SAY_RAM = 'R', SAY_DONE = 'D', SAY_FAILED = 'F' };

/* ---- the worker's side ------------------------------------------------ */

struct drainer {
    int control;
    pid_t pid;
    enum drainer_state state;
};

int
drainer_start(struct ramspool *spool, int stream, struct drainer **out,
              struct err *e)
{
    int pair[2] = {-1, -1}, spool_fds[RAMSPOOL_FDS];
    pid_t pid = 0;

    if (fd_socketpair(pair, e) == -1)
        return -1;
    ramspool_fds(spool, spool_fds);
    const int fds[] = {pair[1], stream, spool_fds[0], spool_fds[1],
                       spool_fds[2]};
    int rc = helper_spawn("drainer", fds, ARRAY_LEN(fds), &pid, e);
    fd_close(&pair[1]);
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

enum { CONTROL = HELPER_FIRST_FD, STREAM, SPOOL_FDS, CHUNK_BYTES = 1 << 20 };

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

/* Reads on whatever happens; `e` keeps the first thing that went wrong. */
static void
read_to_the_end(struct ramfeed *f, struct ramspool *spool, struct err *e)
{
    uint8_t *chunk = xmalloc(CHUNK_BYTES);

    for (;;) {
        ssize_t n = fd_read_some(STREAM, chunk, CHUNK_BYTES);
        if (n == -1 && e->code == ERR_OK)
            (void)err_set_errno(e, ERR_IO, "cannot read the stream");
        if (n <= 0)
            break;
        ramspool_count(spool, (uint64_t)n);
        if (e->code == ERR_OK && ramfeed_push(f, chunk, (size_t)n, e) == -1) {
            ramspool_fail(spool, e);
            say(SAY_FAILED);
        }
    }
    free(chunk);
}

int
drainer_main(void)
{
    const int spool_fds[RAMSPOOL_FDS] = {SPOOL_FDS, SPOOL_FDS + 1,
                                         SPOOL_FDS + 2};
    struct ramspool *spool = NULL;
    struct err e = {0};

    (void)prctl(PR_SET_NAME, "vmkeep-drainer");
    (void)prctl(PR_SET_DUMPABLE, 0);
    if (ramspool_attach(spool_fds, &spool, &e) == -1)
        return 1; /* before anything has been armed: the worker sees the end */
    struct ramfeed *feed = ramfeed_new(spool, say_ram);
    read_to_the_end(feed, spool, &e);
    if (e.code != ERR_OK || ramfeed_end(feed, &e) == -1) {
        ramspool_fail(spool, &e);
        say(SAY_FAILED);
    } else {
        say(SAY_DONE);
    }
    ramfeed_free(feed);
    ramspool_free(spool);
    return e.code != ERR_OK;
}
