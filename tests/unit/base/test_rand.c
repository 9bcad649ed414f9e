/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "dies.h"

/* A kernel that gives a few bytes at a time and is interrupted in between, or
 * that has none at all. */
static bool moody, broken;
static unsigned calls;

ssize_t
getrandom(void *p, size_t n, unsigned flags)
{
    if (broken) {
        errno = ENOSYS;
        return -1;
    }
    if (moody && ++calls % 2 == 1) {
        errno = EINTR;
        return -1;
    }
    if (moody && n > 7)
        n = 7;
    return syscall(SYS_getrandom, p, n, flags);
}

/* Draws until every byte of `n` has been other than 0 once; how often it had
 * to, 0 if that was not enough: one byte in 256 is 0, and 100 draws that all
 * leave one at 0 do not happen. */
static unsigned
draws_to_fill(size_t n)
{
    uint8_t seen[4096] = {0}, p[4096];
    size_t left = n;

    for (unsigned draws = 1; draws <= 100; draws++) {
        memset(p, 0, sizeof(p));
        rand_bytes(p, n);
        for (size_t i = 0; i < n; i++) {
            left -= p[i] != 0 && seen[i] == 0;
            seen[i] |= p[i];
        }
        for (size_t i = n; i < sizeof(p); i++)
            assert_int_equal(p[i], 0); /* and not one more */
        if (left == 0)
            return draws;
    }
    return 0;
}

static void
every_byte_is_filled(void **state)
{
    (void)state;
    assert_true(draws_to_fill(1) > 0);
    assert_true(draws_to_fill(32) > 0);
    assert_true(draws_to_fill(4000) > 0);
    rand_bytes(NULL, 0);
}

static void
also_when_the_kernel_gives_little(void **state)
{
    (void)state;
    moody = true;
    assert_true(draws_to_fill(100) > 0);
    moody = false;
}

static void
two_numbers_differ(void **state)
{
    (void)state;
    assert_true(rand_u64() != rand_u64());
}

static void
draw_from_nothing(void)
{
    uint8_t p[4];

    broken = true;
    rand_bytes(p, sizeof(p));
}

static void
no_key_is_made_without_randomness(void **state)
{
    (void)state;
    assert_int_equal(signal_of(draw_from_nothing), SIGABRT);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_filled),
        cmocka_unit_test(also_when_the_kernel_gives_little),
        cmocka_unit_test(two_numbers_differ),
        cmocka_unit_test(no_key_is_made_without_randomness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
