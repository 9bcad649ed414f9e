/* SPDX-License-Identifier: Apache-2.0 */
/* May a volume be taken over unseen?  (repo_internal.h) */
#include <string.h>

#include "base/err.h"
#include "base/hex.h"
#include "repo/descend.h"
#include "repo/fetch.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/repo_internal.h"
#include "repo/tree.h"

static int
check_leaves(struct repo *r, const struct node *n, uint64_t slot, struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];
    char hex[2 * GID_BYTES + 1];
    struct object_name name;

    for (uint32_t i = 0; i < n->n_leaves; i++) {
        object_name_of(node_leaf(n, i)->h, &name);
        if (index_find(r->index, name.id, at) > 0)
            continue;
        hex_encode(name.id, GID_BYTES, hex);
        (void)err_set(e, ERR_CORRUPT,
                      "object %s of slot %llu of what it is based on is lost",
                      hex, (unsigned long long)slot);
        return err_hint(e, "a backup that reads everything may bring it back");
    }
    return 0;
}

int
base_check_lost(struct repo *r, const struct volume_root *root, struct err *e)
{
    uint64_t slots = tree_slots(root->size_bytes);
    uint8_t h[CAPABILITY_BYTES];

    for (uint64_t i = 0; lost_any_pack(r->lost) && i < slots;) {
        struct fetched_node *fetched = NULL;
        uint64_t slot = i;
        int rc = descend(r->fetch, root, 0, slot, h, &i, e);
        if (rc == 1) {
            rc = fetch_node(r->fetch, h, 0, &fetched, e);
            if (rc == 0)
                rc = check_leaves(r, fetched_node(fetched), slot, e);
            fetch_node_put(r->fetch, fetched);
            i = slot + 1;
        }
        if (rc == -1)
            return -1;
    }
    return 0;
}
