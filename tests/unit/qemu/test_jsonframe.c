/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/jsonframe.h"

#include <stdlib.h>

#include "base/mem.h"
#include "check.h"

enum { FRAME_MAX = 4096, ROUNDS = 20000 };

/* Feeds `text` in pieces of `step` bytes; the objects, each followed by a
 * space, as compact JSON in `out`.  0, or -1. */
static int
cut(const char *text, size_t step, bool lenient, char *out, size_t room,
    struct err *e)
{
    struct jsonframe f;
    size_t len = strlen(text);
    int rc = 0;

    jsonframe_init(&f, FRAME_MAX);
    f.lenient = lenient;
    out[0] = '\0';
    for (size_t at = 0; at < len && rc != -1; at += step) {
        json_t *j = NULL;
        size_t bytes = 0;
        jsonframe_add(&f, text + at, len - at < step ? len - at : step);
        while ((rc = jsonframe_next(&f, &j, &bytes, e)) == 1) {
            char *s = json_dumps(j, JSON_COMPACT);
            size_t n = strlen(out);
            assert_true(bytes > 1 && bytes <= FRAME_MAX);
            (void)snprintf(out + n, room - n, "%s ", s);
            free(s);
            json_decref(j);
        }
    }
    jsonframe_done(&f);
    return rc;
}

/* The same whatever the pieces. */
static void
check_cut(const char *text, bool lenient, const char *wanted)
{
    char out[1024];
    struct err e = {0};

    for (size_t step = 1; step <= strlen(text); step++) {
        assert_works(cut(text, step, lenient, out, sizeof(out), &e), &e);
        assert_string_equal(out, wanted);
    }
}

static void
test_cutting(void **state)
{
    (void)state;
    check_cut("{}", false, "{} ");
    check_cut("{}{\"a\":1}\r\n\r\n {\"b\":[{}]}\t", false,
              "{} {\"a\":1} {\"b\":[{}]} ");
    check_cut("{\r\n  \"a\": {\r\n    \"b\": [\r\n    ]\r\n  }\r\n}\r\n", false,
              "{\"a\":{\"b\":[]}} ");
    check_cut("{\"a\":\"}{\\\"]\\\\\"}{\"b\":\"\\\\\\\"\"}", false,
              "{\"a\":\"}{\\\"]\\\\\"} {\"b\":\"\\\\\\\"\"} ");
    check_cut("{\"half\": ", false, "");
    check_cut(" \r\n", false, "");
}

static void
test_not_json(void **state)
{
    static const char *const bad[] = {"x",
                                      "[1]",
                                      "{]",
                                      "{\"a\"}",
                                      "{}}",
                                      "{} null",
                                      "{\"a\\}\n",
                                      "{\"a\": \\}",
                                      "{\"a\n\":1}",
                                      "{\"a\":01}",
                                      "{\"a\":1,}",
                                      "{\"\\ud800\":1}",
                                      "{\"a\":1e999}",
                                      "{\"\x80\":1}"};
    char out[1024];
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_fails(cut(bad[i], 1, false, out, sizeof(out), &e), &e,
                     ERR_CORRUPT, "not");
        assert_fails(cut(bad[i], 100, false, out, sizeof(out), &e), &e,
                     ERR_CORRUPT, "not");
    }
}

static void
test_too_long(void **state)
{
    char *text = xcalloc(FRAME_MAX + 10, 1), out[FRAME_MAX + 64];
    struct err e = {0};

    (void)state;
    memset(text, ' ', FRAME_MAX + 1);
    memcpy(text, "{\"a\":\"", 6);
    memset(text + 6, 'x', FRAME_MAX - 8);
    memcpy(text + FRAME_MAX - 2, "\"}", 2); /* as long as may be */
    assert_works(cut(text, 4096, false, out, sizeof(out), &e), &e);
    assert_true(strlen(out) == FRAME_MAX + 1 + 0UL);
    memcpy(text + FRAME_MAX - 2, "x\"}", 3);
    assert_fails(cut(text, 4096, false, out, sizeof(out), &e), &e, ERR_LIMIT,
                 "longer than the limit of 4096");
    assert_fails(cut(text, 1, true, out, sizeof(out), &e), &e, ERR_LIMIT,
                 "longer");
    memset(text, ' ', FRAME_MAX + 5); /* white space is no object */
    assert_works(cut(text, 1000, false, out, sizeof(out), &e), &e);
    free(text);
}

