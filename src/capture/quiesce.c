/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/quiesce.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/intent.h"
#include "qemu/agent.h"

enum { RETRY_MS = 200 };

/* Thawed, by its own word, on a connection that is in step. */
static int
thaw(struct agent *a, bool *out_was_frozen, struct err *e)
{
    bool frozen = false;
    uint64_t n = 0;

    if (agent_status(a, QUIESCE_ANSWER_MS, &frozen, e) == -1)
        return -1;
    *out_was_frozen = frozen;
    if (!frozen)
        return 0;
    if (agent_thaw(a, QUIESCE_ANSWER_MS, &n, e) == -1 ||
        agent_status(a, QUIESCE_ANSWER_MS, &frozen, e) == -1)
        return -1;
    if (frozen)
        return err_set(e, ERR_QEMU, "it says they still are");
    return 0;
}

/* The same, again and again until `d`, whatever the connection is like. */
static int
thaw_surely(struct agent *a, struct deadline d, struct err *e)
{
    bool was = false;

    for (;;) {
        err_clear(e);
        int left = deadline_poll_ms(d);
        if (agent_sync(a, left > 0 ? (uint64_t)left : 1, e) == 0 &&
            thaw(a, &was, e) == 0)
            return 0;
        if (deadline_passed(d))
            return -1;
        (void)poll(NULL, 0, RETRY_MS);
    }
}

static int
still_frozen(struct err *e)
{
    (void)err_wrap(e, "the guest's file systems may be frozen, and its agent "
                      "does not thaw them");
    return err_hint(e, "`fsfreeze -u MOUNTPOINT` in the guest does, or a "
                       "reset");
}

/* A freeze that failed, or about which the agent says odd things. */
static int
take_back(struct agent *a, struct err *e)
{
    struct err later = {0};

    if (thaw_surely(a, deadline_in_ms(QUIESCE_THAW_MS), &later) == 0)
        return 0;
    *e = later;
    return still_frozen(e);
}

/* 1: frozen; 0: not, with the reason in `why`; -1: nobody knows. */
static int
freeze(struct agent *a, uint64_t freeze_ms, struct err *why, struct err *e)
{
    bool frozen = false;
    uint64_t n = 0;

    if (agent_status(a, QUIESCE_ANSWER_MS, &frozen, why) == -1)
        return 0;
    if (frozen) { /* whoever did it will want to thaw it */
        (void)err_set(why, ERR_QEMU, "somebody else has frozen them");
        return 0;
    }
    if (agent_freeze(a, freeze_ms, &n, why) == 0 &&
        agent_status(a, QUIESCE_ANSWER_MS, &frozen, why) == 0) {
        if (frozen && n > 0)
            return 1;
        (void)err_set(why, ERR_QEMU, "the guest agent froze none");
    }
    return take_back(a, e);
}

int
quiesce_begin(const char *path, uint64_t freeze_ms, struct agent **out,
              char **out_why, struct err *e)
{
    CLEANUP(agent_closep) struct agent *a = NULL;
    struct err why = {0};
    int rc = 0;

    if (agent_open(path, QUIESCE_ANSWER_MS, &a, &why) == 0)
        rc = freeze(a, freeze_ms, &why, e);
    if (rc == 0)
        *out_why = xstrdup(why.msg);
    if (rc == 1)
        *out = STEAL(a);
    return rc;
}

int
quiesce_end(struct agent **a, bool *out_held, struct err *e)
{
    CLEANUP(agent_closep) struct agent *mine = STEAL(*a);
    struct err first = {0};
    bool held = false;

    int rc = thaw(mine, &held, &first);
    *out_held = held && rc == 0;
    return rc == 0 ? 0 : take_back(mine, e);
}

/* ---- for whoever comes after ----------------------------------------------
 */

int
quiesce_thaw(const char *path, struct err *e)
{
    struct deadline d = deadline_in_ms(QUIESCE_THAW_MS);

    for (;;) {
        CLEANUP(agent_closep) struct agent *a = NULL;
        int left = deadline_poll_ms(d);
        err_clear(e);
        if (agent_open(path, left > 0 ? (uint64_t)left : 1, &a, e) == 0 &&
            thaw_surely(a, d, e) == 0)
            return 0;
        if (deadline_passed(d) || e->code == ERR_NOENT)
            return still_frozen(e);
        (void)poll(NULL, 0, RETRY_MS);
    }
}

/* Has nobody in the guest the port open any more?  If we cannot tell: no. */
static bool
is_gone(struct qmp *q, const struct intent *in)
{
    struct agent_place place = {0};
    struct err ignored = {0};
    bool gone = agent_find(q, in->pid, &place, &ignored) == 1 &&
                strcmp(place.path, in->agent) == 0 && !place.is_open;

    agent_place_done(&place);
    return gone;
}

int
quiesce_undo(struct qmp *q, const struct intent *in, struct err *e)
{
    if (in->agent[0] == '\0' || is_gone(q, in))
        return 0;
    return quiesce_thaw(in->agent, e);
}
