/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/ability.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/live_internal.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "work/cancel.h"

/* One method, as if it were about to be used. */
struct trial {
    struct capture_options options;
    struct capture_result result;
    struct cancel *cancel;
    struct live live;
};

static void
trial_begin(struct trial *t, struct qmp *q, struct machine *m, struct repo *r)
{
    *t = (struct trial){.cancel = cancel_new()};
    t->live = (struct live){.repo = r,
                            .options = &t->options,
                            .cancel = t->cancel,
                            .result = &t->result,
                            .qmp = q,
                            .machine = m,
                            .scratch_dir = CAPTURE_SCRATCH_DIR,
                            .max_pause_ms = CAPTURE_MAX_PAUSE_MS,
                            .cbw_timeout_s = CAPTURE_CBW_TIMEOUT_S,
                            .min_free_bytes = CAPTURE_MIN_FREE_BYTES,
                            .stream = {-1, -1},
                            .looks_only = true};
}

static void
trial_end(struct trial *t)
{
    t->live.qmp = NULL; /* borrowed */
    t->live.machine = NULL;
    live_done(&t->live);
    capture_result_done(&t->result);
    cancel_free(t->cancel);
}

static void
take_reading(struct ability *a, const struct capture_way *way, struct live *l)
{
    struct err e = {0};

    if (way->begin(l, &e) == -1) {
        a->tracking_error = xstrdup(e.msg);
        return;
    }
    a->disks = xcalloc(l->n_disks + 1, sizeof(a->disks[0]));
    for (size_t i = 0; i < l->n_disks; i++)
        a->disks[a->n_disks++] =
            (struct ability_disk){l->disks[i].disk->name, l->disks[i].why_full};
}

/* -1 if it cannot be told, as QEMU is in no state to answer. */
static int
look_at(struct ability *a, size_t i, const struct capture_way *way,
        struct trial *t, struct err *e)
{
    struct err why = {0};

    a->methods[i].name = way->method;
    if (way->preflight(&t->live, &why) == -1) {
        if (why.code == ERR_TIMEOUT) {
            *e = why;
            return -1;
        }
        a->methods[i].why_not = xstrdup(why.msg);
        return 0;
    }
    if (way == &live_way) {
        a->least_us = t->result.pause.least_us;
        a->most_us = t->result.pause.most_us;
    }
    if (a->best)
        return 0;
    a->best = way->method;
    if (t->live.repo)
        take_reading(a, way, &t->live);
    return 0;
}

int
ability_look(struct qmp *q, struct machine *m, struct repo *r,
             struct ability **out, struct err *e)
{
    static const struct capture_way *const ways[ABILITY_METHODS] = {
        &live_way, &savevm_way, &disk_way};
    CLEANUP(ability_freep) struct ability *a = xcalloc(1, sizeof(*a));
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(ways); i++) {
        struct trial t;
        trial_begin(&t, q, m, r);
        rc = look_at(a, i, ways[i], &t, e);
        trial_end(&t);
    }
    /* That it has died looks like a refusal of each. */
    if (rc == -1 ||
        (!a->best && qmp_run(q, "query-status", NULL, NULL, e) == -1))
        return -1;
    *out = STEAL(a);
    return 0;
}

void
ability_free(struct ability *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < ABILITY_METHODS; i++)
        free(a->methods[i].why_not);
    free(a->disks);
    free(a->tracking_error);
    free(a);
}

void
ability_freep(struct ability **a)
{
    ability_free(*a);
}
