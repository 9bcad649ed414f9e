/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbdlink: a connection of libnbd's on which no wait is for ever.
 *
 * The server is a QEMU that may hang in any of its threads, so each wait, the
 * handshake's too, ends with the user's cancel, with the caller's wish, or when
 * nothing has come for too long.
 *
 * Reads are issued by the caller on the handle; their answers are taken in
 * nbdlink_wait.
 */
#ifndef CAPTURE_NBDLINK_H
#define CAPTURE_NBDLINK_H

#include <libnbd.h>
#include <stdint.h>

struct cancel;
struct err;
struct nbdlink;

struct nbdlink_patience {
    /* Called several times a second while nothing comes; -1 ends the wait with
     * that error. */
    int (*tick)(void *cookie, struct err *e);
    void *cookie;
    struct cancel *cancel;
    uint64_t stall_ms; /* nothing for so long: the server hangs */
};

/* The export `name` at the UNIX socket `path`, with one meta context.  `p`, its
 * cookie and the cancel must stay until it is closed. */
int nbdlink_open(const char *path, const char *name, const char *context,
                 const struct nbdlink_patience *p, struct nbdlink **out,
                 struct err *e);
/* Says goodbye first, where the server still listens.  NULL is allowed. */
void nbdlink_close(struct nbdlink *n);
/* At once; what is under way ends without an answer.  NULL is allowed. */
void nbdlink_cut(struct nbdlink *n);

struct nbd_handle *nbdlink_handle(const struct nbdlink *n);

/* Until something has come, or could be sent.  ERR_TIMEOUT if the server hangs,
 * ERR_IO if it is gone; then the link can only be closed. */
int nbdlink_wait(struct nbdlink *n, struct err *e);

/* Ask for the extents in [at, at + len); `fn` has been called, or not, when it
 * is back, and never later. */
int nbdlink_block_status(struct nbdlink *n, uint64_t at, uint64_t len,
                         nbd_extent_callback fn, struct err *e);

/* "what: libnbd's last error", ERR_IO; returns -1. */
int nbdlink_failed(struct err *e, const char *what);

#endif
