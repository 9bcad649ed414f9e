/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hex.h"

static void
fill_seed(uint8_t seed[SIGN_SEED_BYTES])
{
    for (int i = 0; i < SIGN_SEED_BYTES; i++)
        seed[i] = (uint8_t)i;
}

/* The values were made by another implementation (Python's cryptography). */
static void
it_is_ed25519(void **state)
{
    uint8_t seed[SIGN_SEED_BYTES], public[SIGN_PUBLIC_BYTES], s[SIGN_BYTES];
    char hex[2 * SIGN_BYTES + 1];

    (void)state;
    fill_seed(seed);
    sign_public(seed, public);
    hex_encode(public, sizeof(public), hex);
    assert_string_equal(
        hex,
        "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
    sign_make(seed, "abc", 3, s);
    hex_encode(s, sizeof(s), hex);
    assert_string_equal(
        hex, "cc46d62d3754f41754b27b6ea2cb2c272bafa7a5a1f6062bd060f414e50caaeac"
             "2da66ad39cef4424a90236ea907b7d8057e3443dc5abfc9986967ee7213a407");
}

static void
every_bit_counts(void **state)
{
    uint8_t seed[SIGN_SEED_BYTES], public[SIGN_PUBLIC_BYTES], s[SIGN_BYTES];
    uint8_t message[] = {1, 2, 3};

    (void)state;
    fill_seed(seed);
    sign_public(seed, public);
    sign_make(seed, message, sizeof(message), s);
    assert_true(sign_check(public, message, sizeof(message), s));
    assert_false(sign_check(public, message, sizeof(message) - 1, s));
    for (size_t i = 0; i < sizeof(s) * 8; i++) {
        s[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(sign_check(public, message, sizeof(message), s));
        s[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t i = 0; i < sizeof(message) * 8; i++) {
        message[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(sign_check(public, message, sizeof(message), s));
        message[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    public[0] ^= 1;
    assert_false(sign_check(public, message, sizeof(message), s));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_ed25519),
        cmocka_unit_test(every_bit_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
