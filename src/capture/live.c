/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/live.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "capture/drainer.h"
#include "capture/guard.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/ramspool.h"
#include "capture/undo.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"

void
live_warn(struct live *l, char *text)
{
    struct capture_result *r = l->result;

    if (r->n_warnings < CAPTURE_MAX_WARNINGS)
        r->warnings[r->n_warnings++] = text;
    else
        free(text);
}

void
live_progress(struct live *l, const char *phase, const char *what)
{
    struct progress p = {phase, what, l->done_bytes, l->total_bytes};

    if (l->options->progress)
        l->options->progress(l->options->progress_cookie, &p);
}

/*
 * Take everything out of the guest again.  If that fails here, the guard tries
 * on its own; the record stays until somebody has managed.
 */
static int
disarm(struct live *l, struct err *e)
{
    int rc = 0;

    if (!l->intent)
        return 0;
    if (l->guard && l->drainer && drainer_state(l->drainer) == DRAINER_FAILED) {
        struct err ignored = {0};
        (void)guard_drain(l->guard, &ignored);
    }
    if (!intent_machine_lives(l->intent))
        rc = 0; /* nothing is left to be undone */
    else
        rc = undo(l->qmp, l->intent, e);
    if (rc == 0) {
        intent_remove(l->intent);
        guard_dismiss(STEAL(l->guard));
    } else if (l->guard) {
        guard_hand_over(STEAL(l->guard));
    }
    intent_free(STEAL(l->intent));
    return rc;
}

static void
live_done(struct live *l)
{
    backup_abandonp(&l->backup);
    drainer_free(l->drainer);
    ramspool_free(l->spool);
    fd_close(&l->stream[0]);
    fd_close(&l->stream[1]);
    manifest_free(l->manifest);
    savevm_free(l->savevm);
    free(l->disks);
    qmp_close(l->qmp);
    machine_free(l->machine);
}

static json_t *
warnings_to_json(const struct capture_result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->n_warnings; i++)
        json_array_append_new(list, json_string(r->warnings[i]));
    return list;
}

static void
set_text(char **member, const char *text)
{
    free(*member);
    *member = xstrdup(text);
}

/* What restore/ needs to know, and what people ask later. */
static void
fill_manifest(struct live *l, const char *method)
{
    struct manifest *m = l->manifest;
    const struct capture_pause *p = &l->result->pause;
    char host[256] = "";

    (void)gethostname(host, sizeof(host) - 1);
    m->time_ns = l->instant_ns;
    set_text(&m->machine, l->machine->name);
    set_text(&m->uuid, l->machine->uuid);
    set_text(&m->host, host);
    set_text(&m->method, method);
    json_decref(m->detail);
    m->detail = json_pack("{s:o, s:s, s:I, s:o}", "machine",
                          machine_to_json(l->machine), "vmkeep", VMKEEP_VERSION,
                          "pause_us", (json_int_t)p->total_us, "warnings",
                          warnings_to_json(l->result));
}

static int
connect_machine(struct live *l, const char *socket, struct err *e)
{
    if (qmp_connect(socket, &l->qmp, e) == -1)
        return -1;
    return machine_describe(l->qmp, socket, &l->machine, e);
}

/* Everything up to the point where the guest is rid of us. */
static int
capture(const struct capture_way *way, struct live *l, struct err *e)
{
    struct err undo_failed = {0};

    int rc = way->prepare(l, e);
    if (rc == 0)
        rc = way->window(l, e);
    if (rc == 0)
        rc = way->pull(l, e);
    if (disarm(l, &undo_failed) == 0)
        return rc;
    if (rc == 0)
        *e = undo_failed;
    else
        (void)err_hint(e, "and putting the guest right failed: %s",
                       undo_failed.msg);
    return err_hint(e, "`vmkeep machines` tries again to clean up");
}

static int
run(const struct capture_way *way, struct live *l, const char *socket,
    struct err *e)
{
    if (connect_machine(l, socket, e) == -1 || way->preflight(l, e) == -1)
        return -1;
    if (backup_begin(l->repo, NULL, l->cancel, &l->backup, e) == -1)
        return -1;
    l->manifest = manifest_new();
    if (capture(way, l, e) == -1)
        return -1;
    live_progress(l, "publish", "");
    fill_manifest(l, way->method);
    return backup_commit(&l->backup, l->manifest, e);
}

int
capture_by(const struct capture_way *way, struct repo *r, const char *socket,
           const struct capture_options *o, struct cancel *cancel,
           struct capture_result *out, struct err *e)
{
    uint64_t begin = clock_mono_ns();
    struct capture_result result = {0};
    struct live l = {
        .repo = r,
        .options = o,
        .cancel = cancel,
        .result = &result,
        .scratch_dir = o->scratch_dir ? o->scratch_dir : "/var/tmp",
        .max_pause_ms =
            o->max_pause_ms ? o->max_pause_ms : CAPTURE_MAX_PAUSE_MS,
        .cbw_timeout_s =
            o->cbw_timeout_s ? o->cbw_timeout_s : CAPTURE_CBW_TIMEOUT_S,
        .stream = {-1, -1},
    };

    int rc = run(way, &l, socket, e);
    if (rc == 0) {
        result.manifest = STEAL(l.manifest);
        result.duration_ns = clock_mono_ns() - begin;
        *out = result;
    } else {
        capture_result_done(&result);
    }
    live_done(&l);
    return rc;
}

int
capture_live(struct repo *r, const char *socket,
             const struct capture_options *o, struct cancel *cancel,
             struct capture_result *out, struct err *e)
{
    static const struct capture_way way = {
        .method = "live",
        .preflight = live_preflight,
        .prepare = live_prepare,
        .window = live_window,
        .pull = live_pull,
    };

    return capture_by(&way, r, socket, o, cancel, out, e);
}

void
capture_result_done(struct capture_result *r)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        free(r->warnings[i]);
    manifest_free(r->manifest);
    *r = (struct capture_result){0};
}
