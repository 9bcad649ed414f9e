/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void
expect_parts(const char *text, const char *base, const char *path,
             const char *prefix)
{
    CLEANUP(s3_address_done) struct s3_address a = {0};
    struct err e = {0};

    if (s3_address_parse(text, &a, &e) == -1)
        fail_msg("%s: %s", text, e.msg);
    CLEANUP(freep) char *got_base = s3_address_base(&a);
    CLEANUP(freep) char *got_path = s3_address_path(&a, "refs/a");
    assert_string_equal(got_base, base);
    assert_string_equal(got_path, path);
    assert_string_equal(a.prefix, prefix);
}

static void
expect_refused(const char *text, const char *about)
{
    CLEANUP(s3_address_done) struct s3_address a = {0};
    struct err e = {0};

    if (s3_address_parse(text, &a, &e) == 0)
        fail_msg("%s was taken", text);
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.msg, about) || strstr(e.msg, "planted"))
        fail_msg("%s: %s", text, e.msg);
}

static void
good_addresses(void **state)
{
    (void)state;
    expect_parts("s3:https://host/bucket", "https://host", "/bucket/refs/a",
                 "");
    expect_parts("s3:https://Host.Example:443/bucket/", "https://host.example",
                 "/bucket/refs/a", "");
    expect_parts("s3:http://10.0.0.1:80/bucket/a", "http://10.0.0.1",
                 "/bucket/a/refs/a", "a/");
    expect_parts("s3:http://h:443/bucket/a/b//", "http://h:443",
                 "/bucket/a/b/refs/a", "a/b/");
    expect_parts("s3:https://[::1]:7480/my.bucket_1/A+b=@",
                 "https://[::1]:7480", "/my.bucket_1/A%2Bb%3D%40/refs/a",
                 "A+b=@/");
    expect_parts("s3:https://h/bucket/...", "https://h", "/bucket/.../refs/a",
                 ".../");
}

static void
bad_addresses(void **state)
{
    static const char *const no_host[] = {
        "s3:https:///bucket",      "s3:https://:80/bucket",
        "s3:https://[::1/bucket",  "s3:https://[]/bucket",
        "s3:https://h h/bucket",   "s3:https://h%2f/bucket",
        "s3:https://[::1]x/bucket"};
    static const char *const no_bucket[] = {
        "s3:https://host",    "s3:https://host/",      "s3:https://host/ab",
        "s3:https://host//a", "s3:https://host/..?/a", "s3:https://host/a b c"};
    static const char *const bad_prefix[] = {
        "s3:https://h/bucket/a//b", "s3:https://h/bucket/../b",
        "s3:https://h/bucket/.",    "s3:https://h/bucket/a?b",
        "s3:https://h/bucket/a#b",  "s3:https://h/bucket/a%20b",
        "s3:https://h/bucket/a\nb"};

    (void)state;
    expect_refused("s3:", "names no server");
    expect_refused("s3:host/bucket", "names no server");
    expect_refused("s3://bucket/prefix", "names no server");
    expect_refused("s3:ftp://host/bucket", "names no server");
    expect_refused("s3:https://key:planted@host/bucket", "AWS_ACCESS_KEY_ID");
    for (size_t i = 0; i < ARRAY_LEN(no_host); i++)
        expect_refused(no_host[i], "no host");
    for (size_t i = 0; i < ARRAY_LEN(no_bucket); i++)
        expect_refused(no_bucket[i], "no bucket");
    for (size_t i = 0; i < ARRAY_LEN(bad_prefix); i++)
        expect_refused(bad_prefix[i], "prefix");
    expect_refused("s3:https://h:/bucket", "port");
    expect_refused("s3:https://h:0/bucket", "port");
    expect_refused("s3:https://h:65536/bucket", "port");
    expect_refused("s3:https://h:1x/bucket", "port");
}

static void
the_bucket_in_the_host(void **state)
{
    (void)state;
    (void)setenv("VMKEEP_S3_STYLE", "virtual", 1);
    expect_parts("s3:https://h:8443/bucket/p", "https://bucket.h:8443",
                 "/p/refs/a", "p/");
    (void)setenv("VMKEEP_S3_STYLE", "path", 1);
    expect_parts("s3:https://h/bucket/p", "https://h", "/bucket/p/refs/a",
                 "p/");
    (void)setenv("VMKEEP_S3_STYLE", "sideways", 1);
    expect_refused("s3:https://h/bucket/p", "VMKEEP_S3_STYLE");
    (void)unsetenv("VMKEEP_S3_STYLE");
}

static void
every_byte_is_encoded_as_the_signature_wants(void **state)
{
    char all[256];

    (void)state;
    for (int i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    all[255] = '\0';
    CLEANUP(freep) char *plain = s3_encode(all, false);
    CLEANUP(freep) char *path = s3_encode(all, true);
    assert_non_null(strstr(plain, "%2C-.%2F0"));
    assert_non_null(strstr(path, "%2C-./0"));
    assert_non_null(strstr(plain, "Z%5B%5C%5D%5E_%60a"));
    assert_non_null(strstr(plain, "z%7B%7C%7D~%7F%80"));
    assert_non_null(strstr(plain, "%FF"));
    assert_int_equal(strlen(plain), 66 + 3 * (255 - 66));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(the_bucket_in_the_host),
        cmocka_unit_test(every_byte_is_encoded_as_the_signature_wants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
