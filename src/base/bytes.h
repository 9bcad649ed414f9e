/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes: integers at byte addresses, both byte orders, no alignment needed;
 * and the few roundings and overflow checks that formats live on.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BYTES_GET(name, type, swap)           \
    static inline type name(const uint8_t *p) \
    {                                         \
        type v;                               \
        memcpy(&v, p, sizeof(v));             \
        return swap(v);                       \
    }
#define BYTES_PUT(name, type, swap)             \
    static inline void name(uint8_t *p, type v) \
    {                                           \
        v = swap(v);                            \
        memcpy(p, &v, sizeof(v));               \
    }

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_LE(v) (v)
#define BYTES_BE16(v) __builtin_bswap16(v)
#define BYTES_BE32(v) __builtin_bswap32(v)
#define BYTES_BE64(v) __builtin_bswap64(v)
#else
#error "vmkeep has only been built for little-endian hosts"
#endif

BYTES_GET(get_le16, uint16_t, BYTES_LE)
BYTES_GET(get_le32, uint32_t, BYTES_LE)
BYTES_GET(get_le64, uint64_t, BYTES_LE)
BYTES_GET(get_be16, uint16_t, BYTES_BE16)
BYTES_GET(get_be32, uint32_t, BYTES_BE32)
BYTES_GET(get_be64, uint64_t, BYTES_BE64)
BYTES_PUT(put_le16, uint16_t, BYTES_LE)
BYTES_PUT(put_le32, uint32_t, BYTES_LE)
BYTES_PUT(put_le64, uint64_t, BYTES_LE)
BYTES_PUT(put_be16, uint16_t, BYTES_BE16)
BYTES_PUT(put_be32, uint32_t, BYTES_BE32)
BYTES_PUT(put_be64, uint64_t, BYTES_BE64)

static inline uint32_t
get_le24(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

static inline void
put_le24(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
}

/* a + b and a * b in *out; false, and *out untouched, if they overflow. */
static inline bool
u64_add(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r = 0;

    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool
u64_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r = 0;

    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/* Is [offset, offset + len) inside [0, size)? */
static inline bool
range_inside(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

/* Rounding to a multiple of `unit`; the sums must not overflow. */
static inline uint64_t
div_up(uint64_t v, uint64_t unit)
{
    return v / unit + (v % unit != 0);
}

static inline uint64_t
round_up(uint64_t v, uint64_t unit)
{
    return div_up(v, unit) * unit;
}

static inline uint64_t
u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t
u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool
is_power_of_2(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

/* Are all `len` bytes zero? */
bool bytes_are_zero(const void *p, size_t len);

#endif
