/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/manifest.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hex.h"
#include "check.h"
#include "repo/manifest_format.h"

static struct manifest *
example(void)
{
    struct manifest *m = manifest_new();
    struct volume_root disk = {
        .size_bytes = 20 << 20, .levels = 1, .chunker = 1, .h = {1, 2, 3}};
    struct volume_root empty = {.chunker = 1};

    m->time_ns = INT64_C(1795341600123456789);
    free(m->machine);
    m->machine = xstrdup("wéb");
    free(m->uuid);
    m->uuid = xstrdup("12345678-1234-1234-1234-123456789abc");
    free(m->host);
    m->host = xstrdup("h1");
    free(m->method);
    m->method = xstrdup("live");
    m->read_bytes = 3;
    m->new_bytes = 2;
    m->stored_bytes = 1;
    manifest_add_volume(m, "disk/vda", &disk);
    manifest_add_volume(m, "state/tail", &empty);
    (void)json_object_set_new(m->detail, "answer", json_integer(42));
    return m;
}

static void
it_comes_back(void **state)
{
    CLEANUP(manifest_freep) struct manifest *m = example();
    CLEANUP(manifest_freep) struct manifest *back = NULL;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);

    (void)state;
    assert_ok(manifest_pack(m, &b, e));
    assert_ok(manifest_unpack(b.p, b.len, &back, e));
    assert_string_equal(back->id, m->id);
    assert_int_equal(back->time_ns, m->time_ns);
    assert_string_equal(back->machine, m->machine);
    assert_string_equal(back->uuid, m->uuid);
    assert_string_equal(back->host, m->host);
    assert_string_equal(back->method, m->method);
    assert_int_equal(back->read_bytes, 3);
    assert_int_equal(back->new_bytes, 2);
    assert_int_equal(back->stored_bytes, 1);
    assert_int_equal(back->n_volumes, 2);
    const struct manifest_volume *v = manifest_volume(back, "disk/vda");
    assert_non_null(v);
    assert_int_equal(v->root.size_bytes, 20 << 20);
    assert_int_equal(v->root.levels, 1);
    assert_int_equal(v->root.chunker, 1);
    assert_memory_equal(v->root.h, m->volumes[0].root.h, sizeof(v->root.h));
    assert_true(json_equal(back->detail, m->detail));
    assert_null(manifest_volume(back, "disk/vdb"));
}

#define ONES "11111111111111111111111111111111"

/* Only a copy says where it comes from. */
static void
the_origin_comes_back(void **state)
{
    static const char *const texts[] = {
        "\"origin\":{\"repository\":\"" ONES "\",\"backup\":\"11\"},",
        "\"origin\":{\"repository\":\"11\",\"backup\":\"" ONES "\"},",
        "\"origin\":{\"repository\":\"" ONES "\",\"back\":\"" ONES "\"},",
        "\"origin\":[\"" ONES "\",\"" ONES "\"],",
    };
    CLEANUP(manifest_freep) struct manifest *m = example();
    CLEANUP(manifest_freep) struct manifest *back = NULL;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);

    (void)state;
    assert_ok(manifest_pack(m, &b, e));
    assert_null(strstr(buf_text(&b), "origin"));
    CLEANUP(freep) char *plain = xstrdup(buf_text(&b));
    memcpy(m->origin.repository, m->id, sizeof(m->id));
    memset(m->origin.backup, 'a', BACKUP_ID_LEN);
    buf_reset(&b);
    assert_ok(manifest_pack(m, &b, e));
    assert_ok(manifest_unpack(b.p, b.len, &back, e));
    assert_string_equal(back->origin.repository, m->id);
    assert_string_equal(back->origin.backup, m->origin.backup);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(freep) char *text = xasprintf("{%s%s", texts[i], plain + 1);
        assert_fails(manifest_unpack(text, strlen(text), &back, e), ERR_CORRUPT,
                     "origin");
    }
}

static void
new_ones_have_an_id_of_their_own(void **state)
{
    CLEANUP(manifest_freep) struct manifest *a = manifest_new();
    CLEANUP(manifest_freep) struct manifest *b = manifest_new();

    (void)state;
    assert_int_equal(strlen(a->id), BACKUP_ID_LEN);
    assert_true(hex_is(a->id));
    assert_string_not_equal(a->id, b->id);
    assert_true(a->time_ns > 0);
    manifest_free(NULL);
}

static void
what_people_see_holds_no_capability(void **state)
{
    CLEANUP(manifest_freep) struct manifest *m = example();
    json_t *j = manifest_to_json(m);
    char *text = json_dumps(j, 0);

    (void)state;
    assert_null(strstr(text, "010203"));
    assert_null(strstr(text, "root"));
    assert_string_equal(json_string_value(json_object_get(j, "time")),
                        "2026-11-22T10:00:00Z");
    assert_int_equal(json_array_size(json_object_get(j, "volumes")), 2);
    free(text);
    json_decref(j);
}

static void
text_must_be_utf8(void **state)
{
    CLEANUP(manifest_freep) struct manifest *m = example();
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    struct volume_root root = {0};

    (void)state;
    m->machine[0] = (char)0xff;
    assert_fails(manifest_pack(m, &b, e), ERR_USAGE, "UTF-8");
    m->machine[0] = 'w';
    manifest_add_volume(m, "\xff", &root);
    assert_fails(manifest_pack(m, &b, e), ERR_USAGE, "UTF-8");
}

