/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/name.h"

#include "base/clock.h"
#include "check.h"
#include "store/store.h"

#define T0 INT64_C(1795341600123456789) /* 2026-11-22T10:00:00.123456789Z */

static const uint8_t ID[NAME_ID_BYTES] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55,
                                          0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
                                          0xcc, 0xdd, 0xee, 0xff};
#define ID_HEX "00112233445566778899aabbccddeeff"

static void
names_are_what_the_format_says(void **state)
{
    uint8_t sum[32];
    char name[NAME_MAX_LEN];
    struct ref_name ref = {.ns = 0x2a, .machine = {1, 2, 3}, .time_ns = T0};

    (void)state;
    memcpy(ref.id, ID, sizeof(ID));
    memset(sum, 0xc3, sizeof(sum));
    name_key(ID, name);
    assert_string_equal(name, "keys/" ID_HEX);
    name_config(0, name);
    assert_string_equal(name, NAME_CONFIG);
    name_config(0x2a, name);
    assert_string_equal(name, "config.d/0000002a");
    name_pack(PACK_DATA, sum, name);
    assert_string_equal(
        name,
        "packs/d/c3/"
        "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3");
    name_pack(PACK_META, sum, name);
    assert_true(strncmp(name, "packs/m/c3/c3", 13) == 0);
    name_index_delta(T0, ID, name);
    assert_string_equal(name, "index/d/2026-11-22t10-00-00.123456789-" ID_HEX);
    name_ref(&ref, name);
    assert_string_equal(name, "refs/0000002a/0102030000000000/"
                              "2026-11-22t10-00-00.123456789-" ID_HEX);
}

static void
keys_and_configs_parse_back(void **state)
{
    static const char *const none[] = {"",
                                       "config",
                                       "config.d/",
                                       "config.d/0",
                                       "config.d/00000000",
                                       "config.d/0000002A",
                                       "keys/",
                                       "keys/readme",
                                       "keys/" ID_HEX "0",
                                       "config.d/0000000100",
                                       "keys/" ID_HEX "/x"};
    char name[NAME_MAX_LEN];
    uint8_t id[NAME_ID_BYTES];
    uint32_t n = 0;

    (void)state;
    name_key(ID, name);
    assert_true(name_parse_key(name, id));
    assert_memory_equal(id, ID, sizeof(id));
    assert_false(name_parse_config(name, &n));
    name_config(UINT32_MAX, name);
    assert_true(name_parse_config(name, &n));
    assert_int_equal(n, UINT32_MAX);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_false(name_parse_config(none[i], &n));
        assert_false(name_parse_key(none[i], id));
    }
}

static void
names_of_notices_parse_back(void **state)
{
    struct ref_name ref = {.ns = 3, .machine = {4}, .time_ns = T0}, back;
    uint8_t id[NAME_ID_BYTES];
    char name[NAME_MAX_LEN];
    uint32_t writer = 0;
    int64_t time_ns = 0;

    (void)state;
    memcpy(ref.id, ID, sizeof(ID));
    name_retired(&ref, name);
    assert_string_equal(name, "retired/00000003/0400000000000000/"
                              "2026-11-22t10-00-00.123456789-" ID_HEX);
    assert_true(name_parse_retired(name, &back));
    assert_false(name_parse_ref(name, &back));
    assert_int_equal(back.ns, 3);
    assert_memory_equal(back.id, ID, sizeof(ID));
    name_session(0x1f, T0, ID, name);
    assert_string_equal(name,
                        "sess/0000001f/2026-11-22t10-00-00.123456789-" ID_HEX);
    assert_true(name_parse_session(name, &writer, &time_ns, id));
    assert_int_equal(writer, 0x1f);
    assert_int_equal(time_ns, T0);
    assert_false(name_parse_session("sess/0000001", &writer, &time_ns, id));
    name_condemned(T0, ID, name);
    assert_string_equal(name, "cond/2026-11-22t10-00-00.123456789-" ID_HEX);
    time_ns = 0;
    assert_true(name_parse_condemned(name, &time_ns, id));
    assert_int_equal(time_ns, T0);
    assert_memory_equal(id, ID, sizeof(ID));
    name[5] = 'x';
    assert_false(name_parse_condemned(name, &time_ns, id));
}

