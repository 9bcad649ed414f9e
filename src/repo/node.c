/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"

enum {
    ENTRY_HOLE = 0,
    ENTRY_LEAF = 1,  /* all of a leaf that no entry before has named */
    ENTRY_PART = 2,  /* a part of such a leaf */
    ENTRY_AGAIN = 3, /* all or a part of one that was named before */
    TABLE_SIZE = 4096
};

/* Bytes of a volume that a node of this level covers. */
static uint64_t
span_of(uint8_t level)
{
    return (uint64_t)NODE_SLOT_BLOCKS * NODE_BLOCK_BYTES << (7 * level);
}

struct node *
node_new(uint8_t level)
{
    struct node *n = xcalloc(1, sizeof(*n));

    assert(level <= NODE_LEVEL_MAX);
    n->level = level;
    n->entries = xcalloc(level == 0 ? NODE_ENTRIES_MAX : NODE_FANOUT,
                         sizeof(n->entries[0]));
    if (level == 0) {
        n->named = xcalloc(NODE_ENTRIES_MAX, sizeof(n->named[0]));
        n->table = xcalloc(TABLE_SIZE, sizeof(n->table[0]));
    }
    return n;
}

void
node_free(struct node *n)
{
    if (!n)
        return;
    free(n->entries);
    free(n->named);
    free(n->table);
    free(n);
}

void
node_freep(struct node **n)
{
    node_free(*n);
}

bool
node_is_hole(const struct node_entry *entry)
{
    return bytes_are_zero(entry->h, sizeof(entry->h));
}

bool
node_is_whole(const struct node_entry *entry)
{
    return entry->blocks == entry->leaf_blocks;
}

const struct node_entry *
node_leaf(const struct node *n, uint32_t leaf)
{
    assert(leaf < n->n_leaves);
    return &n->entries[n->named[leaf]];
}

/* Where the table has the leaf, or has room for it.  It is twice as large as
 * it need be: who makes up capabilities that all want one place costs a reader
 * some milliseconds. */
static uint16_t *
place_of(const struct node *n, const uint8_t h[CAPABILITY_BYTES])
{
    uint32_t at = get_le16(h) % TABLE_SIZE;

    while (n->table[at] != 0 &&
           memcmp(node_leaf(n, n->table[at] - 1U)->h, h, CAPABILITY_BYTES) != 0)
        at = (at + 1) % TABLE_SIZE;
    return &n->table[at];
}

/* The entry that was added last names a leaf that none before it has. */
static void
note_leaf(struct node *n, uint16_t *place)
{
    n->entries[n->n - 1].leaf = (uint16_t)n->n_leaves;
    n->named[n->n_leaves++] = (uint16_t)(n->n - 1);
    *place = (uint16_t)n->n_leaves;
}

/* Does a part of this leaf, from its block `first` on, go on where `before`
 * ends? */
static bool
goes_on(const struct node_entry *before, uint32_t leaf, uint32_t first)
{
    return !node_is_hole(before) && before->leaf == leaf &&
           before->first + before->blocks == first;
}

void
node_add_hole(struct node *n, uint32_t blocks)
{
    assert(n->level == 0);
    if (blocks == 0)
        return;
    if (n->n > 0 && node_is_hole(&n->entries[n->n - 1])) {
        n->entries[n->n - 1].blocks += blocks;
        return;
    }
    assert(n->n < NODE_ENTRIES_MAX);
    n->entries[n->n++] = (struct node_entry){.blocks = blocks};
}

