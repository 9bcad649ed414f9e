/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/unixconnect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"

enum { BACKLOG_WAIT_MS = 50 }; /* between attempts at a full queue */

/*
 * The address of `path`, or, as that holds only 107 bytes, of *hold, which is
 * then a descriptor of the socket file.
 */
static int
address_of(const char *what, const char *path, struct sockaddr_un *out,
           int *hold, struct err *e)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) < sizeof(out->sun_path)) {
        memcpy(out->sun_path, path, strlen(path));
        return 0;
    }
    *hold = open(path, O_PATH | O_CLOEXEC);
    if (*hold == -1)
        return err_set_errno(e, ERR_QEMU, "%s %s", what, path);
    (void)snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d",
                   *hold);
    return 0;
}

static int
connect_to(int fd, const char *what, const char *path, struct deadline d,
           struct err *e)
{
    CLEANUP(fd_closep) int hold = -1;
    struct sockaddr_un to;

    if (address_of(what, path, &to, &hold, e) == -1)
        return -1;
    while (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == -1) {
        struct stat st;
        if ((errno == EAGAIN || errno == EINTR) && !deadline_passed(d)) {
            (void)poll(NULL, 0, BACKLOG_WAIT_MS);
            continue;
        }
        if (errno == EAGAIN)
            return 0;
        if (errno != ECONNREFUSED)
            return err_set_errno(e, ERR_QEMU, "%s %s", what, path);
        if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
            return err_set(e, ERR_QEMU, "%s %s: not a socket", what, path);
        return err_set(e, ERR_NOENT,
                       "%s %s: nobody listens there; is the machine running?",
                       what, path);
    }
    return 0;
}

int
unix_connect(const char *what, const char *path, struct deadline d, int *out,
             struct err *e)
{
    CLEANUP(fd_closep)
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1)
        return err_set_errno(e, ERR_IO, "cannot make a socket");
    if (connect_to(fd, what, path, d, e) == -1)
        return -1;
    *out = fd;
    fd = -1;
    return 0;
}