static void
refs_parse_back(void **state)
{
    static const int64_t times[] = {0, 1, 999999999, T0, INT64_MAX};
    struct ref_name in = {.ns = UINT32_MAX}, out;
    char name[NAME_MAX_LEN];

    (void)state;
    memcpy(in.id, ID, sizeof(ID));
    memset(in.machine, 0xfe, sizeof(in.machine));
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        in.time_ns = times[i];
        name_ref(&in, name);
        assert_true(strlen(name) <= STORE_NAME_MAX);
        memset(&out, 0, sizeof(out));
        assert_true(name_parse_ref(name, &out));
        assert_int_equal(out.ns, in.ns);
        assert_int_equal(out.time_ns, in.time_ns);
        assert_memory_equal(out.id, in.id, sizeof(in.id));
        assert_memory_equal(out.machine, in.machine, sizeof(in.machine));
    }
}

static void
deltas_and_packs_parse_back(void **state)
{
    uint8_t sum[32], id[NAME_ID_BYTES], got[32];
    char name[NAME_MAX_LEN];
    enum pack_kind kind = PACK_DATA;
    int64_t t = 0;

    (void)state;
    memset(sum, 0x5a, sizeof(sum));
    name_index_delta(T0, ID, name);
    assert_true(name_parse_index_delta(name, &t, id));
    assert_int_equal(t, T0);
    assert_memory_equal(id, ID, sizeof(id));
    name_pack(PACK_META, sum, name);
    assert_true(name_parse_pack(name, &kind, got));
    assert_int_equal(kind, PACK_META);
    assert_memory_equal(got, sum, sizeof(sum));
}

/* Whatever parses is exactly what would be written: change any character. */
static void
there_is_one_name_for_each(void **state)
{
    struct ref_name ref = {.ns = 1, .time_ns = T0}, out;
    uint8_t sum[32] = {0xab}, id[NAME_ID_BYTES], got[32];
    char names[3][NAME_MAX_LEN], again[NAME_MAX_LEN];
    enum pack_kind kind = PACK_DATA;
    int64_t t = 0;

    (void)state;
    name_ref(&ref, names[0]);
    name_index_delta(T0, ID, names[1]);
    name_pack(PACK_DATA, sum, names[2]);
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i <= strlen(names[k]); i++)
            for (int c = 0; c < 256; c++) {
                char name[NAME_MAX_LEN] = {0};
                memcpy(name, names[k], strlen(names[k]));
                name[i] = (char)c;
                again[0] = '\0';
                if (name_parse_ref(name, &out))
                    name_ref(&out, again);
                else if (name_parse_index_delta(name, &t, id))
                    name_index_delta(t, id, again);
                else if (name_parse_pack(name, &kind, got))
                    name_pack(kind, got, again);
                else
                    continue;
                assert_string_equal(again, name);
            }
}

static void
others_names_are_none(void **state)
{
    static const char *const bad[] = {
        "",
        "refs/",
        "refs/00000001/0000000000000000/",
        "refs/00000001/0000000000000000/2026-11-22t10-00-00.123456789-",
        "refs/0000001/00000000000000000/2026-11-22t10-00-00.123456789-" ID_HEX,
        "refs/00000001/0000000000000000/2026-02-31t10-00-00.123456789-" ID_HEX,
        "refs/00000001/0000000000000000/2026-11-22T10-00-00.123456789-" ID_HEX,
        "refs/00000001/0000000000000000/9999-11-22t10-00-00.123456789-" ID_HEX,
        "refs/00000001/0000000000000000/1969-11-22t10-00-00.123456789-" ID_HEX,
        "index/d/x",
        "index/d/2026-11-22t10-00-00.12345678x-" ID_HEX,
        "packs/d/",
        "packs/x/00/00",
        "packs/d/00/"
        "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3",
    };
    struct ref_name ref;
    uint8_t id[32];
    enum pack_kind kind = PACK_DATA;
    int64_t t = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (name_parse_ref(bad[i], &ref) ||
            name_parse_index_delta(bad[i], &t, id) ||
            name_parse_pack(bad[i], &kind, id))
            fail_msg("%s", bad[i]);
}

static void
names_sort_by_time(void **state)
{
    struct ref_name a = {.time_ns = T0}, b = {.time_ns = T0 + 1};
    char x[NAME_MAX_LEN], y[NAME_MAX_LEN];

    (void)state;
    memset(a.id, 0xff, sizeof(a.id));
    name_ref(&a, x);
    name_ref(&b, y);
    assert_true(strcmp(x, y) < 0);
    b.time_ns = T0 + 1000000000;
    name_ref(&b, y);
    assert_true(strcmp(x, y) < 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_what_the_format_says),
        cmocka_unit_test(keys_and_configs_parse_back),
        cmocka_unit_test(names_of_notices_parse_back),
        cmocka_unit_test(refs_parse_back),
        cmocka_unit_test(deltas_and_packs_parse_back),
        cmocka_unit_test(there_is_one_name_for_each),
        cmocka_unit_test(others_names_are_none),
        cmocka_unit_test(names_sort_by_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
