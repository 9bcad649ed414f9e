/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/snapshot.h"

#include <jansson.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"
#include "qemu/qmp.h"

enum { POLL_MS = 20, SAVE_JOB = 0, DELETE_JOB = 1, SAID_MAX = 300 };

/* What the human monitor prints is its error. */
static int
human_command(struct qmp *q, const char *verb, const char *tag, struct err *e)
{
    CLEANUP(freep) char *line = xasprintf("%s %s", verb, tag);
    CLEANUP(freep) char *said = NULL;

    if (qmp_human(q, line, &said, e) == -1)
        return -1;
    if (!*said)
        return 0;
    CLEANUP(freep) char *fit = text_quote(said, SAID_MAX);
    return err_set(e, ERR_QEMU, "%s: %s", verb, fit);
}

/* ---- jobs ---------------------------------------------------------------- */

static bool
has_ended(const json_t *job)
{
    const char *status = json_string_value(json_object_get(job, "status"));

    return status && strcmp(status, "concluded") == 0;
}

/* The job of this id, borrowed from `jobs`, or NULL. */
static const json_t *
find_job(const json_t *jobs, const char *id)
{
    json_t *job = NULL;
    size_t i = 0;

    json_array_foreach(jobs, i, job)
    {
        const char *its = json_string_value(json_object_get(job, "id"));
        if (its && strcmp(its, id) == 0)
            return job;
    }
    return NULL;
}

static int
forget_job(struct qmp *q, const char *id, struct err *e)
{
    return qmp_run(q, "job-dismiss", json_pack("{s:s}", "id", id), NULL, e);
}

/*
 * Until the job has ended; it is forgotten then.  1 and *out_error (to be
 * freed, or NULL) says how it ended, 0 if there is no such job.
 */
static int
await_job(struct qmp *q, const char *id, char **out_error, struct err *e)
{
    struct deadline d = deadline_in_ms(SNAPSHOT_PATIENCE_MS);

    for (;;) {
        CLEANUP(json_decrefp) json_t *jobs = NULL;
        if (qmp_run(q, "query-jobs", NULL, &jobs, e) == -1)
            return -1;
        const json_t *job = find_job(jobs, id);
        if (!job)
            return 0;
        if (has_ended(job)) {
            const char *why = json_string_value(json_object_get(job, "error"));
            *out_error = why ? text_quote(why, SAID_MAX) : NULL;
            return forget_job(q, id, e) == -1 ? -1 : 1;
        }
        if (deadline_passed(d))
            return err_set(e, ERR_TIMEOUT, "job %s does not end", id);
        (void)poll(NULL, 0, POLL_MS);
    }
}

/* `args` is taken. */
static int
run_job(struct qmp *q, const char *command, json_t *args, const char *id,
        struct err *e)
{
    CLEANUP(freep) char *why = NULL;

    if (qmp_run(q, command, args, NULL, e) == -1)
        return -1;
    int r = await_job(q, id, &why, e);
    if (r == 0)
        return err_set(e, ERR_QEMU, "%s: its job is gone", command);
    if (r == 1 && why)
        return err_set(e, ERR_QEMU, "%s: %s", command, why);
    return r == -1 ? -1 : 0;
}

/* ---- taking -------------------------------------------------------------- */

int
snapshot_take(struct qmp *q, const struct intent *in, size_t vmstate_disk,
              struct err *e)
{
    char id[LABEL_MAX];
    int has = qmp_has_command(q, "snapshot-save", e);

    if (has != 1)
        return has == -1 ? -1 : human_command(q, "savevm", in->snapshot, e);
    json_t *nodes = json_array();
    for (size_t i = 0; i < in->n_disks; i++)
        json_array_append_new(nodes, json_string(in->disks[i].node));
    label_make(id, in->run, LABEL_JOB, SAVE_JOB);
    return run_job(q, "snapshot-save",
                   json_pack("{s:s, s:s, s:s, s:o}", "job-id", id, "tag",
                             in->snapshot, "vmstate",
                             in->disks[vmstate_disk].node, "devices", nodes),
                   id, e);
}

/* ---- removing ------------------------------------------------------------ */

/* What the run before us has begun. */
static int
settle_jobs(struct qmp *q, const struct intent *in, struct err *e)
{
    for (size_t i = SAVE_JOB; i <= DELETE_JOB; i++) {
        CLEANUP(freep) char *why = NULL; /* it may well have failed */
        char id[LABEL_MAX];
        label_make(id, in->run, LABEL_JOB, i);
        if (await_job(q, id, &why, e) == -1)
            return -1;
    }
    return 0;
}

