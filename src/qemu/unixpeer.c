/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/unixpeer.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "qemu/process.h"

enum { DUMP_CHUNK = 65536 };

/* One UNIX socket, as sock_diag tells. */
struct entry {
    uint32_t inode; /* 0: in a server's queue, not accepted yet */
    uint32_t peer;  /* 0: none */
    uint32_t vfs_inode, vfs_dev;
    char path[109];
    bool connected;
};

/* What is looked for. */
struct query {
    uint32_t own;          /* inode of our end */
    const char *path;      /* of the server; NULL: the peer of `own` */
    const struct stat *at; /* of that path */
    uint32_t found;        /* inode of the socket looked for */
};

static void
read_attributes(struct unix_diag_msg *m, size_t len, struct entry *out)
{
    struct unix_diag_vfs vfs;
    struct rtattr *a = (void *)(m + 1);

    out->inode = m->udiag_ino;
    out->connected = m->udiag_state == TCP_ESTABLISHED;
    for (len -= sizeof(*m); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        size_t n = RTA_PAYLOAD(a);
        if (a->rta_type == UNIX_DIAG_NAME && n < sizeof(out->path))
            memcpy(out->path, RTA_DATA(a), n);
        if (a->rta_type == UNIX_DIAG_PEER && n == sizeof(out->peer))
            memcpy(&out->peer, RTA_DATA(a), n);
        if (a->rta_type == UNIX_DIAG_VFS && n == sizeof(vfs)) {
            memcpy(&vfs, RTA_DATA(a), n);
            out->vfs_inode = vfs.udiag_vfs_ino;
            out->vfs_dev = vfs.udiag_vfs_dev;
        }
    }
}

/* The kernel's encoding of a device number: 12 bits major, 20 minor. */
static bool
same_file(const struct entry *s, const struct stat *st)
{
    return s->vfs_inode == (uint32_t)st->st_ino &&
           makedev(s->vfs_dev >> 20, s->vfs_dev & 0xfffff) == st->st_dev;
}

static void
look_at(const struct entry *s, struct query *q)
{
    if (!q->path) {
        if (s->inode == q->own)
            q->found = s->peer;
        return;
    }
    /* The path as the server gave it may be relative, or mean another file. */
    if (s->connected && s->inode && s->peer && s->peer != q->own &&
        (same_file(s, q->at) || strcmp(s->path, q->path) == 0))
        q->found = s->peer;
}

static int
ask(int sock)
{
    struct {
        struct nlmsghdr h;
        struct unix_diag_req r;
    } request = {
        .h = {.nlmsg_len = sizeof(request),
              .nlmsg_type = SOCK_DIAG_BY_FAMILY,
              .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .r = {.sdiag_family = AF_UNIX,
              .udiag_states = UINT32_MAX,
              .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_VFS},
    };

    return send(sock, &request, sizeof(request), 0) == sizeof(request) ? 0 : -1;
}

/* Runs the kernel's list of UNIX sockets past the query. */
static void
dump(struct query *q)
{
    CLEANUP(fd_closep)
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    CLEANUP(freep) struct nlmsghdr *chunk = xmalloc(DUMP_CHUNK);

    if (sock == -1 || ask(sock) == -1)
        return;
    for (;;) {
        ssize_t got = fd_read_some(sock, chunk, DUMP_CHUNK);
        if (got <= 0)
            return;
        size_t left = (size_t)got;
        for (struct nlmsghdr *h = chunk; NLMSG_OK(h, left);
             h = NLMSG_NEXT(h, left)) {
            struct entry s = {0};
            size_t n = NLMSG_PAYLOAD(h, 0);
            if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
                n < sizeof(struct unix_diag_msg))
                return; /* NLMSG_DONE, or an error */
            read_attributes(NLMSG_DATA(h), n, &s);
            look_at(&s, q);
        }
    }
}

pid_t
unixpeer_of(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == -1)
        return 0;
    struct query q = {.own = (uint32_t)st.st_ino};
    dump(&q);
    return q.found ? process_with_socket(q.found) : 0;
}

bool
unixpeer_client(const char *path, int fd, pid_t *out_pid)
{
    struct stat own, at;

    if (fstat(fd, &own) == -1 || stat(path, &at) == -1)
        return false;
    struct query q = {.own = (uint32_t)own.st_ino, .path = path, .at = &at};
    dump(&q);
    *out_pid = q.found ? process_with_socket(q.found) : 0;
    return q.found != 0;
}
