/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hex.h"

enum { LEN = 1000, SEALED = LEN + AEAD_OVERHEAD };

struct message {
    uint8_t key[AEAD_KEY_BYTES], plain[LEN], sealed[SEALED], opened[LEN];
};

static struct message
sealed_message(void)
{
    struct message m;

    for (int i = 0; i < AEAD_KEY_BYTES; i++)
        m.key[i] = (uint8_t)i;
    for (int i = 0; i < LEN; i++)
        m.plain[i] = (uint8_t)(i * 7);
    aead_seal(m.key, "head", 4, m.plain, LEN, m.sealed);
    return m;
}

/* Sealed by another implementation (Python's cryptography). */
static void
opens_what_others_sealed(void **state)
{
    uint8_t key[AEAD_KEY_BYTES], sealed[12 + 6 + 16], out[6];

    (void)state;
    for (int i = 0; i < AEAD_KEY_BYTES; i++)
        key[i] = (uint8_t)i;
    assert_true(hex_decode("000102030405060708090a0b"
                           "316fbd7ea095358544b0483156d0e305da05908a5939",
                           sealed, sizeof(sealed)));
    assert_true(aead_open(key, "head", 4, sealed, sizeof(sealed), out));
    assert_memory_equal(out, "vmkeep", 6);
}

static void
what_was_sealed_opens(void **state)
{
    struct message m = sealed_message();
    uint8_t nothing[AEAD_OVERHEAD];

    (void)state;
    assert_true(aead_open(m.key, "head", 4, m.sealed, SEALED, m.opened));
    assert_memory_equal(m.opened, m.plain, LEN);

    aead_seal(m.key, "", 0, "", 0, nothing);
    assert_true(aead_open(m.key, "", 0, nothing, sizeof(nothing), m.opened));
}

static void
each_nonce_is_new(void **state)
{
    struct message a = sealed_message(), b = sealed_message();

    (void)state;
    assert_memory_not_equal(a.sealed, b.sealed, AEAD_NONCE_BYTES);
    assert_memory_not_equal(a.sealed + AEAD_NONCE_BYTES,
                            b.sealed + AEAD_NONCE_BYTES, LEN);
}

static void
every_bit_counts(void **state)
{
    struct message m = sealed_message();

    (void)state;
    for (size_t i = 0; i < SEALED * 8; i++) {
        m.sealed[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(aead_open(m.key, "head", 4, m.sealed, SEALED, m.opened));
        m.sealed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_false(aead_open(m.key, "haed", 4, m.sealed, SEALED, m.opened));
    assert_false(aead_open(m.key, "head", 3, m.sealed, SEALED, m.opened));
    m.key[31] ^= 1;
    assert_false(aead_open(m.key, "head", 4, m.sealed, SEALED, m.opened));
}

static void
every_byte_counts(void **state)
{
    struct message m = sealed_message();

    (void)state;
    for (size_t n = 0; n < SEALED; n++)
        assert_false(aead_open(m.key, "head", 4, m.sealed, n, m.opened));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_others_sealed),
        cmocka_unit_test(what_was_sealed_opens),
        cmocka_unit_test(each_nonce_is_new),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(every_byte_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
