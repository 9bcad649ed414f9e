/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/packfront.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/packer.h"
#include "store/store.h"

enum { GUESS_BYTES = 16 << 10 };

int
packfront_read(struct store *st, const char *name, uint64_t bytes,
               const struct keyring *k, struct pack_table *out, struct err *e)
{
    CLEANUP(buf_done) struct buf front = buf_of(PACK_MAX_BYTES);
    size_t want = (size_t)u64_min(bytes, GUESS_BYTES), all = 0;

    uint8_t *to = buf_extend(&front, want);
    if (store_get(st, name, 0, to, want, e) == -1 ||
        pack_front_bytes(to, want, &all, e) == -1)
        return -1;
    if (all > bytes)
        return err_set(e, ERR_CORRUPT, "the pack is cut short");
    if (all > want) {
        to = buf_extend(&front, all - want);
        if (store_get(st, name, want, to, all - want, e) == -1)
            return -1;
    }
    return pack_unpack_table(front.p, all, bytes, k, out, e);
}

const struct pack_entry *
packfront_entry(const struct pack_table *t, uint32_t offset)
{
    size_t low = 0, high = t->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->entries[mid].offset < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n && t->entries[low].offset == offset ? &t->entries[low]
                                                          : NULL;
}

static int
copy_one(const struct pack_table *t, const struct pack_entry *entry,
         const uint8_t *sealed, struct packer *p, struct err *e)
{
    if ((uint32_t)XXH3_64bits(sealed, entry->len) != entry->check ||
        entry->len > OBJECT_SEALED_MAX) {
        char hex[2 * GID_BYTES + 1];
        hex_encode(entry->id, GID_BYTES, hex);
        return err_set(e, ERR_CORRUPT, "object %s in the pack is damaged", hex);
    }
    if (entry->type != OBJECT_LEAF && entry->type != OBJECT_NODE)
        return err_set(e, ERR_UNSUP,
                       "the pack has an object of type %u, which this vmkeep "
                       "can't copy; use a newer vmkeep",
                       entry->type);
    return packer_add(p, t->kind, (enum object_type)entry->type, entry->id,
                      entry->plain_len, sealed, entry->len, e);
}

int
packfront_copy(struct store *st, enum pack_kind kind,
               const uint8_t sum[PACK_NAME_BYTES], uint64_t bytes,
               const struct keyring *k, packfront_wants_fn *wants, void *cookie,
               struct packer *p, uint64_t *out_bytes, struct err *e)
{
    CLEANUP(buf_done) struct buf pack = buf_of(PACK_MAX_BYTES);
    CLEANUP(pack_table_done) struct pack_table t = {0};
    char name[NAME_MAX_LEN];
    uint64_t copied = 0;

    name_pack(kind, sum, name);
    if (store_get_all(st, name, &pack, e) == -1 ||
        pack_unpack_table(pack.p, pack.len, pack.len, k, &t, e) == -1)
        return err_wrap(e, "%s", name);
    if (pack.len != bytes || t.kind != kind)
        return err_set(e, ERR_CORRUPT, "%s is not what the index says", name);
    for (uint32_t i = 0; i < t.n; i++) {
        const struct pack_entry *entry = &t.entries[i];
        if (!wants(cookie, entry))
            continue;
        if (copy_one(&t, entry, pack.p + entry->offset, p, e) == -1)
            return err_wrap(e, "%s", name);
        copied += entry->len;
    }
    *out_bytes += copied;
    return 0;
}
