/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/ramspool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "vmstate/vmstate.h"

enum { PAGE = 4096, PAGES = 700 };

static struct vmstate_block blocks[] = {
    {.name = "pc.ram", .used_bytes = PAGES * PAGE},
    {.name = "empty", .used_bytes = 0},
    {.name = "pc.bios", .used_bytes = 3 * PAGE},
};

static const struct vmstate_ram ram = {
    .page_bytes = PAGE, .n_blocks = ARRAY_LEN(blocks), .blocks = blocks};

/* Every page differs; every seventh is zero. */
static const uint8_t *
page(size_t block, size_t number)
{
    static uint8_t p[PAGE];

    if (number % 7 == 0)
        return NULL;
    for (size_t i = 0; i < PAGE; i++)
        p[i] = (uint8_t)(number * 31 + block * 7 + i * i);
    p[0] = 1;
    return p;
}

struct both {
    struct ramspool *worker, *drainer;
};

/* As the two processes have it: one made it, the other got descriptors. */
static void
open_both(struct both *b)
{
    struct err e = {0};
    int fds[RAMSPOOL_FDS], copies[RAMSPOOL_FDS];

    assert_int_equal(ramspool_create("/tmp", &b->worker, &e), 0);
    ramspool_fds(b->worker, fds);
    for (size_t i = 0; i < RAMSPOOL_FDS; i++)
        copies[i] = dup(fds[i]);
    assert_int_equal(ramspool_attach(copies, &b->drainer, &e), 0);
}

static void
close_both(struct both *b)
{
    ramspool_free(b->worker);
    ramspool_free(b->drainer);
}

static void
put(struct both *b, size_t block, size_t number, const uint8_t *data)
{
    struct err e = {0};

    assert_int_equal(
        ramspool_put_page(b->drainer, block, number * PAGE, data, &e), 0);
}

static void
check_page(struct both *b, size_t block, size_t number)
{
    struct err e = {0};
    uint8_t got[PAGE];
    const uint8_t *want = page(block, number);
    uint64_t at = number * PAGE;

    if (!want) {
        assert_true(ramspool_next_data(b->worker, block, at) > at);
        return;
    }
    assert_int_equal(ramspool_next_data(b->worker, block, at), at);
    assert_int_equal(ramspool_read(b->worker, block, at, got, PAGE, &e), 0);
    assert_memory_equal(got, want, PAGE);
}

static void
pages_in_any_order_come_back(void **state)
{
    struct both b = {0};
    struct err e = {0};

    (void)state;
    open_both(&b);
    assert_int_equal(ramspool_set_blocks(b.drainer, &ram, &e), 0);
    for (size_t i = 0; i < PAGES;
         i++) { /* 389 and 700 have no common divisor */
        size_t n = i * 389 % PAGES;
        put(&b, 0, n, page(0, n));
    }
    for (size_t n = 0; n < 3; n++)
        put(&b, 2, n, page(2, n));
    assert_int_equal(ramspool_finish(b.drainer, &e), 0);

    assert_int_equal(ramspool_open_result(b.worker, &e), 0);
    assert_int_equal(ramspool_blocks(b.worker), 3);
    assert_string_equal(ramspool_block_name(b.worker, 2), "pc.bios");
    assert_int_equal(ramspool_block_bytes(b.worker, 0), PAGES * PAGE);
    assert_int_equal(ramspool_next_data(b.worker, 1, 0), 0);
    for (size_t n = 0; n < PAGES; n++)
        check_page(&b, 0, n);
    for (size_t n = 0; n < 3; n++)
        check_page(&b, 2, n);
    assert_int_equal(ramspool_data_end(b.worker, 0, PAGE), 7 * PAGE);
    assert_int_equal(ramspool_next_data(b.worker, 0, 7 * PAGE), 8 * PAGE);
    close_both(&b);
}

