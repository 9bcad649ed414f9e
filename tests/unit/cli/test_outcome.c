/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int
is_listed(enum outcome o)
{
    for (const struct outcome_row *r = outcome_rows; r->meaning; r++)
        if (r->outcome == o)
            return 1;
    return 0;
}

/* Scripts rely on these numbers. */
static void
errors_have_their_promised_codes(void **state)
{
    (void)state;
    assert_int_equal(outcome_of(ERR_OK), 0);
    assert_int_equal(outcome_of(ERR_IO), 1);
    assert_int_equal(outcome_of(ERR_NOENT), 1);
    assert_int_equal(outcome_of(ERR_NOSPACE), 1);
    assert_int_equal(outcome_of(ERR_USAGE), 2);
    assert_int_equal(outcome_of(ERR_CORRUPT), 4);
    assert_int_equal(outcome_of(ERR_NOREPO), 10);
    assert_int_equal(outcome_of(ERR_KEY), 12);
    assert_int_equal(outcome_of(ERR_STORE), 13);
    assert_int_equal(outcome_of(ERR_QEMU), 20);
    assert_int_equal(outcome_of(ERR_CANCELED), 130);
}

static void
no_error_ends_well(void **state)
{
    (void)state;
    for (int code = ERR_OK + 1; code <= ERR_QEMU; code++) {
        enum outcome o = outcome_of((enum err_code)code);
        assert_int_not_equal(o, OUTCOME_DONE);
        assert_true(is_listed(o));
    }
    assert_int_not_equal(outcome_of((enum err_code)9999), OUTCOME_DONE);
}

static void
the_list_is_in_order(void **state)
{
    (void)state;
    assert_int_equal(outcome_rows[0].outcome, OUTCOME_DONE);
    assert_true(is_listed(OUTCOME_PARTLY));
    for (size_t i = 1; outcome_rows[i].meaning; i++)
        assert_true(outcome_rows[i - 1].outcome < outcome_rows[i].outcome);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_their_promised_codes),
        cmocka_unit_test(no_error_ends_well),
        cmocka_unit_test(the_list_is_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
