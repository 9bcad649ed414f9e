/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/notice.h"

#include "base/buf.h"
#include "check.h"
#include "repo/config.h"

#define T0 INT64_C(1795341600123456789)

struct made {
    struct keyring keys;
    struct config config;
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    config_make(&m->config, &m->keys, 1);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    config_done(&m->config);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

static const struct ref_name REF = {
    .ns = 7, .machine = {1, 2, 3}, .time_ns = T0, .id = {9, 8}};

/* All three, each with its name, for what must hold of every one. */
enum { SESSION, MAINTENANCE, CONDEMNED, RETIRED, KINDS };

static int
pack(int what, const struct keyring *k, struct buf *out, char *name,
     struct err *e)
{
    struct session s = {.writer = 1, .time_ns = T0, .id = {4}};
    struct condemned_entry entries[] = {
        {.kind = CONDEMNED_DATA, .sum = {1, 2}},
        {.kind = CONDEMNED_META, .sum = {3}},
        {.kind = CONDEMNED_INDEX, .time_ns = T0 - 1, .id = {5}},
        {.kind = CONDEMNED_DONE, .time_ns = T0 - 2, .id = {6}}};
    struct condemned c = {
        .id = {7}, .time_ns = T0, .entries = entries, .n = ARRAY_LEN(entries)};

    switch (what) {
    case MAINTENANCE:
        s.writer = SESSION_MAINTENANCE; /* fall through */
    case SESSION:
        name_session(s.writer, s.time_ns, s.id, name);
        return session_pack(&s, k, out, e);
    case CONDEMNED:
        name_condemned(c.time_ns, c.id, name);
        return condemned_pack(&c, k, out, e);
    default:
        name_retired(&REF, name);
        return retired_pack(&REF, T0, k, out, e);
    }
}

static int
unpack(const struct made *m, int what, const void *p, size_t len,
       const char *name, struct err *e)
{
    CLEANUP(condemned_done) struct condemned c = {0};
    struct session s;
    struct ref_name ref;

    if (what == SESSION || what == MAINTENANCE)
        return session_unpack(p, len, name, &m->config, &s, e);
    if (what == CONDEMNED)
        return condemned_unpack(p, len, name, &m->keys, &m->config, &c, e);
    return retired_unpack(p, len, name, &m->config, &ref, e);
}

static void
what_was_packed_comes_back(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
    CLEANUP(condemned_done) struct condemned c = {0};
    char name[NAME_MAX_LEN], object[NAME_MAX_LEN];
    struct session s = {0};
    struct ref_name ref = {0};

    assert_ok(pack(SESSION, &m->keys, &b, name, e));
    assert_int_equal(b.len, 108);
    assert_ok(session_unpack(b.p, b.len, name, &m->config, &s, e));
    assert_int_equal(s.writer, 1);
    assert_int_equal(s.time_ns, T0);
    assert_int_equal(s.id[0], 4);

    buf_reset(&b);
    assert_ok(pack(CONDEMNED, &m->keys, &b, name, e));
    assert_int_equal(b.len, 48 + 4 * 40 + 28 + 64);
    assert_ok(condemned_unpack(b.p, b.len, name, &m->keys, &m->config, &c, e));
    assert_int_equal(c.n, 4);
    assert_int_equal(c.time_ns, T0);
    condemned_object(&c.entries[0], object);
    assert_int_equal(strncmp(object, "packs/d/01/0102000", 18), 0);
    condemned_object(&c.entries[1], object);
    assert_int_equal(strncmp(object, "packs/m/03/03000", 16), 0);
    condemned_object(&c.entries[2], object);
    assert_string_equal(object, "index/d/2026-11-22t10-00-00.123456788-"
                                "05000000000000000000000000000000");
    condemned_object(&c.entries[3], object);
    assert_string_equal(object, "cond/2026-11-22t10-00-00.123456787-"
                                "06000000000000000000000000000000");

    buf_reset(&b);
    assert_ok(pack(RETIRED, &m->keys, &b, name, e));
    assert_int_equal(b.len, 124);
    assert_ok(retired_unpack(b.p, b.len, name, &m->config, &ref, e));
    assert_int_equal(ref.ns, 7);
    assert_int_equal(ref.time_ns, T0);
    assert_memory_equal(ref.id, REF.id, sizeof(ref.id));
    assert_memory_equal(ref.machine, REF.machine, sizeof(ref.machine));
}

static void
no_changed_byte_and_no_cut_passes(void **state)
{
    struct made *m = *state;

    for (int what = 0; what < KINDS; what++) {
        CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
        char name[NAME_MAX_LEN];
        assert_ok(pack(what, &m->keys, &b, name, e));
        assert_ok(unpack(m, what, b.p, b.len, name, e));
        for (size_t i = 0; i < b.len; i++) {
            struct err e = {0};
            b.p[i] ^= 0x20;
            assert_int_equal(unpack(m, what, b.p, b.len, name, &e), -1);
            b.p[i] ^= 0x20;
            err_clear(&e);
            assert_int_equal(unpack(m, what, b.p, i, name, &e), -1);
        }
        buf_u8(&b, 0);
        assert_fails(unpack(m, what, b.p, b.len, name, e), ERR_CORRUPT, "");
    }
}

static void
another_name_is_refused(void **state)
{
    struct made *m = *state;

    for (int what = 0; what < KINDS; what++) {
        CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
        char name[NAME_MAX_LEN];
        assert_ok(pack(what, &m->keys, &b, name, e));
        name[strlen(name) - 1] ^= 1;
        assert_fails(unpack(m, what, b.p, b.len, name, e), ERR_CORRUPT,
                     "this name");
    }
}

/* A writer, who has all but the maintenance key, can condemn and retire
 * nothing. */
static void
only_maintenance_can_condemn_and_retire(void **state)
{
    struct made *m = *state;
    struct keyring writer = m->keys;
    struct keyring liar = m->keys;

    writer.has &= ~(unsigned)KEY_MAINTENANCE;
    memcpy(liar.maintenance_seed, m->keys.writer_seed, KEY_BYTES);
    for (int what = MAINTENANCE; what < KINDS; what++) {
        CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
        char name[NAME_MAX_LEN];
        assert_fails(pack(what, &writer, &b, name, e), ERR_KEY, "maintenance");
        buf_reset(&b);
        assert_ok(pack(what, &liar, &b, name, e));
        assert_fails(unpack(m, what, b.p, b.len, name, e), ERR_CORRUPT,
                     "signature");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_was_packed_comes_back),
        TEST(no_changed_byte_and_no_cut_passes),
        TEST(another_name_is_refused),
        TEST(only_maintenance_can_condemn_and_retire),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
