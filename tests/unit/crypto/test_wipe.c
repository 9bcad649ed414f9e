/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/wipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void
wiped_bytes_are_zero(void **state)
{
    uint8_t p[] = {1, 2, 3, 4};

    (void)state;
    wipe(p, 3);
    assert_memory_equal(p, "\0\0\0\4", 4);
    wipe_free(xmalloc(10), 10);
    wipe_free(NULL, 10);
}

static void
equal_looks_at_every_byte(void **state)
{
    uint8_t a[16] = {0}, b[16] = {0};

    (void)state;
    assert_true(wipe_equal(a, b, sizeof(a)));
    for (size_t i = 0; i < sizeof(b); i++) {
        b[i] = 1;
        assert_false(wipe_equal(a, b, sizeof(a)));
        b[i] = 0;
    }
    assert_true(wipe_equal(a, b, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wiped_bytes_are_zero),
        cmocka_unit_test(equal_looks_at_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
