/* SPDX-License-Identifier: Apache-2.0 */
/*
 * standin: a store on tests/remote/sftpserver.py, and what stands for ssh: the
 * test's own program, which with --connect PORT NAME passes bytes on.
 */
#ifndef TESTS_STORE_STANDIN_H
#define TESTS_STORE_STANDIN_H

#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_internal.h"

enum { STANDIN_PATH = 400, STANDIN_HOURS_MS = 3600000 };

/* With the patience of a moment, or of hours. */
static inline int
standin_open(const char *port, const char *name, bool patiently,
             struct store **out, struct err *e)
{
    static const struct sftp_patience hasty = {.stall_ms = 1000,
                                               .backoff_ms = 4};
    static const struct sftp_patience patient = {
        .stall_ms = STANDIN_HOURS_MS, .backoff_ms = STANDIN_HOURS_MS};
    char program[STANDIN_PATH] = "";

    if (readlink("/proc/self/exe", program, sizeof(program) - 1) <= 0)
        abort();
    CLEANUP(freep)
    char *ssh = xasprintf("%s --connect %s %s", program, port, name);
    (void)setenv("VMKEEP_SSH_COMMAND", ssh, 1); /* NOLINT */
    return store_sftp_open_patient("sftp:user@host:/r", false,
                                   &(struct store_account){0},
                                   patiently ? &patient : &hasty, out, e);
}

static inline bool
pass_on(int from, int to)
{
    char bytes[65536];
    ssize_t n = read(from, bytes, sizeof(bytes));

    for (ssize_t done = 0; done < n;) {
        ssize_t w = write(to, bytes + done, (size_t)(n - done));
        if (w <= 0)
            return false;
        done += w;
    }
    return n > 0;
}

static inline int
connect_to(const char *port, const char *name)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port =
                                htons((uint16_t)strtoul(port, NULL, 10)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(s, (struct sockaddr *)&a, sizeof(a)) == -1 ||
        dprintf(s, "%s\n", name) < 0)
        return 1;
    for (;;) {
        struct pollfd p[2] = {{.fd = 0, .events = POLLIN},
                              {.fd = s, .events = POLLIN}};
        if (poll(p, 2, -1) == -1)
            return 1;
        if (p[0].revents && !pass_on(0, s))
            return 0;
        if (p[1].revents && !pass_on(s, 1))
            return 0;
    }
}

#endif
