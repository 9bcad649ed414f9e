/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static void
fits_as(const char *text, const char *want)
{
    CLEANUP(freep) char *fit = print_fit(text);

    assert_string_equal(fit, want);
}

static void
escape_sequences_do_not_pass(void **state)
{
    (void)state;
    fits_as("", "");
    fits_as("web-01", "web-01");
    fits_as("a\033[2Jb", "a\\x1b[2Jb");
    fits_as("a\nb\tc\177", "a\\x0ab\\x09c\\x7f");
    fits_as("C:\\dir", "C:\\dir");
}

static void
the_locale_says_what_is_printable(void **state)
{
    (void)state;
    fits_as("b\303\274ro", "b\303\274ro");
    fits_as("b\303", "b\\xc3");                 /* cut in the middle */
    fits_as("\300\257x", "\\xc0\\xafx");        /* overlong */
    fits_as("\302\233x", "\\xc2\\x9bx");        /* C1: an escape of one byte */
    fits_as("\355\240\200", "\\xed\\xa0\\x80"); /* a surrogate */
    assert_non_null(setlocale(LC_CTYPE, "C"));
    fits_as("b\303\274ro", "b\\xc3\\xbcro");
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
}

static void
width_counts_columns(void **state)
{
    (void)state;
    assert_int_equal(print_width(""), 0);
    assert_int_equal(print_width("abc"), 3);
    assert_int_equal(print_width("b\303\274ro"), 4);
    assert_int_equal(print_width("\346\227\245\346\234\254"), 4);
}

static void
cut_to(const char *text, size_t width, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);

    print_cut(&b, text, width);
    assert_string_equal(buf_text(&b), want);
}

static void
what_is_too_wide_is_cut(void **state)
{
    (void)state;
    cut_to("abcdef", 6, "abcdef");
    cut_to("abcdef", 5, "abc..");
    cut_to("abcdef", 2, "..");
    cut_to("abcdef", 1, ".");
    cut_to("abcdef", 0, "");
    cut_to("", 0, "");
    cut_to("b\303\274ro", 3, "b..");
    /* A character of two columns that does not fit leaves a blank. */
    cut_to("\346\227\245\346\234\254\350\252\236", 5, "\346\227\245 ..");
}

static void
wrap_to(const char *text, size_t indent, size_t width, const char *want)
{
    CLEANUP(buf_done) struct buf b = buf_of(1000);

    print_wrap(&b, text, indent, width);
    assert_string_equal(buf_text(&b), want);
}

static void
text_is_wrapped_at_blanks(void **state)
{
    (void)state;
    wrap_to("", 0, 10, "");
    wrap_to("one two three", 0, 13, "one two three");
    wrap_to("one two three", 0, 12, "one two\nthree");
    wrap_to("one two three", 4, 11, "one two\n    three");
    wrap_to("a-very-long-word x", 0, 5, "a-very-long-word\nx");
    wrap_to("a\n\nb c", 2, 20, "a\n\n  b c");
    wrap_to("head:\n  kept  apart\nend", 0, 40, "head:\n  kept  apart\nend");
}

static void
any_bytes_become_json(void **state)
{
    json_t *good = print_json("b\303\274ro");
    json_t *bad = print_json("b\374ro");

    (void)state;
    assert_string_equal(json_string_value(good), "b\303\274ro");
    assert_string_equal(json_string_value(bad), "b\\xfcro");
    json_decref(good);
    json_decref(bad);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(escape_sequences_do_not_pass),
        cmocka_unit_test(the_locale_says_what_is_printable),
        cmocka_unit_test(width_counts_columns),
        cmocka_unit_test(what_is_too_wide_is_cut),
        cmocka_unit_test(text_is_wrapped_at_blanks),
        cmocka_unit_test(any_bytes_become_json),
    };

    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
