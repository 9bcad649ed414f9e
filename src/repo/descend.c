/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/descend.h"

#include <string.h>

#include "base/bytes.h"
#include "repo/fetch.h"
#include "repo/tree.h"

int
descend(struct fetch *f, const struct volume_root *root, uint8_t level,
        uint64_t index, uint8_t out_h[CAPABILITY_BYTES], uint64_t *out_next,
        struct err *e)
{
    uint8_t h[CAPABILITY_BYTES];

    memcpy(h, root->h, sizeof(h));
    for (uint8_t at = root->levels;; at--) {
        uint64_t below = tree_slots_below((uint8_t)(at - level));
        if (bytes_are_zero(h, sizeof(h))) {
            *out_next = (index / below + 1) * below;
            return 0;
        }
        if (at == level)
            break;
        struct fetched_node *fetched = NULL;
        if (fetch_node(f, h, at, &fetched, e) == -1)
            return -1;
        const struct node *n = fetched_node(fetched);
        uint32_t child = index / (below / NODE_FANOUT) % NODE_FANOUT;
        if (child < n->n)
            memcpy(h, n->entries[child].h, sizeof(h));
        else
            memset(h, 0, sizeof(h));
        fetch_node_put(f, fetched);
    }
    memcpy(out_h, h, sizeof(h));
    return 1;
}
