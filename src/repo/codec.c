/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/codec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
/* For ZSTD_c_literalCompressionMode, which is not promised to stay; where it is
 * refused, frames get larger. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

/* How level 1 looks for matches in leaves of 16 to 256 KiB: with a table that
 * leaves the first cache room for the rest (its own has 32 KiB), at each place
 * or fewer, and with or without Huffman's code for what is in no match
 * (docs/design/speed.md). */
enum way { WAY_FAST, WAY_SPARSE, WAY_MIDDLE, WAY_DENSE };

static const struct setting {
    int hash_log, min_match, target_length;
    ZSTD_paramSwitch_e literals;
} settings[] = {
    [WAY_FAST] = {12, 5, 1, ZSTD_ps_disable},
    [WAY_SPARSE] = {11, 6, 2, ZSTD_ps_enable},
    [WAY_MIDDLE] = {11, 6, 1, ZSTD_ps_enable},
    [WAY_DENSE] = {12, 5, 1, ZSTD_ps_enable},
};

/* How often two bytes of a leaf are the same, in 1/4096: 16 if they are all
 * random.  Outside of the first two, literals hardly shrink or hardly matter;
 * below the third, they take the time that looking less saves. */
enum {
    SAMPLED_MIN_BYTES = 4096,
    SAME_MIN = 56, /* 64 are base64 */
    SAME_MAX = 1024,
    SAME_MIDDLE_MIN = 215
};

struct codec {
    ZSTD_CCtx *deflate;
    ZSTD_DCtx *inflate;
    int level;
    bool dense;
    enum way way; /* as `deflate` is set; of level 1 only */
};

static void
set_way(struct codec *c, enum way way)
{
    const struct setting *s = &settings[way];

    c->way = way;
    (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_hashLog, s->hash_log);
    (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_minMatch, s->min_match);
    (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_targetLength,
                                 s->target_length);
    (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_literalCompressionMode,
                                 (int)s->literals);
}

static unsigned
sameness(const uint8_t *p, size_t len)
{
    enum { RUNS = 16, RUN_BYTES = 32, SAMPLE_BYTES = RUNS * RUN_BYTES };
    uint32_t counts[256] = {0}, pairs = 0;

    for (size_t i = 0; i < RUNS; i++)
        for (size_t k = 0; k < RUN_BYTES; k++)
            counts[p[len / RUNS * i + k]]++;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        pairs += counts[i] * counts[i];
    return pairs / (SAMPLE_BYTES * SAMPLE_BYTES / 4096);
}

static enum way
way_for(const struct codec *c, const uint8_t *p, size_t len)
{
    if (c->dense)
        return WAY_DENSE;
    if (len < SAMPLED_MIN_BYTES)
        return WAY_MIDDLE;
    unsigned same = sameness(p, len);
    if (same < SAME_MIN || same > SAME_MAX)
        return WAY_FAST;
    return same < SAME_MIDDLE_MIN ? WAY_SPARSE : WAY_MIDDLE;
}

void
codec_set_dense(struct codec *c, bool dense)
{
    c->dense = dense;
}

struct codec *
codec_new(int level)
{
    struct codec *c = xcalloc(1, sizeof(*c));

    assert(level >= 1 && level <= CODEC_LEVEL_MAX);
    c->deflate = ZSTD_createCCtx();
    c->inflate = ZSTD_createDCtx();
    if (!c->deflate || !c->inflate)
        abort(); /* out of memory, like xmalloc */
    (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_compressionLevel, level);
    (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_checksumFlag, 0);
    c->level = level;
    c->dense = true;
    if (level == 1)
        set_way(c, WAY_DENSE);
    return c;
}

void
codec_free(struct codec *c)
{
    if (!c)
        return;
    (void)ZSTD_freeCCtx(c->deflate);
    (void)ZSTD_freeDCtx(c->inflate);
    free(c);
}

void
codec_freep(struct codec **c)
{
    codec_free(*c);
}

size_t
codec_room(size_t len)
{
    return CODEC_HEAD_BYTES + ZSTD_compressBound(len);
}

size_t
codec_pack(struct codec *c, const void *p, size_t len, uint8_t *out)
{
    uint8_t *payload = out + CODEC_HEAD_BYTES;

    assert(len <= CODEC_PLAIN_MAX);
    memset(out, 0, CODEC_HEAD_BYTES);
    put_le32(out + 4, (uint32_t)len);
    if (c->level == 1) {
        enum way way = way_for(c, p, len);
        if (way != c->way)
            set_way(c, way);
    }
    size_t n =
        ZSTD_compress2(c->deflate, payload, ZSTD_compressBound(len), p, len);
    if (ZSTD_isError(n) || n >= len) {
        out[0] = CODEC_RAW;
        memcpy(payload, p, len);
        return CODEC_HEAD_BYTES + len;
    }
    out[0] = CODEC_ZSTD;
    return CODEC_HEAD_BYTES + n;
}

int
codec_unpack(struct codec *c, const uint8_t *p, size_t len, uint8_t *out,
             size_t room, size_t *out_len, struct err *e)
{
    if (len < CODEC_HEAD_BYTES)
        return err_set(e, ERR_CORRUPT, "it is cut short");
    size_t plain_len = get_le32(p + 4);
    const uint8_t *payload = p + CODEC_HEAD_BYTES;
    size_t payload_len = len - CODEC_HEAD_BYTES;

    if (p[1] | p[2] | p[3])
        return err_set(e, ERR_CORRUPT, "its head is not zero where it must be");
    if (plain_len > room)
        return err_set(e, ERR_CORRUPT, "it has %zu bytes, at most %zu can be",
                       plain_len, room);
    if (p[0] == CODEC_RAW && payload_len == plain_len) {
        memcpy(out, payload, plain_len);
    } else if (p[0] == CODEC_ZSTD) {
        size_t n = ZSTD_decompressDCtx(c->inflate, out, plain_len, payload,
                                       payload_len);
        if (ZSTD_isError(n) || n != plain_len)
            return err_set(e, ERR_CORRUPT, "it does not decompress (%s)",
                           ZSTD_isError(n) ? ZSTD_getErrorName(n) : "short");
    } else if (p[0] == CODEC_RAW) {
        return err_set(e, ERR_CORRUPT, "it has %zu bytes, not %zu", payload_len,
                       plain_len);
    } else {
        return err_set(e, ERR_UNSUP,
                       "it has the encoding %u, which this vmkeep does not "
                       "know; use a newer vmkeep",
                       p[0]);
    }
    *out_len = plain_len;
    return 0;
}
