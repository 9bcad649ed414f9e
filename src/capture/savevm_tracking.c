/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which backup the new one is built on, disk by disk, and the snapshots by
 * which the next one will be.
 *
 * At the instant of a backup each disk gets, beside the snapshot that is read,
 * one of the disk alone, which stays: "vmkeep:REPOSITORY:BACKUP:DISK".  Both
 * name the same clusters.  The name says which volume of which backup it is
 * the same as, so an image that has become another disk is not mistaken.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/snapshot.h"
#include "capture/tracking.h"
#include "qcow2/layers.h"
#include "qcow2/reader.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"

enum { TRACKING_LEN = 7 + REPO_ID_LEN + 1 + BACKUP_ID_LEN };

/* "vmkeep:REPOSITORY:BACKUP" of a snapshot's name, if it is one of a disk's
 * that we have made for this repository; then the id of the backup in it. */
static const char *
backup_of(const char *name, const struct live *l, char head[TRACKING_NAME_MAX])
{
    if (strlen(name) < TRACKING_LEN + 2 || name[TRACKING_LEN] != ':')
        return NULL;
    memcpy(head, name, TRACKING_LEN);
    head[TRACKING_LEN] = '\0';
    return tracking_backup(head, repo_id(l->repo));
}

static const struct qcow2_snapshot *
find_snapshot(const struct live *l, size_t i, const char *backup)
{
    char head[TRACKING_NAME_MAX];
    const struct qcow2_snapshots *all =
        qcow2_image_snapshots(qcow2_layers_image(savevm_layers(l->savevm, i)));

    tracking_name(head, repo_id(l->repo), backup);
    CLEANUP(freep)
    char *name = xasprintf("%s:%s", head, l->disks[i].disk->name);
    for (size_t k = 0; k < all->n; k++)
        if (strcmp(all->list[k].name, name) == 0)
            return &all->list[k];
    return NULL;
}

const struct qcow2_snapshot *
savevm_base_snapshot(const struct live *l, size_t i)
{
    return l->base ? find_snapshot(l, i, l->base->id) : NULL;
}

/* ---- the backup to build on ---------------------------------------------- */

static int
find_candidates(struct live *l, struct candidates *c, struct err *e)
{
    char head[TRACKING_NAME_MAX];

    for (size_t i = 0; i < l->n_disks; i++) {
        const struct qcow2_snapshots *all = qcow2_image_snapshots(
            qcow2_layers_image(savevm_layers(l->savevm, i)));
        for (size_t k = 0; k < all->n; k++) {
            const char *id = backup_of(all->list[k].name, l, head);
            if (id && live_add_candidate(l, c, id, e) == -1)
                return -1;
        }
    }
    return 0;
}

static const char *
judge_disk(const struct live *l, size_t i, const struct manifest *base,
           const struct volume_root **out)
{
    const struct disk *d = l->disks[i].disk;
    CLEANUP(freep) char *name = xasprintf("disk/%s", d->name);
    const struct qcow2_snapshot *s = find_snapshot(l, i, base->id);
    const struct manifest_volume *v = manifest_volume(base, name);

    if (!s)
        return "its snapshot of the backup before is gone";
    if (!v)
        return "the backup before does not have it";
    if (s->disk_bytes != d->size_bytes || v->root.size_bytes != d->size_bytes)
        return "its size has changed";
    *out = &v->root;
    return NULL;
}

static bool
judge(struct live *l, const struct manifest *base, void *cookie)
{
    bool any = false;

    (void)cookie;
    for (size_t i = 0; i < l->n_disks; i++) {
        struct live_disk *d = &l->disks[i];
        d->base = NULL;
        d->why_full = judge_disk(l, i, base, &d->base);
        any |= d->base != NULL;
    }
    return any;
}

int
savevm_begin_backup(struct live *l, struct err *e)
{
    CLEANUP(candidates_done) struct candidates c = {0};

    live_all_full(l, l->options->no_tracking
                         ? "tracking is off"
                         : "no snapshot of a backup before in this repository "
                           "is in it");
    if (!l->options->no_tracking && find_candidates(l, &c, e) == -1)
        return -1;
    return live_begin_on_best(l, &c, judge, NULL, e);
}

/* ---- the snapshots ------------------------------------------------------- */

void
savevm_name_tracking(struct live *l)
{
    if (l->options->no_tracking)
        return;
    free(l->intent->bitmap);
    l->intent->bitmap = xcalloc(1, TRACKING_NAME_MAX);
    tracking_name(l->intent->bitmap, repo_id(l->repo), l->manifest->id);
}

/* All or none of them. */
void
savevm_take_tracking(struct live *l)
{
    CLEANUP(json_decrefp) json_t *actions = json_array();
    struct err e = {0};

    for (size_t i = 0; i < l->n_disks; i++) {
        const struct disk *d = l->disks[i].disk;
        CLEANUP(freep)
        char *name = xasprintf("%s:%s", l->intent->bitmap, d->name);
        json_array_append_new(
            actions, json_pack("{s:s, s:{s:s, s:s}}", "type",
                               "blockdev-snapshot-internal-sync", "data",
                               "device", d->node, "name", name));
    }
    if (qmp_run(l->qmp, "transaction", json_pack("{s:O}", "actions", actions),
                NULL, &e) == -1)
        live_warn(l, xasprintf("the next backup will have to read all of its "
                               "disks: %s",
                               e.msg));
}

void
savevm_settle_tracking(struct live *l)
{
    CLEANUP(freep) char *ours = xasprintf("vmkeep:%s:", repo_id(l->repo));
    CLEANUP(freep)
    char *keep = l->tracked ? xasprintf("%s%s:", ours, l->manifest->id) : NULL;
    struct err e = {0};

    if (snapshot_purge(l->qmp, ours, keep, &e) == -1)
        live_warn(l, xasprintf("older snapshots of ours are left in its "
                               "images: %s",
                               e.msg));
}
