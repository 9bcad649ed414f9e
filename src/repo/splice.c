/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/splice.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/chunker.h"

void
splice_done(struct splice *c)
{
    free(c->leaves);
    c->leaves = NULL;
}

static bool
bit(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static void
set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static uint8_t *
block_at(const struct splice *c, uint32_t block)
{
    return c->slot->data + (size_t)block * VOLUME_BLOCK_BYTES;
}

static void
start(struct splice *c, struct slot *s, size_t leaves)
{
    memset(c, 0, sizeof(*c));
    c->slot = s;
    c->blocks = (uint32_t)div_up(s->len, VOLUME_BLOCK_BYTES);
    c->leaves = xcalloc(leaves + 1, sizeof(c->leaves[0]));
}

/* ---- new leaves -------------------------------------------------------- */

static void
add_leaf(struct splice *c, uint32_t first)
{
    c->leaves[c->n++] =
        (struct splice_leaf){.is_new = true, .from = (uint16_t)first};
}

/* Behind what the leaf that was added last has. */
static void
add_blocks(struct splice *c, uint32_t first, uint32_t blocks)
{
    struct splice_leaf *leaf = &c->leaves[c->n - 1];

    assert(leaf->blocks + blocks <= NODE_LEAF_MAX_BLOCKS);
    for (uint32_t i = first; i < first + blocks; i++) {
        c->leaf[i] = (uint16_t)c->n;
        c->place[i] = leaf->blocks;
        leaf->used |= UINT64_C(1) << leaf->blocks++;
    }
}

static void
cut(struct splice *c, struct chunker_run *run, struct slot *s, uint32_t end)
{
    struct chunk chunk;

    while (run->at < end && chunker_next(run, s, &chunk)) {
        add_leaf(c, chunk.first);
        add_blocks(c, chunk.first, chunk.blocks);
    }
}

void
splice_all(struct splice *out, struct slot *s, uint8_t chunker, uint64_t seed)
{
    struct chunker_run run = {.chunker = chunker, .seed = seed};

    start(out, s, VOLUME_SLOT_BLOCKS);
    cut(out, &run, s, out->blocks);
}

/* A chunker looks at marks: it gets those of this run, all of which is data. */
static void
cut_run(struct splice *c, uint8_t chunker, uint64_t seed, uint32_t first,
        uint32_t end)
{
    struct slot s = {.data = c->slot->data, .len = c->slot->len};
    struct chunker_run run = {.chunker = chunker, .seed = seed, .at = first};

    if (chunker == CHUNKER_FIXED64K)
        run.at = first / CHUNKER_CELL_BLOCKS * CHUNKER_CELL_BLOCKS;
    for (uint32_t i = first; i < end; i++)
        set_bit(s.marked, i);
    cut(c, &run, &s, end);
}

/* The blocks that are new, and data. */
static uint32_t
find_fresh(const struct splice *c, uint64_t fresh[VOLUME_SLOT_BLOCKS / 64])
{
    uint32_t n = 0;

    memset(fresh, 0, VOLUME_SLOT_BLOCKS / 8);
    for (uint32_t i = 0; i < c->blocks; i++)
        if (bit(c->slot->changed, i) && bit(c->slot->marked, i) &&
            !bytes_are_zero(block_at(c, i), VOLUME_BLOCK_BYTES)) {
            set_bit(fresh, i);
            n++;
        }
    return n;
}

static uint32_t
end_of_run(const struct splice *c, const uint64_t *fresh, uint32_t first)
{
    while (first < c->blocks && bit(fresh, first))
        first++;
    return first;
}

static void
add_fresh(struct splice *c, const uint64_t *fresh, uint8_t chunker,
          uint64_t seed)
{
    bool gathering = false;

    for (uint32_t i = 0, end = 0; i < c->blocks; i = end + 1) {
        end = end_of_run(c, fresh, i);
        if (end - i >= SPLICE_LONG_BLOCKS)
            cut_run(c, chunker, seed, i, end);
    }
    for (uint32_t i = 0, end = 0; i < c->blocks; i = end + 1) {
        end = end_of_run(c, fresh, i);
        if (end == i || end - i >= SPLICE_LONG_BLOCKS)
            continue;
        if (!gathering ||
            c->leaves[c->n - 1].blocks + (end - i) > NODE_LEAF_MAX_BLOCKS)
            add_leaf(c, i);
        gathering = true;
        add_blocks(c, i, end - i);
    }
}

/* ---- what stays -------------------------------------------------------- */

static void
keep_entry(struct splice *c, const struct node_entry *entry, uint32_t at)
{
    struct splice_leaf *leaf = &c->leaves[entry->leaf];

    for (uint32_t i = 0; i < entry->blocks; i++) {
        if (bit(c->slot->changed, at + i))
            continue;
        c->leaf[at + i] = (uint16_t)(entry->leaf + 1);
        c->place[at + i] = (uint8_t)(entry->first + i);
        leaf->used |= UINT64_C(1) << (entry->first + i);
    }
}

static int
keep_base(struct splice *c, const struct node *base, struct err *e)
{
    uint32_t at = 0;

    for (; c->n < base->n_leaves; c->n++) {
        const struct node_entry *entry = node_leaf(base, (uint32_t)c->n);
        c->leaves[c->n].blocks = entry->leaf_blocks;
        memcpy(c->leaves[c->n].h, entry->h, CAPABILITY_BYTES);
    }
    c->first_new = c->n;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct node_entry *entry = &base->entries[i];
        if (entry->blocks > c->blocks - at)
            return err_set(e, ERR_CORRUPT,
                           "the slot goes on behind the volume's end");
        if (!node_is_hole(entry))
            keep_entry(c, entry, at);
        at += entry->blocks;
    }
    return 0;
}