static void
the_last_of_two_counts(void **state)
{
    struct both b = {0};
    struct err e = {0};

    (void)state;
    open_both(&b);
    assert_int_equal(ramspool_set_blocks(b.drainer, &ram, &e), 0);
    put(&b, 0, 1, page(0, 2));
    put(&b, 0, 1, page(0, 1));
    put(&b, 0, 5, page(0, 5));
    put(&b, 0, 5, NULL);
    assert_int_equal(ramspool_finish(b.drainer, &e), 0);
    assert_int_equal(ramspool_open_result(b.worker, &e), 0);
    check_page(&b, 0, 1);
    assert_int_equal(ramspool_next_data(b.worker, 0, 2 * PAGE), PAGES * PAGE);
    close_both(&b);
}

static void
the_state_comes_back(void **state)
{
    enum { LEN = 3 * PAGE + 77 };
    struct both b = {0};
    struct err e = {0};
    uint8_t sent[LEN], got[LEN];

    (void)state;
    for (size_t i = 0; i < LEN; i++)
        sent[i] = (uint8_t)(i * 13 + i / 256);
    open_both(&b);
    assert_int_equal(ramspool_set_blocks(b.drainer, &ram, &e), 0);
    for (size_t at = 0, n = 1; at < LEN; at += n, n = n * 3 % 1000 + 1) {
        n = n < LEN - at ? n : LEN - at;
        assert_int_equal(ramspool_put_state(b.drainer, sent + at, n, &e), 0);
    }
    assert_int_equal(ramspool_finish(b.drainer, &e), 0);
    assert_int_equal(ramspool_open_result(b.worker, &e), 0);
    assert_int_equal(ramspool_state_bytes(b.worker), LEN);
    assert_int_equal(ramspool_read_state(b.worker, 0, got, LEN, &e), 0);
    assert_memory_equal(got, sent, LEN);
    close_both(&b);
}

static void
a_failure_reaches_the_worker(void **state)
{
    struct both b = {0};
    struct err why = {0}, e = {0};

    (void)state;
    open_both(&b);
    assert_int_equal(ramspool_open_result(b.worker, &e), -1);
    assert_int_equal(e.code, ERR_IO); /* it just died */
    err_clear(&e);
    (void)err_set(&why, ERR_CORRUPT, "record at 17");
    ramspool_fail(b.drainer, &why);
    assert_int_equal(ramspool_open_result(b.worker, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "record at 17"));
    close_both(&b);
}

/* RAM holds secrets: nothing of it may lie in the file as it is. */
static void
the_file_shows_nothing(void **state)
{
    struct both b = {0};
    struct err e = {0};
    int fds[RAMSPOOL_FDS];
    uint8_t secret[PAGE];

    (void)state;
    open_both(&b);
    memset(secret, 0x5a, sizeof(secret));
    assert_int_equal(ramspool_set_blocks(b.drainer, &ram, &e), 0);
    put(&b, 0, 3, secret);
    put(&b, 0, 4, secret);
    assert_int_equal(ramspool_put_state(b.drainer, secret, PAGE, &e), 0);
    assert_int_equal(ramspool_finish(b.drainer, &e), 0);
    ramspool_fds(b.worker, fds);
    uint64_t seen = 0, at = 0;
    uint8_t unit[PAGE], before[PAGE] = {0};
    off_t data = 0;
    while ((data = lseek(fds[0], (off_t)at, SEEK_DATA)) >= 0) {
        at = (uint64_t)data / PAGE * PAGE;
        assert_int_equal(pread(fds[0], unit, PAGE, (off_t)at), PAGE);
        assert_null(memmem(unit, PAGE, secret, 16));
        assert_memory_not_equal(unit, before, PAGE);
        memcpy(before, unit, PAGE);
        at += PAGE;
        seen++;
    }
    assert_true(seen >= 3);
    close_both(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_in_any_order_come_back),
        cmocka_unit_test(the_last_of_two_counts),
        cmocka_unit_test(the_state_comes_back),
        cmocka_unit_test(a_failure_reaches_the_worker),
        cmocka_unit_test(the_file_shows_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
