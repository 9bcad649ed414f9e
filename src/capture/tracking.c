/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/tracking.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/text.h"
#include "qemu/bitmaps.h"
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
        return "its bitmap is inconsistent";
    if (b->busy)
        return "its bitmap is in use by somebody else";
    if (!b->recording)
        return "its bitmap has been disabled";
    return NULL;
}

const char *
tracking_doubt(const struct machine *now, const struct disk *d,
               const struct bitmap *b, const struct machine *then,
               const struct manifest *base)
{
    const char *doubt = bitmap_doubt(b);
    const struct disk *before = disk_of(then, d->name);
    CLEANUP(freep) char *volume_name = xasprintf("disk/%s", d->name);
    const struct manifest_volume *volume = manifest_volume(base, volume_name);

    if (doubt)
        return doubt;
    if (now->pid == 0 || now->start_time == 0)
        return "which process the machine is, is not known";
    if (now->pid != then->pid || now->start_time != then->start_time)
        return "QEMU has been restarted, or the machine has moved";
    if (!before || !volume)
        return "the backup before does not have it";
    if (strcmp(before->node, d->node) != 0 ||
        strcmp(before->format, d->format) != 0 ||
        strcmp(before->filename, d->filename) != 0)
        return "another image is in its place";
    if (before->size_bytes != d->size_bytes ||
        volume->root.size_bytes != d->size_bytes)
        return "its size has changed";
    return NULL;
}
