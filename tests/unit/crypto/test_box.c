/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/box.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hex.h"

enum { LEN = 32, SEALED = LEN + BOX_OVERHEAD };

static void
fill_secret(uint8_t secret[BOX_SECRET_BYTES])
{
    for (int i = 0; i < BOX_SECRET_BYTES; i++)
        secret[i] = (uint8_t)i;
}

/* The value was made by another implementation (Python's cryptography). */
static void
public_keys_are_x25519(void **state)
{
    uint8_t secret[BOX_SECRET_BYTES], public[BOX_PUBLIC_BYTES];
    char hex[65];

    (void)state;
    fill_secret(secret);
    box_public(secret, public);
    hex_encode(public, sizeof(public), hex);
    assert_string_equal(
        hex,
        "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
}

static void
only_the_owner_opens_it(void **state)
{
    uint8_t secret[BOX_SECRET_BYTES], public[BOX_PUBLIC_BYTES];
    uint8_t message[LEN] = "to be kept", sealed[SEALED], out[LEN];

    (void)state;
    fill_secret(secret);
    box_public(secret, public);
    assert_true(box_seal(public, message, LEN, sealed));
    assert_true(box_open(secret, sealed, SEALED, out));
    assert_memory_equal(out, message, LEN);

    for (size_t i = 0; i < SEALED * 8; i++) {
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(box_open(secret, sealed, SEALED, out));
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < SEALED; n++)
        assert_false(box_open(secret, sealed, n, out));
    secret[1] ^= 1;
    assert_false(box_open(secret, sealed, SEALED, out));
}

static void
a_public_key_of_small_order_is_refused(void **state)
{
    uint8_t zero[BOX_PUBLIC_BYTES] = {0}, sealed[SEALED];

    (void)state;
    assert_false(box_seal(zero, "", 0, sealed));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_keys_are_x25519),
        cmocka_unit_test(only_the_owner_opens_it),
        cmocka_unit_test(a_public_key_of_small_order_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
