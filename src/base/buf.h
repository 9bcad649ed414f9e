/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: a growing run of bytes that cannot exist without its maximum.
 *
 * Growing past `max_bytes` sets `overflow` and drops the bytes; writers append
 * freely and check once with buf_check.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct buf {
    uint8_t *p; /* owned; NULL while empty */
    size_t len;
    size_t room;
    size_t max_bytes;
    bool overflow;
};

struct buf buf_of(size_t max_bytes);
void buf_done(struct buf *b);  /* frees; also for CLEANUP */
void buf_reset(struct buf *b); /* empty again, memory kept */

/* n more bytes at the end, uninitialised, to be filled by the caller; NULL
 * past the maximum. */
uint8_t *buf_extend(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_zero(struct buf *b, size_t n);
void buf_u8(struct buf *b, uint8_t v);
void buf_le16(struct buf *b, uint16_t v);
void buf_le32(struct buf *b, uint32_t v);
void buf_le64(struct buf *b, uint64_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* The first n (<= len) bytes are done with; moves the rest to the front. */
void buf_consume(struct buf *b, size_t n);

/* The bytes as text with a NUL behind them that `len` does not count. */
const char *buf_text(struct buf *b);

/* ERR_LIMIT if anything was dropped; `what` names the content. */
int buf_check(const struct buf *b, const char *what, struct err *e);

#endif
