/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/nbdlink.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "work/cancel.h"

enum { TICK_MS = 250, GOODBYE_MS = 1000 };

struct nbdlink {
    struct nbd_handle *nbd;
    const struct nbdlink_patience *patience;
    bool given_up; /* an answer that nobody waits for may come */
};

int
nbdlink_failed(struct err *e, const char *what)
{
    return err_set(e, ERR_IO, "%s: %s", what, nbd_get_error());
}

struct nbd_handle *
nbdlink_handle(const struct nbdlink *n)
{
    return n->nbd;
}

/* ---- waiting ------------------------------------------------------------- */

static struct pollfd
interest(struct nbd_handle *nbd)
{
    unsigned direction = nbd_aio_get_direction(nbd);
    struct pollfd p = {.fd = nbd_aio_get_fd(nbd)};

    if (direction & LIBNBD_AIO_DIRECTION_READ)
        p.events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        p.events |= POLLOUT;
    return p;
}

/* libnbd wants to be told of one direction, and reading first: answers make
 * room. */
static int
notify(struct nbd_handle *nbd, const struct pollfd *p)
{
    if ((p->events & POLLIN) && (p->revents & (POLLIN | POLLHUP | POLLERR)))
        return nbd_aio_notify_read(nbd);
    if ((p->events & POLLOUT) && (p->revents & (POLLOUT | POLLERR)))
        return nbd_aio_notify_write(nbd);
    return 0;
}

static int
await_and_notify(struct nbdlink *n, struct err *e)
{
    const struct nbdlink_patience *patience = n->patience;
    struct deadline stall = deadline_in_ms(patience->stall_ms);
    struct pollfd p[] = {
        interest(n->nbd),
        {.fd = cancel_fd(patience->cancel), .events = POLLIN},
    };

    while (poll(p, ARRAY_LEN(p), TICK_MS) == 0) {
        if (deadline_passed(stall))
            return err_set(e, ERR_TIMEOUT, "QEMU's NBD server does not answer");
        if (patience->tick(patience->cookie, e) == -1)
            return -1;
    }
    if (cancel_check(patience->cancel, e) == -1)
        return -1;
    return notify(n->nbd, &p[0]) == -1 ? nbdlink_failed(e, "NBD connection")
                                       : 0;
}

int
nbdlink_wait(struct nbdlink *n, struct err *e)
{
    if (await_and_notify(n, e) == 0)
        return 0;
    n->given_up = true;
    return -1;
}

/* ---- connecting ---------------------------------------------------------- */

static int
connect_to(struct nbdlink *n, const char *path, const char *name,
           const char *context, struct err *e)
{
    n->nbd = nbd_create();
    if (!n->nbd)
        return nbdlink_failed(e, "NBD");
    if (nbd_set_export_name(n->nbd, name) == -1 ||
        nbd_add_meta_context(n->nbd, context) == -1 ||
        nbd_aio_connect_unix(n->nbd, path) == -1)
        return nbdlink_failed(e, "cannot connect to QEMU's NBD server");
    while (nbd_aio_is_connecting(n->nbd) == 1)
        if (nbdlink_wait(n, e) == -1)
            return err_wrap(e, "cannot connect to QEMU's NBD server");
    if (nbd_aio_is_ready(n->nbd) == 1)
        return 0;
    return err_set(e, ERR_IO,
                   "cannot connect to QEMU's NBD server: it has closed the "
                   "connection");
}

int
nbdlink_open(const char *path, const char *name, const char *context,
             const struct nbdlink_patience *p, struct nbdlink **out,
             struct err *e)
{
    struct nbdlink *n = xcalloc(1, sizeof(*n));

    n->patience = p;
    if (connect_to(n, path, name, context, e) == -1) {
        nbdlink_cut(n);
        return -1;
    }
    *out = n;
    return 0;
}

void
nbdlink_cut(struct nbdlink *n)
{
    if (!n)
        return;
    nbd_close(n->nbd);
    free(n);
}

/* So that the server does not take it for a broken connection. */
static void
say_goodbye(struct nbd_handle *nbd)
{
    struct deadline d = deadline_in_ms(GOODBYE_MS);

    if (nbd_aio_disconnect(nbd, 0) == -1)
        return;
    while (!deadline_passed(d) && nbd_aio_is_closed(nbd) == 0 &&
           nbd_aio_is_dead(nbd) == 0) {
        struct pollfd p = interest(nbd);
        if (poll(&p, 1, TICK_MS) == 1 && notify(nbd, &p) == -1)
            return;
    }
}

void
nbdlink_close(struct nbdlink *n)
{
    if (n && !n->given_up && nbd_aio_is_ready(n->nbd) == 1)
        say_goodbye(n->nbd);
    nbdlink_cut(n);
}

/* ---- asking -------------------------------------------------------------- */

int
nbdlink_block_status(struct nbdlink *n, uint64_t at, uint64_t len,
                     nbd_extent_callback fn, struct err *e)
{
    int done = 0;
    int64_t cookie =
        nbd_aio_block_status(n->nbd, len, at, fn, NBD_NULL_COMPLETION, 0);

    if (cookie == -1)
        return nbdlink_failed(e, "cannot ask what is allocated");
    while ((done = nbd_aio_command_completed(n->nbd, (uint64_t)cookie)) == 0)
        if (nbdlink_wait(n, e) == -1)
            return err_wrap(e, "cannot ask what is allocated");
    return done == 1 ? 0 : nbdlink_failed(e, "cannot ask what is allocated");
}
