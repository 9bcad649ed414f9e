/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/differ.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "repo/fetch.h"
#include "repo/tree.h"

/* From the node `h` of `level` (or none) to its child, or none. */
static int
child_of(struct fetch *f, uint8_t level, uint32_t child,
         uint8_t h[CAPABILITY_BYTES], struct err *e)
{
    struct fetched_node *fetched = NULL;

    if (bytes_are_zero(h, CAPABILITY_BYTES))
        return 0;
    if (fetch_node(f, h, level, &fetched, e) == -1)
        return -1;
    const struct node *n = fetched_node(fetched);
    if (child < n->n)
        memcpy(h, n->entries[child].h, CAPABILITY_BYTES);
    else
        memset(h, 0, CAPABILITY_BYTES);
    fetch_node_put(f, fetched);
    return 0;
}

/* Down to slot `index`: 1, or 0 and the first slot behind what is the same. */
static int
step(struct fetch *f, const struct volume_root *a, const struct volume_root *b,
     uint64_t *index, struct differ_slot *out, struct err *e)
{
    memcpy(out->a, a->h, CAPABILITY_BYTES);
    memcpy(out->b, b->h, CAPABILITY_BYTES);
    for (uint8_t level = a->levels;; level--) {
        uint64_t below = tree_slots_below(level);
        if (memcmp(out->a, out->b, CAPABILITY_BYTES) == 0) {
            *index = (*index / below + 1) * below;
            return 0;
        }
        if (level == 0)
            break;
        uint32_t child =
            (uint32_t)(*index / (below / NODE_FANOUT) % NODE_FANOUT);
        if (child_of(f, level, child, out->a, e) == -1 ||
            child_of(f, level, child, out->b, e) == -1)
            return -1;
    }
    out->index = *index;
    return 1;
}

int
differ_next(struct fetch *f, const struct volume_root *a,
            const struct volume_root *b, uint64_t from, struct differ_slot *out,
            struct err *e)
{
    struct differ_slot found;

    assert(a->size_bytes == b->size_bytes && a->levels == b->levels);
    for (uint64_t at = from; at < tree_slots(a->size_bytes);) {
        int rc = step(f, a, b, &at, &found, e);
        if (rc == 1)
            *out = found;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The entries of a node one after the other, each with where it begins. */
struct entries {
    const struct node *n; /* or NULL */
    uint32_t i, at;
};

/* The entry that covers block `block`; NULL behind the last. */
static const struct node_entry *
entry_at(struct entries *s, uint32_t block)
{
    while (s->n && s->i < s->n->n &&
           s->at + s->n->entries[s->i].blocks <= block)
        s->at += s->n->entries[s->i++].blocks;
    return s->n && s->i < s->n->n ? &s->n->entries[s->i] : NULL;
}

void
differ_blocks(const struct node *a, const struct node *b,
              uint64_t changed[VOLUME_SLOT_BLOCKS / 64])
{
    struct entries x = {.n = a}, y = {.n = b};

    memset(changed, 0, VOLUME_SLOT_BLOCKS / 8);
    for (uint32_t block = 0; block < VOLUME_SLOT_BLOCKS; block++) {
        const struct node_entry *p = entry_at(&x, block);
        const struct node_entry *q = entry_at(&y, block);
        bool in_a = p && !node_is_hole(p), in_b = q && !node_is_hole(q);
        bool same = in_a && in_b ? p->first + (block - x.at) ==
                                           q->first + (block - y.at) &&
                                       memcmp(p->h, q->h, CAPABILITY_BYTES) == 0
                                 : in_a == in_b;
        if (!same)
            changed[block / 64] |= UINT64_C(1) << (block % 64);
    }
}
