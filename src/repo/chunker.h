/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunker: cuts a slot into leaves (docs/format/tree.md, "Chunkers").
 *
 * Every chunker cuts at multiples of 4 KiB, never across a slot, and stores
 * neither whole zero leaves nor zero blocks at either end of a leaf.  Which one
 * cut a volume matters only to its next writer: readers take any leaves.
 *
 * ba8 finds content that has moved by whole blocks, as files do between two
 * file systems (docs/design/chunking.md).  Where it cuts depends on a secret of
 * the repository: otherwise the lengths of leaves would tell known content.
 */
#ifndef REPO_CHUNKER_H
#define REPO_CHUNKER_H

#include <stdbool.h>
#include <stdint.h>

#include "crypto/hash.h"
#include "repo/volume.h"

enum chunker {
    CHUNKER_FIXED64K = 1, /* at multiples of 64 KiB */
    CHUNKER_BA8 = 2       /* behind a block whose hash says so, and at zeros */
};

bool chunker_is_known(uint8_t chunker);

/* The secret of ba8, out of the K_id of the domain. */
uint64_t chunker_seed(const uint8_t k_id[HASH_KEY_BYTES]);

struct chunk {
    uint32_t first, blocks; /* in blocks, from the start of the slot */
};

struct chunker_run {
    uint8_t chunker;
    uint64_t seed; /* of ba8 */
    uint32_t at;   /* the next block to look at */
};

enum { CHUNKER_CELL_BLOCKS = 16 }; /* fixed64k cuts at multiples of it */

/*
 * The next chunk of `s` that is not all zero.  Blocks that were not marked are
 * zero whatever is in their memory: those inside the chunk have been cleared.
 * False at the end.
 */
bool chunker_next(struct chunker_run *run, struct slot *s, struct chunk *out);

#endif
