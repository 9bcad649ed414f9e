/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hex.h"

/* The values were made by Python's hashlib and hmac. */
static void
assert_hex(const uint8_t *p, size_t len, const char *want)
{
    char hex[129];

    assert_true(len <= 64);
    hex_encode(p, len, hex);
    assert_string_equal(hex, want);
}

static void
fill_key(uint8_t key[HASH_KEY_BYTES])
{
    for (int i = 0; i < HASH_KEY_BYTES; i++)
        key[i] = (uint8_t)i;
}

static void
sha256_is_sha256(void **state)
{
    uint8_t out[HASH_BYTES];

    (void)state;
    hash_sha256("abc", 3, out);
    assert_hex(out, sizeof(out),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015"
               "ad");
    hash_sha256("", 0, out);
    assert_hex(out, sizeof(out),
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8"
               "55");
}

static void
keyed_is_hmac_with_the_type_in_front(void **state)
{
    uint8_t key[HASH_KEY_BYTES], out[HASH_BYTES];

    (void)state;
    fill_key(key);
    struct hash_key *k = hash_key_new(key);
    for (int i = 0; i < 2; i++) { /* the ready key is not used up */
        hash_keyed(k, 2, "abc", 3, out);
        assert_hex(out, sizeof(out),
                   "fdcf35082757ce99a348f5b12a1577f1d4ca7e94c4d41599d4a221ef52"
                   "35b327");
        hash_keyed(k, 1, "", 0, out);
        assert_hex(out, sizeof(out),
                   "9b4c8120a4823a95f47cde17a244f4507244ee6e3957d1fab9fa29b44d"
                   "3829b7");
    }
    hash_key_free(k);
    hash_key_free(NULL);
}

static void
derive_is_keyed_blake2b(void **state)
{
    static const char label[] = "vmkeep object 1";
    uint8_t key[HASH_KEY_BYTES], out[HASH_DERIVED_BYTES];

    (void)state;
    fill_key(key);
    hash_derive(key, label, strlen(label), out);
    assert_hex(out, sizeof(out),
               "cdbfc461557a43615356bbc6c51f4991ac407aeae1a106a7a4d4be7a81f291"
               "04cad082d1b998c7c97d4dbff374c02a8fc5122ac385f256fbec6e47b4f98f"
               "d6d3");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_is_sha256),
        cmocka_unit_test(keyed_is_hmac_with_the_type_in_front),
        cmocka_unit_test(derive_is_keyed_blake2b),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