bool
node_add_part(struct node *n, uint32_t blocks,
              const uint8_t h[CAPABILITY_BYTES], uint32_t first,
              uint32_t leaf_blocks)
{
    assert(n->level == 0 && blocks > 0 && first + blocks <= leaf_blocks &&
           leaf_blocks <= NODE_LEAF_MAX_BLOCKS);
    uint16_t *place = place_of(n, h);
    uint32_t leaf = *place ? *place - 1U : n->n_leaves;
    if (*place && node_leaf(n, leaf)->leaf_blocks != leaf_blocks)
        return false;
    if (n->n > 0 && goes_on(&n->entries[n->n - 1], leaf, first)) {
        n->entries[n->n - 1].blocks += blocks;
        return true;
    }
    assert(n->n < NODE_ENTRIES_MAX);
    struct node_entry *entry = &n->entries[n->n++];
    *entry = (struct node_entry){.blocks = blocks,
                                 .leaf = (uint16_t)leaf,
                                 .first = (uint8_t)first,
                                 .leaf_blocks = (uint8_t)leaf_blocks};
    memcpy(entry->h, h, CAPABILITY_BYTES);
    if (!*place)
        note_leaf(n, place);
    return true;
}

void
node_add_leaf(struct node *n, uint32_t blocks,
              const uint8_t h[CAPABILITY_BYTES])
{
    bool added = node_add_part(n, blocks, h, 0, blocks);

    assert(added);
    (void)added;
}

void
node_add_child(struct node *n, uint32_t position,
               const uint8_t h[CAPABILITY_BYTES])
{
    assert(n->level > 0 && position >= n->n && position < NODE_FANOUT);
    while (n->n < position)
        n->entries[n->n++] = (struct node_entry){0};
    memcpy(n->entries[n->n++].h, h, CAPABILITY_BYTES);
}

static void
pack_slot_entry(const struct node *n, uint32_t i, struct buf *out)
{
    const struct node_entry *entry = &n->entries[i];
    uint32_t type = ENTRY_LEAF;

    if (node_is_hole(entry))
        type = ENTRY_HOLE;
    else if (n->named[entry->leaf] != i)
        type = ENTRY_AGAIN;
    else if (!node_is_whole(entry))
        type = ENTRY_PART;
    buf_le32(out, entry->blocks << 8 | type);
    if (type == ENTRY_AGAIN)
        buf_le16(out, entry->leaf);
    else if (type != ENTRY_HOLE)
        buf_add(out, entry->h, CAPABILITY_BYTES);
    if (type == ENTRY_AGAIN || type == ENTRY_PART)
        buf_u8(out, entry->first);
    if (type == ENTRY_PART)
        buf_u8(out, entry->leaf_blocks);
}

void
node_pack(struct node *n, struct buf *out)
{
    while (n->n > 0 && node_is_hole(&n->entries[n->n - 1]))
        n->n--;
    assert(n->n > 0);
    buf_u8(out, n->level);
    buf_u8(out, 0);
    buf_le16(out, (uint16_t)n->n);
    buf_le64(out, span_of(n->level));
    for (uint32_t i = 0; i < n->n; i++)
        if (n->level == 0)
            pack_slot_entry(n, i, out);
        else
            buf_add(out, n->entries[i].h, CAPABILITY_BYTES);
}

/* ---- unpacking a slot -------------------------------------------------- */

/* What an entry of this type says of its leaf, behind `type u8, blocks u24`. */
static int
unpack_part(struct cursor *c, struct node *n, uint32_t type,
            struct node_entry *entry, struct err *e)
{
    if (type == ENTRY_AGAIN) {
        entry->leaf = cursor_le16(c);
        entry->first = cursor_u8(c);
    } else {
        cursor_copy(c, entry->h, CAPABILITY_BYTES);
        entry->first = type == ENTRY_PART ? cursor_u8(c) : 0;
        entry->leaf_blocks = type == ENTRY_PART
                                 ? cursor_u8(c)
                                 : (uint8_t)u64_min(entry->blocks, UINT8_MAX);
    }
    if (cursor_check(c, "the node", e) == -1)
        return -1;
    if (type != ENTRY_AGAIN)
        return 0;
    if (entry->leaf >= n->n_leaves)
        return err_set(e, ERR_CORRUPT,
                       "the node has an entry of leaf %u, of %u so far",
                       entry->leaf, n->n_leaves);
    const struct node_entry *named = node_leaf(n, entry->leaf);
    entry->leaf_blocks = named->leaf_blocks;
    memcpy(entry->h, named->h, CAPABILITY_BYTES);
    return 0;
}

