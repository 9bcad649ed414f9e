/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "dies.h"

static void
it_starts_empty_and_holds_no_memory(void **state)
{
    struct buf b = buf_of(100);

    (void)state;
    assert_null(b.p);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max_bytes, 100);
    assert_false(b.overflow);
    buf_done(&b);
}

static void
bytes_come_out_as_they_went_in(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100000);

    (void)state;
    for (unsigned i = 0; i < 30000; i++) {
        const uint8_t two[] = {(uint8_t)i, (uint8_t)(i >> 8)};
        buf_add(&b, two, 2);
    }
    assert_int_equal(b.len, 60000);
    for (unsigned i = 0; i < 30000; i++)
        assert_int_equal(b.p[2 * i] | b.p[2 * i + 1] << 8, i);
}

static void
integers_in_both_orders(void **state)
{
    static const uint8_t want[] = {
        0x11, 0x22, 0x11, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 0x44,
        0x33, 0x22, 0x11, 0x11, 0x22, 0x11, 0x22, 0x33, 0x44, 0x11, 0x22, 0x33,
        0x44, 0x55, 0x66, 0x77, 0x88, 0,    0,    0,    'v',  '4',  '2'};
    CLEANUP(buf_done) struct buf b = buf_of(sizeof(want));

    (void)state;
    buf_u8(&b, 0x11);
    buf_le16(&b, 0x1122);
    buf_le32(&b, 0x11223344);
    buf_le64(&b, 0x1122334455667788);
    buf_be16(&b, 0x1122);
    buf_be32(&b, 0x11223344);
    buf_be64(&b, 0x1122334455667788);
    buf_zero(&b, 3);
    buf_printf(&b, "v%d", 42);
    assert_int_equal(b.len, sizeof(want));
    assert_memory_equal(b.p, want, sizeof(want));
    assert_false(b.overflow);
}

static void
the_maximum_is_the_last_byte_to_fit(void **state)
{
    struct err e = {0};

    (void)state;
    for (size_t max = 0; max <= 200; max++) {
        CLEANUP(buf_done) struct buf b = buf_of(max);
        for (size_t i = 0; i < max; i++)
            buf_u8(&b, 'a');
        assert_int_equal(buf_check(&b, "x", &e), 0);
        assert_int_equal(strlen(buf_text(&b)), max);
        buf_u8(&b, 'b');
        assert_true(b.overflow);
        assert_int_equal(b.len, max);
    }
}

static void
what_does_not_fit_is_dropped_whole_and_told(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(5);
    struct err e = {0};

    (void)state;
    buf_add(&b, "abc", 3);
    assert_null(buf_extend(&b, 3));
    buf_be32(&b, 1);
    buf_zero(&b, 4);
    buf_printf(&b, "%s", "def");
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.p, "abc", 3);
    buf_u8(&b, 'd'); /* fits; the buffer stays void all the same */
    assert_int_equal(buf_check(&b, "the manifest", &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.msg, "the manifest is larger than 5 bytes");
}

static void
an_absurd_size_is_an_overflow_not_a_wrap(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(SIZE_MAX);

    (void)state;
    buf_u8(&b, 1);
    /* 1 + this is SIZE_MAX: with the spare byte, 0. */
    assert_null(buf_extend(&b, SIZE_MAX - 1));
    assert_null(buf_extend(&b, SIZE_MAX));
    assert_true(b.overflow);
    assert_int_equal(b.len, 1);
}

static void
memory_does_not_outgrow_the_maximum(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    size_t largest = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        buf_u8(&b, 1);
        largest = b.room > largest ? b.room : largest;
    }
    assert_false(b.overflow);
    assert_true(largest <= 1001); /* and a NUL */
}

static void
growing_doubles(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    unsigned moves = 0;
    size_t room = 0;

    (void)state;
    for (unsigned i = 0; i < 1 << 20; i++) {
        buf_u8(&b, 1);
        moves += b.room != room;
        room = b.room;
    }
    assert_true(moves <= 16); /* 64 to 1 MiB, and the last byte */
}

