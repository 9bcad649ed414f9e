/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/drainer.h"

#include <errno.h>
#include <stdbool.h>
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
#include "capture/ramspool.h"
#include "vmstate/decoder.h"
#include "vmstate/encoder.h"

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

struct drain {
    struct ramspool *spool;
    struct vmstate_decoder *decoder;
    struct vmstate_encoder *skeleton; /* the stream without its pages */
    bool saw_page;
};

static void
say(char what)
{
    /* Nobody may be listening any more; the stream must be read all the same.
     */
    (void)send(CONTROL, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int
take_head(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct drain *d = cookie;

    return vmstate_encode_head(d->skeleton, p, len, e);
}

static int
take_tail(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct drain *d = cookie;

    return vmstate_encode_tail(d->skeleton, p, len, e);
}

static int
take_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    struct drain *d = cookie;

    if (ramspool_set_blocks(d->spool, ram, e) == -1)
        return -1;
    return vmstate_encode_ram(d->skeleton, ram, e);
}

static int
take_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
          struct err *e)
{
    struct drain *d = cookie;

    if (!d->saw_page)
        say(SAY_RAM);
    d->saw_page = true;
    return ramspool_put_page(d->spool, block, offset, data, e);
}

static const struct vmstate_sink sink = {
    .head = take_head,
    .tail = take_tail,
    .blocks = take_blocks,
    .page = take_page,
};

static int
write_state(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct drain *d = cookie;

    return ramspool_put_state(d->spool, p, len, e);
}

/* Reads on whatever happens; `e` keeps the first thing that went wrong. */
static void
read_to_the_end(struct drain *d, struct err *e)
{
    uint8_t *chunk = xmalloc(CHUNK_BYTES);

    for (;;) {
        ssize_t n = fd_read_some(STREAM, chunk, CHUNK_BYTES);
        if (n == -1 && e->code == ERR_OK)
            (void)err_set_errno(e, ERR_IO, "cannot read the stream");
        if (n <= 0)
            break;
        ramspool_count(d->spool, (uint64_t)n);
        if (e->code == ERR_OK &&
            vmstate_decoder_push(d->decoder, chunk, (size_t)n, e) == -1) {
            ramspool_fail(d->spool, e);
            say(SAY_FAILED);
        }
    }
    free(chunk);
}

static int
finish(struct drain *d, struct err *e)
{
    if (e->code != ERR_OK)
        return -1;
    if (vmstate_decoder_end(d->decoder, e) == -1 ||
        vmstate_encode_end(d->skeleton, e) == -1)
        return -1;
    return ramspool_finish(d->spool, e);
}

int
drainer_main(void)
{
    const int spool_fds[RAMSPOOL_FDS] = {SPOOL_FDS, SPOOL_FDS + 1,
                                         SPOOL_FDS + 2};
    struct drain d = {0};
    struct err e = {0};

    (void)prctl(PR_SET_NAME, "vmkeep-drainer");
    (void)prctl(PR_SET_DUMPABLE, 0);
    if (ramspool_attach(spool_fds, &d.spool, &e) == -1)
        return 1; /* before anything has been armed: the worker sees the end */
    d.decoder = vmstate_decoder_new(&sink, &d, RAMSPOOL_UNIT_BYTES);
    d.skeleton = vmstate_encoder_new(write_state, &d);
    read_to_the_end(&d, &e);
    if (finish(&d, &e) == -1) {
        ramspool_fail(d.spool, &e);
        say(SAY_FAILED);
    } else {
        say(SAY_DONE);
    }
    vmstate_decoder_free(d.decoder);
    vmstate_encoder_free(d.skeleton);
    ramspool_free(d.spool);
    return e.code != ERR_OK;
}
