/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sftp_ssh: the user's own ssh, run so that it speaks SFTP with a host.
 */
#ifndef STORE_SFTP_SSH_H
#define STORE_SFTP_SSH_H

#include <stdbool.h>
#include <sys/types.h>

struct err;
struct sftp_address;

struct ssh {
    pid_t pid; /* 0: it does not run */
    int fd;    /* its standard input and output; non-blocking */
    int said;  /* its standard error */
};

/* The command is VMKEEP_SSH_COMMAND, to the shell, or ssh.  ERR_STORE; *out is
 * to be ended in any case. */
int ssh_start(const struct sftp_address *where, struct ssh *out, struct err *e);
/* `greeted`: it has connected, and sees the end of what it is to say. */
void ssh_end(struct ssh *s, bool greeted);

/* What it had to say until now, as one printable line, or ""; the caller's. */
char *ssh_said(const struct ssh *s);

#endif
