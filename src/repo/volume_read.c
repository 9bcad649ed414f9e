/* SPDX-License-Identifier: Apache-2.0 */
/* The reading half of volume.h. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/descend.h"
#include "repo/fetch.h"
#include "repo/repo_internal.h"
#include "repo/slotread.h"
#include "repo/tree.h"

struct volume_reader {
    struct fetch *fetch; /* borrowed */
    struct volume_root root;
};

int
volume_open(struct repo *r, const struct volume_root *root,
            struct volume_reader **out, struct err *e)
{
    if (root->size_bytes > VOLUME_SIZE_MAX ||
        root->levels != tree_levels(root->size_bytes))
        return err_set(e, ERR_CORRUPT,
                       "a volume of %llu bytes does not have %u levels",
                       (unsigned long long)root->size_bytes, root->levels);
    struct volume_reader *v = xcalloc(1, sizeof(*v));
    v->fetch = r->fetch;
    v->root = *root;
    *out = v;
    return 0;
}

void
volume_close(struct volume_reader *v)
{
    free(v);
}

void
volume_closep(struct volume_reader **v)
{
    volume_close(*v);
}

uint64_t
volume_size(const struct volume_reader *v)
{
    return v->root.size_bytes;
}

static int
find_slot(struct volume_reader *v, uint64_t index,
          uint8_t out_h[CAPABILITY_BYTES], uint64_t *out_next, struct err *e)
{
    return descend(v->fetch, &v->root, 0, index, out_h, out_next, e);
}

int
volume_next_slot(struct volume_reader *v, uint64_t *index, struct err *e)
{
    uint64_t slots = tree_slots(v->root.size_bytes);
    uint8_t h[CAPABILITY_BYTES];

    for (uint64_t at = *index; at < slots;) {
        int rc = find_slot(v, at, h, &at, e);
        if (rc == 1)
            *index = at;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void
clear_holes(uint8_t *out, const uint64_t marked[VOLUME_SLOT_BLOCKS / 64])
{
    for (uint32_t i = 0; i < VOLUME_SLOT_BLOCKS; i++)
        if (!(marked[i / 64] >> (i % 64) & 1))
            memset(out + (size_t)i * VOLUME_BLOCK_BYTES, 0, VOLUME_BLOCK_BYTES);
}

static int
read_node(struct volume_reader *v, uint64_t index, const struct node *n,
          uint8_t *out, uint64_t *marked, struct err *e)
{
    uint64_t start = index * VOLUME_SLOT_BYTES;
    uint64_t len = u64_min(VOLUME_SLOT_BYTES, v->root.size_bytes - start);

    slotread_data(n, marked);
    clear_holes(out, marked);
    return slotread(v->fetch, n, start, len, NULL, out, e);
}

int
volume_read_slot(struct volume_reader *v, uint64_t index, uint8_t *out,
                 uint64_t marked[VOLUME_SLOT_BLOCKS / 64], struct err *e)
{
    struct fetched_node *fetched = NULL;
    uint8_t h[CAPABILITY_BYTES];
    uint64_t next = 0;

    if (index >= tree_slots(v->root.size_bytes))
        return err_set(e, ERR_USAGE, "the volume has no slot %llu",
                       (unsigned long long)index);
    memset(marked, 0, VOLUME_SLOT_BLOCKS / 8);
    int rc = find_slot(v, index, h, &next, e);
    if (rc == 0) {
        memset(out, 0, VOLUME_SLOT_BYTES);
        return 0;
    }
    if (rc == 1)
        rc = fetch_node(v->fetch, h, 0, &fetched, e);
    if (rc == 0)
        rc = read_node(v, index, fetched_node(fetched), out, marked, e);
    fetch_node_put(v->fetch, fetched);
    return rc == 0 ? 0 : err_wrap(e, "slot %llu", (unsigned long long)index);
}

void
volume_expect_slot(struct volume_reader *v, uint64_t index)
{
    struct fetched_node *fetched = NULL;
    uint8_t h[CAPABILITY_BYTES];
    struct err ignored = {0};
    uint64_t next = 0;

    if (!fetch_is_distant(v->fetch) ||
        find_slot(v, index, h, &next, &ignored) != 1 ||
        fetch_node(v->fetch, h, 0, &fetched, &ignored) == -1)
        return;
    slotread_expect(v->fetch, fetched_node(fetched));
    fetch_node_put(v->fetch, fetched);
}
