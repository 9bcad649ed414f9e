/* SPDX-License-Identifier: Apache-2.0 */
#include "work/cancel.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

struct cancel {
    atomic_bool raised;
    int fd; /* eventfd, readable once raised */
};

struct cancel *
cancel_new(void)
{
    struct cancel *c = xcalloc(1, sizeof(*c));

    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->fd == -1) { /* what cannot be stopped must not start */
        perror("vmkeep: eventfd");
        abort();
    }
    return c;
}

void
cancel_free(struct cancel *c)
{
    if (!c)
        return;
    (void)close(c->fd);
    free(c);
}

void
cancel_freep(struct cancel **c)
{
    cancel_free(*c);
}

void
cancel_raise(struct cancel *c)
{
    static const uint64_t one = 1;
    int no = errno; /* of the code that a signal interrupted */

    atomic_store(&c->raised, true);
    /* Can only fail when the counter is full, and then it is readable. */
    if (write(c->fd, &one, sizeof(one)) == -1)
        errno = no;
}

bool
cancel_raised(const struct cancel *c)
{
    return atomic_load(&c->raised);
}

int
cancel_fd(const struct cancel *c)
{
    return c->fd;
}

int
cancel_check(const struct cancel *c, struct err *e)
{
    if (cancel_raised(c))
        return err_set(e, ERR_CANCELED, "interrupted");
    return 0;
}
