/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quiesce: the guest's file systems whole on its disks for a moment, with the
 * help of the agent in the guest (qemu/agent.h).
 *
 * The agent is the guest's and may do anything: say nothing, answer late, lie.
 * So "frozen" is believed only if the agent says so before and after the
 * instant, and in any doubt the disks count as after a power cut.  What is not
 * left in doubt is the thaw: until the agent has said "thawed" the guest counts
 * as frozen, and the record (intent.h) keeps whoever comes next at it.
 */
#ifndef CAPTURE_QUIESCE_H
#define CAPTURE_QUIESCE_H

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct err;
struct intent;
struct qmp;

enum {
    QUIESCE_ANSWER_MS = 3000,  /* a living agent answers in milliseconds */
    QUIESCE_FREEZE_MS = 10000, /* hooks of databases and flushing take time */
    QUIESCE_THAW_MS = 30000    /* longest that we try to get a guest thawed */
};

/*
 * 1: they are frozen, and *out, the connection, is to go to quiesce_end.  0:
 * they are not, and *out_why (to be freed) says why.  -1: they may be, and the
 * agent cannot be made to say that they are not.
 */
int quiesce_begin(const char *path, uint64_t freeze_ms, struct agent **out,
                  char **out_why, struct err *e);

/*
 * Thaw.  0 if the agent says that they are thawed; *out_held: that they had
 * stayed frozen until now.  Frees *a in any case.
 */
int quiesce_end(struct agent **a, bool *out_held, struct err *e);

/* Thaw whatever is frozen there, over a connection of its own. */
int quiesce_thaw(const char *path, struct err *e);

/* Thaw what a capture of that record may have left frozen; the guest must run.
 * 0 also if nobody in the guest has the agent's port open any more. */
int quiesce_undo(struct qmp *q, const struct intent *in, struct err *e);

#endif
