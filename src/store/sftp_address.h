/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sftp_address: where a folder is that ssh reaches.
 *
 *     sftp:[USER@]HOST:/PATH               sftp://[USER@]HOST[:PORT]/PATH
 *     sftp:[USER@]HOST:PATH                from the user's own folder there
 *
 * What ssh's own configuration knows about HOST holds: its port, user, keys,
 * jump hosts.
 */
#ifndef STORE_SFTP_ADDRESS_H
#define STORE_SFTP_ADDRESS_H

#include <stdbool.h>

struct err;

enum { SFTP_PATH_MAX = 1024 };

struct sftp_address {
    char *user; /* NULL: ssh decides */
    char *host;
    char *port; /* NULL: ssh decides */
    char *path; /* no '/' at its end */
};

bool sftp_address_is(const char *text);

/* ERR_USAGE. */
int sftp_address_parse(const char *text, struct sftp_address *out,
                       struct err *e);
void sftp_address_done(struct sftp_address *a);

#endif
