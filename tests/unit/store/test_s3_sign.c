/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_sign.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../folder.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

/* The examples of "Signature Calculations for the Authorization Header:
 * Transferring Payload in a Single Chunk", Amazon S3 API Reference. */
static char id[] = "AKIAIOSFODNN7EXAMPLE";
static char secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static char region[] = "us-east-1";

#define HOST "examplebucket.s3.amazonaws.com"
#define DATE "20130524T000000Z"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void
expect_signature(const struct s3_unsigned *u, const char *names,
                 const char *signature)
{
    struct s3_keys k = {.id = id, .secret = secret, .region = region};
    CLEANUP(freep) char *got = s3_sign(&k, DATE, u);
    CLEANUP(freep)
    char *want = xasprintf("AWS4-HMAC-SHA256 Credential=%s/20130524/us-east-1/"
                           "s3/aws4_request, SignedHeaders=%s, Signature=%s",
                           id, names, signature);

    assert_string_equal(got, want);
}

static void
get_object(void **state)
{
    static const struct s3_header headers[] = {{"host", HOST},
                                               {"range", "bytes=0-9"},
                                               {"x-amz-content-sha256", EMPTY},
                                               {"x-amz-date", DATE}};

    (void)state;
    expect_signature(
        &(struct s3_unsigned){"GET", "/test.txt", "", headers, 4, EMPTY},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void
put_object(void **state)
{
    char hash[S3_HASH_TEXT];

    (void)state;
    s3_sign_hash("Welcome to Amazon S3.", 21, hash);
    const struct s3_header headers[] = {
        {"date", "Fri, 24 May 2013 00:00:00 GMT"},
        {"host", HOST},
        {"x-amz-content-sha256", hash},
        {"x-amz-date", DATE},
        {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    expect_signature(
        &(struct s3_unsigned){"PUT", "/test%24file.text", "", headers, 5, hash},
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void
get_bucket(void **state)
{
    static const struct s3_header headers[] = {
        {"host", HOST}, {"x-amz-content-sha256", EMPTY}, {"x-amz-date", DATE}};

    (void)state;
    expect_signature(
        &(struct s3_unsigned){"GET", "/", "lifecycle=", headers, 3, EMPTY},
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    expect_signature(
        &(struct s3_unsigned){"GET", "/", "max-keys=2&prefix=J", headers, 3,
                              EMPTY},
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void
dates_are_written_as_the_header_wants_them(void **state)
{
    char date[S3_DATE_TEXT];

    (void)state;
    s3_sign_date(1369353600LL * 1000000000 + 999999999, date);
    assert_string_equal(date, DATE);
}

/* A long secret is hashed first, RFC 2104. */
static void
a_long_secret_counts_whole(void **state)
{
    static const struct s3_header headers[] = {{"host", HOST}};
    struct s3_unsigned u = {"GET", "/", "", headers, 1, EMPTY};
    char long_secret[200];

    (void)state;
    memset(long_secret, 's', sizeof(long_secret) - 1);
    long_secret[sizeof(long_secret) - 1] = '\0';
    struct s3_keys k = {.id = id, .secret = long_secret, .region = region};
    CLEANUP(freep) char *one = s3_sign(&k, DATE, &u);
    long_secret[sizeof(long_secret) - 2] = 'x';
    CLEANUP(freep) char *other = s3_sign(&k, DATE, &u);
    assert_string_not_equal(one, other);
}

/* ---- keys -------------------------------------------------------------- */

static const char *const variables[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_PROFILE",
                                        "AWS_CONFIG_FILE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "HOME",
                                        "VMKEEP_TO_AWS_ACCESS_KEY_ID",
                                        "VMKEEP_TO_AWS_SECRET_ACCESS_KEY",
                                        "VMKEEP_TO_AWS_SESSION_TOKEN",
                                        "VMKEEP_TO_AWS_PROFILE",
                                        "VMKEEP_TO_AWS_REGION"};

static struct store_account who; /* whose keys are looked for */

static int
without_environment(void **state)
{
    (void)state;
    who = (struct store_account){0};
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        assert_int_equal(unsetenv(variables[i]), 0);
    return 0;
}

static void
expect_keys(const char *host, const char *key_id, const char *key_secret,
            const char *token, const char *key_region)
{
    CLEANUP(s3_keys_done) struct s3_keys k = {0};
    struct err e = {0};

    if (s3_keys_find(host, &who, &k, &e) == -1)
        fail_msg("%s", e.msg);
    assert_string_equal(k.id, key_id);
    assert_string_equal(k.secret, key_secret);
    assert_string_equal(k.token ? k.token : "-", token);
    assert_string_equal(k.region, key_region);
}

static void
expect_no_keys(const char *about)
{
    CLEANUP(s3_keys_done) struct s3_keys k = {0};
    struct err e = {0};

    assert_int_equal(s3_keys_find("h", &who, &k, &e), -1);
    assert_int_equal(e.code, ERR_STORE);
    if (!strstr(e.msg, about))
        fail_msg("%s", e.msg);
    assert_null(strstr(e.msg, "planted"));
}

static void
keys_from_the_environment(void **state)
{
    (void)state;
    expect_no_keys("set AWS_ACCESS_KEY_ID");
    (void)setenv("AWS_ACCESS_KEY_ID", "id", 1);
    expect_no_keys("only one of");
    (void)setenv("AWS_SECRET_ACCESS_KEY", "planted", 1);
    expect_keys("h", "id", "planted", "-", "us-east-1");
    expect_keys("s3.eu-west-1.amazonaws.com", "id", "planted", "-",
                "eu-west-1");
    expect_keys("s3.dualstack.eu-west-2.amazonaws.com", "id", "planted", "-",
                "eu-west-2");
    expect_keys("s3.amazonaws.com", "id", "planted", "-", "us-east-1");
    (void)setenv("AWS_DEFAULT_REGION", "default", 1);
    (void)setenv("AWS_SESSION_TOKEN", "token", 1);
    expect_keys("s3.eu-west-1.amazonaws.com", "id", "planted", "token",
                "default");
    (void)setenv("AWS_REGION", "own", 1);
    expect_keys("h", "id", "planted", "token", "own");
    (void)setenv("AWS_SECRET_ACCESS_KEY", "planted\nX-Evil: 1", 1);
    expect_no_keys("secret key");
    (void)setenv("AWS_SECRET_ACCESS_KEY", "planted", 1);
    (void)setenv("AWS_REGION", "eu west", 1);
    expect_no_keys("region");
}

#define CREDENTIALS                                                   \
    "# aws_access_key_id = no\n[default]\r\naws_access_key_id=D1\r\n" \
    "aws_secret_access_key = planted/D2=\n\n[ work ]\n"               \
    "  aws_access_key_id  =  W1  \n aws_secret_access_key=planted\n"  \
    "aws_session_token=W3\n;aws_session_token=no\n[half]\n"           \
    "aws_access_key_id=H1"

static void
keys_from_the_shared_files(void **state)
{
    CLEANUP(folder_freep) char *folder = folder_new();
    CLEANUP(freep) char *aws = path_join(folder, ".aws");
    CLEANUP(freep) char *credentials = path_join(aws, "credentials");
    CLEANUP(freep) char *config = path_join(aws, "config");
    static const char text[] = "[default]\nregion = r1\n[profile work]\n"
                               "output=json\nregion=r2\n";
    struct err e = {0};

    (void)state;
    (void)setenv("HOME", folder, 1);
    expect_no_keys("/.aws/credentials");
    assert_int_equal(dir_make(aws, &e), 0);
    assert_int_equal(
        file_publish(credentials, CREDENTIALS, strlen(CREDENTIALS), &e), 0);
    expect_keys("h", "D1", "planted/D2=", "-", "us-east-1");
    assert_int_equal(file_publish(config, text, strlen(text), &e), 0);
    expect_keys("h", "D1", "planted/D2=", "-", "r1");
    (void)setenv("AWS_PROFILE", "work", 1);
    expect_keys("h", "W1", "planted", "W3", "r2");
    (void)setenv("AWS_PROFILE", "half", 1);
    expect_no_keys("profile 'half'");
    (void)setenv("AWS_PROFILE", "none", 1);
    expect_no_keys("profile 'none'");
    (void)setenv("HOME", "/nowhere", 1);
    (void)setenv("AWS_PROFILE", "default", 1);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", credentials, 1);
    expect_keys("h", "D1", "planted/D2=", "-", "us-east-1");
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", folder, 1); /* no file */
    expect_no_keys(folder);
}

static void
set(const char *name, const char *value)
{
    (void)setenv(name, value, 1);
}

static void
keys_of_the_second_account(void **state)
{
    (void)state;
    set("AWS_ACCESS_KEY_ID", "first");
    set("AWS_SECRET_ACCESS_KEY", "planted1");
    set("AWS_SESSION_TOKEN", "token1");
    set("AWS_REGION", "r1");
    who.is_second = true;
    expect_keys("h", "first", "planted1", "token1", "r1");
    set("VMKEEP_TO_AWS_ACCESS_KEY_ID", "second");
    expect_no_keys("only one of VMKEEP_TO_AWS_ACCESS_KEY_ID");
    set("VMKEEP_TO_AWS_SECRET_ACCESS_KEY", "planted2");
    expect_keys("h", "second", "planted2", "-", "r1"); /* no token of another */
    set("VMKEEP_TO_AWS_SESSION_TOKEN", "token2");
    set("VMKEEP_TO_AWS_REGION", "r2");
    expect_keys("h", "second", "planted2", "token2", "r2");
    who.is_second = false;
    expect_keys("h", "first", "planted1", "token1", "r1");
}

static void
profiles_of_the_second_account(void **state)
{
    CLEANUP(folder_freep) char *folder = folder_new();
    CLEANUP(freep) char *credentials = path_join(folder, "credentials");
    CLEANUP(freep) char *config = path_join(folder, "config");
    static const char text[] = "[profile work]\nregion=r2\n";
    struct err e = {0};

    (void)state;
    assert_int_equal(
        file_publish(credentials, CREDENTIALS, strlen(CREDENTIALS), &e), 0);
    assert_int_equal(file_publish(config, text, strlen(text), &e), 0);
    set("AWS_SHARED_CREDENTIALS_FILE", credentials);
    set("AWS_CONFIG_FILE", config);
    set("AWS_ACCESS_KEY_ID", "first");
    set("AWS_SECRET_ACCESS_KEY", "planted1");
    set("AWS_REGION", "r1");
    set("VMKEEP_TO_AWS_PROFILE", "work");
    expect_keys("h", "first", "planted1", "-", "r1");
    who.is_second = true;
    expect_keys("h", "W1", "planted", "W3", "r2");
    who.profile = "default"; /* has no region */
    expect_keys("h", "D1", "planted/D2=", "-", "r1");
    who.profile = "work";
    set("VMKEEP_TO_AWS_ACCESS_KEY_ID", "second");
    set("VMKEEP_TO_AWS_SECRET_ACCESS_KEY", "planted2");
    expect_keys("h", "W1", "planted", "W3", "r2");
    who.profile = NULL;
    expect_keys("h", "second", "planted2", "-", "r1");
    who.profile = "half";
    expect_no_keys("profile 'half'");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_object),
        cmocka_unit_test(put_object),
        cmocka_unit_test(get_bucket),
        cmocka_unit_test(dates_are_written_as_the_header_wants_them),
        cmocka_unit_test(a_long_secret_counts_whole),
        cmocka_unit_test_setup(keys_from_the_environment, without_environment),
        cmocka_unit_test_setup(keys_from_the_shared_files, without_environment),
        cmocka_unit_test_setup(keys_of_the_second_account, without_environment),
        cmocka_unit_test_setup(profiles_of_the_second_account,
                               without_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
