/* SPDX-License-Identifier: Apache-2.0 */
/* qmp_internal: what qmp.c (a connection that is up) and qmp_connect.c (getting
 * there) share. */
#ifndef QEMU_QMP_INTERNAL_H
#define QEMU_QMP_INTERNAL_H

#include "base/err.h"
#include "qemu/eventlist.h"
#include "qemu/jsonframe.h"
#include "qemu/qmp.h"

enum { QMP_SAID_MAX = 600 }; /* of QEMU's words in a message of ours */

/* A command that was sent and not redeemed. */
struct pending {
    struct pending *next;
    uint64_t ticket;
    char *command;
    json_t *reply; /* NULL until it has come */
};

struct qmp {
    int fd;
    char *name; /* of the connection, for messages */
    uint64_t timeout_ms;
    struct qmp_version version;
    struct jsonframe frame;
    struct eventlist events;
    struct pending *pending;
    size_t n_pending;
    uint64_t last_ticket;
    char id_prefix[24]; /* an id is this and the ticket: no other client's */
    json_t *greeting;   /* the QMP object of the greeting, once it has come */
    json_t *commands;   /* QEMU's list of commands as an object, or NULL */
    bool adopting;      /* what we do not know is a dead client's: dropped */
    struct err broken;  /* ERR_OK while the connection works */
};

/* A connection over `fd`, which it takes; nothing is said yet. */
struct qmp *qmp_new(int fd, const char *name);

/* From now on every call fails with this error.  Returns -1. */
int qmp_break(struct qmp *q, struct err *e);

/*
 * One step of reading: the messages that are here, else what arrives until
 * `d`.  1, 0 if the deadline passed, -1.
 */
int qmp_step(struct qmp *q, struct deadline d, struct err *e);

/* Sends n bytes as they are. */
int qmp_send_bytes(struct qmp *q, const char *p, size_t n, struct err *e);

#endif
