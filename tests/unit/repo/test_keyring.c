/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/keyring.h"

#include "base/buf.h"
#include "check.h"
#include "crypto/hash.h"

enum { ALL = KEY_ALL };

static void
assert_equal(const struct keyring *a, const struct keyring *b)
{
    struct keyring x = *a, y = *b;

    assert_int_equal(!x.id_key, !y.id_key);
    x.id_key = y.id_key = NULL;
    assert_memory_equal(&x, &y, sizeof(x));
}

static void
all_keys_come_back(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
    struct keyring k, back;

    (void)state;
    memset(&k, 0, sizeof(k));
    memset(&back, 0, sizeof(back));
    keyring_make(&k);
    assert_int_equal(k.has, ALL);
    k.domain = 7;
    k.ns = 8;
    k.writer = UINT32_MAX;
    k.config_generation = 9;
    memset(k.config_sum, 7, sizeof(k.config_sum));
    keyring_pack(&k, &b);
    assert_ok(keyring_unpack(b.p, b.len, &back, e));
    assert_equal(&k, &back);
    keyring_done(&k);
    keyring_done(&back);
}

/* Neither in the packed bytes nor left over in memory. */
static void
assert_no_secret(const struct keyring *part, const struct buf *b,
                 const uint8_t secret[KEY_BYTES])
{
    assert_null(memmem(b->p, b->len, secret, KEY_BYTES));
    assert_null(memmem(part, sizeof(*part), secret, KEY_BYTES));
}

/* Any subset can be handed out, and what is left out is not in the bytes. */
static void
a_role_has_only_its_keys(void **state)
{
    struct keyring k;

    (void)state;
    keyring_make(&k);
    for (unsigned has = 0; has <= ALL; has++) {
        CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
        struct keyring part, back;
        keyring_part(&k, has, &part);
        keyring_pack(&part, &b);
        assert_ok(keyring_unpack(b.p, b.len, &back, e));
        assert_int_equal(back.has, has);
        assert_int_equal(back.id_key != NULL, (has & KEY_ID) != 0);
        assert_equal(&part, &back);
        if (!(has & KEY_ID))
            assert_no_secret(&part, &b, k.k_id);
        if (!(has & KEY_NAMESPACE))
            assert_no_secret(&part, &b, k.ns_secret);
        if (!(has & KEY_MAINTENANCE))
            assert_no_secret(&part, &b, k.maintenance_seed);
        if (!(has & KEY_WRITER))
            assert_no_secret(&part, &b, k.writer_seed);
        if (!(has & KEY_RESTORE))
            assert_no_secret(&part, &b, k.restore_secret);
        if (!(has & KEY_ADMIN))
            assert_no_secret(&part, &b, k.admin_seed);
        if (!(has & KEY_META))
            assert_no_secret(&part, &b, k.k_meta);
        keyring_done(&part);
        keyring_done(&back);
    }
    keyring_done(&k);
}

static int
unpack(const struct buf *b, size_t len, struct err *e)
{
    struct keyring k = {0};
    int rc = keyring_unpack(b->p, len, &k, e);

    keyring_done(&k);
    return rc;
}

static void
cut_short_is_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
    struct keyring k;

    (void)state;
    keyring_make(&k);
    k.has = 0;
    keyring_pack(&k, &b); /* the repository's id, the admin, the config */
    for (size_t n = 0; n < b.len; n++)
        if (n != 8 + KEYRING_ID_BYTES && n != b.len - 8 - 32)
            assert_fails(unpack(&b, n, e), ERR_CORRUPT, "key bundle");
    assert_fails(unpack(&b, 8 + KEYRING_ID_BYTES, e), ERR_CORRUPT,
                 "no admin key");
    keyring_done(&k);
}

static void
a_record_of_the_wrong_size_is_refused(void **state)
{
    struct keyring k;

    (void)state;
    keyring_make(&k);
    for (uint16_t tag = 1; tag <= 10; tag++) {
        CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
        keyring_pack(&k, &b);
        buf_le16(&b, tag);
        buf_le16(&b, 3);
        buf_le32(&b, 1);
        buf_zero(&b, 3);
        assert_fails(unpack(&b, b.len, e), ERR_CORRUPT, "3 bytes long");
        b.p[b.len - 3 - 6] = 0; /* none */
        b.len -= 3;
        assert_fails(unpack(&b, b.len, e), ERR_CORRUPT, "0 bytes long");
    }
    keyring_done(&k);
}

/* Records of two domains, or of two namespaces. */
static void
records_that_disagree_are_refused(void **state)
{
    struct keyring k;

    (void)state;
    keyring_make(&k);
    for (int ns = 0; ns < 2; ns++) {
        CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
        struct keyring other = k;
        keyring_pack(&k, &b);
        other.has = ns ? KEY_NAMESPACE : KEY_META;
        other.ns = 2;
        other.domain = 2;
        keyring_pack(&other, &b);
        assert_fails(unpack(&b, b.len, e), ERR_CORRUPT,
                     ns ? "namespaces 1 and 2" : "key domains 1 and 2");
    }
    keyring_done(&k);
}

