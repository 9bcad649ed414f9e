/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_space.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static const char text[] =
    "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
    "2 21 0:5 / /dev rw shared:2 master:1 - devtmpfs none rw\n"
    "36 21 98:0 /mnt1 /mnt\\040of\\134me rw,noatime - nfs4 host:/a\\040b rw\n"
    "37 21 98:0 /odd /no-dash rw,noatime nfs4 host:/a rw\n"
    "38 21\n"
    "\n"
    "39 21 98:0 / /last rw - xfs /dev/sdb rw";

static void
expect_mount(unsigned long long id, const char *want)
{
    CLEANUP(freep) char *got = store_space_mount(text, id);

    if (!want)
        assert_null(got);
    else
        assert_string_equal(got, want);
}

static void
a_mount_is_found_by_its_id(void **state)
{
    (void)state;
    expect_mount(21, "/dev/vda on / (ext4)");
    expect_mount(2, "none on /dev (devtmpfs)");
    expect_mount(39, "/dev/sdb on /last (xfs)");
    expect_mount(1, NULL); /* only a parent */
    expect_mount(98, NULL);
}

static void
escapes_of_the_kernel_are_undone(void **state)
{
    (void)state;
    expect_mount(36, "host:/a b on /mnt of\\me (nfs4)");
}

static void
lines_of_another_form_name_nothing(void **state)
{
    (void)state;
    expect_mount(37, NULL);
    expect_mount(38, NULL);
    assert_null(store_space_mount("", 0));
    assert_null(store_space_mount("\n\n", 0));
}

static void
the_hint_names_a_mount_and_a_remedy(void **state)
{
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = {0};

    (void)state;
    assert_true(fd != -1);
    (void)err_set(&e, ERR_STORE, "cannot write");
    store_space_hint(fd, &e);
    (void)close(fd);
    assert_non_null(strstr(e.msg, "cannot write; "));
    assert_non_null(strstr(e.msg, " on /proc (proc) has 0 B free"));
    assert_non_null(strstr(e.msg, "vmkeep prune"));
}

static void
no_file_no_mount_but_still_a_remedy(void **state)
{
    struct err e = {0};

    (void)state;
    (void)err_set(&e, ERR_STORE, "cannot write");
    store_space_hint(-1, &e);
    assert_non_null(strstr(e.msg, "its file system has ? free"));
    assert_non_null(strstr(e.msg, "vmkeep prune"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mount_is_found_by_its_id),
        cmocka_unit_test(escapes_of_the_kernel_are_undone),
        cmocka_unit_test(lines_of_another_form_name_nothing),
        cmocka_unit_test(the_hint_names_a_mount_and_a_remedy),
        cmocka_unit_test(no_file_no_mount_but_still_a_remedy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
