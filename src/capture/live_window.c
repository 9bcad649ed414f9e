/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pause.  Its steps, each begun only when the one before is known to be
 * done: stop; arm every disk (all commands under way at once); start the RAM
 * stream; the first page in the stream says that RAM is write-protected;
 * resume.
 *
 * Who resumes: QEMU up to 8.2 does it itself, also for a guest that was paused
 * before; from 9.0 it is up to us.  The first page comes after QEMU has queued
 * whatever it will do about it, so one query-status behind that page tells.
 */
#include <jansson.h>
#include <poll.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/drainer.h"
#include "capture/guard.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "work/cancel.h"

enum {
    GRACE_MS = 1000,       /* to end a pause that is too long */
    RESUME_EVENT_MS = 2000 /* the event is sent before `cont` returns */
};

/* What the clock said, in monotonic nanoseconds. */
struct lap {
    uint64_t begin, stopped, armed, resumed;
};

/* As soon as it has been too long the guest is let go. */
static int
check_pause(const struct live *l, struct err *e)
{
    if (!l->machine->running || !deadline_passed(l->window_end))
        return 0;
    (void)err_set(e, ERR_TIMEOUT,
                  "the pause of machine %s was longer than allowed (%llu ms)",
                  l->machine->name, (unsigned long long)l->max_pause_ms);
    return err_hint(e, "allow more with --max-pause");
}

/* ---- stop --------------------------------------------------------------- */

static int
stop_guest(struct live *l, struct err *e)
{
    /* The guard is for the case that we hang ourselves. */
    if (guard_open_window(l->guard, l->max_pause_ms + 2 * GRACE_MS, e) == -1)
        return -1;
    l->window_end = deadline_in_ms(l->max_pause_ms);
    qmp_set_timeout_ms(l->qmp, l->max_pause_ms + GRACE_MS);
    l->intent->window_open = true;
    qmp_forget_events(l->qmp);
    l->instant_ns = clock_wall_ns();
    if (!l->machine->running)
        return 0;
    return qmp_run(l->qmp, "stop", NULL, NULL, e);
}

/* ---- start the stream and resume ---------------------------------------- */

static int
start_stream(struct live *l, struct err *e)
{
    char name[LABEL_MAX];
    CLEANUP(freep) char *uri = NULL;

    label_make(name, l->intent->run, LABEL_STREAM_FD, 0);
    uri = xasprintf("fd:%s", name);
    return live_start_stream(l, uri, e);
}

/* Has QEMU said that the stream failed? */
static int
check_failed(struct live *l, struct err *e)
{
    struct qmp_event ev = {0};
    int rc = 0;

    while ((rc = qmp_event(l->qmp, "MIGRATION", deadline_in_ms(0), &ev, e)) ==
           1) {
        const char *s = json_string_value(json_object_get(ev.data, "status"));
        bool failed =
            s && (strcmp(s, "failed") == 0 || strcmp(s, "cancelled") == 0);
        if (s && strcmp(s, "setup") == 0)
            l->setup_ns = ev.time_ns;
        if (s && strcmp(s, "active") == 0)
            l->active_ns = ev.time_ns;
        qmp_event_done(&ev);
        if (failed)
            return err_set(e, ERR_QEMU,
                           "QEMU could not start the RAM stream of machine %s; "
                           "its log may say why",
                           l->machine->name);
    }
    return rc;
}

static int
await_first_page(struct live *l, struct err *e)
{
    struct deadline d = l->window_end;

    for (;;) {
        struct pollfd p[] = {
            {.fd = drainer_fd(l->drainer), .events = POLLIN},
            {.fd = qmp_fd(l->qmp), .events = POLLIN},
        };
        enum drainer_state s = drainer_state(l->drainer);
        if (s == DRAINER_RAM || s == DRAINER_DONE)
            return 0;
        if (check_failed(l, e) == -1)
            return -1;
        if (s == DRAINER_FAILED)
            return err_set(e, ERR_QEMU, "the RAM stream ended before it began");
        if (check_pause(l, e) == -1)
            return -1;
        (void)poll(p, ARRAY_LEN(p), deadline_poll_ms(d));
    }
}

