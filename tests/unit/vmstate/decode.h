/* SPDX-License-Identifier: Apache-2.0 */
/* decode: what the decoder's tests share. */
#ifndef TEST_VMSTATE_DECODE_H
#define TEST_VMSTATE_DECODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "record.h"
#include "stream.h"
#include "vmstate/decoder.h"

static inline struct buf
stream(void)
{
    return buf_of(SIZE_MAX / 8);
}

/* Decodes b in one push.  The record's ram is gone afterwards. */
static inline int
decode(const struct buf *b, struct record *r, struct err *e)
{
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, r, PAGE_4K);

    return record_run(d, b->p, b->len, b->len, NULL, e);
}

static inline void
must_decode(const struct buf *b, struct record *r)
{
    struct err e = {0};

    if (decode(b, r, &e) == -1)
        fail_msg("%s", e.msg);
}

static inline void
must_fail(const struct buf *b, enum err_code code, const char *part)
{
    CLEANUP(record_done) struct record r = record_new();
    struct err e = {0};

    if (decode(b, &r, &e) == 0)
        fail_msg("decoded, but wanted: %s", part);
    if (e.code != code || !strstr(e.msg, part))
        fail_msg("%s \"%s\", but wanted: %s", err_code_name(e.code), e.msg,
                 part);
}

/* One PART with a page of zeros in each block. */
static inline void
put_part(struct buf *b)
{
    put_short(b, 0x02, STREAM_RAM_ID);
    put_zero_page(b, 0, "a");
    put_zero_page(b, 0, "bb");
    put_eos(b);
    put_short(b, 0x7e, STREAM_RAM_ID);
}

static inline void
put_end(struct buf *b)
{
    put_short(b, 0x03, STREAM_RAM_ID);
    put_zero_page(b, PAGE, "a");
    put_eos(b);
    put_short(b, 0x7e, STREAM_RAM_ID);
}

/* As machine types before 2.4 write it. */
static inline void
put_old(struct buf *b, size_t *tail_at)
{
    put_header(b);
    put_section(b, 0x01, STREAM_RAM_ID, "ram", 4);
    buf_be64(b, PAGE_4K | 4);
    put_block(b, "pc.ram", PAGE_4K);
    put_eos(b);
    put_short(b, 0x03, STREAM_RAM_ID);
    put_page(b, 0, "pc.ram", PAGE_4K, 5);
    put_eos(b);
    *tail_at = b->len;
    put_section(b, 0x04, 7, "timer", 2);
    buf_be64(b, 0x1122334455667788);
    buf_u8(b, 0x00);
}

#endif