static void
nothing_appended_changes_nothing(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(0);

    (void)state;
    assert_non_null(buf_extend(&b, 0));
    buf_add(&b, NULL, 0);
    buf_zero(&b, 0);
    buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 0);
    assert_false(b.overflow);
}

static void
consuming_keeps_the_rest_in_order(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(10);

    (void)state;
    buf_consume(&b, 0); /* nothing there yet */
    buf_add(&b, "abcdefghij", 10);
    buf_consume(&b, 0);
    assert_string_equal(buf_text(&b), "abcdefghij");
    buf_consume(&b, 3);
    assert_string_equal(buf_text(&b), "defghij");
    buf_add(&b, "KLM", 3); /* the room is free again */
    assert_string_equal(buf_text(&b), "defghijKLM");
    buf_consume(&b, 10);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_text(&b), "");
    assert_false(b.overflow);
}

/* With no byte to spare behind it, where a wrong length would be seen. */
static void
consuming_half_of_a_full_buffer(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);
    uint8_t p[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] = (uint8_t)(i / 4);
    buf_add(&b, p, sizeof(p));
    assert_int_equal(b.room, 1001);
    buf_consume(&b, 600);
    assert_int_equal(b.len, 400);
    assert_memory_equal(b.p, p + 600, 400);
}

static void
what_printf_cannot_write_is_told(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);

    (void)state;
    buf_printf(&b, "%lc", 0x4e00); /* a character that the C locale lacks */
    assert_true(b.overflow);
}

static void
text_has_a_nul_that_does_not_count(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(64);
    char sixty_four[65] = {0};

    (void)state;
    assert_string_equal(buf_text(&b), "");
    assert_int_equal(b.len, 0);
    memset(sixty_four, 'y', 64); /* exactly the first allocation */
    buf_add(&b, sixty_four, 64);
    assert_string_equal(buf_text(&b), sixty_four);
    assert_int_equal(b.len, 64);
}

static void
reset_empties_but_keeps_the_memory(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(8);
    struct err e = {0};

    (void)state;
    buf_add(&b, "12345678", 8);
    buf_u8(&b, '9');
    const uint8_t *before = b.p;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_check(&b, "x", &e), 0);
    buf_u8(&b, 'a');
    assert_ptr_equal(b.p, before);
    assert_string_equal(buf_text(&b), "a");
}

static void
done_leaves_one_that_can_be_used_again(void **state)
{
    struct buf b = buf_of(8);

    (void)state;
    buf_add(&b, "12345678", 8);
    buf_u8(&b, '9');
    buf_done(&b);
    assert_null(b.p);
    assert_false(b.overflow);
    buf_u8(&b, 'a');
    assert_string_equal(buf_text(&b), "a");
    assert_int_equal(b.max_bytes, 8);
    buf_done(&b);
}

static void
consume_too_much(void)
{
    struct buf b = buf_of(8);

    buf_u8(&b, 1);
    buf_consume(&b, 2);
}

static void
consuming_what_is_not_there_is_our_bug(void **state)
{
    (void)state;
    assert_int_equal(signal_of(consume_too_much), SIGABRT);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_starts_empty_and_holds_no_memory),
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(integers_in_both_orders),
        cmocka_unit_test(the_maximum_is_the_last_byte_to_fit),
        cmocka_unit_test(what_does_not_fit_is_dropped_whole_and_told),
        cmocka_unit_test(an_absurd_size_is_an_overflow_not_a_wrap),
        cmocka_unit_test(memory_does_not_outgrow_the_maximum),
        cmocka_unit_test(growing_doubles),
        cmocka_unit_test(nothing_appended_changes_nothing),
        cmocka_unit_test(consuming_keeps_the_rest_in_order),
        cmocka_unit_test(consuming_half_of_a_full_buffer),
        cmocka_unit_test(what_printf_cannot_write_is_told),
        cmocka_unit_test(text_has_a_nul_that_does_not_count),
        cmocka_unit_test(reset_empties_but_keeps_the_memory),
        cmocka_unit_test(done_leaves_one_that_can_be_used_again),
        cmocka_unit_test(consuming_what_is_not_there_is_our_bug),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
