/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/codec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

struct codec {
    ZSTD_CCtx *deflate;
    ZSTD_DCtx *inflate;
    int level;
    bool dense;
};

/* Level 1 for leaves of 16 to 256 KiB: its own table of 32 KiB does not leave
 * the first cache room for the rest (docs/design/speed.md). */
static void
tune(ZSTD_CCtx *deflate)
{
    (void)ZSTD_CCtx_setParameter(deflate, ZSTD_c_hashLog, 12);
    (void)ZSTD_CCtx_setParameter(deflate, ZSTD_c_minMatch, 5);
}

/* A target length makes level 1 look for matches at every other byte only. */
void
codec_set_dense(struct codec *c, bool dense)
{
    if (c->level == 1 && c->dense != dense)
        (void)ZSTD_CCtx_setParameter(c->deflate, ZSTD_c_targetLength,
                                     dense ? 0 : 1);
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
        tune(c->deflate);
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