/* They follow from one secret, and from nothing less. */
static void
namespaces_have_keys_of_their_own(void **state)
{
    struct keyring k, other;
    uint8_t a[KEY_BYTES], b[KEY_BYTES];

    (void)state;
    keyring_make(&k);
    keyring_make(&other);
    keyring_namespace(&k, 1, a);
    assert_memory_equal(a, k.ns_secret, KEY_BYTES);
    keyring_namespace(&k, 2, b);
    assert_memory_not_equal(a, b, KEY_BYTES);
    memcpy(other.restore_secret, k.restore_secret, KEY_BYTES);
    keyring_namespace(&other, 1, b);
    assert_memory_equal(a, b, KEY_BYTES);
    keyring_escrow(&k, a);
    keyring_escrow(&other, b);
    assert_memory_not_equal(a, b, KEY_BYTES);
    keyring_done(&k);
    keyring_done(&other);
}

static void
unknown_records_are_skipped_unless_critical(void **state)
{
    struct keyring k;

    (void)state;
    keyring_make(&k);
    for (int critical = 0; critical < 2; critical++) {
        CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);
        keyring_pack(&k, &b);
        buf_le16(&b, (uint16_t)(critical ? 0x8123 : 0x0123));
        buf_le16(&b, 5);
        buf_le32(&b, 1);
        buf_zero(&b, 5);
        if (critical)
            assert_fails(unpack(&b, b.len, e), ERR_UNSUP, "newer");
        else
            assert_ok(unpack(&b, b.len, e));
    }
    keyring_done(&k);
}

static void
endless_records_are_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(KEYRING_MAX_BYTES);

    (void)state;
    for (int i = 0; i <= KEYRING_MAX_RECORDS; i++) {
        buf_le16(&b, 0x0123);
        buf_le16(&b, 0);
        buf_le32(&b, 0);
    }
    assert_fails(unpack(&b, b.len, e), ERR_LIMIT, "too large");
}

static void
derived_keys_depend_on_everything(void **state)
{
    struct keyring k, other;
    uint8_t a[64], b[64], long_one[64] = {0};

    (void)state;
    keyring_make(&k);
    keyring_make(&other);
    keyring_derive(&k, "one", "context", 7, a);
    keyring_derive(&k, "one", "context", 7, b);
    assert_memory_equal(a, b, 64);
    keyring_derive(&k, "two", "context", 7, b);
    assert_memory_not_equal(a, b, 64);
    keyring_derive(&k, "one", "contexT", 7, b);
    assert_memory_not_equal(a, b, 64);
    keyring_derive(&other, "one", "context", 7, b);
    assert_memory_not_equal(a, b, 64);
    keyring_derive(&k, "sixteen letters!", long_one, 64, b);
    keyring_done(&k);
    keyring_done(&other);
}

/* BLAKE2b-512(K_meta, label padded to 16 ‖ context): what the format says. */
static void
derivation_is_what_the_format_says(void **state)
{
    static const uint8_t message[] = "one\0\0\0\0\0\0\0\0\0\0\0\0\0context";
    struct keyring k;
    uint8_t a[64], b[64];

    (void)state;
    keyring_make(&k);
    keyring_derive(&k, "one", "context", 7, a);
    hash_derive(k.k_meta, message, sizeof(message) - 1, b);
    assert_memory_equal(a, b, 64);
    keyring_done(&k);
}

static void
machine_tags_tell_machines_apart(void **state)
{
    struct keyring k;
    uint8_t a[8], b[8];

    (void)state;
    keyring_make(&k);
    machine_tag(&k, "web", a);
    machine_tag(&k, "web", b);
    assert_memory_equal(a, b, 8);
    machine_tag(&k, "db", b);
    assert_memory_not_equal(a, b, 8);
    keyring_done(&k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_keys_come_back),
        cmocka_unit_test(a_role_has_only_its_keys),
        cmocka_unit_test(cut_short_is_refused),
        cmocka_unit_test(a_record_of_the_wrong_size_is_refused),
        cmocka_unit_test(records_that_disagree_are_refused),
        cmocka_unit_test(namespaces_have_keys_of_their_own),
        cmocka_unit_test(unknown_records_are_skipped_unless_critical),
        cmocka_unit_test(endless_records_are_refused),
        cmocka_unit_test(derived_keys_depend_on_everything),
        cmocka_unit_test(derivation_is_what_the_format_says),
        cmocka_unit_test(machine_tags_tell_machines_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
