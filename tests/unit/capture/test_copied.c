/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/copied.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"

enum { PART = 65536 };
static const uint64_t size = UINT64_C(1) << 32;

static int
make(void)
{
    struct err e = {0};
    int fd = -1;

    assert_int_equal(file_nameless("/tmp", size, &fd, &e), 0);
    return fd;
}

static void
copy_to(int fd, uint64_t offset)
{
    uint8_t part[PART];
    struct err e = {0};

    memset(part, 7, sizeof(part));
    assert_int_equal(fd_pwrite(fd, part, sizeof(part), offset, "it", &e), 0);
}

static void
nothing_was_copied(void **state)
{
    int fd = make();
    const struct copied c = {.fd = fd, .is_raw = true};

    (void)state;
    assert_true(copied_next(&c, 0, size) == size);
    assert_true(copied_next(&c, 12345, 23456) == 23456);
    fd_close(&fd);
}

/* Also what was written a moment ago and is on no disk yet. */
static void
what_was_copied_is_found(void **state)
{
    const uint64_t first = 3 * (uint64_t)PART, last = size - PART;
    int fd = make();
    const struct copied c = {.fd = fd, .is_raw = true};

    (void)state;
    copy_to(fd, first);
    copy_to(fd, last);
    assert_true(copied_next(&c, 0, size) == first);
    assert_true(copied_end(&c, first, size) == first + PART);
    assert_true(copied_end(&c, first, first + 100) == first + 100);
    assert_true(copied_next(&c, 0, first) == first); /* it is behind */
    assert_true(copied_next(&c, first + 5, size) == first + 5);
    assert_true(copied_next(&c, first + PART, size) == last);
    assert_true(copied_next(&c, first + PART, last - 1) == last - 1);
    assert_true(copied_end(&c, last, size) == size);
    fd_close(&fd);
}

/* What cannot be asked may be anything. */
static void
a_broken_file_was_copied(void **state)
{
    const struct copied c = {.fd = -1, .is_raw = true};
    const struct copied image = {.fd = -1};

    (void)state;
    assert_true(copied_next(&c, 7, 100) == 7);
    assert_true(copied_end(&c, 7, 100) == 100);
    assert_true(copied_next(&image, 7, 100) == 7);
    assert_true(copied_end(&image, 7, 100) == 100);
}

static void
an_image_that_grew_may_hold_anything(void **state)
{
    int fd = make();
    const struct copied c = {.fd = fd, .empty_bytes = size};

    (void)state;
    assert_true(copied_next(&c, 7, 100) == 100);
    copy_to(fd, size);
    assert_true(copied_next(&c, 7, 100) == 7);
    assert_true(copied_end(&c, 7, 100) == 100);
    fd_close(&fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_was_copied),
        cmocka_unit_test(what_was_copied_is_found),
        cmocka_unit_test(a_broken_file_was_copied),
        cmocka_unit_test(an_image_that_grew_may_hold_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