/* An entry that is no hole, behind those before it. */
static int
check_part(struct node *n, uint32_t type, struct err *e)
{
    uint32_t i = n->n - 1;
    struct node_entry *entry = &n->entries[i];

    if (node_is_hole(entry))
        return err_set(e, ERR_CORRUPT,
                       "entry %u of the node is a hole that can't be", i);
    if (entry->leaf_blocks > NODE_LEAF_MAX_BLOCKS ||
        entry->first + entry->blocks > entry->leaf_blocks ||
        (type == ENTRY_PART && node_is_whole(entry)))
        return err_set(e, ERR_CORRUPT,
                       "entry %u of the node is %u blocks from block %u of a "
                       "leaf of %u",
                       i, entry->blocks, entry->first, entry->leaf_blocks);
    if (type != ENTRY_AGAIN) {
        uint16_t *place = place_of(n, entry->h);
        if (*place)
            return err_set(e, ERR_CORRUPT,
                           "entry %u of the node spells a leaf out again", i);
        note_leaf(n, place);
    } else if (i > 0 && goes_on(entry - 1, entry->leaf, entry->first)) {
        return err_set(e, ERR_CORRUPT,
                       "entry %u of the node is a part of the one before it",
                       i);
    }
    return 0;
}

static int
unpack_slot_entry(struct cursor *c, struct node *n, bool is_last, struct err *e)
{
    uint32_t i = n->n++;
    struct node_entry *entry = &n->entries[i];
    uint32_t word = cursor_le32(c);
    uint32_t type = word & 0xff;

    entry->blocks = word >> 8;
    if (cursor_check(c, "the node", e) == -1)
        return -1;
    if (type > ENTRY_AGAIN)
        return err_set(e, ERR_UNSUP, "the node has an entry of type %u", type);
    if (entry->blocks == 0 || entry->blocks > NODE_SLOT_BLOCKS ||
        (type != ENTRY_HOLE && entry->blocks > NODE_LEAF_MAX_BLOCKS))
        return err_set(e, ERR_CORRUPT, "entry %u of the node covers %u blocks",
                       i, entry->blocks);
    if (type != ENTRY_HOLE)
        return unpack_part(c, n, type, entry, e) == -1 ? -1
                                                       : check_part(n, type, e);
    if (is_last || (i > 0 && node_is_hole(entry - 1)))
        return err_set(e, ERR_CORRUPT,
                       "entry %u of the node is a hole that can't be", i);
    return 0;
}

void
node_use(const struct node *n, struct node_use *out)
{
    CLEANUP(freep)
    uint64_t *used = xcalloc(n->n_leaves + 1, sizeof(used[0]));

    *out = (struct node_use){0};
    for (uint32_t i = 0; i < n->n; i++) {
        const struct node_entry *entry = &n->entries[i];
        if (!node_is_hole(entry))
            used[entry->leaf] |= UINT64_MAX >> (64 - entry->blocks)
                                                   << entry->first;
    }
    for (uint32_t i = 0; i < n->n_leaves; i++) {
        out->held += node_leaf(n, i)->leaf_blocks;
        out->used += (uint32_t)__builtin_popcountll(used[i]);
    }
}

