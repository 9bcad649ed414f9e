/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which backup the new one is built on: of those that the machine itself names,
 * in bitmaps or snapshots, the newest on which any disk can be built.
 */
#include <string.h>

#include "base/err.h"
#include "capture/live_internal.h"
#include "repo/manifest.h"
#include "repo/repo.h"

void
live_all_full(struct live *l, const char *why)
{
    for (size_t i = 0; i < l->n_disks; i++) {
        l->disks[i].base = NULL;
        l->disks[i].why_full = why;
    }
}

static bool
has_candidate(const struct candidates *c, const char *id)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->all[i]->id, id) == 0)
            return true;
    return false;
}

static void
insert(struct candidates *c, struct manifest *m)
{
    size_t i = c->n++;

    for (; i > 0 && c->all[i - 1]->time_ns < m->time_ns; i--)
        c->all[i] = c->all[i - 1];
    c->all[i] = m;
}

int
live_add_candidate(struct live *l, struct candidates *c, const char *id,
                   struct err *e)
{
    struct manifest *m = NULL;

    if (c->n == CANDIDATES_MAX || has_candidate(c, id))
        return 0;
    if (backup_find(l->repo, id, &m, e) == 0) {
        insert(c, m);
        return 0;
    }
    if (e->code == ERR_STORE || e->code == ERR_CANCELED)
        return -1;
    err_clear(e);
    live_all_full(l, "the backup before is gone, or this key cannot read it");
    return 0;
}

/* 1 if the writer has begun on the backup `base`, 0 if it cannot be built on.
 */
static int
begin_on(struct live *l, const struct manifest *base, live_judge_fn *judge,
         void *cookie, struct err *e)
{
    const struct backup_options o = {.base = base->id};

    if (!judge(l, base, cookie))
        return 0;
    if (l->looks_only ||
        backup_begin(l->repo, &o, l->cancel, &l->backup, e) == 0)
        return 1;
    if (e->code != ERR_NOENT)
        return -1;
    err_clear(e);
    live_all_full(l, "the backup before has been forgotten");
    return 0;
}

int
live_begin_on_best(struct live *l, struct candidates *c, live_judge_fn *judge,
                   void *cookie, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        rc = begin_on(l, c->all[i], judge, cookie, e);
        if (rc == 1) {
            l->base = c->all[i];
            c->all[i] = NULL;
        }
    }
    if (rc != 0 || l->looks_only)
        return rc == -1 ? -1 : 0;
    return backup_begin(l->repo, NULL, l->cancel, &l->backup, e);
}

int
live_begin_anew(struct live *l, struct err *e)
{
    const struct backup_options o = {.nodes_anew = 1};
    struct manifest *again = manifest_new();

    memcpy(again->id, l->manifest->id, sizeof(again->id));
    manifest_free(l->manifest);
    l->manifest = again;
    for (size_t i = 0; i < l->n_disks; i++) {
        if (l->disks[i].base)
            l->disks[i].why_full = "the backup before is damaged";
        l->disks[i].base = NULL;
        l->disks[i].read_bytes = 0;
    }
    l->done_bytes = 0;
    backup_abandonp(&l->backup);
    return backup_begin(l->repo, &o, l->cancel, &l->backup, e);
}

void
candidates_done(struct candidates *c)
{
    for (size_t i = 0; i < c->n; i++)
        manifest_free(c->all[i]);
}
