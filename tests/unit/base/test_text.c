/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)
#define PIB (TIB * 1024)
#define EIB (PIB * 1024)

static void
sizes_are_written_for_people(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1, "1 B"},
        {512, "512 B"},
        {1023, "1023 B"},
        {1024, "1 KiB"},
        {1536, "1.5 KiB"},
        {1034, "1.01 KiB"},
        {10 * KIB + 256, "10.2 KiB"},
        {100 * KIB + 256, "100 KiB"},
        {999 * KIB + 600, "1000 KiB"},
        {1023 * KIB, "1023 KiB"},
        {1023 * KIB + 511, "1023 KiB"},
        {1023 * KIB + 512, "1 MiB"}, /* not 1024 KiB */
        {MIB - 1, "1 MiB"},
        {64 * MIB, "64 MiB"},
        {3 * GIB / 2, "1.5 GiB"},
        {20 * TIB, "20 TiB"},
        {5 * PIB, "5 PiB"},
        {1023 * PIB, "1023 PiB"},
        {EIB, "1 EiB"},
        {UINT64_MAX, "16 EiB"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[TEXT_SIZE_LEN];
        text_size(cases[i].bytes, out);
        assert_string_equal(out, cases[i].text);
    }
}

/* Written as text and read back, no size is off by more than the half of its
 * third digit. */
static void
a_size_survives_being_written(void **state)
{
    (void)state;
    for (uint64_t v = 1; v < EIB; v = v * 5 / 4 + 1) {
        char out[TEXT_SIZE_LEN];
        uint64_t back = 0;
        text_size(v, out);
        assert_true(text_parse_size(out, &back));
        assert_true((back > v ? back - v : v - back) <= v / 199);
    }
}

static void
sizes_are_read_in_binary_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"4096B", 4096},
        {"4096 B", 4096},
        {"007", 7},
        {"64k", 64 * KIB},
        {"64K", 64 * KIB},
        {"64KiB", 64 * KIB},
        {"64 KB", 64 * KIB},
        {"1.5G", 3 * GIB / 2},
        {"2 GiB", 2 * GIB},
        {"2  GiB", 2 * GIB},
        {"0.5k", 512},
        {"0.001k", 1}, /* 1.024, rounded down */
        {"1.999999k", 2047},
        {"1m", MIB},
        {"3T", 3 * TIB},
        {"3p", 3 * PIB},
        {"1.25E", EIB + EIB / 4},
        {"15E", 15 * EIB},
        {"15.999999E",
         15 * EIB + EIB / 1000000 * 999999 + EIB % 1000000 * 999999 / 1000000},
        {"9007199254740993", 9007199254740993}, /* not a double */
        {"18446744073709551615", UINT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t v = 42;
        if (!text_parse_size(cases[i].text, &v) || v != cases[i].bytes)
            fail_msg("\"%s\" was read as %llu", cases[i].text,
                     (unsigned long long)v);
    }
}

static void
what_is_no_size_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        " 1",
        "1 ",
        "k",
        "-1",
        "+1",
        ".5k",
        "1.k",
        "1.5",
        "1.5B",
        "1.0",
        "1e3",
        "0x10",
        "0x1p3",
        "nan",
        "inf",
        "1,5G",
        "1_0",
        "1..5k",
        "1.5.5k",
        "1kk",
        "1kBB",
        "1Bk",
        "1ki B",
        "1 iB",
        "1iB",
        "1x",
        "16E",
        "999P9",
        "1k ",
        "1\n",
        "64kb",
        "1.1234567k",
        "18446744073709551616",
        "18014398509481984k",
        "99999999999999999999999",
        "1.99999999999999999999999k",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        uint64_t v = 42;
        if (text_parse_size(texts[i], &v))
            fail_msg("\"%s\" was taken for a size", texts[i]);
        assert_true(v == 42);
    }
}

