/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/ending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "stream.h"

static int
check(const struct buf *b, size_t chunk, enum vmstate_ending_kind least,
      bool has_footers)
{
    struct vmstate_ending g = {0};
    struct err e = {0};

    for (size_t at = 0; at < b->len; at += chunk)
        vmstate_ending_add(&g, b->p + at,
                           b->len - at < chunk ? b->len - at : chunk);
    int r = vmstate_ending_check(&g, least, has_footers, &e);
    if (r == -1)
        assert_int_equal(e.code, ERR_CORRUPT);
    return r;
}

/* Device state, then a description of `len` bytes; with the footer or not. */
static void
put_ending(struct buf *b, size_t len, bool has_footer)
{
    put_text(b, "state");
    if (has_footer)
        put_short(b, 0x7e, 0x12345678);
    buf_u8(b, 0x00);
    buf_u8(b, 0x06);
    buf_be32(b, (uint32_t)len);
    buf_u8(b, '{');
    uint8_t *p = buf_extend(b, len - 2);
    memset(p, 'x', len - 2);
    buf_u8(b, '}');
}

/* Lengths that have their last NUL in each of the places it can be. */
static const size_t lengths[] = {2,      35,        255,      256,     0x4100,
                                 0xaa7a, 0x10000,   0x10100,  0x10001, 0x123456,
                                 0x1234, 0x1000000, 0x1010101};

static void
a_description_of_its_length_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
        put_ending(&b, lengths[i], true);
        assert_int_equal(check(&b, b.len, ENDING_VMDESC, true), 0);
        assert_int_equal(check(&b, b.len, ENDING_VMDESC, false), 0);
        assert_int_equal(check(&b, b.len, ENDING_PLAIN, true), 0);
    }
}

static void
chunks_make_no_difference(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    (void)state;
    put_ending(&b, 256, true);
    for (size_t chunk = 1; chunk <= b.len; chunk++)
        assert_int_equal(check(&b, chunk, ENDING_VMDESC, true), 0);
    buf_u8(&b, ' ');
    for (size_t chunk = 1; chunk <= b.len; chunk++)
        assert_int_equal(check(&b, chunk, ENDING_VMDESC, true), -1);
}

static void
any_cut_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths) && lengths[i] < 0x20000; i++) {
        CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
        struct vmstate_ending g = {0};
        put_ending(&b, lengths[i], true);
        for (size_t at = 0; at < b.len; at++) {
            struct err e = {0};
            assert_int_equal(vmstate_ending_check(&g, ENDING_VMDESC, true, &e),
                             -1);
            vmstate_ending_add(&g, b.p + at, 1);
        }
        struct err e = {0};
        assert_int_equal(vmstate_ending_check(&g, ENDING_VMDESC, true, &e), 0);
    }
}

/* Where in put_ending(35) the byte is that makes it wrong. */
static void
each_byte_around_the_length_counts(void **state)
{
    enum { FOOTER = 5, END = 10, TYPE = 11, LENGTH = 12, BRACE = 16 };
    static const size_t places[] = {FOOTER,     END,        TYPE,
                                    LENGTH,     LENGTH + 1, LENGTH + 2,
                                    LENGTH + 3, BRACE,      BRACE + 34};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);
        put_ending(&b, 35, true);
        assert_int_equal(b.len, BRACE + 35);
        b.p[places[i]] ^= 0x01;
        assert_int_equal(check(&b, b.len, ENDING_VMDESC, true), -1);
        /* Without footers nobody looks for one. */
        assert_int_equal(check(&b, b.len, ENDING_VMDESC, false),
                         places[i] == FOOTER ? 0 : -1);
    }
}

static void
a_plain_end_is_eof_after_a_footer(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    (void)state;
    assert_int_equal(check(&b, 1, ENDING_PLAIN, false), -1);
    put_text(&b, "state");
    put_short(&b, 0x7e, 7);
    assert_int_equal(check(&b, 1, ENDING_PLAIN, true), -1);
    buf_u8(&b, 0x00);
    assert_int_equal(check(&b, 1, ENDING_PLAIN, true), 0);
    assert_int_equal(check(&b, 1, ENDING_PLAIN, false), 0);
    assert_int_equal(check(&b, b.len, ENDING_VMDESC, false), -1);
    buf_u8(&b, 0x00);
    assert_int_equal(check(&b, 1, ENDING_PLAIN, true), -1);
    assert_int_equal(check(&b, 1, ENDING_PLAIN, false), 0);
    buf_u8(&b, 0x01);
    assert_int_equal(check(&b, 1, ENDING_PLAIN, false), -1);
}

static void
a_few_bytes_are_no_stream(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX / 8);

    (void)state;
    put_ending(&b, 2, true);
    for (size_t skip = 1; skip < b.len; skip++) {
        /* "state" and the footer may go, nothing behind them. */
        struct buf rest = {.p = b.p + skip, .len = b.len - skip};
        assert_int_equal(check(&rest, 1, ENDING_VMDESC, true),
                         skip <= 5 ? 0 : -1);
        assert_int_equal(check(&rest, 1, ENDING_VMDESC, false),
                         skip <= 10 ? 0 : -1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_description_of_its_length_is_whole),
        cmocka_unit_test(chunks_make_no_difference),
        cmocka_unit_test(any_cut_is_seen),
        cmocka_unit_test(each_byte_around_the_length_counts),
        cmocka_unit_test(a_plain_end_is_eof_after_a_footer),
        cmocka_unit_test(a_few_bytes_are_no_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
