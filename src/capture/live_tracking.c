/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which backup the new one is built on, disk by disk, and the bitmaps by which
 * the next one will be (capture/tracking.h).
 *
 * The bitmap of the backup before is only copied, at the instant, and records
 * on: should this backup fail, nothing is lost.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/endmark.h"
#include "capture/intent.h"
#include "capture/live_internal.h"
#include "capture/tracking.h"
#include "qemu/bitmaps.h"
#include "qemu/machine.h"
#include "qemu/qmp.h"
#include "repo/manifest.h"
#include "repo/repo.h"

/* ---- the backup to build on ---------------------------------------------- */

struct bitmaps {
    struct bitmap *all;
    size_t n;
};

/* Of the disk, since that backup: in QEMU's memory, or kept in the image. */
static const struct bitmap *
find_bitmap(const struct live *l, struct live_disk *d, const char *backup,
            const struct bitmap *bitmaps, size_t n, bool *out_kept)
{
    tracking_name(d->base_bitmap, repo_id(l->repo), backup);
    const struct bitmap *b =
        bitmaps_find(bitmaps, n, d->disk->node, d->base_bitmap);
    if (b)
        return b;
    tracking_kept_name(d->base_bitmap, repo_id(l->repo), backup, d->disk->name);
    *out_kept = true;
    return bitmaps_find(bitmaps, n, d->disk->node, d->base_bitmap);
}

static bool
judge(struct live *l, const struct manifest *base, void *cookie)
{
    const struct bitmaps *bitmaps = cookie;
    CLEANUP(machine_freep) struct machine *then = NULL;
    struct err ignored = {0};
    bool any = false;

    if (machine_from_json(json_object_get(base->detail, "machine"), &then,
                          &ignored) == -1) {
        live_all_full(l, "the backup before does not say what it is of");
        return false;
    }
    for (size_t i = 0; i < l->n_disks; i++) {
        struct live_disk *d = &l->disks[i];
        bool kept = false;
        const struct bitmap *b =
            find_bitmap(l, d, base->id, bitmaps->all, bitmaps->n, &kept);
        CLEANUP(freep) char *volume = xasprintf("disk/%s", d->disk->name);
        d->base = NULL;
        d->why_full =
            tracking_doubt(l->machine, d->disk, b,
                           kept && l->options->keep_bitmaps, then, base);
        if (d->why_full)
            continue;
        d->base = &manifest_volume(base, volume)->root;
        any = true;
    }
    return any;
}

/* The backups that the bitmaps name. */
static int
find_candidates(struct live *l, const struct bitmaps *bitmaps,
                struct candidates *c, struct err *e)
{
    for (size_t i = 0; i < bitmaps->n; i++) {
        char id[BACKUP_ID_LEN + 1];
        if (tracking_parse(bitmaps->all[i].name, repo_id(l->repo), id) &&
            live_add_candidate(l, c, id, e) == -1)
            return -1;
    }
    return 0;
}

int
live_begin_backup(struct live *l, struct err *e)
{
    CLEANUP(candidates_done) struct candidates c = {0};
    struct bitmaps bitmaps = {0};
    int rc = 0;

    live_all_full(l, "no backup before in this repository since QEMU was "
                     "started");
    if (l->options->no_tracking)
        live_all_full(l, "tracking is off");
    else if (l->by_fuse)
        live_all_full(l, "this QEMU cannot tell what changed in disks of I/O "
                         "threads");
    else if (bitmaps_list(l->qmp, &bitmaps.all, &bitmaps.n, e) == -1)
        return -1;
    rc = find_candidates(l, &bitmaps, &c, e);
    if (rc == 0)
        rc = live_begin_on_best(l, &c, judge, &bitmaps, e);
    bitmaps_free(bitmaps.all, bitmaps.n);
    return rc;
}

/* ---- the bitmaps ----------------------------------------------------------
 */

void
live_name_tracking(struct live *l)
{
    if (l->options->no_tracking || l->by_fuse)
        return;
    free(l->intent->bitmap);
    l->intent->bitmap = xcalloc(1, TRACKING_NAME_MAX);
    tracking_name(l->intent->bitmap, repo_id(l->repo), l->manifest->id);
    for (size_t i = 0; i < l->n_disks; i++) {
        struct live_disk *d = &l->disks[i];
        if (l->options->keep_bitmaps && d->disk->keeps_bitmaps)
            tracking_kept_name(d->bitmap, repo_id(l->repo), l->manifest->id,
                               d->disk->name);
        else
            (void)snprintf(d->bitmap, sizeof(d->bitmap), "%s",
                           l->intent->bitmap);
        if (d->base)
            label_make(d->changed, l->intent->run, LABEL_CHANGED, i);
    }
}

