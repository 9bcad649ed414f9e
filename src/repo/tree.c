/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/volume.h"

uint64_t
tree_slots(uint64_t size_bytes)
{
    return div_up(size_bytes, VOLUME_SLOT_BYTES);
}

uint64_t
tree_slots_below(uint8_t level)
{
    return UINT64_C(1) << (7 * level);
}

uint8_t
tree_levels(uint64_t size_bytes)
{
    uint8_t level = 0;

    while (tree_slots_below(level) < tree_slots(size_bytes))
        level++;
    return level;
}

void
tree_list_add(struct tree_list *l, uint64_t index,
              const uint8_t h[CAPABILITY_BYTES])
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        l->items = xrealloc(l->items, l->room * sizeof(l->items[0]));
    }
    l->items[l->n].index = index;
    memcpy(l->items[l->n++].h, h, CAPABILITY_BYTES);
}

void
tree_list_done(struct tree_list *l)
{
    free(l->items);
    *l = (struct tree_list){0};
}

static int
by_index(const void *a, const void *b)
{
    const struct tree_item *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

struct builder {
    tree_base_fn *base; /* or NULL */
    tree_store_fn *store;
    void *cookie;
};

/* The node above l->items[i] and its siblings: null if they all are. */
static int
build_node(const struct builder *b, uint8_t level, const struct tree_list *l,
           size_t *i, struct tree_item *out, struct err *e)
{
    uint8_t children[NODE_FANOUT][CAPABILITY_BYTES] = {{0}};
    CLEANUP(node_freep) struct node *n = node_new(level);

    out->index = l->items[*i].index / NODE_FANOUT;
    memset(out->h, 0, sizeof(out->h));
    if (b->base && b->base(b->cookie, level, out->index, children, e) == -1)
        return -1;
    for (; *i < l->n && l->items[*i].index / NODE_FANOUT == out->index; ++*i)
        memcpy(children[l->items[*i].index % NODE_FANOUT], l->items[*i].h,
               CAPABILITY_BYTES);
    for (uint32_t k = 0; k < NODE_FANOUT; k++)
        if (!bytes_are_zero(children[k], CAPABILITY_BYTES))
            node_add_child(n, k, children[k]);
    return n->n == 0 ? 0 : b->store(b->cookie, n, out->h, e);
}

/* From the items of one level, in order, to those of the next, in place: there
 * are never more of these. */
static int
build_level(const struct builder *b, uint8_t level, struct tree_list *l,
            struct err *e)
{
    size_t made = 0;

    for (size_t i = 0; i < l->n;) {
        struct tree_item parent;
        if (build_node(b, level, l, &i, &parent, e) == -1)
            return -1;
        l->items[made++] = parent;
    }
    l->n = made;
    return 0;
}

int
tree_build(struct tree_list *l, uint8_t levels, tree_base_fn *base,
           tree_store_fn *store, void *cookie, uint8_t out_h[CAPABILITY_BYTES],
           struct err *e)
{
    const struct builder b = {base, store, cookie};

    if (l->n == 0) {
        memset(out_h, 0, CAPABILITY_BYTES);
        return 0;
    }
    qsort(l->items, l->n, sizeof(l->items[0]), by_index);
    for (size_t i = 1; i < l->n; i++)
        if (l->items[i].index == l->items[i - 1].index)
            return err_set(e, ERR_USAGE, "slot %llu was submitted twice",
                           (unsigned long long)l->items[i].index);
    for (uint8_t level = 1; level <= levels; level++)
        if (build_level(&b, level, l, e) == -1)
            return -1;
    memcpy(out_h, l->items[0].h, CAPABILITY_BYTES);
    return 0;
}
