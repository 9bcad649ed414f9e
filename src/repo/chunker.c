/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/chunker.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"

enum {
    BA8_MIN_BLOCKS = 4,
    BA8_MAX_BLOCKS = 64,
    BA8_MASK = 7 /* one block in eight is the last of its chunk */
};

static const char SEED_LABEL[] = "vmkeep chunker 2";

bool
chunker_is_known(uint8_t chunker)
{
    return chunker == CHUNKER_FIXED64K || chunker == CHUNKER_BA8;
}

uint64_t
chunker_seed(const uint8_t k_id[HASH_KEY_BYTES])
{
    uint8_t derived[HASH_DERIVED_BYTES];

    hash_derive(k_id, SEED_LABEL, sizeof(SEED_LABEL) - 1, derived);
    return get_le64(derived);
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

static bool
next_fixed64k(struct chunker_run *run, struct slot *s, struct chunk *out)
{
    while (run->at < VOLUME_SLOT_BLOCKS) {
        uint32_t first = run->at, end = run->at + CHUNKER_CELL_BLOCKS;
        run->at = end;
        while (first < end && !has_data(s, first))
            first++;
        if (first == end)
            continue;
        while (end > first && !has_data(s, end - 1))
            end--;
        for (uint32_t i = first; i < end; i++)
            if (!is_marked(s, i))
                memset(block_at(s, i), 0, VOLUME_BLOCK_BYTES);
        *out = (struct chunk){.first = first, .blocks = end - first};
        return true;
    }
    return false;
}

static bool
ends_chunk(const struct chunker_run *run, const struct slot *s, uint32_t block)
{
    return (XXH3_64bits_withSeed(block_at(s, block), VOLUME_BLOCK_BYTES,
                                 run->seed) &
            BA8_MASK) == 0;
}

static bool
next_ba8(struct chunker_run *run, const struct slot *s, struct chunk *out)
{
    uint32_t first = run->at;

    while (first < VOLUME_SLOT_BLOCKS && !has_data(s, first))
        first++;
    if (first == VOLUME_SLOT_BLOCKS)
        return false;
    uint32_t limit =
        (uint32_t)u64_min(first + BA8_MAX_BLOCKS, VOLUME_SLOT_BLOCKS);
    uint32_t end = first + 1;
    while (end < limit && has_data(s, end)) {
        end++;
        if (end - first >= BA8_MIN_BLOCKS && ends_chunk(run, s, end - 1))
            break;
    }
    run->at = end;
    *out = (struct chunk){.first = first, .blocks = end - first};
    return true;
}

bool
chunker_next(struct chunker_run *run, struct slot *s, struct chunk *out)
{
    if (run->chunker == CHUNKER_BA8)
        return next_ba8(run, s, out);
    return next_fixed64k(run, s, out);
}
