/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/live.h"

#include <jansson.h>
#include <poll.h>
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
#include "capture/quiesce.h"
#include "capture/ramspool.h"
#include "capture/rescue.h"
#include "capture/undo.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"

enum { ENDING_MS = 3000, STUCK_MS = 500, UNDO_MS = 300000 };

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

/* The guest is as it was: no record, no guard any more. */
static void
go_home(struct live *l)
{
    if (!l->intent)
        return;
    intent_remove(l->intent);
    guard_dismiss(STEAL(l->guard));
    intent_free(STEAL(l->intent));
}

/* Its monitor goes before its process does.  A guest that stands still is no
 * time to wait for that. */
static bool
is_ending(const struct live *l)
{
    struct deadline d = deadline_in_ms(ENDING_MS);
    struct deadline stuck = deadline_in_ms(STUCK_MS);
    struct err ignored = {0};

    while (!l->intent->window_open && !deadline_passed(d)) {
        if (!intent_machine_lives(l->intent))
            return true;
        if (deadline_passed(stuck) && l->intent->pid &&
            undo_cancel_freezes(l->qmp)) {
            (void)rescue_lift(l->intent->pid, &ignored);
            stuck = deadline_never();
        }
        (void)poll(NULL, 0, 20);
    }
    return false;
}

/* The guard ends a pause that is too long, and us with it.  Once the guest runs
 * there is time for all the rest: its stream may take long to end. */
static void
end_pause(struct live *l)
{
    struct err ignored = {0}; /* undo tries again, and says so */

    if (l->guard && l->intent->window_open &&
        undo_pause(l->qmp, l->intent, &ignored) == 0 &&
        quiesce_undo(l->qmp, l->intent, &ignored) == 0)
        (void)guard_open_window(l->guard, UNDO_MS, &ignored);
}

/*
 * Take everything out of the guest again; `keep`: but for the bitmaps that the
 * next backup is to build on, and then the guard and the record stay, until it
 * is known whether this one is published.  If it fails here, the guard tries on
 * its own; the record stays until somebody has managed.
 */
static int
disarm(struct live *l, bool keep, struct err *e)
{
    int rc = 0;

    if (!l->intent)
        return 0;
    keep = keep && l->intent->bitmap[0];
    if (l->guard && l->drainer && drainer_state(l->drainer) == DRAINER_FAILED &&
        !drainer_lives(l->drainer)) {
        struct err ignored = {0};
        (void)guard_drain(l->guard, &ignored);
    }
    if (intent_machine_lives(
            l->intent)) { /* else nothing is left to be undone */
        end_pause(l);
        rc = (keep ? undo_but_tracking : undo)(l->qmp, l->intent, e);
    }
    if (rc == -1 && is_ending(l))
        rc = 0;
    if (rc == 0 && keep)
        return 0;
    if (rc == 0) {
        go_home(l);
        return 0;
    }
    if (l->guard)
        guard_hand_over(STEAL(l->guard));
    intent_free(STEAL(l->intent));
    return -1;
}

