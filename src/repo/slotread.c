/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/slotread.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/fetch.h"
#include "repo/volume.h"

enum { NONE = UINT16_MAX };

struct slotread {
    const struct node *node;
    const uint64_t *wanted; /* or NULL */
    uint8_t *out;
    uint16_t *at;   /* of each entry: its first block in the slot */
    uint16_t *next; /* the next entry that names the same leaf, or NONE */
    /* What to fetch, and of each the number of the leaf. */
    struct fetch_leaf *leaves;
    uint16_t *numbers;
    size_t n;
};

static bool
is_wanted(const struct slotread *r, uint32_t block)
{
    return !r->wanted || r->wanted[block / 64] >> (block % 64) & 1;
}

/* How many blocks of this entry are wanted. */
static uint32_t
count_wanted(const struct slotread *r, uint32_t entry)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->node->entries[entry].blocks; i++)
        n += is_wanted(r, r->at[entry] + i);
    return n;
}

static uint8_t *
block_at(const struct slotread *r, uint32_t block)
{
    return r->out + (size_t)block * VOLUME_BLOCK_BYTES;
}

/* Where the entries are, and which of them name the same leaf. */
static int
lay_out(struct slotread *r, uint32_t slot_blocks, struct err *e)
{
    const struct node *n = r->node;
    CLEANUP(freep) uint16_t *last = xcalloc(n->n_leaves + 1, sizeof(last[0]));
    uint32_t at = 0;

    for (uint32_t i = 0; i < n->n; i++) {
        const struct node_entry *entry = &n->entries[i];
        if (entry->blocks > slot_blocks - at)
            return err_set(e, ERR_CORRUPT,
                           "the slot goes on behind the volume's end");
        r->at[i] = (uint16_t)at;
        r->next[i] = NONE;
        at += entry->blocks;
        if (node_is_hole(entry))
            continue;
        if (n->named[entry->leaf] != i)
            r->next[last[entry->leaf]] = (uint16_t)i;
        last[entry->leaf] = (uint16_t)i;
    }
    return 0;
}

static void
plan(struct slotread *r)
{
    for (uint32_t leaf = 0; leaf < r->node->n_leaves; leaf++) {
        const struct node_entry *entry = node_leaf(r->node, leaf);
        uint16_t first = r->node->named[leaf];
        uint32_t blocks = 0;
        for (uint16_t i = first; i != NONE; i = r->next[i])
            blocks += count_wanted(r, i);
        if (blocks == 0)
            continue;
        bool direct = node_is_whole(entry) && r->next[first] == NONE &&
                      blocks == entry->blocks;
        r->numbers[r->n] = (uint16_t)leaf;
        r->leaves[r->n++] = (struct fetch_leaf){
            .h = entry->h,
            .out = direct ? block_at(r, r->at[first]) : NULL,
            .len = (size_t)entry->leaf_blocks * VOLUME_BLOCK_BYTES};
    }
}

/* A leaf of which not everything is wanted in one place. */
static void
spread(void *cookie, size_t number, const uint8_t *p)
{
    const struct slotread *r = cookie;

    for (uint16_t i = r->node->named[r->numbers[number]]; i != NONE;
         i = r->next[i]) {
        const struct node_entry *entry = &r->node->entries[i];
        for (uint32_t k = 0; k < entry->blocks; k++)
            if (is_wanted(r, r->at[i] + k))
                memcpy(block_at(r, r->at[i] + k),
                       p + (size_t)(entry->first + k) * VOLUME_BLOCK_BYTES,
                       VOLUME_BLOCK_BYTES);
    }
}

static int
fetch_all(struct slotread *r, struct fetch *f, uint64_t offset, struct err *e)
{
    size_t failed = 0;

    if (fetch_leaves(f, r->leaves, r->n, spread, r, &failed, e) == 0)
        return 0;
    uint16_t entry = r->node->named[r->numbers[failed]];
    uint64_t from = offset + (uint64_t)r->at[entry] * VOLUME_BLOCK_BYTES;
    uint64_t len =
        (uint64_t)r->node->entries[entry].blocks * VOLUME_BLOCK_BYTES;
    return err_wrap(e, "bytes %llu to %llu", (unsigned long long)from,
                    (unsigned long long)(from + len - 1));
}

void
slotread_expect(struct fetch *f, const struct node *n)
{
    CLEANUP(freep)
    struct fetch_leaf *leaves = xcalloc(n->n_leaves + 1, sizeof(leaves[0]));

    for (uint32_t i = 0; i < n->n_leaves; i++)
        leaves[i].h = node_leaf(n, i)->h;
    fetch_expect(f, leaves, n->n_leaves);
}

int
slotread(struct fetch *f, const struct node *n, uint64_t offset, uint64_t len,
         const uint64_t *wanted, uint8_t *out, struct err *e)
{
    CLEANUP(freep) uint16_t *at = xcalloc(n->n, sizeof(at[0]));
    CLEANUP(freep) uint16_t *next = xcalloc(n->n, sizeof(next[0]));
    CLEANUP(freep)
    struct fetch_leaf *leaves = xcalloc(n->n_leaves + 1, sizeof(leaves[0]));
    CLEANUP(freep)
    uint16_t *numbers = xcalloc(n->n_leaves + 1, sizeof(numbers[0]));
    struct slotread r = {.node = n,
                         .wanted = wanted,
                         .out = out,
                         .at = at,
                         .next = next,
                         .leaves = leaves,
                         .numbers = numbers};

    if (lay_out(&r, (uint32_t)div_up(len, VOLUME_BLOCK_BYTES), e) == -1)
        return -1;
    plan(&r);
    return r.n == 0 ? 0 : fetch_all(&r, f, offset, e);
}

void
slotread_data(const struct node *n, uint64_t out[VOLUME_SLOT_BLOCKS / 64])
{
    uint32_t at = 0;

    memset(out, 0, VOLUME_SLOT_BLOCKS / 8);
    for (uint32_t i = 0; n && i < n->n; at += n->entries[i++].blocks)
        for (uint32_t b = at;
             !node_is_hole(&n->entries[i]) && b < at + n->entries[i].blocks;
             b++)
            out[b / 64] |= UINT64_C(1) << (b % 64);
}
