/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp: a client of QEMU's machine protocol on a UNIX socket.
 *
 * QEMU serves one client a socket at a time: a second one connects, but gets no
 * greeting until the first is gone.  Events that arrive while a reply is
 * awaited are kept, in order; how many, and which are forgotten first, says
 * eventlist.h.
 *
 * Source:    QEMU docs/interop/qmp-spec.txt (2.x), qmp-intro.
 * Threads:   one thread a connection.  Never the thread that also reads the
 *            migration stream: QEMU may wait for that reader.
 * Trust:     QEMU may have been taken over by its guest: a message is at most
 *            QMP_MESSAGE_MAX bytes, every wait has a deadline.
 * Errors:    ERR_QEMU "COMMAND: what QEMU said"; ERR_UNSUP if QEMU does not
 *            know the command; ERR_NOENT for its class DeviceNotFound;
 *            ERR_LIMIT for a message that is too long; ERR_TIMEOUT.  After
 * ERR_TIMEOUT or a broken connection every later call fails at once, with the
 * same code.
 */
#ifndef QEMU_QMP_H
#define QEMU_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct err;
struct qmp;

enum {
    QMP_MESSAGE_MAX = 16 << 20,
    QMP_TIMEOUT_MS = 10000,
    QMP_GREETING_MS = 3000, /* to connect, and for the greeting */
    QMP_PENDING_MAX = 1024  /* commands sent and not redeemed */
};

struct qmp_version {
    unsigned major, minor, micro;
    char package[64]; /* such as "Debian 1:7.2+dfsg-7", may be "" */
};

/*
 * Connect to the UNIX socket and negotiate.  ERR_NOENT: no socket there, or
 * nobody listens; ERR_QEMU: it is no QMP; ERR_TIMEOUT: no greeting, which is
 * how a monitor that serves another client looks (the message says so and, if
 * /proc tells, who holds it).
 */
int qmp_connect(const char *path, struct qmp **out, struct err *e);

/*
 * Take over the negotiated connection `fd` from a process that is gone, maybe
 * in the middle of a command: resynchronises with a byte 0xFF and reads until
 * QEMU answers a first command.  `fd` is the connection's from then on.
 */
int qmp_adopt(int fd, struct qmp **out, struct err *e);
/* The same, with this timeout (see qmp_set_timeout_ms) from the start: QEMU may
 * be busy with what the other process has asked for. */
int qmp_adopt_patiently(int fd, uint64_t timeout_ms, struct qmp **out,
                        struct err *e);

void qmp_close(struct qmp *q); /* NULL is allowed */
void qmp_closep(struct qmp **q);

int qmp_fd(const struct qmp *q);
const struct qmp_version *qmp_version(const struct qmp *q);

/* The deadline of each later wait for a reply; at first, and after a reset, the
 * usual one. */
void qmp_set_timeout_ms(struct qmp *q, uint64_t ms);
void qmp_reset_timeout(struct qmp *q);
/* What is usual in this process: QMP_TIMEOUT_MS, or this from now on, where
 * QEMU is known to be slow.  To be called before there are threads. */
void qmp_set_usual_timeout_ms(uint64_t ms);

/*
 * Run a command and wait for its reply.  `args` (an object, or NULL) is taken.
 * *out, if wanted, is the caller's.
 */
int qmp_run(struct qmp *q, const char *command, json_t *args, json_t **out,
            struct err *e);

/* The same, passing the descriptor `fd` along (getfd, add-fd). */
int qmp_run_fd(struct qmp *q, const char *command, json_t *args, int fd,
               json_t **out, struct err *e);

/* A line of the human monitor ("info ramblock").  *out is what it printed,
 * mostly nothing if all went well: the caller's, never NULL. */
int qmp_human(struct qmp *q, const char *line, char **out, struct err *e);

/*
 * The same in two halves, so that many commands are under way at once: QEMU
 * runs them in order, also after one has failed.  Each ticket must be redeemed,
 * in the order of sending.
 */
int qmp_send(struct qmp *q, const char *command, json_t *args,
             uint64_t *out_ticket, struct err *e);
int qmp_redeem(struct qmp *q, uint64_t ticket, json_t **out, struct err *e);

struct qmp_event {
    char *name;      /* "STOP" */
    json_t *data;    /* an object or NULL */
    int64_t time_ns; /* QEMU's time stamp: wall clock, microseconds */
};

/*
 * The oldest kept event with that name (NULL: any), which is then the
 * caller's, waiting for it until `d`.  1, or 0 if the deadline passed.
 */
int qmp_event(struct qmp *q, const char *name, struct deadline d,
              struct qmp_event *out, struct err *e);
void qmp_event_done(struct qmp_event *ev);
/* Forget all events that were kept. */
void qmp_forget_events(struct qmp *q);

/* Is this command (feature detection) in QEMU's list?  1, 0, -1. */
int qmp_has_command(struct qmp *q, const char *command, struct err *e);

#endif
