/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/hex.h"

static struct password_cost
small_cost(void)
{
    struct password_cost c = {.passes = 2, .memory_kib = 1024};

    for (int i = 0; i < PASSWORD_SALT_BYTES; i++)
        c.salt[i] = (uint8_t)i;
    return c;
}

/* The value was made by another implementation (Python's cryptography). */
static void
it_is_argon2id(void **state)
{
    struct password_cost c = small_cost();
    uint8_t key[PASSWORD_KEY_BYTES];
    struct err e = {0};
    char hex[65];

    (void)state;
    assert_int_equal(password_derive(&c, "password", key, &e), 0);
    hex_encode(key, sizeof(key), hex);
    assert_string_equal(
        hex,
        "5f6267928b0fbeb0c97a7da3950f5327928d74067551ac1e82a0ad57b43f3583");
}

static void
new_costs_have_new_salts_and_are_not_weak(void **state)
{
    struct password_cost a = password_cost_new(), b = password_cost_new();

    (void)state;
    assert_memory_not_equal(a.salt, b.salt, sizeof(a.salt));
    assert_true(a.passes >= 3 && a.memory_kib >= 65536);
}

static void
assert_refused(struct password_cost c, const char *password, enum err_code code)
{
    uint8_t key[PASSWORD_KEY_BYTES];
    struct err e = {0};

    assert_int_equal(password_derive(&c, password, key, &e), -1);
    assert_int_equal(e.code, code);
}

static void
a_strangers_cost_has_limits(void **state)
{
    struct password_cost c = small_cost();

    (void)state;
    c.passes = 0;
    assert_refused(c, "x", ERR_UNSUP);
    c.passes = PASSWORD_MAX_PASSES + 1;
    assert_refused(c, "x", ERR_UNSUP);
    c = small_cost();
    c.memory_kib = PASSWORD_MIN_KIB - 1;
    assert_refused(c, "x", ERR_UNSUP);
    c.memory_kib = PASSWORD_MAX_KIB + 1;
    assert_refused(c, "x", ERR_UNSUP);
    c.memory_kib = UINT32_MAX;
    assert_refused(c, "x", ERR_UNSUP);
}

static void
empty_and_endless_passwords_are_refused(void **state)
{
    static char longest[PASSWORD_MAX_LEN + 2];
    uint8_t key[PASSWORD_KEY_BYTES];
    struct password_cost c = small_cost();
    struct err e = {0};

    (void)state;
    assert_refused(c, "", ERR_USAGE);
    memset(longest, 'x', PASSWORD_MAX_LEN + 1);
    assert_refused(c, longest, ERR_USAGE);
    longest[PASSWORD_MAX_LEN] = '\0';
    assert_int_equal(password_derive(&c, longest, key, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_argon2id),
        cmocka_unit_test(new_costs_have_new_salts_and_are_not_weak),
        cmocka_unit_test(a_strangers_cost_has_limits),
        cmocka_unit_test(empty_and_endless_passwords_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