static int
is_running(struct live *l, bool *out, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(l->qmp, "query-status", NULL, &reply, e) == -1)
        return -1;
    *out = json_is_true(json_object_get(reply, "running"));
    return 0;
}

static int
resume_guest(struct live *l, struct err *e)
{
    bool running = false;

    if (is_running(l, &running, e) == -1)
        return -1;
    if (l->machine->running && !running)
        return qmp_run(l->qmp, "cont", NULL, NULL, e);
    if (!l->machine->running && running) {
        live_warn(l, xasprintf("QEMU before 9.0 resumed the paused machine for "
                               "a moment; it is paused again"));
        return qmp_run(l->qmp, "stop", NULL, NULL, e);
    }
    return 0;
}

/* ---- how long it was ----------------------------------------------------- */

void
live_measure_by_events(struct live *l)
{
    struct capture_pause *out = &l->result->pause;
    struct qmp_event stop = {0}, resume = {0};
    struct deadline d = deadline_in_ms(RESUME_EVENT_MS);
    struct err ignored = {0};

    if (qmp_event(l->qmp, "STOP", d, &stop, &ignored) == 1 &&
        qmp_event(l->qmp, "RESUME", d, &resume, &ignored) == 1 &&
        resume.time_ns > stop.time_ns) {
        out->total_us = (uint64_t)(resume.time_ns - stop.time_ns) / 1000;
        l->instant_ns = stop.time_ns;
    }
    qmp_event_done(&stop);
    qmp_event_done(&resume);
}

/* QEMU tells of "setup" when it begins and of "active" when all RAM has been
 * touched; then it saves the devices and protects the RAM. */
static void
split_ram(struct live *l, struct capture_pause *p)
{
    struct err ignored = {0};

    (void)check_failed(l, &ignored); /* takes what it said since */
    if (l->setup_ns == 0 || l->active_ns < l->setup_ns)
        return;
    p->populate_us =
        u64_min(p->ram_us, (uint64_t)(l->active_ns - l->setup_ns) / 1000);
    p->protect_us = p->ram_us - p->populate_us;
}

static void
measure(struct live *l, const struct lap *lap)
{
    struct capture_pause *p = &l->result->pause;

    if (!l->machine->running)
        return; /* no pause of ours */
    p->stop_us = (lap->stopped - lap->begin) / 1000;
    p->arm_us = (lap->armed - lap->stopped) / 1000;
    p->total_us = (lap->resumed - lap->begin) / 1000;
    live_measure_by_events(l);
    /* The guest may run again long before we hear of the first page. */
    p->ram_us = p->total_us - u64_min(p->total_us, p->stop_us + p->arm_us);
    split_ram(l, p);
    if (p->total_us > l->max_pause_ms * 1000)
        live_warn(l,
                  xasprintf("it stood still for %llu ms, longer than allowed",
                            (unsigned long long)p->total_us / 1000));
}

static int
pause_and_resume(struct live *l, struct lap *lap, struct err *e)
{
    lap->begin = clock_mono_ns();
    if (stop_guest(l, e) == -1 || check_pause(l, e) == -1)
        return -1;
    lap->stopped = clock_mono_ns();
    if (live_arm(l, e) == -1 || check_pause(l, e) == -1)
        return -1;
    lap->armed = clock_mono_ns();
    if (!l->disks_only &&
        (start_stream(l, e) == -1 || await_first_page(l, e) == -1))
        return -1;
    if (resume_guest(l, e) == -1)
        return -1;
    lap->resumed = clock_mono_ns();
    return 0;
}

int
live_window(struct live *l, struct err *e)
{
    struct lap lap = {0};

    if (cancel_check(l->cancel, e) == -1)
        return -1;
    live_progress(l, "pause", "");
    int rc = pause_and_resume(l, &lap, e);
    qmp_reset_timeout(l->qmp);
    if (rc == -1)
        return -1;
    l->intent->window_open = false;
    if (guard_close_window(l->guard, e) == -1 ||
        intent_save(l->intent, e) == -1)
        return -1;
    measure(l, &lap);
    return 0;
}
