/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

static uint8_t plain[SPOOL_UNIT_BYTES], sealed[SPOOL_UNIT_BYTES],
    out[SPOOL_UNIT_BYTES];

static void
units_come_back_in_any_order(void **state)
{
    static uint8_t file[8][SPOOL_UNIT_BYTES];
    struct spool_cipher *c = spool_cipher_new();

    (void)state;
    for (uint64_t i = 0; i < 8; i++) {
        memset(plain, (int)i, sizeof(plain));
        spool_encrypt(c, i, plain, file[i]);
    }
    for (uint64_t i = 8; i-- > 0;) {
        memset(plain, (int)i, sizeof(plain));
        spool_decrypt(c, i, file[i], out);
        assert_memory_equal(out, plain, sizeof(out));
    }
    spool_cipher_free(c);
    spool_cipher_free(NULL);
}

static void
it_works_in_place(void **state)
{
    struct spool_cipher *c = spool_cipher_new();

    (void)state;
    memset(plain, 9, sizeof(plain));
    memcpy(out, plain, sizeof(out));
    spool_encrypt(c, 5, out, out);
    assert_memory_not_equal(out, plain, sizeof(out));
    spool_decrypt(c, 5, out, out);
    assert_memory_equal(out, plain, sizeof(out));
    spool_cipher_freep(&c);
}

/* Equal content must not show: in other units, other blocks, other spools. */
static void
no_two_ciphertexts_are_equal(void **state)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 255, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX};
    static uint8_t seen[7][SPOOL_UNIT_BYTES];
    struct spool_cipher *c = spool_cipher_new(), *d = spool_cipher_new();

    (void)state;
    memset(plain, 0, sizeof(plain));
    for (int i = 0; i < 7; i++) {
        spool_encrypt(c, numbers[i], plain, seen[i]);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(seen[i], seen[k], 16);
        assert_memory_not_equal(seen[i], seen[i] + 16, 16);
    }
    spool_encrypt(d, 0, plain, sealed);
    assert_memory_not_equal(sealed, seen[0], 16);
    spool_decrypt(c, 1, seen[0], out); /* the wrong unit */
    assert_memory_not_equal(out, plain, 16);
    spool_cipher_free(c);
    spool_cipher_free(d);
}

static struct spool_cipher *shared;

static void *
many_round_trips(void *arg)
{
    uint8_t in[SPOOL_UNIT_BYTES], back[SPOOL_UNIT_BYTES];
    uint64_t first = *(uint64_t *)arg;

    for (uint64_t i = first; i < first + 500; i++) {
        memset(in, (int)i, sizeof(in));
        spool_encrypt(shared, i, in, back);
        spool_decrypt(shared, i, back, back);
        if (memcmp(in, back, sizeof(in)) != 0)
            return arg;
    }
    return NULL;
}

static void
threads_do_not_disturb_each_other(void **state)
{
    uint64_t firsts[4] = {0, 1000, 2000, 3000};
    pthread_t threads[4];

    (void)state;
    shared = spool_cipher_new();
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, many_round_trips, &firsts[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    spool_cipher_free(shared);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_come_back_in_any_order),
        cmocka_unit_test(it_works_in_place),
        cmocka_unit_test(no_two_ciphertexts_are_equal),
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
