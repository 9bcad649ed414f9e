/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/vmstate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static struct vmstate_block blocks[VMSTATE_MAX_BLOCKS + 1];
static struct vmstate_ram ram;

/* Two good blocks. */
static int
setup(void **state)
{
    (void)state;
    memset(blocks, 0, sizeof(blocks));
    for (size_t i = 0; i <= VMSTATE_MAX_BLOCKS; i++) {
        (void)snprintf(blocks[i].name, sizeof(blocks[i].name), "m%zu", i);
        blocks[i].used_bytes = 65536;
    }
    ram = (struct vmstate_ram){.section_id = 2,
                               .version_id = 4,
                               .page_bytes = 4096,
                               .n_blocks = 2,
                               .blocks = blocks};
    return 0;
}

static void
must_be(enum err_code code, const char *part)
{
    struct err e = {0};

    assert_int_equal(vmstate_ram_check(&ram, &e), code == ERR_OK ? 0 : -1);
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.msg, part));
}

static void
good_ram_passes(void **state)
{
    (void)state;
    must_be(ERR_OK, "");
    ram.n_blocks = VMSTATE_MAX_BLOCKS;
    must_be(ERR_OK, "");
    ram.n_blocks = 0;
    must_be(ERR_OK, "");
    for (uint32_t page = 1024; page <= 65536; page *= 2) {
        ram.n_blocks = 1;
        ram.page_bytes = page;
        must_be(ERR_OK, "");
    }
}

static void
page_sizes_and_versions(void **state)
{
    static const uint32_t bad[] = {0, 1, 512, 3072, 4095, 131072, 1U << 31};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ram.page_bytes = bad[i];
        must_be(ERR_UNSUP, "RAM pages of");
    }
    ram.page_bytes = 4096;
    ram.version_id = 5;
    must_be(ERR_UNSUP, "version 5, not 4");
}

static void
too_much_is_a_limit(void **state)
{
    (void)state;
    ram.n_blocks = VMSTATE_MAX_BLOCKS + 1;
    must_be(ERR_LIMIT, "1025 RAM blocks");
    ram.n_blocks = 2;
    blocks[0].used_bytes = VMSTATE_RAM_MAX_BYTES;
    must_be(ERR_LIMIT, "\"m1\"");
    blocks[1].used_bytes = UINT64_MAX - 4095; /* the sum overflows */
    must_be(ERR_LIMIT, "\"m1\"");
    blocks[0].used_bytes -= 4096;
    blocks[1].used_bytes = 4096;
    must_be(ERR_OK, "");
}

static void
blocks_have_names_and_whole_pages(void **state)
{
    (void)state;
    blocks[1].name[0] = '\0';
    must_be(ERR_CORRUPT, "number 1 has no name");
    memset(blocks[1].name, 'x', sizeof(blocks[1].name));
    must_be(ERR_CORRUPT, "number 1 has no name");
    blocks[1].name[VMSTATE_NAME_MAX] = '\0';
    must_be(ERR_OK, "");
    blocks[1].used_bytes = 0;
    must_be(ERR_CORRUPT, "0 bytes");
    blocks[1].used_bytes = 4097;
    must_be(ERR_CORRUPT, "4097 bytes");
    blocks[1] = blocks[0];
    must_be(ERR_CORRUPT, "\"m0\" is listed twice");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(good_ram_passes, setup),
        cmocka_unit_test_setup(page_sizes_and_versions, setup),
        cmocka_unit_test_setup(too_much_is_a_limit, setup),
        cmocka_unit_test_setup(blocks_have_names_and_whole_pages, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