void
live_done(struct live *l)
{
    backup_abandonp(&l->backup);
    drainer_free(l->drainer);
    ramspool_free(l->spool);
    fd_close(&l->stream[0]);
    fd_close(&l->stream[1]);
    manifest_free(l->manifest);
    manifest_free(l->base);
    savevm_free(l->savevm);
    for (size_t i = 0; i < l->n_disks; i++)
        fd_close(&l->disks[i].scratch_fd);
    free(l->disks);
    free(l->agent);
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

/* Restoring has to do without them. */
static json_t *
excluded_to_json(const struct live *l)
{
    json_t *list = json_array();

    for (size_t i = 0; i < l->machine->n_disks; i++)
        if (live_excludes(l, &l->machine->disks[i]))
            json_array_append_new(list, json_string(l->machine->disks[i].name));
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
    m->detail = json_pack("{s:o, s:s, s:s, s:I, s:o}", "machine",
                          machine_to_json(l->machine), "vmkeep", VMKEEP_VERSION,
                          "consistency", l->result->consistency, "pause_us",
                          (json_int_t)p->total_us, "warnings",
                          warnings_to_json(l->result));
    json_t *excluded = excluded_to_json(l);
    if (json_array_size(excluded) > 0)
        json_object_set(m->detail, "excluded", excluded);
    json_decref(excluded);
}

static int
connect_machine(struct live *l, const char *socket, struct err *e)
{
    if (qmp_connect(socket, &l->qmp, e) == -1)
        return -1;
    return machine_describe(l->qmp, socket, &l->machine, e);
}

/* `rc` and `e`: how it went so far. */
static int
disarm_after(struct live *l, int rc, struct err *e)
{
    struct err undo_failed = {0};

    if (disarm(l, rc == 0, &undo_failed) == 0)
        return rc;
    if (rc == 0)
        *e = undo_failed;
    else
        (void)err_hint(e, "and putting the guest right failed: %s",
                       undo_failed.msg);
    return err_hint(e, "`vmkeep machines` tries again to clean up");
}

/* Everything up to the point where the guest is rid of us. */
static int
capture(const struct capture_way *way, struct live *l, struct err *e)
{
    int rc = way->prepare(l, e);
    if (rc == 0)
        rc = way->window(l, e);
    if (rc == 0)
        rc = way->pull(l, e);
    const struct intent was = {.pid = l->machine->pid,
                               .start_time = l->machine->start_time};
    int result = disarm_after(l, rc, e);
    if (rc == -1 && !intent_machine_lives(&was))
        (void)err_wrap(e, "machine %s ended during its backup",
                       l->machine->name);
    return result;
}

/* The bitmaps mean the id under which it was to be published, which it may
 * have lost if this host was suspended. */
static int
publish(const struct capture_way *way, struct live *l, struct err *e)
{
    CLEANUP(freep) char *id = xstrdup(l->manifest->id);

    if (backup_commit(&l->backup, l->manifest, e) == -1)
        return disarm_after(l, -1, e);
    l->tracked = l->intent && strcmp(id, l->manifest->id) == 0;
    if (l->intent && !l->tracked) {
        struct err later = {0};
        (void)disarm(l, false, &later);
        return 0;
    }
    bool settle =
        l->intent ? intent_machine_lives(l->intent) : l->options->no_tracking;
    go_home(l);
    if (settle)
        way->settle(l);
    return 0;
}

static int
begin(const struct capture_way *way, struct live *l, struct err *e)
{
    l->manifest = manifest_new();
    if (way->begin)
        return way->begin(l, e);
    return backup_begin(l->repo, NULL, l->cancel, &l->backup, e);
}

static void
report_disks(struct live *l)
{
    struct capture_result *r = l->result;
    const struct machine *m = l->machine;

    r->disks = xcalloc(m->n_disks + 1, sizeof(r->disks[0]));
    for (size_t i = 0; i < l->n_disks; i++)
        r->disks[r->n_disks++] =
            (struct capture_disk){.name = xstrdup(l->disks[i].disk->name),
                                  .why_full = l->disks[i].why_full,
                                  .read_bytes = l->disks[i].read_bytes,
                                  .size_bytes = l->disks[i].disk->size_bytes};
    for (size_t i = 0; i < m->n_disks; i++)
        if (live_excludes(l, &m->disks[i]))
            r->disks[r->n_disks++] =
                (struct capture_disk){.name = xstrdup(m->disks[i].name),
                                      .size_bytes = m->disks[i].size_bytes,
                                      .excluded = true};
}

/* Nothing has been done yet: another method may still be tried. */
static int
check_able(const struct capture_way *way, struct live *l, struct err *e)
{
    int rc = way->preflight(l, e);

    if (rc == -1 && e->code == ERR_QEMU)
        e->code = ERR_UNSUP;
    return rc;
}

static int
run(const struct capture_way *way, struct live *l, const char *socket,
    struct err *e)
{
    if (connect_machine(l, socket, e) == -1 || check_able(way, l, e) == -1 ||
        begin(way, l, e) == -1 || capture(way, l, e) == -1)
        return -1;
    live_progress(l, "publish", "");
    fill_manifest(l, way->method);
    if (way->begin)
        report_disks(l);
    return publish(way, l, e);
}

int
capture_by(const struct capture_way *way, struct repo *r, const char *socket,
           const struct capture_options *o, struct cancel *cancel,
           struct capture_result *out, struct err *e)
{
    uint64_t begin = clock_mono_ns();
    struct capture_result result = {.consistency = CAPTURE_FULL};
    struct live l = {
        .repo = r,
        .options = o,
        .cancel = cancel,
        .result = &result,
        .scratch_dir = o->scratch_dir ? o->scratch_dir : CAPTURE_SCRATCH_DIR,
        .max_pause_ms =
            o->max_pause_ms ? o->max_pause_ms : CAPTURE_MAX_PAUSE_MS,
        .cbw_timeout_s =
            o->cbw_timeout_s ? o->cbw_timeout_s : CAPTURE_CBW_TIMEOUT_S,
        .min_free_bytes =
            o->min_free_bytes ? o->min_free_bytes : CAPTURE_MIN_FREE_BYTES,
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

const struct capture_way live_way = {
    .method = "live",
    .preflight = live_preflight,
    .begin = live_begin_backup,
    .prepare = live_prepare,
    .window = live_window,
    .pull = live_pull,
    .settle = live_settle_tracking,
};

int
capture_live(struct repo *r, const char *socket,
             const struct capture_options *o, struct cancel *cancel,
             struct capture_result *out, struct err *e)
{
    return capture_by(&live_way, r, socket, o, cancel, out, e);
}

void
capture_result_done(struct capture_result *r)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        free(r->warnings[i]);
    for (size_t i = 0; i < r->n_disks; i++)
        free(r->disks[i].name);
    free(r->disks);
    manifest_free(r->manifest);
    *r = (struct capture_result){0};
}
