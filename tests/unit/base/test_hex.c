/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
every_byte_goes_there_and_back(void **state)
{
    uint8_t all[256], back[256];
    char text[513];

    (void)state;
    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    hex_encode(all, sizeof(all), text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_is(text));
    assert_true(hex_decode(text, back, sizeof(back)));
    assert_memory_equal(all, back, sizeof(all));
}

static void
no_bytes_are_no_text(void **state)
{
    char text[1] = {'x'};
    uint8_t none = 7;

    (void)state;
    hex_encode(&none, 0, text);
    assert_string_equal(text, "");
    assert_true(hex_decode("", &none, 0));
    assert_int_equal(none, 7);
}

static void
the_length_must_be_exact(void **state)
{
    uint8_t out[4];

    (void)state;
    assert_true(hex_decode("00112233", out, 4));
    assert_false(hex_decode("0011223", out, 4));
    assert_false(hex_decode("001122334", out, 4));
    assert_false(hex_decode("0011223344", out, 4));
    assert_false(hex_decode("", out, 4));
    assert_false(hex_decode("00", out, 0));
}

/* Each of the 256 characters, in either place of a byte. */
static void
only_lower_case_digits_count(void **state)
{
    (void)state;
    for (unsigned c = 1; c < 256; c++) {
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        char text[5] = "0000";
        uint8_t out[2];
        text[2] = (char)c;
        assert_int_equal(hex_decode(text, out, 2), digit);
        assert_int_equal(hex_is(text), digit);
        text[2] = '0';
        text[3] = (char)c;
        assert_int_equal(hex_decode(text, out, 2), digit);
        assert_int_equal(hex_is(text), digit);
    }
    assert_false(hex_is(""));
    assert_true(hex_is("f"));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_goes_there_and_back),
        cmocka_unit_test(no_bytes_are_no_text),
        cmocka_unit_test(the_length_must_be_exact),
        cmocka_unit_test(only_lower_case_digits_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
