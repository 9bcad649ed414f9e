/* SPDX-License-Identifier: Apache-2.0 */
/* usage: ... s3server.py|rgw.py|sshd.py: every promise of store.h, kept over a
 * network by one of the servers in tests/remote. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "conformance.h"
#include "server.h"
#include "store/store.h"

static struct server server;

static struct store *
open_at(const char *address, bool create)
{
    struct store *st = NULL;
    struct err e = {0};

    if ((create ? store_create : store_open)(address, &st, &e) == -1)
        fail_msg("%s", e.msg);
    return st;
}

/* A new prefix of one bucket each. */
static struct store *
s3_make(void **own)
{
    static int number;

    *own =
        xasprintf("s3:http://127.0.0.1:%s/fine/test/%d", server.text, number++);
    return open_at(*own, true);
}

static struct store *
reopen(struct store *st, void *own)
{
    store_close(st);
    return open_at(own, false);
}

/* A new folder each, which the server's end removes. */
static struct store *
sftp_make(void **own)
{
    static int number;

    *own = xasprintf("sftp:127.0.0.1:%s/data/%d/repo", server.text, number++);
    return open_at(*own, true);
}

static void
destroy(struct store *st, void *own)
{
    store_close(st);
    free(own);
}

int
main(int argc, char **argv)
{
    struct conformance_backend backend = {
        .name = "s3", .make = s3_make, .reopen = reopen, .destroy = destroy};

    if (argc != 2)
        return 2;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setenv("AWS_ACCESS_KEY_ID", "AKTEST", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "SKTEST", 1);
    if (!server_start(&server, argv + 1)) {
        (void)printf("1..0 # SKIP %s\n", server.text);
        return server.skipped ? 0 : 1;
    }
    if (strcmp(argv[1], "sshd.py") == 0) {
        CLEANUP(freep)
        char *ssh = xasprintf("ssh -F %s/ssh_config", server.text);
        (void)setenv("VMKEEP_SSH_COMMAND", ssh, 1);
        backend.name = "sftp";
        backend.make = sftp_make;
    }
    int failed = conformance_run(&backend, 1);
    server_stop(&server);
    return failed;
}
