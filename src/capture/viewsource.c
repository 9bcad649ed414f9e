/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/viewsource.h"

#include <stdlib.h>
#include <string.h>

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

/* The first range at or after `at` that may have changed, in whole blocks;
 * *out is the disk's end if there is none. */
static int
next_change(struct qcow2_view *older, struct qcow2_view *newer, uint64_t at,
            uint64_t *out, uint64_t *out_end, struct err *e)
{
    uint64_t bytes = qcow2_view_bytes(newer);

    while (at < bytes) {
        struct qcow2_change c = {0};
        if (qcow2_view_diff(older, newer, at, &c, e) == -1)
            return -1;
        if (c.changed) {
            *out = at - at % VOLUME_BLOCK_BYTES;
            *out_end = u64_min(bytes, round_up(at + c.len, VOLUME_BLOCK_BYTES));
            return 0;
        }
        at += c.len;
    }
    *out = *out_end = bytes;
    return 0;
}

/* [from, to) of the disk into `out`, holes as zeros. */
static int
read_range(struct qcow2_view *view, uint64_t from, uint64_t to, uint8_t *out,
           struct err *e)
{
    uint64_t base = from, end = 0;

    memset(out, 0, to - from);
    while (from < to) {
        if (next_data(view, false, from, &from, &end, e) == -1)
            return -1;
        end = u64_min(end, to);
        if (from < end && qcow2_view_read(view, from, out + (from - base),
                                          end - from, e) == -1)
            return -1;
        from = u64_max(from, end);
    }
    return 0;
}

/* Of [from, from + len), which is `now` in the slot and was `then`, the blocks
 * that are not the same. */
static void
mark_changes(struct slot *slot, uint64_t from, size_t len, const uint8_t *now,
             const uint8_t *then)
{
    uint32_t at = (uint32_t)(from - slot->index * VOLUME_SLOT_BYTES);

    for (size_t i = 0; i < len; i += VOLUME_BLOCK_BYTES) {
        size_t n = u64_min(VOLUME_BLOCK_BYTES, len - i);
        if (memcmp(now + i, then + i, n) != 0)
            slot_mark(slot, at + (uint32_t)i, (uint32_t)n);
    }
}

/* The same where `newer` has data. */
static int
compare_range(struct qcow2_view *older, struct qcow2_view *newer,
              struct slot *slot, uint64_t from, uint64_t to, struct err *e)
{
    uint64_t base = slot->index * VOLUME_SLOT_BYTES;
    CLEANUP(freep) uint8_t *then = xmalloc(READ_BYTES);

    for (size_t n = 0; from < to; from += n) {
        uint8_t *now = slot->data + (from - base);
        n = u64_min(to - from, READ_BYTES);
        if (qcow2_view_read(newer, from, now, n, e) == -1 ||
            read_range(older, from, from + n, then, e) == -1)
            return -1;
        mark_changes(slot, from, n, now, then);
    }
    return 0;
}

/* [from, to) of the disk, which is in the slot.  QEMU writes a cluster anew of
 * which a guest has written one block: what did not change in it is not to be
 * stored again. */
static int
fill_range(struct qcow2_view *older, struct qcow2_view *newer,
           struct slot *slot, uint64_t from, uint64_t to, struct err *e)
{
    uint64_t base = slot->index * VOLUME_SLOT_BYTES, end = 0;

    for (uint64_t at = from; from < to; from = at = end) {
        if (next_data(newer, false, from, &at, &end, e) == -1)
            return -1;
        at = u64_min(at, to);
        end = u64_min(end, to);
        slot_change(slot, (uint32_t)(from - base), (uint32_t)(at - from));
        if (compare_range(older, newer, slot, at, end, e) == -1)
            return -1;
    }
    return 0;
}

/* All changes in the slot, of which [*at, *end) is the first; then the first
 * one behind it. */
static int
fill_changes(struct qcow2_view *older, struct qcow2_view *newer,
             struct slot *slot, uint64_t *at, uint64_t *end, struct err *e)
{
    uint64_t slot_end = slot->index * VOLUME_SLOT_BYTES + slot->len;

    while (*at < slot_end) {
        uint64_t to = u64_min(*end, slot_end);
        if (fill_range(older, newer, slot, *at, to, e) == -1)
            return -1;
        *at = to;
        if (to == *end && next_change(older, newer, to, at, end, e) == -1)
            return -1;
    }
    return 0;
}

int
viewsource_copy_changes(struct qcow2_view *older, struct qcow2_view *newer,
                        struct volume_writer *v, viewsource_progress_fn *fn,
                        void *cookie, struct cancel *cancel, struct err *e)
{
    uint64_t bytes = qcow2_view_bytes(newer), at = 0, end = 0;

    if (next_change(older, newer, 0, &at, &end, e) == -1)
        return -1;
    while (at < bytes) {
        struct slot *slot = NULL;
        if (cancel_check(cancel, e) == -1 ||
            volume_slot(v, at / VOLUME_SLOT_BYTES, &slot, e) == -1)
            return -1;
        if (fill_changes(older, newer, slot, &at, &end, e) == -1) {
            volume_drop(v, slot);
            return -1;
        }
        volume_submit(v, slot);
        fn(cookie, at);
    }
    fn(cookie, bytes);
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
