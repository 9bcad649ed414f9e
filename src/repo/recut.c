/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/recut.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "repo/fetch.h"

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

static bool
any_changed(const struct recut *c, uint32_t first, uint32_t end)
{
    for (; first < end; first++)
        if (bit(c->slot->changed, first))
            return true;
    return false;
}

static uint8_t *
block_at(const struct recut *c, uint32_t block)
{
    return c->slot->data + (size_t)block * VOLUME_BLOCK_BYTES;
}

/* ---- reading the base -------------------------------------------------- */

/* Its blocks go where nothing newer is. */
static void
lay_leaf(struct recut *c, uint32_t entry, const uint8_t *p)
{
    uint32_t first = c->start[entry];

    for (uint32_t i = 0; i < c->base->entries[entry].blocks; i++) {
        uint64_t *word = &c->absent[(first + i) / 64];
        uint64_t mask = UINT64_C(1) << ((first + i) % 64);
        if (*word & mask)
            memcpy(block_at(c, first + i), p + (size_t)i * VOLUME_BLOCK_BYTES,
                   VOLUME_BLOCK_BYTES);
        *word &= ~mask;
    }
}

/* Read these of the base's leaves, in as few reads as they allow. */
static int
read_leaves(struct recut *c, const uint16_t *entries, size_t n, struct err *e)
{
    CLEANUP(freep)
    struct fetch_leaf *leaves = xcalloc(n + 1, sizeof(leaves[0]));
    CLEANUP(freep) uint8_t *mem = NULL;
    size_t bytes = 0, failed = 0;

    for (size_t i = 0; i < n; i++) {
        const struct node_entry *entry = &c->base->entries[entries[i]];
        leaves[i].h = entry->h;
        leaves[i].len = (size_t)entry->blocks * VOLUME_BLOCK_BYTES;
        bytes += leaves[i].len;
    }
    mem = xmalloc(bytes + 1);
    bytes = 0;
    for (size_t i = 0; i < n; i++) {
        leaves[i].out = mem + bytes;
        bytes += leaves[i].len;
    }
    if (n > 0 && fetch_leaves(c->fetch, leaves, n, &failed, e) == -1) {
        uint64_t at = c->slot->index * VOLUME_SLOT_BYTES +
                      (uint64_t)c->start[entries[failed]] * VOLUME_BLOCK_BYTES;
        return err_wrap(e, "bytes %llu to %llu of what it is based on",
                        (unsigned long long)at,
                        (unsigned long long)(at + leaves[failed].len - 1));
    }
    for (size_t i = 0; i < n; i++)
        lay_leaf(c, entries[i], leaves[i].out);
    return 0;
}

static bool
need(void *cookie, uint32_t block)
{
    struct recut *c = cookie;

    if (c->err.code != ERR_OK)
        return false;
    if (!bit(c->absent, block))
        return true;
    uint16_t entry = (uint16_t)(c->leaf[block] - 1);
    return read_leaves(c, &entry, 1, &c->err) == 0;
}

/* Is there anything but zeros in this block, as far as one can tell without
 * reading the base? */
static bool
may_have_data(const struct recut *c, uint32_t block)
{
    return bit(c->slot->marked, block) &&
           (bit(c->absent, block) ||
            !bytes_are_zero(block_at(c, block), VOLUME_BLOCK_BYTES));
}

/* ---- which leaves can stay --------------------------------------------- */

/* The chunker leaves zeros at the ends of a cell out, so a leaf stays if it is
 * the only thing in its cell and nothing there has changed. */
static bool
stays_fixed64k(const struct recut *c, uint32_t entry)
{
    uint32_t first = c->start[entry];
    uint32_t end = first + c->base->entries[entry].blocks;
    uint32_t cell = first / CHUNKER_CELL_BLOCKS * CHUNKER_CELL_BLOCKS;
    uint32_t cell_end = cell + CHUNKER_CELL_BLOCKS;

    if (end > cell_end || any_changed(c, cell, cell_end))
        return false;
    for (uint32_t i = cell; i < cell_end; i++)
        if (c->leaf[i] != 0 && c->leaf[i] != entry + 1)
            return false;
    return true;
}

/* A leaf that ended at a hole ends later if there is data now; one that ended
 * at another leaf ends there whatever becomes of that. */
