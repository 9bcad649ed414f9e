/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cursor: reads the bytes of a stranger, in order, never past their end.
 *
 * A read past the end yields zeros and sets `ran_short` for good, so a parser
 * may read a whole structure and check once: cursor_check says how it went.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct cursor {
    const uint8_t *p; /* borrowed */
    size_t len;       /* bytes in all */
    size_t pos;       /* bytes read */
    bool ran_short;
};

struct cursor cursor_of(const void *p, size_t len);

/* The next n bytes (borrowed), or NULL if there are fewer. */
const uint8_t *cursor_bytes(struct cursor *c, size_t n);
/* Copies the next n bytes; all zero if there are fewer. */
void cursor_copy(struct cursor *c, void *out, size_t n);

uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);
uint64_t cursor_le64(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);

static inline size_t
cursor_left(const struct cursor *c)
{
    return c->len - c->pos;
}

/* ERR_CORRUPT "WHAT is cut short" if any read ran past the end. */
int cursor_check(const struct cursor *c, const char *what, struct err *e);

/* The same, and ERR_CORRUPT if bytes are left over. */
int cursor_done(const struct cursor *c, const char *what, struct err *e);

#endif
