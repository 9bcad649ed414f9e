/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/spoolsource.h"

#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/ramspool.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "work/cancel.h"

struct run {
    struct ramspool *spool;
    struct backup_writer *backup;
    struct manifest *manifest;
    spoolsource_progress_fn *fn;
    void *cookie;
    struct cancel *cancel;
    uint64_t done_bytes;
};

static int
fill(struct run *r, size_t block, struct slot *slot, struct err *e)
{
    uint64_t base = slot->index * VOLUME_SLOT_BYTES;
    uint64_t end = base + slot->len;
    uint64_t at = ramspool_next_data(r->spool, block, base);

    while (at < end) {
        uint64_t to = u64_min(end, ramspool_data_end(r->spool, block, at));
        if (ramspool_read(r->spool, block, at, slot->data + (at - base),
                          to - at, e) == -1)
            return -1;
        slot_mark(slot, (uint32_t)(at - base), (uint32_t)(to - at));
        at = ramspool_next_data(r->spool, block, to);
    }
    return 0;
}

static int
copy_block(struct run *r, size_t block, struct volume_writer *v, struct err *e)
{
    uint64_t size = ramspool_block_bytes(r->spool, block);
    uint64_t at = ramspool_next_data(r->spool, block, 0);

    while (at < size) {
        struct slot *slot = NULL;
        if (cancel_check(r->cancel, e) == -1 ||
            volume_slot(v, at / VOLUME_SLOT_BYTES, &slot, e) == -1)
            return -1;
        uint64_t end = slot->index * VOLUME_SLOT_BYTES + slot->len;
        if (fill(r, block, slot, e) == -1) {
            volume_drop(v, slot);
            return -1;
        }
        volume_submit(v, slot);
        r->fn(r->cookie, "RAM", r->done_bytes + end);
        at = end < size ? ramspool_next_data(r->spool, block, end) : size;
    }
    r->done_bytes += size;
    r->fn(r->cookie, "RAM", r->done_bytes);
    return 0;
}

static int
pull_block(struct run *r, size_t block, struct err *e)
{
    CLEANUP(freep)
    char *name = xasprintf("ram/%s", ramspool_block_name(r->spool, block));
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};

    if (volume_begin(r->backup, name, ramspool_block_bytes(r->spool, block), &v,
                     e) == -1 ||
        copy_block(r, block, v, e) == -1 || volume_end(&v, &root, e) == -1)
        return err_wrap(e, "RAM block %s", name + strlen("ram/"));
    manifest_add_volume(r->manifest, name, &root);
    return 0;
}

static int
copy_state(struct run *r, struct volume_writer *v, struct err *e)
{
    uint64_t size = ramspool_state_bytes(r->spool);

    for (uint64_t at = 0; at < size; at += VOLUME_SLOT_BYTES) {
        struct slot *slot = NULL;
        if (volume_slot(v, at / VOLUME_SLOT_BYTES, &slot, e) == -1)
            return -1;
        if (ramspool_read_state(r->spool, at, slot->data, slot->len, e) == -1) {
            volume_drop(v, slot);
            return -1;
        }
        slot_mark(slot, 0, slot->len);
        volume_submit(v, slot);
    }
    return 0;
}

static int
pull_state(struct run *r, struct err *e)
{
    CLEANUP(volume_abandonp) struct volume_writer *v = NULL;
    struct volume_root root = {0};

    if (volume_begin(r->backup, "state", ramspool_state_bytes(r->spool), &v,
                     e) == -1 ||
        copy_state(r, v, e) == -1 || volume_end(&v, &root, e) == -1)
        return err_wrap(e, "device state");
    manifest_add_volume(r->manifest, "state", &root);
    return 0;
}

uint64_t
spoolsource_bytes(const struct ramspool *spool)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < ramspool_blocks(spool); i++)
        sum += ramspool_block_bytes(spool, i);
    return sum;
}

int
spoolsource_copy(struct ramspool *spool, struct backup_writer *b,
                 struct manifest *m, spoolsource_progress_fn *fn, void *cookie,
                 struct cancel *cancel, struct err *e)
{
    struct run r = {spool, b, m, fn, cookie, cancel, 0};

    for (size_t i = 0; i < ramspool_blocks(spool); i++)
        if (pull_block(&r, i, e) == -1)
            return -1;
    return pull_state(&r, e);
}
