/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/wipe.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../base/dies.h"
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

/* A write past its end is in a page that nobody may touch. */
static void
write_behind(void)
{
    uint8_t *volatile p = secret_new(4096);

    (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
    p[4096] = 1;
}

static void
long_lived_secrets_are_guarded(void **state)
{
    uint8_t *p = secret_new(100);
    uint8_t zero[100] = {0};

    (void)state;
    assert_memory_equal(p, zero, 100);
    assert_int_equal((uintptr_t)p % 64, 0);
    memset(p, 1, 100);
    secret_free(p);
    secret_free(NULL);
    assert_int_equal(signal_of(write_behind), SIGSEGV);
}

/* The kernel says of the page: "dd", left out of core dumps. */
static void
they_are_in_no_core_dump(void **state)
{
    uint8_t *p = secret_new(100);
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    bool inside = false, found = false;

    (void)state;
    if (!f)
        skip();
    while (fgets(line, sizeof(line), f)) {
        unsigned long from = 0, to = 0;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)p && (uintptr_t)p < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    (void)fclose(f);
    secret_free(p);
    assert_true(found);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wiped_bytes_are_zero),
        cmocka_unit_test(equal_looks_at_every_byte),
        cmocka_unit_test(long_lived_secrets_are_guarded),
        cmocka_unit_test(they_are_in_no_core_dump),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
