/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/viewsource.h"

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "capture/ramfeed.h"
#include "capture/ramspool.h"
#include "qcow2/reader.h"
#include "repo/volume.h"
#include "work/cancel.h"

enum { READ_BYTES = 512 << 10, STATE_BYTES = 1 << 20 };

/* The first data at or after `at`, in whole blocks: *out and *out_end; *out is
 * the disk's end if there is none. */
static int
next_data(struct qcow2_view *view, bool backed, uint64_t at, uint64_t *out,
          uint64_t *out_end, struct err *e)
{
    uint64_t bytes = qcow2_view_bytes(view);

    while (at < bytes) {
        struct qcow2_extent x = {0};
        if (qcow2_view_map(view, at, &x, e) == -1)
            return -1;
        uint64_t end = x.offset + x.len;
        bool hole =
            x.kind == QCOW2_ZEROS || (x.kind == QCOW2_UNALLOCATED && !backed);
        if (hole && end < bytes)
            end -= end % VOLUME_BLOCK_BYTES;
        if (!hole || end <= at) { /* or a hole within a block */
            qcow2_view_will_read(view, &x, VOLUME_SLOT_BYTES);
            *out = at;
            *out_end = u64_min(
                bytes, round_up(u64_max(end, at + 1), VOLUME_BLOCK_BYTES));
            return 0;
        }
        at = end;
    }
    *out = *out_end = bytes;
    return 0;
}

/* Data from `at` on, which is in the slot; *out_next is where to look for
 * more. */
static int
fill_slot(struct qcow2_view *view, bool backed, struct slot *slot, uint64_t at,
          uint64_t end, uint64_t *out_next, struct err *e)
{
    uint64_t base = slot->index * VOLUME_SLOT_BYTES;
    uint64_t slot_end = base + slot->len;

    while (at < slot_end) {
        uint64_t to = u64_min(end, slot_end);
        for (uint64_t n = 0; at < to; at += n) {
            n = u64_min(to - at, READ_BYTES);
            if (qcow2_view_read(view, at, slot->data + (at - base), n, e) == -1)
                return -1;
            slot_mark(slot, (uint32_t)(at - base), (uint32_t)n);
        }
        if (next_data(view, backed, at, &at, &end, e) == -1)
            return -1;
    }
    *out_next = at;
    return 0;
}

int
viewsource_copy_disk(struct qcow2_view *view, bool backed,
                     struct volume_writer *v, viewsource_progress_fn *fn,
                     void *cookie, struct cancel *cancel, struct err *e)
{
    uint64_t bytes = qcow2_view_bytes(view), at = 0;

    while (at < bytes) {
        struct slot *slot = NULL;
        uint64_t end = 0;
        if (cancel_check(cancel, e) == -1 ||
            next_data(view, backed, at, &at, &end, e) == -1)
            return -1;
        if (at < bytes) {
            if (volume_slot(v, at / VOLUME_SLOT_BYTES, &slot, e) == -1)
                return -1;
            if (fill_slot(view, backed, slot, at, end, &at, e) == -1) {
                volume_drop(v, slot);
                return -1;
            }
            volume_submit(v, slot);
        }
        fn(cookie, at);
    }
    return 0;
}

int
viewsource_copy_state(struct qcow2_view *view, struct ramspool *spool,
                      viewsource_progress_fn *fn, void *cookie,
                      struct cancel *cancel, struct err *e)
{
    CLEANUP(ramfeed_freep) struct ramfeed *feed = ramfeed_new(spool, NULL);
    CLEANUP(freep) uint8_t *p = xmalloc(STATE_BYTES);
    uint64_t bytes = qcow2_view_vmstate_bytes(view);

    for (uint64_t at = 0; at < bytes; at += STATE_BYTES) {
        size_t n = u64_min(STATE_BYTES, bytes - at);
        if (cancel_check(cancel, e) == -1 ||
            qcow2_view_read_vmstate(view, at, p, n, e) == -1 ||
            ramfeed_push(feed, p, n, e) == -1)
            return -1;
        fn(cookie, at + n);
    }
    if (ramfeed_end(feed, e) == -1)
        return -1;
    return ramspool_open_result(spool, e);
}
