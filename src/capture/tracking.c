/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/tracking.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/bitmaps.h"
#include "qemu/disks.h"
#include "qemu/machine.h"
#include "repo/manifest.h"
#include "repo/repo.h"

static const char prefix[] = "vmkeep:";

uint64_t
tracking_grain_bytes(uint64_t disk_bytes)
{
    uint64_t grain = TRACKING_GRAIN_BYTES;

    while (disk_bytes / grain > TRACKING_BITS_MAX)
        grain *= 2;
    return grain;
}

void
tracking_name(char *out, const char *repository, const char *backup)
{
    assert(strlen(repository) == REPO_ID_LEN);
    assert(strlen(backup) == BACKUP_ID_LEN);
    (void)snprintf(out, TRACKING_NAME_MAX, "%s%s:%s", prefix, repository,
                   backup);
}

const char *
tracking_backup(const char *name, const char *repository)
{
    if (!text_starts(name, prefix))
        return NULL;
    name += strlen(prefix);
    if (!text_starts(name, repository) || name[strlen(repository)] != ':')
        return NULL;
    name += strlen(repository) + 1;
    return strlen(name) == BACKUP_ID_LEN && hex_is(name) ? name : NULL;
}

void
tracking_kept_name(char *out, const char *repository, const char *backup,
                   const char *disk)
{
    assert(disk_name_is_fit(disk));
    tracking_name(out, repository, backup);
    size_t len = strlen(out);
    (void)snprintf(out + len, TRACKING_NAME_MAX - len, ":%s", disk);
}

bool
tracking_parse(const char *name, const char *repository, char *out_backup)
{
    CLEANUP(freep) char *head = xstrdup(name);
    size_t len = strlen(prefix) + REPO_ID_LEN + 1 + BACKUP_ID_LEN;

    if (strlen(name) > len && name[len] == ':' &&
        disk_name_is_fit(name + len + 1))
        head[len] = '\0';
    const char *backup = tracking_backup(head, repository);
    if (!backup)
        return false;
    memcpy(out_backup, backup, BACKUP_ID_LEN + 1);
    return true;
}

static const struct disk *
disk_of(const struct machine *m, const char *name)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (strcmp(m->disks[i].name, name) == 0)
            return &m->disks[i];
    return NULL;
}

static const char *
bitmap_doubt(const struct bitmap *b)
{
    if (!b)
        return "it has no bitmap of the backup before: it is new, or was "
               "replaced";
    if (b->inconsistent)
        return "its bitmap is inconsistent: QEMU was killed";
    if (b->busy)
        return "its bitmap is in use by somebody else";
    if (!b->recording)
        return "its bitmap has been disabled";
    return NULL;
}

/* Is it the very process that had the bitmap added? */
static const char *
process_doubt(const struct machine *now, const struct machine *then)
{
    if (now->pid == 0 || now->start_time == 0)
        return "which process the machine is, is not known";
    if (now->pid != then->pid || now->start_time != then->start_time)
        return "QEMU has been restarted, or the machine has moved";
    return NULL;
}

/* Out of the image: then it must be an image that says all there is to say,
 * whatever had it open meanwhile. */
static const char *
image_doubt(const struct machine *now, const struct disk *d,
            const struct bitmap *b, const struct machine *then)
{
    if (!b->persistent)
        return "QEMU has been restarted, or the machine has moved, and its "
               "bitmap was not kept";
    if (!d->keeps_bitmaps)
        return "QEMU has been restarted, and not all writes to this image are "
               "told by a bitmap in it";
    if (strcmp(now->uuid, then->uuid) != 0 ||
        strcmp(now->name, then->name) != 0)
        return "the machine has another name now";
    return NULL;
}

const char *
tracking_doubt(const struct machine *now, const struct disk *d,
               const struct bitmap *b, bool kept, const struct machine *then,
               const struct manifest *base)
{
    const char *doubt = bitmap_doubt(b);
    const struct disk *before = disk_of(then, d->name);
    CLEANUP(freep) char *volume_name = xasprintf("disk/%s", d->name);
    const struct manifest_volume *volume = manifest_volume(base, volume_name);

    if (doubt)
        return doubt;
    doubt = process_doubt(now, then);
    bool restarted = doubt;
    if (doubt && kept)
        doubt = image_doubt(now, d, b, then);
    if (doubt)
        return doubt;
    if (!before || !volume)
        return "the backup before does not have it";
    /* QEMU makes up another name of a node in each process. */
    if ((!restarted && strcmp(before->node, d->node) != 0) ||
        strcmp(before->format, d->format) != 0 ||
        strcmp(before->filename, d->filename) != 0)
        return "another image is in its place";
    if (before->size_bytes != d->size_bytes ||
        volume->root.size_bytes != d->size_bytes)
        return "its size has changed";
    return NULL;
}
