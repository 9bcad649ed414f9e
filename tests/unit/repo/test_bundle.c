/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/bundle.h"

#include "base/buf.h"
#include "check.h"
#include "repo/keyring.h"
#include "repo/role.h"

struct made {
    struct keyring keys;
    struct buf bytes;
    uint8_t id[NAME_ID_BYTES];
};

/* Where the fields are: after the head, kind, role, length, time and salt. */
enum {
    SALT_AT = 28,
    NOTE_AT = 44,
    NOTE_LEN = 12 + 9 + 28,
    PASSES_AT = NOTE_AT + NOTE_LEN
};

static const struct password_cost COST = {
    .passes = 2, .memory_kib = PASSWORD_MIN_KIB, .salt = {1, 2, 3}};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->bytes = buf_of(BUNDLE_MAX_BYTES);
    assert_ok(bundle_pack(&m->keys, ROLE_OF_ADMIN, "the label",
                          &(struct bundle_lock){"secret", &COST, NULL}, 99,
                          &m->bytes, m->id, e));
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
    assert_int_equal(info.role, ROLE_OF_ADMIN);
    assert_memory_equal(&info.cost, &COST, sizeof(COST));
    assert_null(memmem(m->bytes.p, m->bytes.len, m->keys.k_id, KEY_BYTES));
    assert_null(memmem(m->bytes.p, m->bytes.len, "the label", 9));
}

/* The note is for everybody who has a key of this repository, and shows that
 * the bundle belongs to it. */
static void
the_note_is_for_the_repository(void **state)
{
    struct made *m = *state;
    struct keyring maintenance, stranger;
    struct bundle_note note = {0};
    struct err e = {0};

    keyring_part(&m->keys, role_keys(ROLE_OF_MAINTENANCE, false), &maintenance);
    keyring_make(&stranger);
    assert_int_equal(
        bundle_note(m->bytes.p, m->bytes.len, &maintenance, &note, &e), 1);
    assert_string_equal(note.label, "the label");
    assert_int_equal(note.ns, 1);
    assert_int_equal(note.writer, 1);
    assert_true(note.reads);
    assert_int_equal(
        bundle_note(m->bytes.p, m->bytes.len, &stranger, &note, &e), 0);
    for (size_t i = 8 * 17; i < 8 * PASSES_AT; i++) { /* the role, too */
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (bundle_note(m->bytes.p, m->bytes.len, &m->keys, &note, &e) == 1)
            fail_msg("bit %zu", i);
        err_clear(&e);
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    keyring_done(&maintenance);
    keyring_done(&stranger);
}

/* ---- recovery ---------------------------------------------------------- */

static void
a_recovery_key_opens_its_bundle(void **state)
{
    struct made *m = *state;
    uint8_t code[RECOVERY_BYTES] = {1, 2, 3}, other[RECOVERY_BYTES] = {4};
    char text[RECOVERY_TEXT_LEN];
    struct err none = {0};

    buf_reset(&m->bytes);
    assert_ok(bundle_pack(&m->keys, ROLE_OF_RECOVERY, "",
                          &(struct bundle_lock){.recovery = code}, 1, &m->bytes,
                          m->id, e));
    assert_null(memmem(m->bytes.p, m->bytes.len, code, 8));
    recovery_format(code, text);
    assert_int_equal(try_open(m, m->bytes.len, text, &none), 1);
    assert_int_equal(try_open(m, m->bytes.len, "secret", &none), 0);
    recovery_format(other, text);
    assert_int_equal(try_open(m, m->bytes.len, text, &none), 0);
    assert_int_equal(none.code, ERR_OK);
    recovery_format(code, text);
    for (size_t i = 0; i < m->bytes.len * 8; i++) {
        struct err e = {0};
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (try_open(m, m->bytes.len, text, &e) == 1)
            fail_msg("bit %zu", i);
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < m->bytes.len; n++)
        assert_fails(try_open(m, n, text, e), ERR_CORRUPT, "cut short");
}

static void
only_an_admin_reads_the_recovery_key(void **state)
{
    struct made *m = *state;
    uint8_t code[RECOVERY_BYTES] = {1, 2, 3}, got[RECOVERY_BYTES];
    struct keyring stranger, part;
    struct err none = {0};

    assert_int_equal(
        bundle_recovery(m->bytes.p, m->bytes.len, &m->keys, got, &none), 0);
    buf_reset(&m->bytes);
    assert_ok(bundle_pack(&m->keys, ROLE_OF_RECOVERY, "",
                          &(struct bundle_lock){.recovery = code}, 1, &m->bytes,
                          m->id, e));
    assert_int_equal(
        bundle_recovery(m->bytes.p, m->bytes.len, &m->keys, got, &none), 1);
    assert_memory_equal(got, code, sizeof(code));
    keyring_part(&m->keys, role_keys(ROLE_OF_RESTORE, false), &part);
    keyring_make(&stranger);
    assert_int_equal(
        bundle_recovery(m->bytes.p, m->bytes.len, &part, got, &none), 0);
    assert_int_equal(
        bundle_recovery(m->bytes.p, m->bytes.len, &stranger, got, &none), 0);
    keyring_done(&part);
    keyring_done(&stranger);
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
    size_t passes_at = PASSES_AT;

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

    memset(m->bytes.p + PASSES_AT, 0xff, 4);
    assert_fails(try_open(m, m->bytes.len, "secret", e), ERR_UNSUP, "passes");
}

static void
labels_are_bounded(void **state)
{
    struct made *m = *state;
    char label[BUNDLE_MAX_LABEL + 2];
    struct bundle_note note = {0};

    memset(label, 'x', sizeof(label));
    label[BUNDLE_MAX_LABEL + 1] = '\0';
    assert_fails(bundle_pack(&m->keys, 1, label,
                             &(struct bundle_lock){"p", &COST, NULL}, 0,
                             &m->bytes, m->id, e),
                 ERR_USAGE, "label");
    m->bytes.p[18] = 0xff; /* the length of the note */
    m->bytes.p[19] = 0xff;
    assert_fails(try_open(m, m->bytes.len, "secret", e), ERR_CORRUPT, "short");
    label[BUNDLE_MAX_LABEL] = '\0';
    buf_reset(&m->bytes);
    assert_ok(bundle_pack(&m->keys, 1, label,
                          &(struct bundle_lock){"p", &COST, NULL}, 0, &m->bytes,
                          m->id, e));
    assert_ok(bundle_note(m->bytes.p, m->bytes.len, &m->keys, &note, e));
    assert_string_equal(note.label, label);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_password_opens_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(info_can_be_read_without, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_note_is_for_the_repository, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_recovery_key_opens_its_bundle, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(only_an_admin_reads_the_recovery_key,
                                        setup, teardown),
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
