/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/imagefile.h"

#include "imagetool.h"

#include "base/err.h"

static void
test_size_and_growth(void **state)
{
    struct qcow2_file f = {0};
    struct err e = {0};
    uint8_t p[4] = {0};

    (void)state;
    scratch_write("f", "abcd", 4);
    int fd = scratch_open("f", O_RDWR);
    assert_int_equal(qcow2_file_open(fd, &f, &e), 0);
    assert_int_equal(f.bytes, 4);
    assert_true(qcow2_file_has(&f, 0, 4));
    assert_true(qcow2_file_has(&f, 4, 0));
    assert_false(qcow2_file_has(&f, 0, 5));
    assert_false(qcow2_file_has(&f, 5, 0));
    assert_false(qcow2_file_has(&f, UINT64_MAX, 1));
    assert_false(qcow2_file_has(&f, 1, UINT64_MAX));
    assert_int_equal(qcow2_file_read(&f, 1, p, 3, "x", &e), 0);
    assert_memory_equal(p, "bcd", 3);

    assert_int_equal(pwrite(fd, "ef", 2, 4), 2);
    assert_true(qcow2_file_has(&f, 0, 6)); /* looked again */
    assert_int_equal(f.bytes, 6);
    assert_int_equal(qcow2_file_read(&f, 4, p, 2, "x", &e), 0);
    assert_memory_equal(p, "ef", 2);
    (void)close(fd);
}

static void
test_missing_is_not_zeros(void **state)
{
    struct qcow2_file f = {0};
    struct err e = {0};
    uint8_t p[4] = {0};

    (void)state;
    scratch_write("f", "abcd", 4);
    int fd = scratch_open("f", O_RDWR);
    assert_int_equal(qcow2_file_open(fd, &f, &e), 0);
    assert_int_equal(qcow2_file_read(&f, 2, p, 3, "the thing", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_non_null(strstr(e.msg, "the thing at host offset 2"));
    err_clear(&e);
    assert_int_equal(qcow2_file_read(&f, UINT64_MAX - 1, p, 1, "x", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    err_clear(&e);
    assert_int_equal(ftruncate(fd, 1), 0); /* got shorter meanwhile */
    assert_int_equal(qcow2_file_read(&f, 0, p, 4, "x", &e), -1);
    assert_int_equal(e.code, ERR_CORRUPT);
    (void)close(fd);
}

static void
test_kinds_of_files(void **state)
{
    struct qcow2_file f = {.bytes = 7};
    struct err e = {0};
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(qcow2_file_open(fds[0], &f, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    err_clear(&e);
    assert_int_equal(qcow2_file_open(-1, &f, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(f.bytes, 7); /* untouched */
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_and_growth),
        cmocka_unit_test(test_missing_is_not_zeros),
        cmocka_unit_test(test_kinds_of_files),
    };

    return cmocka_run_group_tests_name("imagefile", tests, scratch_setup,
                                       scratch_teardown);
}
