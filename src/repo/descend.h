/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descend: from a volume's root down to one of its nodes, without reading any
 * that is not on the way.
 */
#ifndef REPO_DESCEND_H
#define REPO_DESCEND_H

#include <stdint.h>

#include "repo/node.h"
#include "repo/volume.h"

struct err;
struct fetch;

/*
 * The node number `index` of `level` (at most root->levels): 1 and its
 * capability in out_h; 0 if it is null, and in *out_next the first of that
 * level behind the null subtree that it is in; -1.
 */
int descend(struct fetch *f, const struct volume_root *root, uint8_t level,
            uint64_t index, uint8_t out_h[CAPABILITY_BYTES], uint64_t *out_next,
            struct err *e);

#endif