static bool
image_has(const json_t *image, const char *tag)
{
    const json_t *list = json_object_get(image, "snapshots");
    json_t *s = NULL;
    size_t i = 0;

    json_array_foreach(list, i, s)
    {
        const char *name = json_string_value(json_object_get(s, "name"));
        if (name && strcmp(name, tag) == 0)
            return true;
    }
    return false;
}

/* The nodes whose images have it; an array of their names. */
static int
find_nodes(struct qmp *q, const char *tag, json_t **out, struct err *e)
{
    CLEANUP(json_decrefp) json_t *blocks = NULL;
    CLEANUP(json_decrefp) json_t *nodes = json_array();
    json_t *b = NULL;
    size_t i = 0;

    if (qmp_run(q, "query-block", NULL, &blocks, e) == -1)
        return -1;
    json_array_foreach(blocks, i, b)
    {
        const json_t *in = json_object_get(b, "inserted");
        json_t *node = json_object_get(in, "node-name");
        if (node && image_has(json_object_get(in, "image"), tag))
            json_array_append(nodes, node);
    }
    *out = STEAL(nodes);
    return 0;
}

static int
delete_snapshot(struct qmp *q, const struct intent *in, struct err *e)
{
    CLEANUP(json_decrefp) json_t *nodes = NULL;
    char id[LABEL_MAX];

    if (find_nodes(q, in->snapshot, &nodes, e) == -1)
        return -1;
    if (json_array_size(nodes) == 0)
        return 0;
    int has = qmp_has_command(q, "snapshot-delete", e);
    if (has != 1)
        return has == -1 ? -1 : human_command(q, "delvm", in->snapshot, e);
    label_make(id, in->run, LABEL_JOB, DELETE_JOB);
    return run_job(q, "snapshot-delete",
                   json_pack("{s:s, s:s, s:O}", "job-id", id, "tag",
                             in->snapshot, "devices", nodes),
                   id, e);
}

static int
resume_if_stuck(struct qmp *q, const struct intent *in, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, "query-status", NULL, &reply, e) == -1)
        return -1;
    const char *status = json_string_value(json_object_get(reply, "status"));
    if (in->was_running && status &&
        (strcmp(status, "save-vm") == 0 ||
         (in->window_open && strcmp(status, "paused") == 0)))
        return qmp_run(q, "cont", NULL, NULL, e);
    return 0;
}

int
snapshot_remove(struct qmp *q, const struct intent *in, struct err *e)
{
    int has = 0, rc = 0;

    qmp_set_timeout_ms(q, SNAPSHOT_PATIENCE_MS);
    has = qmp_has_command(q, "snapshot-save", e);
    rc = has == 1 ? settle_jobs(q, in, e) : has;
    if (rc == 0)
        rc = resume_if_stuck(q, in, e);
    if (rc == 0)
        rc = delete_snapshot(q, in, e);
    qmp_reset_timeout(q);
    return rc == 0 ? 0 : err_wrap(e, "snapshot %s", in->snapshot);
}

/* The first error is kept. */
static int
purge_node(struct qmp *q, const char *node, const json_t *image,
           const char *prefix, const char *keep, struct err *e)
{
    const json_t *list = json_object_get(image, "snapshots");
    struct err first = {0};
    json_t *s = NULL;
    size_t i = 0;

    json_array_foreach(list, i, s)
    {
        const char *name = json_string_value(json_object_get(s, "name"));
        if (!name || !text_starts(name, prefix) ||
            (keep && text_starts(name, keep)))
            continue;
        struct err *why = first.code == ERR_OK ? &first : e;
        (void)qmp_run(q, "blockdev-snapshot-delete-internal-sync",
                      json_pack("{s:s, s:s}", "device", node, "name", name),
                      NULL, why);
        if (why == e)
            err_clear(e);
    }
    *e = first;
    return e->code == ERR_OK ? 0 : -1;
}

int
snapshot_purge(struct qmp *q, const char *prefix, const char *keep,
               struct err *e)
{
    CLEANUP(json_decrefp) json_t *blocks = NULL;
    struct err first = {0};
    json_t *b = NULL;
    size_t i = 0;

    if (qmp_run(q, "query-block", NULL, &blocks, e) == -1)
        return -1;
    json_array_foreach(blocks, i, b)
    {
        const json_t *in = json_object_get(b, "inserted");
        const char *node = json_string_value(json_object_get(in, "node-name"));
        struct err why = {0};
        if (node &&
            purge_node(q, node, json_object_get(in, "image"), prefix, keep,
                       &why) == -1 &&
            first.code == ERR_OK)
            first = why;
    }
    *e = first;
    return e->code == ERR_OK ? 0 : -1;
}