static int
unpack_slot(struct cursor *c, struct node *n, uint32_t count, struct err *e)
{
    uint32_t blocks_in_all = 0;
    struct node_use use;

    n->named = xcalloc(count, sizeof(n->named[0]));
    n->table = xcalloc(TABLE_SIZE, sizeof(n->table[0]));
    for (uint32_t i = 0; i < count; i++) {
        if (unpack_slot_entry(c, n, i == count - 1, e) == -1)
            return -1;
        blocks_in_all += n->entries[i].blocks;
        if (blocks_in_all > NODE_SLOT_BLOCKS)
            return err_set(e, ERR_CORRUPT,
                           "entry %u of the node covers %u blocks", i,
                           n->entries[i].blocks);
    }
    freep(&n->table);
    n->table = NULL;
    node_use(n, &use);
    if (use.held > NODE_HELD_TIMES * use.used)
        return err_set(e, ERR_CORRUPT,
                       "the node's leaves hold %u blocks, and it uses %u",
                       use.held, use.used);
    return 0;
}

static int
unpack_inner(struct cursor *c, struct node *n, uint32_t count, struct err *e)
{
    if (count > NODE_FANOUT)
        return err_set(e, ERR_CORRUPT, "the node has %u children", count);
    for (uint32_t i = 0; i < count; i++)
        cursor_copy(c, n->entries[n->n++].h, CAPABILITY_BYTES);
    if (cursor_check(c, "the node", e) == -1)
        return -1;
    if (node_is_hole(&n->entries[count - 1]))
        return err_set(e, ERR_CORRUPT, "the node ends in a hole");
    return 0;
}

int
node_unpack(const void *p, size_t len, struct node **out, struct err *e)
{
    struct cursor c = cursor_of(p, len);
    uint8_t level = cursor_u8(&c);
    uint8_t reserved = cursor_u8(&c);
    uint16_t count = cursor_le16(&c);
    uint64_t span = cursor_le64(&c);

    if (cursor_check(&c, "the node", e) == -1)
        return -1;
    if (level > NODE_LEVEL_MAX || reserved != 0 || span != span_of(level))
        return err_set(e, ERR_CORRUPT, "the node's head makes no sense");
    if (count == 0 || count > NODE_ENTRIES_MAX)
        return err_set(e, ERR_CORRUPT, "the node has %u entries", count);

    CLEANUP(node_freep) struct node *n = xcalloc(1, sizeof(*n));
    n->level = level;
    n->entries = xcalloc(count, sizeof(n->entries[0]));
    int rc = level == 0 ? unpack_slot(&c, n, count, e)
                        : unpack_inner(&c, n, count, e);
    if (rc == -1 || cursor_done(&c, "the node", e) == -1)
        return -1;
    *out = STEAL(n);
    return 0;
}

static void
add_child_id(const uint8_t h[CAPABILITY_BYTES], struct buf *out)
{
    struct object_name name;

    object_name_of(h, &name);
    buf_add(out, name.id, GID_BYTES);
}

void
node_children_pack(const struct node *n, struct buf *out)
{
    uint32_t count = n->n_leaves;

    for (uint32_t i = 0; n->level > 0 && i < n->n; i++)
        count += !node_is_hole(&n->entries[i]);
    buf_u8(out, n->level);
    buf_u8(out, 0);
    buf_le16(out, (uint16_t)count);
    for (uint32_t i = 0; i < n->n_leaves; i++)
        add_child_id(node_leaf(n, i)->h, out);
    for (uint32_t i = 0; n->level > 0 && i < n->n; i++)
        if (!node_is_hole(&n->entries[i]))
            add_child_id(n->entries[i].h, out);
}

int
node_children_unpack(const void *p, size_t len, struct node_children *out,
                     struct err *e)
{
    struct cursor c = cursor_of(p, len);

    out->level = cursor_u8(&c);
    uint8_t reserved = cursor_u8(&c);
    out->n = cursor_le16(&c);
    const uint8_t *gids = cursor_bytes(&c, (size_t)out->n * GID_BYTES);
    if (cursor_done(&c, "the list of a node's children", e) == -1)
        return -1;
    if (out->level > NODE_LEVEL_MAX || reserved != 0 || out->n == 0 ||
        out->n > NODE_ENTRIES_MAX)
        return err_set(e, ERR_CORRUPT,
                       "the list of a node's children makes no sense");
    out->gids = gids;
    return 0;
}
