/* SPDX-License-Identifier: Apache-2.0 */
/* packs: packs whose objects have made-up ids, for tests of the index. */
#ifndef TEST_REPO_PACKS_H
#define TEST_REPO_PACKS_H

#include "base/bytes.h"
#include "check.h"
#include "crypto/hash.h"
#include "repo/keyring.h"
#include "repo/pack.h"

/* The id that stands for `i`; as good as random. */
static inline void
make_id(uint64_t i, uint8_t id[OBJECT_ID_BYTES])
{
    uint8_t number[8];

    put_le64(number, i);
    hash_sha256(number, sizeof(number), id);
}

/* A sealed pack of `n` objects of 10 bytes with the ids of first, first + 1...;
 * free it with pack_free. */
static inline struct pack *
make_pack(const struct keyring *k, enum pack_kind kind, uint64_t first,
          uint32_t n)
{
    struct pack *p = pack_new();
    uint8_t id[OBJECT_ID_BYTES];

    pack_reset(p, kind);
    for (uint32_t i = 0; i < n; i++) {
        make_id(first + i, id);
        pack_add(p, kind == PACK_DATA ? OBJECT_LEAF : OBJECT_NODE, id, 4096, id,
                 10);
    }
    pack_seal(p, k);
    return p;
}

#endif
