/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/disk.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/guard.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/quiesce.h"
#include "qemu/agent.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "work/cancel.h"

/* ---- preflight ----------------------------------------------------------- */

/* In any state in which the disks are the guest's to write. */
static int
check_state(const struct live *l, struct err *e)
{
    static const char *const not_its_own[] = {"inmigrate",      "postmigrate",
                                              "finish-migrate", "restore-vm",
                                              "save-vm",        "colo"};
    const char *s = l->machine->status;

    for (size_t i = 0; i < ARRAY_LEN(not_its_own); i++)
        if (strcmp(s, not_its_own[i]) == 0)
            return err_set(e, ERR_QEMU,
                           "machine %s cannot be captured in run state '%s'",
                           l->machine->name, s);
    return 0;
}

/* Disks that QEMU does not see the contents of, and what goes past it. */
static int
check_devices(struct live *l, struct err *e)
{
    static const struct {
        const char *sign, *what;
        bool is_left_out; /* else the guest writes past our filters */
    } signs[] = {
        {"dev: scsi-generic", "the SCSI device of a host, passed through",
         false},
        {"dev: scsi-block", "the SCSI disk of a host, passed through", false},
        {"dev: vhost-user-blk", "a vhost-user-blk disk", true},
        {"dev: vhost-user-scsi", "a vhost-user-scsi disk", true},
        {"dev: vhost-scsi", "a vhost-scsi disk", true},
        {"dev: vhost-user-fs", "a shared folder (virtiofs)", true},
        {"dev: virtio-9p", "a shared folder (9p)", true},
        {"dev: vfio-pci", "a host's device (vfio), which may be a disk", true},
    };
    CLEANUP(freep) char *tree = NULL;

    if (qmp_human(l->qmp, "info qtree", &tree, e) == -1)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        if (!strstr(tree, signs[i].sign))
            continue;
        if (!signs[i].is_left_out)
            return err_set(e, ERR_QEMU,
                           "machine %s cannot be captured: it has %s, whose "
                           "writes QEMU does not see",
                           l->machine->name, signs[i].what);
        live_warn(l, xasprintf("%s is outside of QEMU and not in this backup",
                               signs[i].what));
    }
    return 0;
}

static void
no_freeze(struct live *l, const char *why)
{
    live_warn(l, xasprintf("crash-consistent: the guest's file systems were "
                           "not frozen: %s",
                           why));
}

/* Where is its agent?  That there is none is how many machines are. */
static int
find_agent(struct live *l, struct err *e)
{
    struct agent_place place = {0};

    if (l->options->agent) {
        l->agent = xstrdup(l->options->agent);
        return 0;
    }
    int found = agent_find(l->qmp, l->machine->pid, &place, e);
    if (found == 1 && l->machine->running) {
        if (place.is_open)
            l->agent = STEAL(place.path);
        else
            no_freeze(l, "no agent runs in it; install qemu-guest-agent there");
    }
    agent_place_done(&place);
    return found == -1 ? -1 : 0;
}

static int
disk_preflight(struct live *l, struct err *e)
{
    live_progress(l, "preflight", "");
    l->disks_only = true;
    if (live_check_version(l, e) == -1 || check_state(l, e) == -1 ||
        live_take_disks(l, e) == -1)
        return -1;
    if (l->n_disks == 0)
        return err_set(e, ERR_QEMU,
                       "machine %s cannot be captured by the method disk: it "
                       "has no disk that it can write to",
                       l->machine->name);
    if (check_devices(l, e) == -1 || live_look_at_iothreads(l, e) == -1 ||
        live_check_migration(l, e) == -1 || live_check_scratch(l, e) == -1 ||
        find_agent(l, e) == -1)
        return -1;
    return cancel_check(l->cancel, e);
}

/* ---- the instant -----------------------------------------------------------
 */

/* The guard knows the agent from the record: if we die it thaws. */
static int
freeze(struct live *l, struct agent **out, struct err *e)
{
    uint64_t ms = l->options->freeze_ms ? l->options->freeze_ms
                                        : (uint64_t)QUIESCE_FREEZE_MS;
    CLEANUP(freep) char *why = NULL;

    if (!l->machine->running) {
        no_freeze(l, "the machine was paused");
        return 0;
    }
    live_progress(l, "freeze", "");
    if (guard_open_window(l->guard, ms + QUIESCE_THAW_MS + l->max_pause_ms,
                          e) == -1)
        return -1;
    int rc = quiesce_begin(l->agent, ms, out, &why, e);
    if (rc == -1)
        return err_wrap(e, "machine %s", l->machine->name);
    if (rc == 0)
        no_freeze(l, why);
    return 0;
}

/* Nobody need thaw any more. */
static int
forget_agent(struct live *l, struct err *e)
{
    free(l->intent->agent);
    l->intent->agent = xstrdup("");
    if (guard_close_window(l->guard, e) == -1 ||
        guard_forget_agent(l->guard, e) == -1)
        return -1;
    return intent_save(l->intent, e);
}

static int
thaw(struct live *l, struct agent **a, struct err *e)
{
    bool held = false;

    /* The deadlines of the agent's answers come first; this is for the case
     * that this process hangs. */
    if (guard_open_window(l->guard, 3 * (uint64_t)QUIESCE_THAW_MS, e) == -1)
        return -1;
    if (quiesce_end(a, &held, e) == -1)
        return err_wrap(e, "machine %s", l->machine->name);
    if (held)
        l->result->consistency = CAPTURE_FROZEN;
    else
        no_freeze(l, "they were thawed before the instant had passed");
    return 0;
}

static int
disk_window(struct live *l, struct err *e)
{
    CLEANUP(agent_closep) struct agent *a = NULL;

    l->result->consistency = CAPTURE_CRASH;
    if (!l->agent)
        return live_window(l, e);
    if (cancel_check(l->cancel, e) == -1 || freeze(l, &a, e) == -1)
        return -1;
    uint64_t begin = clock_mono_ns();
    int rc = live_window(l, e);
    if (a) {
        /* The agent is part of the guest: it answers only if that runs. */
        if (rc == -1)
            return -1; /* undoing resumes it and thaws it */
        rc = thaw(l, &a, e);
        l->result->frozen_us = (clock_mono_ns() - begin) / 1000;
    }
    return rc == -1 ? -1 : forget_agent(l, e);
}

const struct capture_way disk_way = {
    .method = "disk",
    .preflight = disk_preflight,
    .begin = live_begin_backup,
    .prepare = live_prepare,
    .window = disk_window,
    .pull = live_pull,
    .settle = live_settle_tracking,
};

int
capture_disk(struct repo *r, const char *socket,
             const struct capture_options *o, struct cancel *cancel,
             struct capture_result *out, struct err *e)
{
    return capture_by(&disk_way, r, socket, o, cancel, out, e);
}