/* What cannot be kept can still be had until QEMU ends. */
static int
add_bitmap(struct live *l, struct live_disk *d, uint64_t grain, struct err *e)
{
    struct err why = {0};

    if (strcmp(d->bitmap, l->intent->bitmap) != 0) {
        if (bitmap_add_kept(l->qmp, d->disk->node, d->bitmap, grain, &why) == 0)
            return 0;
        live_warn(l, xasprintf("the changes of disk %s are not kept when QEMU "
                               "ends: %s",
                               d->disk->name, why.msg));
        (void)snprintf(d->bitmap, sizeof(d->bitmap), "%s", l->intent->bitmap);
    }
    return bitmap_add(l->qmp, d->disk->node, d->bitmap, grain, e);
}

/* Without a mark the next backup reads all of the disk. */
static int
mark_end(struct live *l, const struct live_disk *d, size_t i, struct err *e)
{
    uint64_t bytes = d->disk->size_bytes;
    char label[LABEL_MAX];

    label_make(label, l->intent->run, LABEL_ENDMARK, i);
    if (bytes == 0 || endmark_set(l->qmp, d->disk->node, d->bitmap, bytes,
                                  tracking_grain_bytes(bytes), label, e) == 0)
        return 0;
    if (e->code == ERR_CANCELED)
        return -1;
    CLEANUP(freep) char *why = xstrdup(e->msg);
    err_clear(e);
    live_warn(l, xasprintf("the next backup will read all of disk %s: %s",
                           d->disk->name, why));
    return 0;
}

int
live_prepare_tracking(struct live *l, struct err *e)
{
    for (size_t i = 0; l->intent->bitmap[0] && i < l->n_disks; i++) {
        struct live_disk *d = &l->disks[i];
        uint64_t grain = tracking_grain_bytes(d->disk->size_bytes);
        if (add_bitmap(l, d, grain, e) == -1 ||
            (d->base &&
             bitmap_add(l->qmp, d->disk->node, d->changed, grain, e) == -1))
            return err_wrap(e, "changes of disk %s cannot be tracked",
                            d->disk->name);
        if (mark_end(l, d, i, e) == -1)
            return -1;
    }
    return 0;
}

static json_t *
enable_action(const char *node, const char *name)
{
    return json_pack("{s:s, s:{s:s, s:s}}", "type", "block-dirty-bitmap-enable",
                     "data", "node", node, "name", name);
}

static json_t *
copy_action(const char *node, const char *from, const char *to)
{
    return json_pack("{s:s, s:{s:s, s:s, s:[s]}}", "type",
                     "block-dirty-bitmap-merge", "data", "node", node, "target",
                     to, "bitmaps", from);
}

int
live_send_tracking(struct live *l, uint64_t *out_ticket, struct err *e)
{
    json_t *actions = json_array();

    for (size_t i = 0; i < l->n_disks; i++) {
        const struct live_disk *d = &l->disks[i];
        json_array_append_new(actions, enable_action(d->disk->node, d->bitmap));
        if (d->base)
            json_array_append_new(
                actions,
                copy_action(d->disk->node, d->base_bitmap, d->changed));
    }
    return qmp_send(l->qmp, "transaction",
                    json_pack("{s:o}", "actions", actions), out_ticket, e);
}

/* All of this repository but the new ones, on whatever node they are by now. */
static int
remove_older(struct live *l, struct err *e)
{
    struct bitmap *all = NULL;
    size_t n = 0;
    int rc = 0;

    if (bitmaps_list(l->qmp, &all, &n, e) == -1)
        return -1;
    for (size_t i = 0; i < n; i++) {
        char id[BACKUP_ID_LEN + 1];
        struct err later = {0};
        if (!tracking_parse(all[i].name, repo_id(l->repo), id) ||
            (l->tracked && strcmp(id, l->manifest->id) == 0))
            continue;
        if (bitmap_remove(l->qmp, all[i].node, all[i].name,
                          rc == 0 ? e : &later) == -1)
            rc = -1;
    }
    bitmaps_free(all, n);
    return rc;
}

void
live_settle_tracking(struct live *l)
{
    struct err e = {0};

    if (remove_older(l, &e) == 0)
        return;
    CLEANUP(freep) char *why = xstrdup(e.msg);
    live_warn(l, xasprintf("older tracking bitmaps are left in it: %s", why));
}
