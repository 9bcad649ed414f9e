/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

struct buf
buf_of(size_t max_bytes)
{
    return (struct buf){.max_bytes = max_bytes};
}

void
buf_done(struct buf *b)
{
    free(b->p);
    *b = buf_of(b->max_bytes);
}

void
buf_reset(struct buf *b)
{
    b->len = 0;
    b->overflow = false;
}

/* Room for n more bytes, one of them to spare for a NUL. */
static bool
make_room(struct buf *b, size_t n)
{
    if (n > b->max_bytes - b->len || b->len + n == SIZE_MAX) {
        b->overflow = true;
        return false;
    }
    size_t need = b->len + n + 1;
    if (need > b->room) {
        /* Doubling, but not past what the maximum can ever need. */
        size_t room = b->room > b->max_bytes / 2 ? b->max_bytes : b->room * 2;
        if (room < need)
            room = need < 64 ? 64 : need;
        b->p = xrealloc(b->p, room);
        b->room = room;
    }
    return true;
}

uint8_t *
buf_extend(struct buf *b, size_t n)
{
    if (!make_room(b, n))
        return NULL;
    uint8_t *at = b->p + b->len;
    b->len += n;
    return at;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
    uint8_t *at = buf_extend(b, n);

    if (at && n)
        memcpy(at, p, n);
}

void
buf_zero(struct buf *b, size_t n)
{
    uint8_t *at = buf_extend(b, n);

    if (at)
        memset(at, 0, n);
}

void
buf_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, 1);
}

#define BUF_INT(order, bits)                                \
    void buf_##order##bits(struct buf *b, uint##bits##_t v) \
    {                                                       \
        uint8_t *at = buf_extend(b, (bits) / 8);            \
                                                            \
        if (at)                                             \
            put_##order##bits(at, v);                       \
    }

BUF_INT(le, 16)
BUF_INT(le, 32)
BUF_INT(le, 64)
BUF_INT(be, 16)
BUF_INT(be, 32)
BUF_INT(be, 64)

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);

    if (n >= 0)
        buf_add(b, s, (size_t)n);
    else
        b->overflow = true;
    free(s);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void
buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}

const char *
buf_text(struct buf *b)
{
    if (!b->p)
        (void)make_room(b, 0);
    assert(b->p); /* nothing always fits */
    b->p[b->len] = '\0';
    return (const char *)b->p;
}

int
buf_check(const struct buf *b, const char *what, struct err *e)
{
    if (b->overflow)
        return err_set(e, ERR_LIMIT, "%s is larger than %zu bytes", what,
                       b->max_bytes);
    return 0;
}
