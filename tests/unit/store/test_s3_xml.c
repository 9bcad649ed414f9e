/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

/* As Ceph 16.2's gateway writes it, but for the blanks. */
static const char page_text[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult "
    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
    "<Prefix>a%2F</Prefix><MaxKeys>1000</MaxKeys>"
    "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\n"
    "<Contents><Key>a/x%2Dy</Key><LastModified>2026-11-22T10:00:01.999Z"
    "</LastModified><ETag>&quot;0&quot;</ETag><Size>12345</Size>"
    "<StorageClass>STANDARD</StorageClass><Owner><ID>t</ID><DisplayName>t"
    "</DisplayName></Owner><Type>Normal</Type></Contents>"
    "<Contents><Key>a/z</Key><LastModified>2026-11-22T10:00:02Z"
    "</LastModified><Size>0</Size></Contents>"
    "<KeyCount>2</KeyCount><NextContinuationToken>a+b/c=</"
    "NextContinuationToken></ListBucketResult>";

static void
a_page_is_read(void **state)
{
    CLEANUP(s3_page_done) struct s3_page p = {0};
    struct err e = {0};

    (void)state;
    if (s3_xml_page(page_text, strlen(page_text), "it", &p, &e) == -1)
        fail_msg("%s", e.msg);
    assert_int_equal(p.n, 2);
    assert_true(p.truncated);
    assert_string_equal(p.token, "a+b/c=");
    assert_string_equal(p.entries[0].key, "a/x-y");
    assert_int_equal(p.entries[0].size_bytes, 12345);
    assert_int_equal(p.entries[0].mtime_ns, 1795341601LL * 1000000000);
    assert_string_equal(p.entries[1].key, "a/z");
    assert_int_equal(p.entries[1].mtime_ns, 1795341602LL * 1000000000);
}

/* Every beginning of a page is refused, never taken for a shorter one. */
static void
no_part_of_a_page_is_a_page(void **state)
{
    (void)state;
    for (size_t n = 0; n < strlen(page_text); n++) {
        CLEANUP(s3_page_done) struct s3_page p = {0};
        struct err e = {0};
        assert_int_equal(s3_xml_page(page_text, n, "it", &p, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_int_equal(p.n, 0);
    }
}

/* Damage: one byte is another one.  It may be read, but never crash. */
static void
damaged_pages_do_no_harm(void **state)
{
    CLEANUP(freep) char *text = xstrdup(page_text);
    size_t len = strlen(text), read = 0;

    (void)state;
    for (size_t i = 0; i < len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            CLEANUP(s3_page_done) struct s3_page p = {0};
            struct err e = {0};
            text[i] = (char)(text[i] ^ 1 << bit);
            read += s3_xml_page(text, len, "it", &p, &e) == 0;
            text[i] = (char)(text[i] ^ 1 << bit);
            assert_true(p.n == 0 || p.n == 2);
        }
    }
    assert_true(read > 0); /* a name is a name */
}

static void
without_an_encoding_a_key_is_what_it_is(void **state)
{
    static const char text[] =
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"
        "<Key>a%2Fb</Key><Size>1</Size>"
        "<LastModified>2026-11-22T10:00:01.5Z</LastModified></Contents>"
        "</ListBucketResult>";
    CLEANUP(s3_page_done) struct s3_page p = {0};
    struct err e = {0};

    (void)state;
    if (s3_xml_page(text, strlen(text), "it", &p, &e) == -1)
        fail_msg("%s", e.msg);
    assert_string_equal(p.entries[0].key, "a%2Fb");
    assert_false(p.truncated);
    assert_null(p.token);
}

static void
expect_error(const char *text, const char *code, const char *message,
             const char *region)
{
    struct s3_error got = {0};

    assert_true(s3_xml_error(text, strlen(text), &got));
    assert_string_equal(got.code, code);
    assert_string_equal(got.message, message);
    assert_string_equal(got.region, region);
}

static void
expect_no_error(const char *text)
{
    struct s3_error got = {.code = "kept"};

    assert_false(s3_xml_error(text, strlen(text), &got));
    assert_string_equal(got.code, "kept");
}

static void
errors_are_read(void **state)
{
    (void)state;
    expect_error("<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code>"
                 "<Message>The key is &lt;gone&gt;.</Message><Region>r</Region>"
                 "<RequestId>1</RequestId></Error>",
                 "NoSuchKey", "The key is <gone>.", "r");
    expect_error("<Error><Code>SlowDown</Code></Error>", "SlowDown", "", "");
    expect_error("<Error><Code>A.B</Code><Message>a\nb\xc2\x9b</Message>"
                 "</Error>",
                 "A.B", "a\\x0ab\\xc2\\x9b", "");
    expect_no_error("");
    expect_no_error("Error");
    expect_no_error("<Error></Error>");
    expect_no_error("<Error><Code>No such</Code></Error>");
    expect_no_error("<Error><Code>NoSuchKey</Code>");
    expect_no_error("<html><Code>NoSuchKey</Code></html>");
    expect_no_error("<!DOCTYPE a><Error><Code>NoSuchKey</Code></Error>");
    expect_no_error(page_text);
}

static void
a_long_message_is_cut(void **state)
{
    struct s3_error got = {0};
    char text[1200];

    (void)state;
    memset(text, 0, sizeof(text));
    (void)strcat(text, "<Error><Code>C</Code><Message>");
    memset(text + strlen(text), 'm', 1000);
    (void)strcat(text, "</Message></Error>");
    assert_true(s3_xml_error(text, strlen(text), &got));
    assert_int_equal(strlen(got.message), S3_MESSAGE_MAX - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_read),
        cmocka_unit_test(no_part_of_a_page_is_a_page),
        cmocka_unit_test(damaged_pages_do_no_harm),
        cmocka_unit_test(without_an_encoding_a_key_is_what_it_is),
        cmocka_unit_test(errors_are_read),
        cmocka_unit_test(a_long_message_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
