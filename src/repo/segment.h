/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment: where objects are: an index file that is itself the structure that
 * lookups run on (docs/format/index.md).
 *
 *   head, pack table, fan-out table, entries sorted by id, Bloom filter, sum
 *
 * In memory or mapped from a file the bytes are the same; in the store they
 * are sealed.  A segment is never changed.
 *
 * Trust:     segment_open takes any bytes and refuses what a lookup could
 *            stumble over.
 */
#ifndef REPO_SEGMENT_H
#define REPO_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/object.h"
#include "repo/pack.h"

struct buf;
struct err;
struct keyring;

enum {
    SEGMENT_MAX_BYTES = 512 << 20,
    SEGMENT_MAX_ENTRIES = 16 << 20,
    SEGMENT_MAX_PACKS = 1 << 20
};

struct segment {
    const uint8_t *p; /* borrowed */
    size_t len;
    uint16_t domain;
    uint32_t n_packs, n_entries, n_blooms;
    uint8_t fanout_bits;
    const uint8_t *packs, *fanout, *entries, *blooms; /* within p */
};

int segment_open(const void *p, size_t len, struct segment *out, struct err *e);

/* May be in it?  Wrong in one of a hundred cases, never about what is there. */
bool segment_maybe(const struct segment *s, const uint8_t gid[GID_BYTES]);

/* Have what segment_maybe will look at come closer. */
void segment_prefetch(const struct segment *s, const uint8_t gid[GID_BYTES]);

struct location {
    uint8_t pack[PACK_NAME_BYTES];
    enum pack_kind kind;
    uint32_t pack_bytes;
    uint32_t offset, len;
    uint8_t type; /* as in struct pack_entry */
};

/* All places of an object in this segment: at most `max` into `out`; how many
 * there are. */
size_t segment_find(const struct segment *s, const uint8_t gid[GID_BYTES],
                    struct location *out, size_t max);

/* The first entry of an object; those behind it may be its too.  False if there
 * is none. */
bool segment_first(const struct segment *s, const uint8_t gid[GID_BYTES],
                   uint32_t *out);
/* Of the i-th entry, i < n_entries: its id (borrowed), the number of its pack,
 * and its length there. */
const uint8_t *segment_gid(const struct segment *s, uint32_t i);
uint32_t segment_pack_of(const struct segment *s, uint32_t i);
uint32_t segment_len(const struct segment *s, uint32_t i);

/* The i-th entry, i < n_entries, in order of ids; gid is borrowed. */
const uint8_t *segment_entry(const struct segment *s, uint32_t i,
                             struct location *out);
/* The i-th pack, i < n_packs: its name (borrowed). */
const uint8_t *segment_pack(const struct segment *s, uint32_t i,
                            enum pack_kind *out_kind, uint32_t *out_bytes);

/* A segment in the making. */
struct segment_builder;
struct segment_builder *segment_builder_new(void);
void segment_builder_free(struct segment_builder *b); /* NULL is allowed */
void segment_builder_freep(struct segment_builder **b);
void segment_builder_add(struct segment_builder *b, const struct pack *pack);
/* The packs of a segment for which keep[i], with all their entries. */
void segment_builder_copy(struct segment_builder *b, const struct segment *s,
                          const bool *keep);
size_t segment_builder_entries(const struct segment_builder *b);
/* The id of the i-th entry (borrowed); in no order. */
const uint8_t *segment_builder_gid(const struct segment_builder *b, size_t i);
/* Appends the bytes.  There must be an entry. */
int segment_builder_pack(struct segment_builder *b, uint16_t domain,
                         struct buf *out, struct err *e);

/*
 * As stored: sealed under a key of its own, bound to the id in its name.
 * Appends.
 */
int segment_seal(const struct keyring *k, const uint8_t id[NAME_ID_BYTES],
                 const void *p, size_t len, struct buf *out, struct err *e);
int segment_unseal(const struct keyring *k, const uint8_t id[NAME_ID_BYTES],
                   const void *p, size_t len, struct buf *out, struct err *e);

#endif
