/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/recovery.h"

#include <ctype.h>
#include <stdio.h>

#include "base/rand.h"
#include "check.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void
make(uint8_t code[RECOVERY_BYTES], char text[RECOVERY_TEXT_LEN])
{
    rand_bytes(code, RECOVERY_BYTES);
    recovery_format(code, text);
}

static void
what_is_written_is_read(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint8_t code[RECOVERY_BYTES], back[RECOVERY_BYTES];
        char text[RECOVERY_TEXT_LEN];
        unsigned bad = 99;
        make(code, text);
        assert_int_equal(strlen(text), RECOVERY_TEXT_LEN - 1);
        assert_int_equal(recovery_parse(text, back, &bad), 1);
        assert_int_equal(bad, 0);
        assert_memory_equal(code, back, RECOVERY_BYTES);
    }
}

/* So that nobody changes the format and does not see it. */
static void
a_known_one(void **state)
{
    uint8_t code[RECOVERY_BYTES];
    char text[RECOVERY_TEXT_LEN];

    (void)state;
    for (size_t i = 0; i < sizeof(code); i++)
        code[i] = (uint8_t)i;
    recovery_format(code, text);
    assert_string_equal(text, "000G40RG-40M30E22-09185GR4-38E1W81D-"
                              "24GK2GAG-HC5RR34X-D1P70X3N-RFP63EDC");
}

/* As people write: small letters, blanks for dashes, I and L for 1, O for 0. */
static void
people_write_as_they_like(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        uint8_t code[RECOVERY_BYTES], back[RECOVERY_BYTES];
        char text[RECOVERY_TEXT_LEN], as_typed[4 * RECOVERY_TEXT_LEN];
        size_t n = 0;
        make(code, text);
        for (size_t at = 0; text[at]; at++) {
            char c = text[at];
            if (c == '-') {
                as_typed[n++] = ' ';
                as_typed[n++] = '\n';
                continue;
            }
            c = c == '1' ? (at % 2 ? 'l' : 'I') : c == '0' ? 'o' : c;
            as_typed[n++] = (char)tolower(c);
            if (at % 5 == 0)
                as_typed[n++] = '-';
        }
        as_typed[n] = '\0';
        assert_int_equal(recovery_parse(as_typed, back, NULL), 1);
        assert_memory_equal(code, back, RECOVERY_BYTES);
    }
}

static void
assert_bad_group(const char *text, unsigned group)
{
    uint8_t code[RECOVERY_BYTES];
    unsigned bad = 99;

    assert_int_equal(recovery_parse(text, code, &bad), 0);
    if (bad != group)
        fail_msg("%s: group %u, not %u", text, bad, group);
}

/* Every single wrong character, and every two neighbours that changed places,
 * in every place: found, and in the right group. */
static void
an_error_is_found_where_it_is(void **state)
{
    uint8_t code[RECOVERY_BYTES];
    char text[RECOVERY_TEXT_LEN];

    (void)state;
    make(code, text);
    for (size_t at = 0; text[at]; at++) {
        char was = text[at];
        if (was == '-')
            continue;
        for (const char *c = alphabet; *c; c++) {
            text[at] = *c;
            if (*c != was)
                assert_bad_group(text, (unsigned)at / 9 + 1);
        }
        text[at] = was;
        if (text[at + 1] == '-' || !text[at + 1] || text[at + 1] == was)
            continue;
        text[at] = text[at + 1];
        text[at + 1] = was;
        assert_bad_group(text, (unsigned)at / 9 + 1);
        text[at + 1] = text[at];
        text[at] = was;
    }
}

static void
groups_have_their_places(void **state)
{
    uint8_t code[RECOVERY_BYTES];
    char text[RECOVERY_TEXT_LEN], swapped[RECOVERY_TEXT_LEN];

    (void)state;
    do {
        make(code, text);
    } while (memcmp(text + 9, text + 36, 8) == 0);
    memcpy(swapped, text, sizeof(text));
    memcpy(swapped + 9, text + 36, 8);
    memcpy(swapped + 36, text + 9, 8);
    assert_bad_group(swapped, 2);
}

/* A password may be 64 digits of hexadecimal: that is no recovery key, and no
 * reason to speak of one. */
static void
a_password_is_none(void **state)
{
    static const char *const passwords[] = {
        "",
        "correct horse",
        "-",
        "0123456789ABCDEF0123456789ABCDEF",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a080",
        "!f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++)
        assert_bad_group(passwords[i], 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_known_one),
        cmocka_unit_test(people_write_as_they_like),
        cmocka_unit_test(an_error_is_found_where_it_is),
        cmocka_unit_test(groups_have_their_places),
        cmocka_unit_test(a_password_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
