/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static int
find(const struct vmstate_names *x, const char *name, size_t *out)
{
    return vmstate_names_find(x, (const uint8_t *)name, strlen(name), out);
}

static void
each_block_is_found_and_nothing_else(void **state)
{
    static struct vmstate_block blocks[] = {
        {.name = "pc.ram"}, {.name = "vga.vram"},
        {.name = "pc.rom"}, {.name = "/rom@etc/acpi/tables"},
        {.name = "a"},      {.name = "pc.bios"}};
    static const char *const others[] = {"",        "b",        "pc.ra",
                                         "pc.ram2", "vga.vraN", "/rom@etc"};
    struct vmstate_ram ram = {.n_blocks = ARRAY_LEN(blocks), .blocks = blocks};
    struct vmstate_names x;
    struct err e = {0};
    size_t at = 77;

    (void)state;
    assert_int_equal(vmstate_names_init(&x, &ram, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(find(&x, others[i], &at), 0);
    assert_int_equal(at, 77);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        assert_int_equal(find(&x, blocks[i].name, &at), 1);
        assert_int_equal(at, i);
    }
    /* A NUL ends no name. */
    assert_int_equal(vmstate_names_find(&x, (const uint8_t *)"a\0x", 3, &at),
                     0);
    assert_int_equal(vmstate_names_find(&x, (const uint8_t *)"a", 2, &at), 0);
}

static void
as_many_as_the_limit(void **state)
{
    static struct vmstate_block blocks[VMSTATE_MAX_BLOCKS];
    struct vmstate_ram ram = {.n_blocks = VMSTATE_MAX_BLOCKS, .blocks = blocks};
    struct vmstate_names x;
    struct err e = {0};

    (void)state;
    for (int i = 0; i < VMSTATE_MAX_BLOCKS; i++)
        (void)snprintf(blocks[i].name, sizeof(blocks[i].name), "%0*d",
                       1 + i * 7 % 255, i * 523 % VMSTATE_MAX_BLOCKS);
    assert_int_equal(vmstate_names_init(&x, &ram, &e), 0);
    for (size_t i = 0; i < VMSTATE_MAX_BLOCKS; i++) {
        size_t at = 0;
        assert_int_equal(find(&x, blocks[i].name, &at), 1);
        assert_int_equal(at, i);
    }
    memcpy(blocks[900].name, blocks[11].name, sizeof(blocks[11].name));
    assert_int_equal(vmstate_names_init(&x, &ram, &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, blocks[11].name));
}

static void
an_empty_list_finds_nothing(void **state)
{
    struct vmstate_ram ram = {0};
    struct vmstate_names x;
    struct err e = {0};
    size_t at = 0;

    (void)state;
    assert_int_equal(vmstate_names_init(&x, &ram, &e), 0);
    assert_int_equal(find(&x, "", &at), 0);
    assert_int_equal(find(&x, "pc.ram", &at), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_block_is_found_and_nothing_else),
        cmocka_unit_test(as_many_as_the_limit),
        cmocka_unit_test(an_empty_list_finds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
