/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent: a client of the guest agent (qemu-ga), for what a backup wants of it:
 * file systems that are whole on the disks for a moment.
 *
 * The agent runs in the guest and answers on a socket of QEMU's, which serves
 * one client at a time.  It says nothing by itself, so each connection begins
 * with a command that it must answer under a number of our own
 * (guest-sync-delimited); answers to others before us are dropped.
 *
 * Source:    QEMU docs/interop/qemu-ga-ref, qga/qapi-schema.json.
 * Trust:     all that comes is the guest's word: an answer is at most
 *            AGENT_REPLY_MAX bytes, every wait has a deadline.
 * Errors:    ERR_QEMU "COMMAND: what the agent said"; ERR_UNSUP if it does not
 *            offer the command; ERR_TIMEOUT if it does not answer; ERR_CORRUPT
 *            if that is no answer; ERR_LIMIT.  After any but the first two the
 *            connection is good for agent_sync and agent_close only.
 * Threads:   one a connection.
 */
#ifndef QEMU_AGENT_H
#define QEMU_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct agent;
struct err;
struct qmp;

enum {
    AGENT_REPLY_MAX = 65536,
    AGENT_NOISE_MAX = 1 << 20, /* bytes dropped in search of an answer */
    AGENT_PORTS_MAX = 1024     /* devices looked at */
};

/* Where a machine's agent is to be reached. */
struct agent_place {
    char *path;   /* of QEMU's socket, for this process; owned */
    bool is_open; /* somebody in the guest has the port open */
};

/*
 * Looks for a port "org.qemu.guest_agent.0" on a UNIX socket.  1, 0 if there is
 * none, -1.  `pid` is QEMU's.  *out is to be freed with agent_place_done.
 */
int agent_find(struct qmp *q, pid_t pid, struct agent_place *out,
               struct err *e);
void agent_place_done(struct agent_place *p);

/* Connect and sync.  ERR_TIMEOUT: nobody answers in the guest, or the socket
 * serves another client. */
int agent_open(const char *path, uint64_t timeout_ms, struct agent **out,
               struct err *e);
void agent_close(struct agent *a); /* NULL is allowed */
void agent_closep(struct agent **a);

/* Find the way again after an answer did not come in time: it may come yet, and
 * is dropped. */
int agent_sync(struct agent *a, uint64_t timeout_ms, struct err *e);

/* Are its file systems frozen, as far as the agent knows? */
int agent_status(struct agent *a, uint64_t timeout_ms, bool *out_frozen,
                 struct err *e);
/* Freeze all file systems that can be; *out_n: how many were.  A freeze that
 * was not answered may still be carried out. */
int agent_freeze(struct agent *a, uint64_t timeout_ms, uint64_t *out_n,
                 struct err *e);
int agent_thaw(struct agent *a, uint64_t timeout_ms, uint64_t *out_n,
               struct err *e);

#endif
