/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

static void
it_reads_what_a_buf_wrote(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(100);
    struct err e = {0};
    char text[4] = "";

    (void)state;
    buf_u8(&b, 0xfe);
    buf_le16(&b, 0xfedc);
    buf_le32(&b, 0xfedcba98);
    buf_le64(&b, 0xfedcba9876543210);
    buf_be16(&b, 0xfedc);
    buf_be32(&b, 0xfedcba98);
    buf_be64(&b, 0xfedcba9876543210);
    buf_add(&b, "abcdef", 6);

    struct cursor c = cursor_of(b.p, b.len);
    assert_int_equal(cursor_u8(&c), 0xfe);
    assert_int_equal(cursor_le16(&c), 0xfedc);
    assert_int_equal(cursor_le32(&c), 0xfedcba98);
    assert_true(cursor_le64(&c) == 0xfedcba9876543210);
    assert_int_equal(cursor_be16(&c), 0xfedc);
    assert_int_equal(cursor_be32(&c), 0xfedcba98);
    assert_true(cursor_be64(&c) == 0xfedcba9876543210);
    assert_int_equal(cursor_left(&c), 6);
    cursor_copy(&c, text, 3);
    assert_string_equal(text, "abc");
    assert_memory_equal(cursor_bytes(&c, 3), "def", 3);
    assert_int_equal(cursor_done(&c, "record", &e), 0);
}

static void
bytes_are_borrowed_not_copied(void **state)
{
    static const uint8_t b[] = {1, 2, 3};
    struct cursor c = cursor_of(b, sizeof(b));

    (void)state;
    (void)cursor_u8(&c);
    assert_ptr_equal(cursor_bytes(&c, 2), b + 1);
}

/* Each read of `n` bytes, at every distance from the end that is too near:
 * yields zeros, reads nothing past the end (exact heap blocks, so that the
 * address sanitizer sees it) and is remembered. */
static void
a_read_past_the_end_yields_zeros(void **state)
{
    (void)state;
    for (size_t len = 0; len < 8; len++) {
        CLEANUP(freep) uint8_t *p = xmalloc(len);
        memset(p, 0xff, len);
#define SHORT(type, bytes)                               \
    if (len < (bytes)) {                                 \
        struct cursor c = cursor_of(p, len);             \
        assert_true(cursor_##type(&c) == 0);             \
        assert_true(c.ran_short);                        \
        assert_int_equal(c.pos, 0);                      \
        assert_int_equal(cursor_u8(&c), 0); /* sticky */ \
    }
        SHORT(u8, 1)
        SHORT(le16, 2)
        SHORT(be16, 2)
        SHORT(le32, 4)
        SHORT(be32, 4)
        SHORT(le64, 8)
        SHORT(be64, 8)
    }
}

static void
a_short_copy_is_all_zero(void **state)
{
    static const uint8_t b[] = {1, 2, 3};
    static const uint8_t zeros[4];
    struct cursor c = cursor_of(b, sizeof(b));
    uint8_t out[4] = {9, 9, 9, 9};

    (void)state;
    cursor_copy(&c, out, sizeof(out));
    assert_memory_equal(out, zeros, sizeof(zeros));
    assert_true(c.ran_short);
}

static void
an_absurd_length_does_not_wrap(void **state)
{
    static const uint8_t b[] = {1, 2, 3};
    struct cursor c = cursor_of(b, sizeof(b));

    (void)state;
    (void)cursor_u8(&c);
    assert_null(cursor_bytes(&c, SIZE_MAX)); /* 1 + this is 0 */
    assert_true(c.ran_short);
    assert_null(cursor_bytes(&c, 1));
    assert_int_equal(cursor_left(&c), 2);
}

static void
an_empty_input_has_an_empty_read(void **state)
{
    struct cursor c = cursor_of(NULL, 0);
    struct err e = {0};

    (void)state;
    assert_non_null(cursor_bytes(&c, 0));
    cursor_copy(&c, NULL, 0);
    assert_false(c.ran_short);
    assert_int_equal(cursor_done(&c, "nothing", &e), 0);
    assert_null(cursor_bytes(&c, 1));
    assert_true(c.ran_short);
}

static void
check_says_what_is_short(void **state)
{
    static const uint8_t b[] = {1, 2, 3};
    struct cursor c = cursor_of(b, sizeof(b));
    struct err e = {0};

    (void)state;
    assert_int_equal(cursor_check(&c, "header", &e), 0);
    (void)cursor_be32(&c);
    assert_int_equal(cursor_check(&c, "header", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "header is cut short (3 bytes)");
    err_clear(&e);
    assert_int_equal(cursor_done(&c, "header", &e), -1);
    assert_string_equal(e.msg, "header is cut short (3 bytes)");
}

static void
done_says_what_is_left_over(void **state)
{
    static const uint8_t b[] = {1, 2, 3};
    struct cursor c = cursor_of(b, sizeof(b));
    struct err e = {0};

    (void)state;
    (void)cursor_u8(&c);
    assert_int_equal(cursor_check(&c, "header", &e), 0);
    assert_int_equal(cursor_done(&c, "header", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_string_equal(e.msg, "header has 2 bytes too many");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_what_a_buf_wrote),
        cmocka_unit_test(bytes_are_borrowed_not_copied),
        cmocka_unit_test(a_read_past_the_end_yields_zeros),
        cmocka_unit_test(a_short_copy_is_all_zero),
        cmocka_unit_test(an_absurd_length_does_not_wrap),
        cmocka_unit_test(an_empty_input_has_an_empty_read),
        cmocka_unit_test(check_says_what_is_short),
        cmocka_unit_test(done_says_what_is_left_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
