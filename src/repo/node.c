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

enum { ENTRY_HOLE = 0, ENTRY_DATA = 1 };

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
    return n;
}

void
node_free(struct node *n)
{
    if (n)
        free(n->entries);
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

void
node_add_leaf(struct node *n, uint32_t blocks,
              const uint8_t h[CAPABILITY_BYTES])
{
    assert(n->level == 0 && n->n < NODE_ENTRIES_MAX);
    n->entries[n->n].blocks = blocks;
    memcpy(n->entries[n->n++].h, h, CAPABILITY_BYTES);
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
    for (uint32_t i = 0; i < n->n; i++) {
        const struct node_entry *entry = &n->entries[i];
        if (n->level == 0) {
            bool hole = node_is_hole(entry);
            buf_le32(out,
                     entry->blocks << 8 | (hole ? ENTRY_HOLE : ENTRY_DATA));
            if (hole)
                continue;
        }
        buf_add(out, entry->h, CAPABILITY_BYTES);
    }
}

/* The entries of a slot: `type u8, blocks u24`, and h for a leaf. */
static int
unpack_slot(struct cursor *c, struct node *n, uint32_t count, struct err *e)
{
    uint32_t blocks_in_all = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct node_entry *entry = &n->entries[n->n++];
        uint32_t word = cursor_le32(c);
        uint32_t type = word & 0xff, blocks = word >> 8;
        bool hole = type == ENTRY_HOLE;

        entry->blocks = blocks;
        if (!hole)
            cursor_copy(c, entry->h, CAPABILITY_BYTES);
        if (cursor_check(c, "the node", e) == -1)
            return -1;
        if (type > ENTRY_DATA)
            return err_set(e, ERR_UNSUP, "the node has an entry of type %u",
                           type);
        blocks_in_all += blocks;
        if (blocks == 0 || blocks_in_all > NODE_SLOT_BLOCKS ||
            (!hole && blocks > NODE_LEAF_MAX_BLOCKS))
            return err_set(e, ERR_CORRUPT,
                           "entry %u of the node covers %u blocks", i, blocks);
        if (hole != node_is_hole(entry) ||
            (hole && (i == count - 1 || (i > 0 && node_is_hole(entry - 1)))))
            return err_set(e, ERR_CORRUPT,
                           "entry %u of the node is a hole that can't be", i);
    }
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

void
node_children_pack(const struct node *n, struct buf *out)
{
    struct object_name name;
    uint16_t count = 0;

    for (uint32_t i = 0; i < n->n; i++)
        if (!node_is_hole(&n->entries[i]))
            count++;
    buf_u8(out, n->level);
    buf_u8(out, 0);
    buf_le16(out, count);
    for (uint32_t i = 0; i < n->n; i++) {
        if (node_is_hole(&n->entries[i]))
            continue;
        object_name_of(n->entries[i].h, &name);
        buf_add(out, name.id, GID_BYTES);
    }
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
