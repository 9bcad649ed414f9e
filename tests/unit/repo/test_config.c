/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/config.h"

#include "base/buf.h"
#include "check.h"
#include "crypto/sign.h"
#include "repo/chunker.h"

struct made {
    struct keyring keys;
    struct config config;
    struct buf bytes;
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    config_make(&m->config, &m->keys, 12345);
    m->bytes = buf_of(CONFIG_MAX_BYTES);
    config_pack(&m->config, &m->keys, &m->bytes);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    buf_done(&m->bytes);
    config_done(&m->config);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

/* Unpack and check as whoever opens a repository does. */
static int
open_config(const struct made *m, size_t len, struct err *e)
{
    CLEANUP(config_done) struct config c = {0};

    if (config_unpack(m->bytes.p, len, &c, e) == -1)
        return -1;
    return config_check(m->bytes.p, len, &c, &m->keys, e);
}

static void
it_comes_back(void **state)
{
    struct made *m = *state;
    CLEANUP(config_done) struct config c = {0};

    assert_ok(config_unpack(m->bytes.p, m->bytes.len, &c, e));
    assert_ok(config_check(m->bytes.p, m->bytes.len, &c, &m->keys, e));
    assert_int_equal(c.domain, m->keys.domain);
    assert_memory_equal(c.repo_id, m->keys.repo_id, sizeof(c.repo_id));
    assert_int_equal(c.created_ns, 12345);
    assert_int_equal(c.hash, CONFIG_HASH_HMAC_SHA256);
    assert_true(chunker_is_known(c.chunker));
    assert_int_equal(c.min_writer, 1);
    assert_int_equal(c.n_keys, 4);
    /* What makes the protocol safe: G >= max(L, W) + 2 V. */
    assert_true(c.grace_s >= c.lease_s + 2 * c.visibility_s);
    assert_true(c.grace_s >= c.window_s + 2 * c.visibility_s);
}

static void
it_names_the_public_halves(void **state)
{
    struct made *m = *state;
    uint8_t public[KEY_BYTES];
    const struct config_key *k =
        config_key(&m->config, ROLE_WRITER, m->keys.writer);

    assert_non_null(k);
    sign_public(m->keys.writer_seed, public);
    assert_memory_equal(k->public, public, KEY_BYTES);
    assert_non_null(config_key(&m->config, ROLE_RESTORE, 0));
    assert_non_null(config_key(&m->config, ROLE_NAMESPACE, m->keys.ns));
    assert_non_null(config_key(&m->config, ROLE_MAINTENANCE, 0));
    assert_null(config_key(&m->config, ROLE_WRITER, m->keys.writer + 1));
    assert_null(config_key(&m->config, ROLE_NAMESPACE, m->keys.ns + 1));
}

static void
no_secret_is_in_it(void **state)
{
    struct made *m = *state;
    const uint8_t *secrets[] = {m->keys.admin_seed,      m->keys.k_id,
                                m->keys.k_meta,          m->keys.restore_secret,
                                m->keys.ns_secret,       m->keys.writer_seed,
                                m->keys.maintenance_seed};

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        assert_null(memmem(m->bytes.p, m->bytes.len, secrets[i], KEY_BYTES));
}

static void
every_bit_is_signed(void **state)
{
    struct made *m = *state;

    for (size_t i = 0; i < m->bytes.len * 8; i++) {
        struct err e = {0};
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(open_config(m, m->bytes.len, &e), -1);
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < m->bytes.len; n++) {
        struct err e = {0};
        assert_int_equal(open_config(m, n, &e), -1);
    }
    assert_ok(open_config(m, m->bytes.len, e));
}

static void
another_admins_config_is_refused(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf forged = buf_of(CONFIG_MAX_BYTES);
    CLEANUP(config_done) struct config c = {0};
    struct keyring attacker;

    keyring_make(&attacker);
    memcpy(attacker.repo_id, m->keys.repo_id, sizeof(attacker.repo_id));
    config_make(&c, &attacker, 12345);
    config_pack(&c, &attacker, &forged);
    assert_fails(config_check(forged.p, forged.len, &c, &m->keys, e),
                 ERR_CORRUPT, "not signed");
    keyring_done(&attacker);
}

static void
another_hash_is_unsupported(void **state)
{
    struct made *m = *state;
    CLEANUP(config_done) struct config c = {0};

    buf_reset(&m->bytes);
    m->config.hash = 2;
    config_pack(&m->config, &m->keys, &m->bytes);
    assert_fails(config_unpack(m->bytes.p, m->bytes.len, &c, e), ERR_UNSUP,
                 "hash 2");
}

static void
a_huge_count_of_keys_is_refused(void **state)
{
    struct made *m = *state;
    CLEANUP(config_done) struct config c = {0};
    size_t names = 4 + 28 + 5 + strlen("default");
    size_t at = m->bytes.len - SIGN_BYTES - names - 4 * 44 - 4;

    memset(m->bytes.p + at, 0xff, 4);
    assert_fails(config_unpack(m->bytes.p, m->bytes.len, &c, e), ERR_LIMIT,
                 "names");
}

static void
the_stores_keepers_see_no_names(void **state)
{
    struct made *m = *state;
    CLEANUP(config_done) struct config c = {0};
    struct keyring stranger;
    uint32_t ns = 0;

    assert_ok(config_name_namespace(&m->config, 7, "tenant-7", e));
    m->config.generation = 3;
    m->config.previous[0] = 9;
    buf_reset(&m->bytes);
    config_pack(&m->config, &m->keys, &m->bytes);
    assert_null(memmem(m->bytes.p, m->bytes.len, "tenant", 6));
    assert_ok(config_unpack(m->bytes.p, m->bytes.len, &c, e));
    assert_int_equal(c.n_names, 0);
    assert_int_equal(c.generation, 3);
    assert_int_equal(c.previous[0], 9);
    for (int again = 0; again < 2; again++) {
        assert_ok(config_check(m->bytes.p, m->bytes.len, &c, &m->keys, e));
        assert_int_equal(c.n_names, 2);
    }
    assert_int_equal(config_namespace(&c, "tenant-7", &ns), 1);
    assert_int_equal(ns, 7);
    assert_int_equal(config_namespace(&c, "tenant", &ns), 0);
    assert_string_equal(config_namespace_name(&c, 7), "tenant-7");
    assert_string_equal(config_namespace_name(&c, 1), "default");
    assert_null(config_namespace_name(&c, 8));
    stranger = m->keys; /* with the same admin, but another K_meta */
    stranger.k_meta[0] ^= 1;
    assert_fails(config_check(m->bytes.p, m->bytes.len, &c, &stranger, e),
                 ERR_CORRUPT, "names are not authentic");
}

static void
names_are_bounded(void **state)
{
    struct made *m = *state;
    char name[CONFIG_MAX_NAME + 2] = {0};
    struct config *c = &m->config;

    memset(name, 'x', CONFIG_MAX_NAME);
    assert_ok(config_name_namespace(c, 2, name, e));
    name[CONFIG_MAX_NAME] = 'x';
    assert_fails(config_name_namespace(c, 2, name, e), ERR_USAGE, "64");
    assert_fails(config_name_namespace(c, 2, "", e), ERR_USAGE, "letters");
    assert_fails(config_name_namespace(c, 2, "a b", e), ERR_USAGE, "letters");
    assert_fails(config_name_namespace(c, 2, "../x", e), ERR_USAGE, "letters");
}

static void
keys_are_added_with_free_numbers(void **state)
{
    struct made *m = *state;
    struct config *c = &m->config;

    assert_int_equal(config_free_number(c, ROLE_WRITER), 2);
    for (uint32_t n = 2; n < 9; n++) {
        struct config_key k = {
            .role = ROLE_WRITER, .number = n == 3 ? 99 : n, .ns = 5};
        assert_ok(config_add_key(c, &k, e));
    }
    assert_int_equal(config_free_number(c, ROLE_WRITER), 3);
    assert_int_equal(config_free_number(c, ROLE_NAMESPACE), 2);
    assert_int_equal(config_key(c, ROLE_WRITER, 99)->ns, 5);
    assert_int_equal(config_key(c, ROLE_WRITER, 99)->domain, c->domain);
    while (c->n_keys < CONFIG_MAX_KEYS)
        assert_ok(config_add_key(c, &(struct config_key){.role = 9}, e));
    assert_fails(config_add_key(c, &(struct config_key){.role = 9}, e),
                 ERR_LIMIT, "4096");
    buf_reset(&m->bytes);
    config_pack(c, &m->keys, &m->bytes);
    assert_ok(buf_check(&m->bytes, "it", e));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(it_names_the_public_halves, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_secret_is_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_is_signed, setup, teardown),
        cmocka_unit_test_setup_teardown(another_admins_config_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_hash_is_unsupported, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_stores_keepers_see_no_names, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_added_with_free_numbers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_huge_count_of_keys_is_refused, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