static bool
stays_ba8(const struct recut *c, uint32_t entry)
{
    uint32_t first = c->start[entry];
    uint32_t end = first + c->base->entries[entry].blocks;

    if (any_changed(c, first, end))
        return false;
    return end == c->blocks || c->leaf[end] != 0 || !may_have_data(c, end);
}

static bool
stays(const struct recut *c, uint32_t entry)
{
    return c->run.chunker == CHUNKER_BA8 ? stays_ba8(c, entry)
                                         : stays_fixed64k(c, entry);
}

/* ---- the cuts ---------------------------------------------------------- */

/* Where the base's leaves are, and which of their blocks count. */
static int
lay_out(struct recut *c, struct err *e)
{
    uint32_t at = 0;

    for (uint32_t i = 0; c->base && i < c->base->n; i++) {
        const struct node_entry *entry = &c->base->entries[i];
        if (entry->blocks > c->blocks - at)
            return err_set(e, ERR_CORRUPT,
                           "the slot goes on behind the volume's end");
        c->start[i] = (uint16_t)at;
        for (uint32_t k = at; !node_is_hole(entry) && k < at + entry->blocks;
             k++) {
            c->leaf[k] = (uint16_t)(i + 1);
            if (bit(c->slot->changed, k))
                continue;
            set_bit(c->slot->marked, k);
            set_bit(c->absent, k);
        }
        at += entry->blocks;
    }
    return 0;
}

/* The leaves that certainly have to be read, all at once: from a store that is
 * far away, one by one would be slow. */
static int
read_ahead(struct recut *c, struct err *e)
{
    CLEANUP(freep)
    uint16_t *entries = xcalloc(NODE_ENTRIES_MAX, sizeof(entries[0]));
    size_t n = 0;

    for (uint32_t i = 0; c->base && i < c->base->n; i++) {
        uint32_t first = c->start[i], blocks = c->base->entries[i].blocks;
        bool used = false;
        if (node_is_hole(&c->base->entries[i]) || stays(c, i))
            continue;
        for (uint32_t k = first; k < first + blocks && !used; k++)
            used = bit(c->absent, k);
        if (used)
            entries[n++] = (uint16_t)i;
    }
    return read_leaves(c, entries, n, e);
}

int
recut_init(struct recut *c, struct fetch *f, const struct node *base,
           struct slot *s, uint8_t chunker, uint64_t seed, struct err *e)
{
    memset(c, 0, sizeof(*c));
    c->slot = s;
    c->fetch = f;
    c->base = base;
    c->blocks = (uint32_t)div_up(s->len, VOLUME_BLOCK_BYTES);
    c->run = (struct chunker_run){
        .chunker = chunker, .seed = seed, .need = need, .need_cookie = c};
    return lay_out(c, e) == -1 ? -1 : read_ahead(c, e);
}

static int
cut(struct recut *c, uint32_t first, struct piece *out, struct err *e)
{
    struct chunk chunk = {0};

    c->run.at = c->run.chunker == CHUNKER_BA8
                    ? first
                    : first / CHUNKER_CELL_BLOCKS * CHUNKER_CELL_BLOCKS;
    bool more = chunker_next(&c->run, c->slot, &chunk);
    if (c->err.code != ERR_OK) {
        *e = c->err;
        return -1;
    }
    c->at = c->run.at;
    for (uint32_t i = 0; more && i < chunk.blocks; i++)
        assert(!bit(c->absent, chunk.first + i));
    if (more)
        *out = (struct piece){.first = chunk.first, .blocks = chunk.blocks};
    return more;
}

int
recut_next(struct recut *c, struct piece *out, struct err *e)
{
    uint32_t first = c->at;

    while (first < c->blocks && !may_have_data(c, first))
        first++;
    if (first == c->blocks)
        return 0;
    uint32_t entry = c->leaf[first] - 1U;
    if (c->leaf[first] == 0 || c->start[entry] != first || !stays(c, entry))
        return cut(c, first, out, e);
    const struct node_entry *kept = &c->base->entries[entry];
    *out = (struct piece){.first = first, .blocks = kept->blocks, .h = kept->h};
    c->at = first + kept->blocks;
    return 1;
}
