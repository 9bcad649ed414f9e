/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "dies.h"

/* The sanitizers' allocators end the program when asked for too much; these
 * tests want to see what we do then. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *
__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* Read through volatile, so that no compiler warns of what is meant here. */
static volatile size_t too_much = SIZE_MAX / 2;

static int cleanups;

static void
count_cleanup(int **p)
{
    cleanups += **p;
}

static int
leave_early(int early)
{
    static int weight = 1;
    CLEANUP(count_cleanup) int *p = &weight;

    if (early)
        return *p;
    return 2;
}

static void
cleanup_runs_on_every_path(void **state)
{
    (void)state;
    cleanups = 0;
    assert_int_equal(leave_early(1), 1);
    assert_int_equal(cleanups, 1);
    assert_int_equal(leave_early(0), 2);
    assert_int_equal(cleanups, 2);
}

static void
steal_hands_over(void **state)
{
    char *mine = xstrdup("object");
    char *before = mine;

    (void)state;
    CLEANUP(freep) char *theirs = STEAL(mine);
    assert_null(mine);
    assert_ptr_equal(theirs, before);
}

static void
freep_takes_null(void **state)
{
    char *p = NULL;

    (void)state;
    freep(&p);
}

static void
nothing_is_still_an_address(void **state)
{
    (void)state;
    CLEANUP(freep) void *a = xmalloc(0);
    CLEANUP(freep) void *b = xcalloc(0, 8);
    CLEANUP(freep) void *c = xcalloc(8, 0);
    CLEANUP(freep) void *d = xmemdup(NULL, 0);
    void *shrunk = xrealloc(xmalloc(8), 0);

    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    assert_non_null(shrunk);
    free(shrunk);
}

static void
calloc_is_zeroed_and_realloc_keeps(void **state)
{
    static const uint8_t zeros[400];

    (void)state;
    CLEANUP(freep) uint8_t *p = xcalloc(100, 4);
    assert_memory_equal(p, zeros, sizeof(zeros));
    memset(p, 0xa5, 400);
    p = xrealloc(p, 100000);
    for (size_t i = 0; i < 400; i++)
        assert_int_equal(p[i], 0xa5);
}

static void
copies_are_ones_own(void **state)
{
    char text[] = "machine";

    (void)state;
    CLEANUP(freep) char *a = xstrdup(text);
    CLEANUP(freep) char *b = xstrndup(text, 4);
    CLEANUP(freep) char *c = xstrndup(text, 400);
    CLEANUP(freep) char *d = xmemdup(text, sizeof(text));
    CLEANUP(freep) char *f = xasprintf("%s-%d%%", text, 42);
    CLEANUP(freep) char *empty = xasprintf("%s", "");

    memset(text, 'x', sizeof(text) - 1);
    assert_string_equal(a, "machine");
    assert_string_equal(b, "mach");
    assert_string_equal(c, "machine");
    assert_string_equal(d, "machine");
    assert_string_equal(f, "machine-42%");
    assert_string_equal(empty, "");
}

static void
array_len_counts_elements(void **state)
{
    uint32_t a[13];

    (void)state;
    assert_int_equal(ARRAY_LEN(a), 13);
}

static void
a_strangers_size_fails_with_a_reason(void **state)
{
    char untouched = 0;
    void *p = &untouched;
    struct err e = {0};

    (void)state;
    assert_int_equal(mem_try(too_much, "the L1 table", &p, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "no memory for the L1 table ("));
    assert_ptr_equal(p, &untouched);
}

static void
a_strangers_memory_is_zeroed(void **state)
{
    static const uint8_t zeros[5000];
    struct err e = {0};

    (void)state;
    CLEANUP(freep) void *p = NULL;
    CLEANUP(freep) void *none = NULL;
    assert_int_equal(mem_try(sizeof(zeros), "a table", &p, &e), 0);
    assert_memory_equal(p, zeros, sizeof(zeros));
    assert_int_equal(mem_try(0, "no table", &none, &e), 0);
    assert_non_null(none);
}

static void
malloc_too_much(void)
{
    (void)xmalloc(too_much);
}

static void
realloc_too_much(void)
{
    (void)xrealloc(xmalloc(1), too_much);
}

static void
calloc_that_overflows(void)
{
    (void)xcalloc(too_much, 4); /* 2 * SIZE_MAX: not a small number */
}

static void
our_own_sizes_abort(void **state)
{
    (void)state;
    assert_int_equal(signal_of(malloc_too_much), SIGABRT);
    assert_int_equal(signal_of(realloc_too_much), SIGABRT);
    assert_int_equal(signal_of(calloc_that_overflows), SIGABRT);
}

/* What is mapped for one block, as mallinfo2 counts it. */
static void
large_blocks_are_returned(void **state)
{
    (void)state;
    size_t before = mallinfo2().hblkhd;
    CLEANUP(freep) uint8_t *always = xmalloc(64 << 20);
    always[0] = 1;
    if (mallinfo2().hblkhd == before) {
        print_message("a sanitizer's allocator\n");
        freep(&always); /* skip() returns to nobody */
        skip();
    }
    mem_keep_little();
    before = mallinfo2().hblkhd;
    for (int i = 0; i < 3; i++) { /* the first would make the second stay */
        CLEANUP(freep) uint8_t *p = xmalloc(8 << 20);
        p[0] = 1;
        assert_true(mallinfo2().hblkhd >= before + (8 << 20));
    }
    assert_int_equal(mallinfo2().hblkhd, before);
}

static void
what_is_forgotten_is_given_back(void **state)
{
    enum { LEN = 8 << 20 };
    CLEANUP(freep) uint8_t *p = xmalloc(LEN);

    (void)state;
    memset(p, 1, LEN);
    mem_forget(p + 1000, LEN - 2000);
    assert_int_equal(p[999], 1);
    assert_int_equal(p[LEN - 1000], 1);
    assert_int_equal(p[LEN / 2], 0); /* a new page */
    mem_forget(p + 10, 1000);        /* no whole page */
    assert_int_equal(p[10], 1);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(cleanup_runs_on_every_path),
        cmocka_unit_test(steal_hands_over),
        cmocka_unit_test(freep_takes_null),
        cmocka_unit_test(nothing_is_still_an_address),
        cmocka_unit_test(calloc_is_zeroed_and_realloc_keeps),
        cmocka_unit_test(copies_are_ones_own),
        cmocka_unit_test(array_len_counts_elements),
        cmocka_unit_test(a_strangers_size_fails_with_a_reason),
        cmocka_unit_test(a_strangers_memory_is_zeroed),
        cmocka_unit_test(our_own_sizes_abort),
        cmocka_unit_test(large_blocks_are_returned),
        cmocka_unit_test(what_is_forgotten_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
