/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/unpack.h"

#include <assert.h>
#include <stdlib.h>
#define ZLIB_CONST /* zlib may only read what next_in points to */
#include <zlib.h>
#include <zstd.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    DEFLATE_WINDOW_BITS = 12, /* what QEMU writes; negative: raw */
    ZSTD_WINDOW_LOG_MAX = 23  /* four times the largest cluster */
};

struct qcow2_unpacker {
    enum qcow2_compression type;
    z_stream deflate;
    ZSTD_DCtx *zstd;
};

struct qcow2_unpacker *
qcow2_unpacker_new(enum qcow2_compression type)
{
    struct qcow2_unpacker *u = xcalloc(1, sizeof(*u));

    u->type = type;
    if (type == QCOW2_ZSTD) {
        u->zstd = ZSTD_createDCtx();
        if (!u->zstd)
            abort(); /* as the x functions do */
        (void)ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
                                     ZSTD_WINDOW_LOG_MAX);
    } else if (inflateInit2(&u->deflate, -DEFLATE_WINDOW_BITS) != Z_OK) {
        abort();
    }
    return u;
}

void
qcow2_unpacker_free(struct qcow2_unpacker *u)
{
    if (!u)
        return;
    if (u->type == QCOW2_ZSTD)
        (void)ZSTD_freeDCtx(u->zstd);
    else
        (void)inflateEnd(&u->deflate);
    free(u);
}

static int
unpack_deflate(z_stream *z, const uint8_t *in, size_t in_len, uint8_t *out,
               size_t out_len, struct err *e)
{
    (void)inflateReset(z);
    z->next_in = in;
    z->avail_in = (uInt)in_len;
    z->next_out = out;
    z->avail_out = (uInt)out_len;

    int r = inflate(z, Z_FINISH);
    /* Z_BUF_ERROR: it could go on, but the cluster is full. */
    if ((r != Z_STREAM_END && r != Z_BUF_ERROR) || z->avail_out != 0)
        return err_set(e, ERR_CORRUPT, "compressed data is damaged (zlib: %s)",
                       z->msg ? z->msg : "too short");
    return 0;
}

static int
unpack_zstd(ZSTD_DCtx *z, const uint8_t *in, size_t in_len, void *out,
            size_t out_len, struct err *e)
{
    ZSTD_inBuffer from = {.src = in, .size = in_len};
    ZSTD_outBuffer to = {.dst = out, .size = out_len};

    size_t left = 1; /* 0: at the end of a frame */

    (void)ZSTD_DCtx_reset(z, ZSTD_reset_session_only);
    while (to.pos < to.size) {
        size_t in_pos = from.pos, out_pos = to.pos;
        left = ZSTD_decompressStream(z, &to, &from);
        if (ZSTD_isError(left))
            return err_set(e, ERR_CORRUPT,
                           "compressed data is damaged (zstd: %s)",
                           ZSTD_getErrorName(left));
        if (from.pos == in_pos && to.pos == out_pos)
            return err_set(e, ERR_CORRUPT, "compressed data is too short");
    }
    if (left != 0)
        return err_set(e, ERR_CORRUPT,
                       "compressed data is longer than a cluster");
    return 0;
}

int
qcow2_unpack(struct qcow2_unpacker *u, const uint8_t *in, size_t in_len,
             uint8_t *out, size_t out_len, struct err *e)
{
    assert(in_len <= UINT32_MAX && out_len <= UINT32_MAX);
    if (u->type == QCOW2_ZSTD)
        return unpack_zstd(u->zstd, in, in_len, out, out_len, e);
    return unpack_deflate(&u->deflate, in, in_len, out, out_len, e);
}
