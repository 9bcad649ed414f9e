/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/optstr.h"

#include <stdlib.h>

#include "base/mem.h"
#include "check.h"

enum { ROUNDS = 20000 };

/* The items as "[key|value]..." */
static void
show(const struct optstr *o, char *out, size_t room)
{
    out[0] = '\0';
    for (size_t i = 0; i < o->n; i++) {
        size_t n = strlen(out);
        (void)snprintf(out + n, room - n, "[%s|%s]", o->items[i].key,
                       o->items[i].value);
    }
}

static void
test_parse(void **state)
{
    static const struct {
        const char *text, *implied, *items;
    } cases[] = {
        {"", NULL, ""},
        {"", "path", ""},
        {"a=b", NULL, "[a|b]"},
        {"a=b,c=d", "x", "[a|b][c|d]"},
        {"a=", NULL, "[a|]"},
        {"a=,b=c", NULL, "[a|][b|c]"},
        {"a=b,", NULL, "[a|b]"},
        {"a=b,,c", NULL, "[a|b,c]"},
        {"a=b,,,c=d", NULL, "[a|b,][c|d]"},
        {"a=,,,,", NULL, "[a|,,]"},
        {"a=b=c", NULL, "[a|b=c]"},
        {"socket,id=x,server=on", "backend",
         "[backend|socket][id|x][server|on]"},
        {"socket,id=x,server,nowait", "backend",
         "[backend|socket][id|x][server|on][wait|off]"},
        {"/tmp/a,,b,server", "path", "[path|/tmp/a,b][server|on]"},
        {"/tmp/a,,b=c,server", "path", "[path|/tmp/a,b=c][server|on]"},
        {"/tmp/a=b,server", "path", "[/tmp/a|b][server|on]"}, /* as QEMU does */
        {",a=b", "path", "[path|][a|b]"},
        {"node", NULL, "[de|off]"}, /* as QEMU does */
        {"file.driver=file,file.filename=a b", NULL,
         "[file.driver|file][file.filename|a b]"},
        {"x,,", "path", "[path|x,]"},
        {"a=1,a=2", NULL, "[a|1][a|2]"},
    };
    char items[512];
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct optstr *o = NULL;
        assert_works(optstr_parse(cases[i].text, cases[i].implied, &o, &e), &e);
        show(o, items, sizeof(items));
        assert_string_equal(items, cases[i].items);
        optstr_free(o);
    }
    optstr_free(NULL);
}

static void
test_bad(void **state)
{
    static const char *const bad[] = {",",      ",a=b", "=b",
                                      "a=b,=c", "no",   "a=b,no,c=d"};
    struct optstr *o = NULL;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_fails(optstr_parse(bad[i], NULL, &o, &e), &e, ERR_USAGE,
                     "without a name");
    }
    char *text = xcalloc(2 * OPTSTR_ITEMS_MAX + 3, 1);
    for (size_t i = 0; i < OPTSTR_ITEMS_MAX; i++)
        memcpy(text + 2 * i, "a,", 2);
    assert_works(optstr_parse(text, NULL, &o, &e), &e);
    assert_int_equal(o->n, OPTSTR_ITEMS_MAX);
    optstr_free(o);
    text[2 * OPTSTR_ITEMS_MAX] = 'a';
    assert_fails(optstr_parse(text, NULL, &o, &e), &e, ERR_LIMIT, "items");
    free(text);
}

static void
check_format(const char *text, const char *implied, const char *wanted)
{
    struct optstr *o = NULL;
    struct err e = {0};

    assert_works(optstr_parse(text, implied, &o, &e), &e);
    char *s = optstr_format(o, implied);
    assert_string_equal(s, wanted);
    free(s);
    optstr_free(o);
}

static void
test_format(void **state)
{
    (void)state;
    check_format("", "a", "");
    check_format("a=b,c", NULL, "a=b,c=on");
    check_format("socket,id=a,,b,nowait", "backend", "socket,id=a,,b,wait=off");
    check_format("backend=socket,id=a", "backend", "socket,id=a");
    check_format("path=a=b", "path", "path=a=b");
    check_format("path=,x=1", "path", "path=,x=1");
    check_format("x=1,path=b", "path", "x=1,path=b");
}

static void
test_edit(void **state)
{
    struct optstr *o = NULL;
    struct err e = {0};

    (void)state;
    assert_works(
        optstr_parse("file=a,if=none,file=b,ro=on,x=maybe", NULL, &o, &e), &e);
    assert_string_equal(optstr_get(o, "file"), "b");
    assert_null(optstr_get(o, "fil"));
    assert_true(optstr_bool(o, "ro", false));
    assert_false(optstr_bool(o, "none", false));
    assert_true(optstr_bool(o, "none", true));
    assert_true(optstr_bool(o, "x", true));
    optstr_set(o, "ro", "off");
    assert_false(optstr_bool(o, "ro", true));
    optstr_set(o, "file", "c,d");
    optstr_set(o, "new", "1");
    assert_int_equal(optstr_remove(o, "x"), 1);
    assert_int_equal(optstr_remove(o, "x"), 0);
    char *s = optstr_format(o, NULL);
    assert_string_equal(s, "file=c,,d,if=none,ro=off,new=1");
    free(s);
    optstr_set(o, "new", "2"); /* the last, and then the only one */
    assert_int_equal(optstr_remove(o, "file"), 1);
    assert_int_equal(optstr_remove(o, "if"), 1);
    assert_int_equal(optstr_remove(o, "ro"), 1);
    optstr_set(o, "new", "3");
    s = optstr_format(o, NULL);
    assert_string_equal(s, "new=3");
    free(s);
    optstr_free(o);
}

/* What was formatted parses to the same items, whatever they are. */
static void
test_random(void **state)
{
    static const char alphabet[] = ",,,=noab\xff";
    uint64_t seed = 1;
    char text[32], before[256], after[256];

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        const char *implied = i % 2 ? "i" : NULL;
        struct optstr *o = NULL, *again = NULL;
        struct err e = {0};
        size_t len = (size_t)i % 20;
        for (size_t k = 0; k < len; k++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            text[k] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
        }
        text[len] = '\0';
        if (optstr_parse(text, implied, &o, &e) == -1) {
            assert_int_equal(e.code, ERR_USAGE);
            continue;
        }
        char *s = optstr_format(o, implied);
        assert_works(optstr_parse(s, implied, &again, &e), &e);
        show(o, before, sizeof(before));
        show(again, after, sizeof(after));
        assert_string_equal(before, after);
        free(s);
        optstr_free(o);
        optstr_free(again);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),  cmocka_unit_test(test_bad),
        cmocka_unit_test(test_format), cmocka_unit_test(test_edit),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
