/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../folder.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/store_internal.h"

static void
expect_refused(const char *address, enum err_code code, const char *about)
{
    struct store *st = NULL;
    struct err e = {0};

    assert_int_equal(store_open(address, &st, &e), -1);
    assert_null(st);
    if (e.code != code || !strstr(e.msg, about))
        fail_msg("%s: %s: %s", address, err_code_name(e.code), e.msg);
}

static void
an_unknown_form_of_address_is_a_usage_error(void **state)
{
    (void)state;
    expect_refused("", ERR_USAGE, "''");
    expect_refused("file:", ERR_USAGE, "file:");
    expect_refused("ftp://host/x", ERR_USAGE, "'ftp'");
    expect_refused("files:/tmp", ERR_USAGE, "'files'");
    expect_refused("File:/tmp", ERR_USAGE, "'File'");
    expect_refused("weird:", ERR_USAGE, "write a path");
    expect_refused("file://otherhost/x", ERR_USAGE, "file:/PATH");
    expect_refused("file://", ERR_USAGE, "file:/PATH");
}

static void
refusing_to_create_makes_nothing(void **state)
{
    struct store *st = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(store_create("nosuch:/tmp/x", &st, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_int_equal(access("nosuch:", F_OK), -1);
}

/* Open what `form` (with %s for the folder) names, and check it is `path`. */
static void
expect_same_place(const char *path, const char *prefix)
{
    CLEANUP(freep) char *address = xasprintf("%s%s", prefix, path);
    CLEANUP(freep) char *file = xasprintf("%s/a/b", path);
    CLEANUP(store_closep) struct store *st = NULL;
    struct err e = {0};

    if (store_open(address, &st, &e) == -1)
        fail_msg("%s", e.msg);
    assert_string_equal(store_address(st), address);
    assert_int_equal(store_put(st, "a/b", "x", 1, &e), 0);
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(store_remove(st, "a/b", &e), 0);
}

static void
every_form_of_path_is_the_same_place(void **state)
{
    CLEANUP(folder_freep) char *path = folder_new();

    (void)state;
    expect_same_place(path, "");
    expect_same_place(path, "file:");
    expect_same_place(path, "file://");
    expect_same_place(path, "/../..");
}

static void
a_relative_path_may_have_a_colon(void **state)
{
    CLEANUP(folder_freep) char *path = folder_new();
    static const char *const addresses[] = {"./a:b", "file:a:b", "sub/c:d"};
    char old[4096];

    (void)state;
    assert_non_null(getcwd(old, sizeof(old)));
    assert_int_equal(chdir(path), 0);
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        CLEANUP(store_closep) struct store *st = NULL;
        struct err e = {0};
        if (store_create(addresses[i], &st, &e) == -1)
            fail_msg("%s", e.msg);
        CLEANUP(freep) char *name = xasprintf("%zu", i);
        assert_int_equal(store_put(st, name, "x", 1, &e), 0);
    }
    assert_int_equal(access("a:b/0", F_OK), 0);
    assert_int_equal(access("a:b/1", F_OK), 0);
    assert_int_equal(access("sub/c:d/2", F_OK), 0);
    assert_int_equal(chdir(old), 0);
}

static void
a_place_that_is_not_there_is_not_made_by_open(void **state)
{
    CLEANUP(folder_freep) char *path = folder_new();
    CLEANUP(freep) char *missing = xasprintf("%s/no/such", path);
    CLEANUP(freep) char *parent = xasprintf("%s/no", path);

    (void)state;
    expect_refused(missing, ERR_NOENT, missing);
    assert_int_equal(access(parent, F_OK), -1);
}

static void
closing_nothing_is_fine(void **state)
{
    struct store *st = NULL;

    (void)state;
    store_close(NULL);
    store_closep(&st);
}

static void
names_at_the_edge_of_the_alphabet(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char name[] = {'a', (char)c, 'b', '\0'};
        bool want = strchr("abcdefghijklmnopqrstuvwxyz0123456789._-/", c);
        assert_int_equal(store_name_ok(name), want);
    }
    assert_true(store_prefix_ok(""));
    assert_true(store_prefix_ok("a/"));
    assert_false(store_prefix_ok("a"));
    assert_false(store_prefix_ok("tmp/"));
    assert_true(store_prefix_ok("tmpx/"));
    assert_false(store_name_ok("tmp/x"));
    assert_true(store_name_ok("tmpx"));
}

static void
a_name_may_have_just_so_many_bytes(void **state)
{
    char name[STORE_NAME_MAX + 2];

    (void)state;
    memset(name, 'x', sizeof(name));
    name[STORE_NAME_MAX + 1] = '\0';
    assert_false(store_name_ok(name));
    name[STORE_NAME_MAX] = '\0';
    assert_true(store_name_ok(name));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_form_of_address_is_a_usage_error),
        cmocka_unit_test(refusing_to_create_makes_nothing),
        cmocka_unit_test(every_form_of_path_is_the_same_place),
        cmocka_unit_test(a_relative_path_may_have_a_colon),
        cmocka_unit_test(a_place_that_is_not_there_is_not_made_by_open),
        cmocka_unit_test(closing_nothing_is_fine),
        cmocka_unit_test(names_at_the_edge_of_the_alphabet),
        cmocka_unit_test(a_name_may_have_just_so_many_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