/* The example with `key` set to the JSON `value` (NULL: left out). */
static int
with(const char *key, const char *value, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = example();
    CLEANUP(manifest_freep) struct manifest *back = NULL;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);

    if (manifest_pack(m, &b, e) == -1)
        return -2; /* neither 0 nor -1: the test is wrong */
    json_t *j = json_loadb((const char *)b.p, b.len, 0, NULL);
    assert_non_null(j);
    (void)json_object_del(j, key);
    if (value) {
        json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        (void)json_object_set_new(j, key, v);
    }
    char *text = json_dumps(j, 0);
    json_decref(j);
    int rc = manifest_unpack(text, strlen(text), &back, e);
    free(text);
    return rc;
}

static void
each_field_is_checked(void **state)
{
    static const char *const keys[] = {
        "id",        "time_ns",      "machine", "uuid",   "host",      "method",
        "new_bytes", "stored_bytes", "volumes", "detail", "read_bytes"};
    static const char *const values[] = {"null", "true",      "1.5",
                                         "[1]",  "{\"a\":1}", "-1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_fails(with(keys[i], NULL, e), ERR_CORRUPT, keys[i]);
        for (size_t k = 0; k < ARRAY_LEN(values); k++)
            if (strcmp(keys[i], "detail") != 0 || values[k][0] != '{')
                assert_fails(with(keys[i], values[k], e), ERR_CORRUPT, "");
    }
    assert_fails(with("id", "\"0123\"", e), ERR_CORRUPT, "id");
    assert_fails(with("id", "\"0123456789abcdef0123456789abcdeg\"", e),
                 ERR_CORRUPT, "id");
    assert_ok(with("of_a_later_version", "{\"x\":[1,2]}", e));
}

#define ROOT                                      \
    "\"root\":\"0102030405060708090a0b0c0d0e0f10" \
    "1112131415161718191a1b1c1d1e1f20\""

static void
each_volume_is_checked(void **state)
{
    static const char *const bad[] = {
        "[{}]",
        "[{\"name\":\"a\",\"size_bytes\":1,\"levels\":0,\"chunker\":1}]",
        "[{\"name\":\"a\",\"size_bytes\":1,\"levels\":1,\"chunker\":1," ROOT
        "}]", /* too many levels for its size */
        "[{\"name\":\"a\",\"size_bytes\":9000000,\"levels\":0,"
        "\"chunker\":1," ROOT "}]",
        "[{\"name\":\"a\",\"size_bytes\":1,\"levels\":0,\"chunker\":256," ROOT
        "}]",
        "[{\"name\":\"a\",\"size_bytes\":9000000000000000,\"levels\":4,"
        "\"chunker\":1," ROOT "}]",
        "[{\"name\":\"a\",\"size_bytes\":-1,\"levels\":0,\"chunker\":1," ROOT
        "}]",
        "[{\"name\":\"a\",\"size_bytes\":1,\"levels\":0,\"chunker\":1,"
        "\"root\":\"01\"}]",
        "[{\"name\":1,\"size_bytes\":1,\"levels\":0,\"chunker\":1," ROOT "}]",
        "[{\"name\":\"a\",\"size_bytes\":1,\"levels\":0,\"chunker\":1," ROOT
        "},{\"name\":\"a\",\"size_bytes\":1,\"levels\":0,\"chunker\":1," ROOT
        "}]", /* one name twice */
    };

    (void)state;
    assert_ok(with("volumes", "[]", e));
    assert_ok(with("volumes",
                   "[{\"name\":\"a\",\"size_bytes\":1,\"levels\":0,"
                   "\"chunker\":1," ROOT "}]",
                   e));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(with("volumes", bad[i], e), ERR_CORRUPT, "");
}

static int
unpack(const char *text, size_t len, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    return manifest_unpack(text, len, &m, e);
}

static void
what_is_no_json_is_refused(void **state)
{
    CLEANUP(freep) char *deep = xmalloc(1 << 20);

    (void)state;
    assert_fails(unpack("", 0, e), ERR_CORRUPT, "JSON");
    assert_fails(unpack("{", 1, e), ERR_CORRUPT, "JSON");
    assert_fails(unpack("{} x", 4, e), ERR_CORRUPT, "JSON");
    assert_fails(unpack("{\"a\":1,\"a\":2}", 13, e), ERR_CORRUPT, "JSON");
    assert_fails(unpack("[]", 2, e), ERR_CORRUPT, "id");
    memset(deep, '[', 1 << 20); /* must not use up the stack */
    assert_fails(unpack(deep, 1 << 20, e), ERR_CORRUPT, "JSON");
    assert_fails(unpack(deep, SIZE_MAX, e), ERR_LIMIT, "bytes");
}

static void
too_many_volumes_are_refused(void **state)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    CLEANUP(buf_done) struct buf b = buf_of(64 << 20);
    struct volume_root root = {0};
    char name[16];

    (void)state;
    for (int i = 0; i <= MANIFEST_MAX_VOLUMES; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        manifest_add_volume(m, name, &root);
    }
    assert_fails(manifest_pack(m, &b, e), ERR_LIMIT, "4096");
    m->n_volumes--;
    assert_ok(manifest_pack(m, &b, e));
    m->n_volumes++;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_back),
        cmocka_unit_test(the_origin_comes_back),
        cmocka_unit_test(new_ones_have_an_id_of_their_own),
        cmocka_unit_test(what_people_see_holds_no_capability),
        cmocka_unit_test(text_must_be_utf8),
        cmocka_unit_test(each_field_is_checked),
        cmocka_unit_test(each_volume_is_checked),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(too_many_volumes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