static void
test_numbers(void **state)
{
    (void)state;
    check_cut("{\"a\":18446744073709551615}", false,
              "{\"a\":9223372036854775807} ");
    check_cut("{\"a\":[-9223372036854775808,-9223372036854775809,"
              "9223372036854775807,9223372036854775808]}",
              false,
              "{\"a\":[-9223372036854775808,-9223372036854775808,"
              "9223372036854775807,9223372036854775807]} ");
    /* text and fractions that look like it stay */
    check_cut("{\"18446744073709551615\":\"\\\"-18446744073709551615\","
              "\"b\":99999999999999999999999}",
              false,
              "{\"18446744073709551615\":\"\\\"-18446744073709551615\","
              "\"b\":9223372036854775807} ");
    check_cut("{\"a\":0.5,\"b\":20000000000000000000}", false,
              "{\"a\":0.5,\"b\":9223372036854775807} ");
}

/* Joined at any byte of a line, the next line's object is found. */
static void
check_joining(const char *line, const char *end)
{
    char text[512], out[1024];
    struct err e = {0};

    for (size_t n = 1; n < strlen(line); n++) {
        (void)snprintf(text, sizeof(text), "%s%s{\"next\":1}%s{\"z\":2}%s",
                       line + n, end, end, end);
        for (size_t step = 1; step < 100; step += 13) {
            assert_works(cut(text, step, true, out, sizeof(out), &e), &e);
            assert_non_null(strstr(out, "{\"next\":1} {\"z\":2} "));
        }
    }
}

static void
test_joining(void **state)
{
    const char *line = "{\"x\": [{\"a\\\\\\\"{}\": \"}{\\\"\"}, \"s{b\", "
                       "{\"y\": {}}], \"id\": 7}";
    const char *pretty = "{\r\n    \"return\": {\r\n        \"a{\": \"\\\"\"\r"
                         "\n    },\r\n    \"id\": 8\r\n}\r\n";
    char text[512], out[1024];
    struct err e = {0};

    (void)state;
    check_joining(line, "\r\n");
    check_joining(line, "\n");
    for (size_t n = 1; n < strlen(pretty); n++) {
        (void)snprintf(text, sizeof(text), "%s%s", pretty + n, pretty);
        assert_works(cut(text, 7, true, out, sizeof(out), &e), &e);
        assert_non_null(strstr(out, "{\"return\":{\"a{\":\"\\\"\"},\"id\":8}"));
    }
}

static void
test_inside(void **state)
{
    struct jsonframe f;
    json_t *j = NULL;
    size_t bytes = 0;
    struct err e = {0};

    (void)state;
    jsonframe_init(&f, FRAME_MAX);
    assert_false(jsonframe_inside(&f));
    jsonframe_add(&f, " {", 2);
    assert_int_equal(jsonframe_next(&f, &j, &bytes, &e), 0);
    assert_true(jsonframe_inside(&f));
    jsonframe_add(&f, "}", 1);
    assert_int_equal(jsonframe_next(&f, &j, &bytes, &e), 1);
    assert_int_equal(bytes, 2);
    assert_false(jsonframe_inside(&f));
    json_decref(j);
    jsonframe_done(&f);
}

/* Random bytes of the JSON alphabet: no crash, no endless loop, and bytes that
 * a strict frame takes make the same objects in a lenient one. */
static void
test_random(void **state)
{
    static const char alphabet[] = "{}[]\"\\:, \n\r019-.eEa\x80\x01";
    uint64_t seed = 1;
    char text[64], strict[1024], lenient[1024];

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct err e = {0};
        size_t len = 1 + (size_t)i % 60;
        for (size_t k = 0; k < len; k++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            text[k] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
        }
        text[len] = '\0';
        int rc =
            cut(text, 1 + (size_t)i % 7, false, strict, sizeof(strict), &e);
        assert_true(rc == 0 || e.code == ERR_CORRUPT);
        err_clear(&e);
        assert_int_equal(cut(text, 5, true, lenient, sizeof(lenient), &e), 0);
        if (rc == 0)
            assert_string_equal(strict, lenient);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cutting),  cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_joining),  cmocka_unit_test(test_inside),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
