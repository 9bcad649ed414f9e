/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

/* What the page cache takes in one piece: Linux makes one folio of what a call
 * writes, and to find memory in pieces of 512 KiB and more can take it four
 * times as long as the copying (6.18, ext4). */
enum { PWRITE_BYTES = 128 << 10 };

void
fd_close(int *fd)
{
    if (*fd != -1)
        (void)close(*fd);
    *fd = -1;
}

void
fd_closep(int *fd)
{
    fd_close(fd);
}

int
fd_write(int fd, const void *p, size_t n, const char *what, struct err *e)
{
    const uint8_t *at = p;

    while (n > 0) {
        ssize_t w = write(fd, at, n);
        if (w == -1 && errno == EINTR)
            continue;
        if (w == -1)
            return err_set_errno(e, ERR_IO, "cannot write %s", what);
        if (w == 0) /* some devices at their end: for ever, if retried */
            return err_set(e, ERR_NOSPACE, "cannot write %s: it is full", what);
        at += w;
        n -= (size_t)w;
    }
    return 0;
}

int
fd_pwrite(int fd, const void *p, size_t n, uint64_t offset, const char *what,
          struct err *e)
{
    const uint8_t *at = p;

    while (n > 0) {
        size_t len = n < PWRITE_BYTES ? n : PWRITE_BYTES;
        ssize_t w = pwrite(fd, at, len, (off_t)offset);
        if (w == -1 && errno == EINTR)
            continue;
        if (w == -1)
            return err_set_errno(e, ERR_IO, "cannot write %s", what);
        if (w == 0)
            return err_set(e, ERR_NOSPACE, "cannot write %s: it is full", what);
        at += w;
        n -= (size_t)w;
        offset += (uint64_t)w;
    }
    return 0;
}

int
fd_pread(int fd, void *p, size_t n, uint64_t offset, const char *what,
         struct err *e)
{
    uint8_t *at = p;

    while (n > 0) {
        ssize_t r = pread(fd, at, n, (off_t)offset);
        if (r == -1 && errno == EINTR)
            continue;
        if (r == -1)
            return err_set_errno(e, ERR_IO, "cannot read %s", what);
        if (r == 0)
            return err_set(e, ERR_CORRUPT, "%s ends %zu bytes too early", what,
                           n);
        at += r;
        n -= (size_t)r;
        offset += (uint64_t)r;
    }
    return 0;
}

ssize_t
fd_read_some(int fd, void *p, size_t n)
{
    for (;;) {
        ssize_t r = read(fd, p, n);
        if (r != -1 || errno != EINTR)
            return r;
    }
}

int
fd_socketpair(int out[2], struct err *e)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == -1)
        return err_set_errno(e, ERR_IO, "cannot make a socket pair");
    return 0;
}

int
fd_send_with_fd(int sock, const void *p, size_t n, int pass, struct err *e)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_len = n};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof(control.room),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    assert(n > 0); /* without a byte to ride on the descriptor would be lost */
    memcpy(&iov.iov_base, &p, sizeof(p)); /* sendmsg does not write there */
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pass, sizeof(pass));

    while (iov.iov_len > 0) {
        ssize_t w = sendmsg(sock, &msg, MSG_NOSIGNAL);
        if (w == -1 && errno == EINTR)
            continue;
        if (w == -1)
            return err_set_errno(e, ERR_IO, "cannot pass a descriptor");
        iov.iov_base = (uint8_t *)iov.iov_base + w;
        iov.iov_len -= (size_t)w;
        msg.msg_control = NULL; /* once is enough */
        msg.msg_controllen = 0;
    }
    return 0;
}
