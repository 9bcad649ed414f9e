/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/chunker.h"

#include <string.h>

#include "base/bytes.h"

enum { FIXED64K_BLOCKS = 16 };

bool
chunker_is_known(uint8_t chunker)
{
    return chunker == CHUNKER_FIXED64K;
}

static bool
is_marked(const struct slot *s, uint32_t block)
{
    return s->marked[block / 64] >> (block % 64) & 1;
}

static uint8_t *
block_at(const struct slot *s, uint32_t block)
{
    return s->data + (size_t)block * VOLUME_BLOCK_BYTES;
}

static bool
has_data(const struct slot *s, uint32_t block)
{
    return is_marked(s, block) &&
           !bytes_are_zero(block_at(s, block), VOLUME_BLOCK_BYTES);
}

bool
chunker_next(struct chunker_run *run, struct slot *s, struct chunk *out)
{
    while (run->at < VOLUME_SLOT_BLOCKS) {
        uint32_t first = run->at, end = run->at + FIXED64K_BLOCKS;
        run->at = end;
        while (first < end && !has_data(s, first))
            first++;
        if (first == end)
            continue;
        while (!has_data(s, end - 1))
            end--;
        for (uint32_t i = first; i < end; i++)
            if (!is_marked(s, i))
                memset(block_at(s, i), 0, VOLUME_BLOCK_BYTES);
        *out = (struct chunk){.first = first, .blocks = end - first};
        return true;
    }
    return false;
}