static void
a_number_is_all_digits(void **state)
{
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "-1",
                                      "+1",
                                      "0x10",
                                      "1.0",
                                      "1k",
                                      "12a",
                                      "1e3",
                                      "18446744073709551616",
                                      "28446744073709551615",
                                      "100000000000000000000"};
    uint64_t v = 42;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (text_parse_u64(bad[i], &v))
            fail_msg("\"%s\" was taken for a number", bad[i]);
        assert_true(v == 42);
    }
    assert_true(text_parse_u64("0", &v));
    assert_true(v == 0);
    assert_true(text_parse_u64("010", &v)); /* decimal, not octal */
    assert_true(v == 10);
    assert_true(text_parse_u64("18446744073709551615", &v));
    assert_true(v == UINT64_MAX);
}

static void
a_strangers_bytes_are_made_fit_to_print(void **state)
{
    char all[256] = "";

    (void)state;
    for (unsigned i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    CLEANUP(freep) char *q = text_quote(all, SIZE_MAX);
    const char *at = q;
    for (unsigned i = 1; i < 256; i++) {
        unsigned c = (unsigned char)*at++;
        assert_true(c >= 0x20 && c <= 0x7e);
        if (c == '\\') { /* and nothing is lost */
            assert_int_equal(*at++, 'x');
            char two[3] = {at[0], at[1], '\0'};
            c = (unsigned)strtoul(two, NULL, 16);
            at += 2;
        }
        assert_int_equal(c, i);
    }
    assert_string_equal(at, "");
}

static void
quote_of(const char *s, size_t max, const char *want)
{
    CLEANUP(freep) char *q = text_quote(s, max);

    assert_string_equal(q, want);
}

static void
a_long_quote_is_cut(void **state)
{
    (void)state;
    quote_of("", 10, "");
    quote_of("", 0, "");
    quote_of("abc", 3, "abc");
    quote_of("abcd", 3, "abc...");
    quote_of("abcd", 0, "...");
    quote_of("\n\\\x1b", 2, "\\x0a\\x5c...");
    quote_of("a b\"c'~\x7f", 10, "a b\"c'~\\x7f");
}

static void
starts_and_ends(void **state)
{
    (void)state;
    assert_true(text_starts("vmkeep-x", "vmkeep-"));
    assert_true(text_starts("x", ""));
    assert_true(text_starts("x", "x"));
    assert_false(text_starts("vm", "vmkeep-"));
    assert_false(text_starts("", "x"));
    assert_true(text_ends("disk.qcow2", ".qcow2"));
    assert_true(text_ends("x", ""));
    assert_true(text_ends("x", "x"));
    assert_false(text_ends("qcow2", ".qcow2"));
    assert_false(text_ends("disk.qcow2.bak", ".qcow2"));
    assert_false(text_ends("", "x"));
}

static void
distance_of(const char *a, const char *b, unsigned want)
{
    assert_int_equal(text_distance(a, b), want);
    assert_int_equal(text_distance(b, a), want);
}

static void
edits_are_counted(void **state)
{
    (void)state;
    distance_of("", "", 0);
    distance_of("", "list", 4);
    distance_of("restore", "restore", 0);
    distance_of("restor", "restore", 1);
    distance_of("retsore", "restore", 2);
    distance_of("backup", "bakcups", 3);
    distance_of("kitten", "sitting", 3);
    distance_of("abc", "xyz", 3);
    distance_of("flaw", "lawn", 2);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_written_for_people),
        cmocka_unit_test(a_size_survives_being_written),
        cmocka_unit_test(sizes_are_read_in_binary_units),
        cmocka_unit_test(what_is_no_size_is_refused),
        cmocka_unit_test(a_number_is_all_digits),
        cmocka_unit_test(a_strangers_bytes_are_made_fit_to_print),
        cmocka_unit_test(a_long_quote_is_cut),
        cmocka_unit_test(starts_and_ends),
        cmocka_unit_test(edits_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
