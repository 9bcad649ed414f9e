/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cursor.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"

struct cursor
cursor_of(const void *p, size_t len)
{
    /* Never NULL, so that NULL from cursor_bytes has one meaning. */
    return (struct cursor){.p = p ? p : (const void *)"", .len = len};
}

const uint8_t *
cursor_bytes(struct cursor *c, size_t n)
{
    if (c->ran_short || n > cursor_left(c)) {
        c->ran_short = true;
        return NULL;
    }
    const uint8_t *at = c->p + c->pos;
    c->pos += n;
    return at;
}

void
cursor_copy(struct cursor *c, void *out, size_t n)
{
    const uint8_t *at = cursor_bytes(c, n);

    if (n == 0)
        return;
    if (at)
        memcpy(out, at, n);
    else
        memset(out, 0, n);
}

uint8_t
cursor_u8(struct cursor *c)
{
    const uint8_t *at = cursor_bytes(c, 1);

    return at ? *at : 0;
}

#define CURSOR_INT(order, bits)                           \
    uint##bits##_t cursor_##order##bits(struct cursor *c) \
    {                                                     \
        const uint8_t *at = cursor_bytes(c, (bits) / 8);  \
                                                          \
        return at ? get_##order##bits(at) : 0;            \
    }

CURSOR_INT(le, 16)
CURSOR_INT(le, 32)
CURSOR_INT(le, 64)
CURSOR_INT(be, 16)
CURSOR_INT(be, 32)
CURSOR_INT(be, 64)

int
cursor_check(const struct cursor *c, const char *what, struct err *e)
{
    if (c->ran_short)
        return err_set(e, ERR_CORRUPT, "%s is cut short (%zu bytes)", what,
                       c->len);
    return 0;
}

int
cursor_done(const struct cursor *c, const char *what, struct err *e)
{
    if (cursor_check(c, what, e) == -1)
        return -1;
    if (cursor_left(c) != 0)
        return err_set(e, ERR_CORRUPT, "%s has %zu bytes too many", what,
                       cursor_left(c));
    return 0;
}