int
splice_keep(struct splice *out, const struct node *base, struct slot *s,
            uint8_t chunker, uint64_t seed, struct err *e)
{
    uint64_t fresh[VOLUME_SLOT_BLOCKS / 64], kept = 0;

    start(out, s, 0);
    uint32_t n = find_fresh(out, fresh);
    free(out->leaves);
    out->leaves = xcalloc(base->n_leaves + n + 1, sizeof(out->leaves[0]));
    if (keep_base(out, base, e) == -1)
        return -1;
    for (size_t i = 0; i < out->n; i++)
        kept |= out->leaves[i].used;
    if (kept == 0) {
        splice_done(out);
        splice_all(out, s, chunker, seed);
        return 0;
    }
    add_fresh(out, fresh, chunker, seed);
    return 0;
}

/* ---- is it good? ------------------------------------------------------- */

static bool
is_tiny(const struct splice_leaf *leaf)
{
    return !leaf->is_new && leaf->used != 0 &&
           __builtin_popcountll(leaf->used) <= SPLICE_TINY_BLOCKS;
}

enum splice_verdict
splice_judge(const struct splice *c, uint64_t wanted[VOLUME_SLOT_BLOCKS / 64])
{
    uint32_t held = 0, used = 0, tiny = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (c->leaves[i].used == 0)
            continue;
        tiny += is_tiny(&c->leaves[i]);
        held += c->leaves[i].blocks;
        used += (uint32_t)__builtin_popcountll(c->leaves[i].used);
    }
    bool is_wasteful = held > NODE_HELD_TIMES * used;
    if (!is_wasteful && tiny <= SPLICE_TINY_LEAVES)
        return SPLICE_GOOD;
    memset(wanted, 0, VOLUME_SLOT_BLOCKS / 8);
    for (uint32_t i = 0; i < c->blocks; i++) {
        if (c->leaf[i] == 0)
            continue;
        const struct splice_leaf *leaf = &c->leaves[c->leaf[i] - 1];
        if (!leaf->is_new && (is_wasteful || is_tiny(leaf)))
            set_bit(wanted, i);
    }
    return is_wasteful ? SPLICE_WASTEFUL : SPLICE_SCATTERED;
}

/* ---- the result -------------------------------------------------------- */

const uint8_t *
splice_data(const struct splice *c, size_t leaf, uint8_t *room)
{
    const struct splice_leaf *l = &c->leaves[leaf];
    uint32_t i = l->from, end = i + l->blocks - 1;

    assert(l->is_new && l->blocks > 0);
    if (end < c->blocks && c->leaf[end] == leaf + 1 &&
        c->place[end] == l->blocks - 1)
        return block_at(c, i);
    for (uint32_t n = 0; n < l->blocks; i++)
        if (c->leaf[i] == leaf + 1)
            memcpy(room + (size_t)n++ * VOLUME_BLOCK_BYTES, block_at(c, i),
                   VOLUME_BLOCK_BYTES);
    return room;
}

/* Blocks from `first` on that are one behind the other in the slot and in their
 * leaf, or a hole. */
static uint32_t
extent(const struct splice *c, uint32_t first)
{
    uint32_t n = 1;

    while (first + n < c->blocks && c->leaf[first + n] == c->leaf[first] &&
           (c->leaf[first] == 0 || c->place[first + n] == c->place[first] + n))
        n++;
    return n;
}

int
splice_node(const struct splice *c, struct node **out, struct err *e)
{
    CLEANUP(node_freep) struct node *n = node_new(0);
    uint32_t blocks = 0;

    for (uint32_t i = 0; i < c->blocks; i += blocks) {
        blocks = extent(c, i);
        if (c->leaf[i] == 0) {
            node_add_hole(n, blocks);
            continue;
        }
        const struct splice_leaf *leaf = &c->leaves[c->leaf[i] - 1];
        if (!node_add_part(n, blocks, leaf->h, c->place[i], leaf->blocks))
            return err_set(e, ERR_CORRUPT,
                           "what it is based on has a leaf of a wrong length");
    }
    *out = STEAL(n);
    return 0;
}
