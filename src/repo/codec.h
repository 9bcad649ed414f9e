/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec: what is inside a sealed object: its bytes, compressed if that pays
 * (docs/format/tree.md, "Objects").
 *
 *   encoding u8   0 u8[3]   plain_len u32   payload
 *
 * Threads:   a codec belongs to one at a time: it holds zstd's contexts.
 * Limits:    a zstd frame is only decompressed into the room that the caller
 *            expects; levels above 9 are refused (zstd 1.5.4 has a bug there).
 */
#ifndef REPO_CODEC_H
#define REPO_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct codec;
struct err;

enum {
    CODEC_HEAD_BYTES = 8,
    CODEC_LEVEL_DEFAULT = 1,
    CODEC_LEVEL_MAX = 9,
    CODEC_PLAIN_MAX = 16 << 20
};

enum codec_encoding { CODEC_RAW = 0, CODEC_ZSTD = 1 };

struct codec *codec_new(int level);
void codec_free(struct codec *c); /* NULL is allowed */
void codec_freep(struct codec **c);

/* At level 1: take a sixth more time for frames that are a twentieth (of files)
 * to an eighth (of memory) smaller, as a new codec does, or go by a sample of
 * what is to be packed. */
void codec_set_dense(struct codec *c, bool dense);

/* Room that codec_pack needs for `len` bytes. */
size_t codec_room(size_t len);

/* Returns the length of what is in `out` now, at most len + the head. */
size_t codec_pack(struct codec *c, const void *p, size_t len, uint8_t *out);

/* At most `room` bytes into `out`; `out` may be written to on failure.
 * ERR_CORRUPT, ERR_UNSUP. */
int codec_unpack(struct codec *c, const uint8_t *p, size_t len, uint8_t *out,
                 size_t room, size_t *out_len, struct err *e);

#endif
