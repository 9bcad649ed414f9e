/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: writes migration streams byte by byte, whole ones and wrong ones,
 * without the encoder.
 */
#ifndef TEST_VMSTATE_STREAM_H
#define TEST_VMSTATE_STREAM_H

#include <string.h>

#include "base/buf.h"

enum { STREAM_RAM_ID = 2, PAGE = 1024, PAGE_4K = 4096 };

static inline void
put_text(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

/* A length byte and the text. */
static inline void
put_name(struct buf *b, const char *s)
{
    buf_u8(b, (uint8_t)strlen(s));
    put_text(b, s);
}

static inline void
put_header(struct buf *b)
{
    put_text(b, "QEVM");
    buf_be32(b, 3);
}

static inline void
put_config(struct buf *b, const char *machine)
{
    buf_u8(b, 0x07);
    buf_be32(b, (uint32_t)strlen(machine));
    put_text(b, machine);
}

static inline void
put_sub(struct buf *b, const char *name)
{
    buf_u8(b, 0x05);
    put_name(b, name);
    buf_be32(b, 1);
}

static inline void
put_page_bits(struct buf *b, uint32_t bits)
{
    put_sub(b, "configuration/target-page-bits");
    buf_be32(b, bits);
}

/* 0x01 START or 0x04 FULL. */
static inline void
put_section(struct buf *b, uint8_t type, uint32_t id, const char *name,
            uint32_t version)
{
    buf_u8(b, type);
    buf_be32(b, id);
    put_name(b, name);
    buf_be32(b, 0);
    buf_be32(b, version);
}

/* 0x02 PART, 0x03 END or 0x7e footer. */
static inline void
put_short(struct buf *b, uint8_t type, uint32_t id)
{
    buf_u8(b, type);
    buf_be32(b, id);
}

static inline void
put_eos(struct buf *b)
{
    buf_be64(b, 0x10);
}

static inline void
put_block(struct buf *b, const char *name, uint64_t used_bytes)
{
    put_name(b, name);
    buf_be64(b, used_bytes);
}

/* START of ram with two blocks, "a" of 8 and "bb" of 4 pages of `page`. */
static inline void
put_ram_start(struct buf *b, uint32_t page)
{
    put_section(b, 0x01, STREAM_RAM_ID, "ram", 4);
    buf_be64(b, 12 * page | 4);
    put_block(b, "a", 8 * page);
    put_block(b, "bb", 4 * page);
    put_eos(b);
    put_short(b, 0x7e, STREAM_RAM_ID);
}

/* name NULL: CONTINUE. */
static inline void
put_zero_page(struct buf *b, uint64_t offset, const char *name)
{
    buf_be64(b, offset | 2 | (name ? 0 : 0x20));
    if (name)
        put_name(b, name);
    buf_u8(b, 0);
}

static inline void
put_page(struct buf *b, uint64_t offset, const char *name, uint32_t page,
         uint8_t seed)
{
    buf_be64(b, offset | 8 | (name ? 0 : 0x20));
    if (name)
        put_name(b, name);
    uint8_t *p = buf_extend(b, page);
    for (uint32_t i = 0; p && i < page; i++)
        p[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* One FULL section, EOF and a description. */
static inline void
put_tail(struct buf *b)
{
    static const char json[] = "{\"page_size\": 1024, \"devices\": []}";

    put_section(b, 0x04, 7, "timer", 2);
    buf_be64(b, 0x0102030405060708);
    put_short(b, 0x7e, 7);
    buf_u8(b, 0x00);
    buf_u8(b, 0x06);
    buf_be32(b, sizeof(json) - 1);
    put_text(b, json);
}

/* Header, configuration with pages of 1 KiB, START. */
static inline void
put_begin(struct buf *b)
{
    put_header(b);
    put_config(b, "pc-q35-7.2");
    put_page_bits(b, 10);
    put_ram_start(b, PAGE);
}

/* All of it: 2 PARTs, 5 pages, one of them twice, CONTINUE across PARTs. */
static inline void
put_whole(struct buf *b)
{
    put_begin(b);
    put_short(b, 0x02, STREAM_RAM_ID);
    put_page(b, 0, "a", PAGE, 1);
    put_page(b, 3 * PAGE, NULL, PAGE, 2);
    put_zero_page(b, PAGE, "bb");
    put_eos(b);
    put_short(b, 0x7e, STREAM_RAM_ID);
    put_short(b, 0x02, STREAM_RAM_ID);
    put_zero_page(b, 3 * PAGE, NULL);
    put_page(b, 7 * PAGE, "a", PAGE, 3);
    put_page(b, 0, NULL, PAGE, 4);
    put_eos(b);
    put_short(b, 0x7e, STREAM_RAM_ID);
    put_tail(b);
}

#endif
