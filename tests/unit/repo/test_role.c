/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/role.h"

#include "check.h"
#include "repo/keyring.h"

static void
names_and_numbers(void **state)
{
    enum role role = ROLE_OF_ADMIN;

    (void)state;
    for (uint8_t i = 1; i <= ROLE_OF_RECOVERY; i++) {
        assert_true(role_parse(role_name(i), &role));
        assert_int_equal(role, i);
    }
    assert_false(role_parse("root", &role));
    assert_false(role_parse("", &role));
    assert_false(role_parse("unknown", &role));
    assert_string_equal(role_name(0), "unknown");
    assert_string_equal(role_name(200), "unknown");
}

/* docs/format/keys.md, "Who holds what". */
static void
each_has_what_it_needs(void **state)
{
    (void)state;
    assert_int_equal(role_keys(ROLE_OF_ADMIN, false), KEY_ALL);
    assert_int_equal(role_keys(ROLE_OF_RECOVERY, false), KEY_ALL);
    assert_int_equal(role_keys(ROLE_OF_RESTORE, false),
                     KEY_ID | KEY_META | KEY_RESTORE);
    assert_int_equal(role_keys(ROLE_OF_RESTORE, true),
                     KEY_ID | KEY_META | KEY_NAMESPACE);
    assert_int_equal(role_keys(ROLE_OF_HOST, false),
                     KEY_ID | KEY_META | KEY_WRITER);
    assert_int_equal(role_keys(ROLE_OF_HOST, true),
                     KEY_ID | KEY_META | KEY_WRITER | KEY_NAMESPACE);
    assert_int_equal(role_keys(ROLE_OF_MAINTENANCE, false),
                     KEY_META | KEY_MAINTENANCE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers),
        cmocka_unit_test(each_has_what_it_needs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
