/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU says of its RAM, as the length of a pause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "capture/live_internal.h"

#define MIB (UINT64_C(1) << 20)

static void
small_pages(void **state)
{
    /* QEMU 7.2, and 10.0 with more columns. */
    static const char old[] =
        "              Block Name    PSize              Offset               "
        "Used              Total\r\n"
        "                  pc.ram    4 KiB  0x0000000000000000 "
        "0x0000000020000000 0x0000000020000000\r\n"
        "                vga.vram    4 KiB  0x0000000020080000 "
        "0x0000000001000000 0x0000000001000000\r\n"
        "    /rom@etc/acpi/tables    4 KiB  0x0000000021100000 "
        "0x0000000000020000 0x0000000000200000\r\n";
    static const char new[] =
        "Block Name    PSize  Offset  Used  Total  HVA  RO\n"
        "m0            2 MiB  0x0000000000000000 0x0000000040000000 "
        "0x0000000040000000 0x00007f0000000000  rw\n"
        "m1           64 KiB  0x0000000040000000 0x0000000000100000 "
        "0x0000000000100000 0x00007f0000000000  rw\n"
        "m2            1 GiB  0x0000000080000000 0x0000000040000000 "
        "0x0000000040000000 0x00007f0000000000  rw";

    (void)state;
    assert_true(live_small_page_bytes(old) == 512 * MIB + 16 * MIB + 0x20000);
    assert_true(live_small_page_bytes(new) == MIB);
}

static void
nonsense(void **state)
{
    static const char *const bad[] = {
        "",
        "\n\n",
        " KiB",
        "4 KiB",
        "x 4 KiB 0x",
        "x 4 KiB 0x0 no",
        "x 128 KiB 0x0 0x1000 0x1000",
        "x 99999999999 KiB 0x0 0x1000 0x1000",
        "unknown command: 'info ramblock'",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(live_small_page_bytes(bad[i]) == 0);
    assert_true(live_small_page_bytes("a 4 KiB 0x0 0xffffffffffffffff 0x0\n"
                                      "b 4 KiB 0x0 0xffffffffffffffff 0x0\n") ==
                UINT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages),
        cmocka_unit_test(nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
