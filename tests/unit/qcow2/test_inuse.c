/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/inuse.h"

#include "imagetool.h"

#include "base/clock.h"
#include "base/err.h"

static int
in_use(void)
{
    struct err e = {0};
    int fd = scratch_open("a", O_RDONLY), r = qcow2_in_use(fd, &e);

    (void)close(fd);
    return r;
}

/* A qemu-io that has the image open until its input ends. */
static FILE *
start_qemu_io(const char *options)
{
    char command[1024];

    (void)snprintf(command, sizeof(command),
                   "cd %s && exec qemu-io -f qcow2 %s a >out", scratch,
                   options);
    /* It is looked into before the shell may have made it. */
    (void)close(scratch_open("out", O_WRONLY | O_CREAT | O_TRUNC));
    (void)fflush(stdout);
    FILE *f = popen(command, "w");
    assert_non_null(f);
    /* It is up once it answers. */
    assert_true(fputs("length\n", f) >= 0 && fflush(f) == 0);
    struct deadline d = deadline_in_ms(30000);
    char out[256] = "";
    while (!strstr(out, "1 MiB") && !deadline_passed(d)) {
        (void)usleep(2000);
        memset(out, 0, sizeof(out));
        (void)scratch_read("out", out, sizeof(out) - 1);
    }
    assert_non_null(strstr(out, "1 MiB"));
    return f;
}

static void
test_qemu_writes(void **state)
{
    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 a 1M");
    assert_int_equal(in_use(), 0);
    FILE *f = start_qemu_io("");
    assert_int_equal(in_use(), 1);
    (void)pclose(f);
    assert_int_equal(in_use(), 0);
}

/* Whoever only reads is no reason to keep away. */
static void
test_qemu_reads(void **state)
{
    (void)state;
    require_qemu_img();
    tool_must("qemu-img create -q -f qcow2 a 1M");
    FILE *f = start_qemu_io("-r");
    assert_int_equal(in_use(), 0);
    (void)pclose(f);
}

static void
test_error(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(qcow2_in_use(-1, &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qemu_writes),
        cmocka_unit_test(test_qemu_reads),
        cmocka_unit_test(test_error),
    };

    return cmocka_run_group_tests_name("inuse", tests, scratch_setup,
                                       scratch_teardown);
}
