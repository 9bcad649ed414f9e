/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/bundle.h"

#include "base/buf.h"
#include "check.h"
#include "repo/keyring.h"

struct made {
    struct keyring keys;
    struct buf bytes;
    uint8_t id[NAME_ID_BYTES];
};

static const struct password_cost COST = {
    .passes = 2, .memory_kib = PASSWORD_MIN_KIB, .salt = {1, 2, 3}};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->bytes = buf_of(BUNDLE_MAX_BYTES);
    assert_ok(bundle_pack(&m->keys, "secret", &COST, "the label", 99, &m->bytes,
                          m->id, e));
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    buf_done(&m->bytes);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

/* 1 opened, 0 not, -1. */
static int
try_open(const struct made *m, size_t len, const char *password, struct err *e)
{
    struct keyring k = {0};
    int rc = bundle_open(m->bytes.p, len, password, &k, e);

    if (rc == 1) {
        assert_int_equal(k.has, m->keys.has);
        assert_memory_equal(k.k_id, m->keys.k_id, KEY_BYTES);
        assert_memory_equal(k.repo_id, m->keys.repo_id, KEYRING_ID_BYTES);
    }
    keyring_done(&k);
    return rc;
}

static void
only_the_password_opens_it(void **state)
{
    struct made *m = *state;
    struct err none = {0};

    assert_int_equal(try_open(m, m->bytes.len, "secret", &none), 1);
    assert_int_equal(try_open(m, m->bytes.len, "Secret", &none), 0);
    assert_int_equal(try_open(m, m->bytes.len, "secret ", &none), 0);
    assert_int_equal(none.code, ERR_OK);
    assert_fails(try_open(m, m->bytes.len, "", e), ERR_USAGE, "password");
}

static void
info_can_be_read_without(void **state)
{
    struct made *m = *state;
    struct bundle_info info;

    assert_ok(bundle_info(m->bytes.p, m->bytes.len, &info, e));
    assert_int_equal(info.kind, BUNDLE_PASSWORD);
    assert_int_equal(info.created_ns, 99);
    assert_string_equal(info.label, "the label");
    assert_memory_equal(&info.cost, &COST, sizeof(COST));
    assert_null(memmem(m->bytes.p, m->bytes.len, m->keys.k_id, KEY_BYTES));
}

/* Cheap: the password is not tried on bytes that can't be a bundle. */
static void
cut_short_is_refused(void **state)
{
    struct made *m = *state;

    for (size_t n = 0; n < m->bytes.len; n++)
        assert_fails(try_open(m, n, "secret", e), ERR_CORRUPT, "cut short");
}

/* Not the high halves of the costs: some are allowed, and slow. */
static void
no_bit_can_be_changed(void **state)
{
    struct made *m = *state;
    size_t passes_at = 16 + 12 + strlen("the label");

    for (size_t i = 0; i < m->bytes.len * 8; i++) {
        struct err e = {0};
        if (i / 8 >= passes_at && i / 8 < passes_at + 8 &&
            (i / 8 - passes_at) % 4 > 0)
            continue;
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (try_open(m, m->bytes.len, "secret", &e) == 1)
            fail_msg("bit %zu", i);
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

static void
another_kind_is_passed_over(void **state)
{
    struct made *m = *state;
    struct bundle_info info;
    struct err e = {0};

    m->bytes.p[16] = 77;
    assert_int_equal(try_open(m, m->bytes.len, "secret", &e), 0);
    assert_int_equal(bundle_info(m->bytes.p, m->bytes.len, &info, &e), 0);
    assert_int_equal(info.kind, 77);
}

static void
a_strangers_cost_is_bounded(void **state)
{
    struct made *m = *state;
    size_t passes_at = 16 + 12 + strlen("the label");

    memset(m->bytes.p + passes_at, 0xff, 4);
    assert_fails(try_open(m, m->bytes.len, "secret", e), ERR_UNSUP, "passes");
}

static void
labels_are_bounded(void **state)
{
    struct made *m = *state;
    char label[BUNDLE_MAX_LABEL + 2];

    memset(label, 'x', sizeof(label));
    label[BUNDLE_MAX_LABEL + 1] = '\0';
    assert_fails(
        bundle_pack(&m->keys, "p", &COST, label, 0, &m->bytes, m->id, e),
        ERR_USAGE, "label");
    m->bytes.p[18] = 0xff; /* its length, in bytes that are there */
    m->bytes.p[19] = 0xff;
    assert_fails(try_open(m, m->bytes.len, "secret", e), ERR_CORRUPT, "label");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_password_opens_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(info_can_be_read_without, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(cut_short_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(no_bit_can_be_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(another_kind_is_passed_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_strangers_cost_is_bounded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(labels_are_bounded, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
