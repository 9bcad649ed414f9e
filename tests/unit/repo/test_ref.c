/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ref.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "check.h"
#include "crypto/sign.h"
#include "repo/config.h"
#include "repo/keyring.h"

static const char BODY[] = "{\"machine\":\"web\",\"machine\":\"web\"}";

struct made {
    struct keyring keys;
    struct config config;
    struct ref_head head;
    struct ref_root roots[2];
    struct buf bytes;
    char name[NAME_MAX_LEN];
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    config_make(&m->config, &m->keys, 0);
    m->head = (struct ref_head){
        .name = {.ns = m->keys.ns, .machine = {1}, .time_ns = 77, .id = {2}},
        .writer = m->keys.writer,
        .base = {3},
        .previous = {4},
        .sync_ns = 5};
    m->roots[0] = (struct ref_root){.level = 2, .gid = {9}};
    m->roots[1] = (struct ref_root){.level = 0, .gid = {8}};
    m->bytes = buf_of(REF_MAX_BYTES);
    name_ref(&m->head.name, m->name);
    assert_ok(ref_pack(&m->head, m->roots, 2, BODY, sizeof(BODY), &m->keys,
                       &m->config, &m->bytes, e));
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

static void
the_head_comes_back(void **state)
{
    struct made *m = *state;
    struct ref_head h;

    memset(&h, 0, sizeof(h));
    assert_ok(
        ref_open_head(m->bytes.p, m->bytes.len, m->name, &m->config, &h, e));
    assert_int_equal(h.name.ns, m->head.name.ns);
    assert_int_equal(h.name.time_ns, 77);
    assert_memory_equal(h.name.id, m->head.name.id, NAME_ID_BYTES);
    assert_memory_equal(h.name.machine, m->head.name.machine, NAME_TAG_BYTES);
    assert_int_equal(h.writer, m->keys.writer);
    assert_memory_equal(h.base, m->head.base, NAME_ID_BYTES);
    assert_memory_equal(h.previous, m->head.previous, 32);
    assert_int_equal(h.sync_ns, 5);
}

static int
open_body(const struct made *m, const struct keyring *k, struct err *e)
{
    CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);

    if (ref_open_body(m->bytes.p, m->bytes.len, k, &body, e) == -1)
        return -1;
    assert_int_equal(body.len, sizeof(BODY));
    assert_memory_equal(body.p, BODY, sizeof(BODY));
    return 0;
}

static void
either_secret_opens_the_body(void **state)
{
    struct made *m = *state;
    struct keyring k = m->keys; /* shares id_key */

    assert_ok(open_body(m, &k, e));
    k.has = KEY_DOMAIN | KEY_RESTORE;
    assert_ok(open_body(m, &k, e));
    k.has = KEY_DOMAIN | KEY_NAMESPACE;
    assert_ok(open_body(m, &k, e));
}

/* What a host that may only write has, and what maintenance has. */
static void
no_other_key_opens_the_body(void **state)
{
    struct made *m = *state;
    struct keyring k = m->keys, stranger;

    k.has &= ~(unsigned)(KEY_RESTORE | KEY_NAMESPACE);
    assert_fails(open_body(m, &k, e), ERR_KEY, "this key cannot open");
    k.has |= KEY_NAMESPACE;
    k.ns++; /* the secret of another namespace */
    assert_fails(open_body(m, &k, e), ERR_KEY, "this key cannot open");
    keyring_make(&stranger);
    assert_fails(open_body(m, &stranger, e), ERR_KEY, "this key cannot open");
    keyring_done(&stranger);
}

static void
maintenance_reads_the_roots(void **state)
{
    struct made *m = *state;
    CLEANUP(freep) struct ref_root *roots = NULL;
    struct keyring k = m->keys, stranger;
    size_t n = 0;

    k.has = KEY_DOMAIN | KEY_MAINTENANCE;
    assert_ok(ref_open_roots(m->bytes.p, m->bytes.len, &k, &roots, &n, e));
    assert_int_equal(n, 2);
    assert_int_equal(roots[0].level, 2);
    assert_memory_equal(roots[0].gid, m->roots[0].gid, GID_BYTES);
    assert_int_equal(roots[1].level, 0);
    assert_memory_equal(roots[1].gid, m->roots[1].gid, GID_BYTES);
    keyring_make(&stranger);
    assert_fails(
        ref_open_roots(m->bytes.p, m->bytes.len, &stranger, &roots, &n, e),
        ERR_CORRUPT, "authentic");
    keyring_done(&stranger);
}

static void
nothing_of_it_can_be_read_without(void **state)
{
    struct made *m = *state;

    assert_null(memmem(m->bytes.p, m->bytes.len, "machine", 7));
    assert_null(memmem(m->bytes.p, m->bytes.len, m->roots[0].gid, GID_BYTES));
}

static void
every_bit_is_signed(void **state)
{
    struct made *m = *state;
    struct ref_head h;

    for (size_t i = 0; i < m->bytes.len * 8; i++) {
        struct err e = {0};
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (ref_open_head(m->bytes.p, m->bytes.len, m->name, &m->config, &h,
                          &e) == 0)
            fail_msg("bit %zu", i);
        m->bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < m->bytes.len; n++) {
        struct err e = {0};
        assert_int_equal(
            ref_open_head(m->bytes.p, n, m->name, &m->config, &h, &e), -1);
    }
}

/* Signed by a writer, but damaged all the same: the other functions must not
 * stumble over it. */
static void
every_function_takes_any_bytes(void **state)
{
    struct made *m = *state;

    for (size_t i = 0; i < m->bytes.len; i++) {
        CLEANUP(freep) struct ref_root *roots = NULL;
        CLEANUP(buf_done) struct buf body = buf_of(REF_BODY_MAX_BYTES);
        struct err e = {0};
        size_t n = 0;
        uint8_t old = m->bytes.p[i];
        m->bytes.p[i] ^= (uint8_t)(1 << i % 8);
        if (ref_open_roots(m->bytes.p, m->bytes.len, &m->keys, &roots, &n,
                           &e) == -1)
            err_clear(&e);
        if (ref_open_body(m->bytes.p, m->bytes.len, &m->keys, &body, &e) == -1)
            err_clear(&e);
        m->bytes.p[i] = old;
    }
}

static void
it_has_one_name(void **state)
{
    struct made *m = *state;
    struct ref_head h;
    char *digit = strrchr(m->name, '-') + 1;

    *digit = *digit == '0' ? '1' : '0';
    assert_fails(
        ref_open_head(m->bytes.p, m->bytes.len, m->name, &m->config, &h, e),
        ERR_CORRUPT, "of this name");
}

static void
strangers_signatures_do_not_count(void **state)
{
    struct made *m = *state;
    struct ref_head h;
    size_t body = m->bytes.len - SIGN_BYTES;
    uint8_t seed[SIGN_SEED_BYTES] = {1};

    sign_make(seed, m->bytes.p, body, m->bytes.p + body);
    assert_fails(
        ref_open_head(m->bytes.p, m->bytes.len, m->name, &m->config, &h, e),
        ERR_CORRUPT, "signature");
    config_done(&m->config);
    assert_fails(
        ref_open_head(m->bytes.p, m->bytes.len, m->name, &m->config, &h, e),
        ERR_CORRUPT, "does not know");
}

static void
limits_hold(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf out = buf_of(REF_MAX_BYTES);
    CLEANUP(freep) uint8_t *big = xcalloc(1, REF_BODY_MAX_BYTES + 1);

    assert_fails(ref_pack(&m->head, m->roots, 2, big, REF_BODY_MAX_BYTES + 1,
                          &m->keys, &m->config, &out, e),
                 ERR_LIMIT, "too large");
    assert_ok(ref_pack(&m->head, m->roots, 2, big, REF_BODY_MAX_BYTES, &m->keys,
                       &m->config, &out, e));
    m->head.name.ns++;
    assert_fails(
        ref_pack(&m->head, m->roots, 2, big, 1, &m->keys, &m->config, &out, e),
        ERR_KEY, "namespace");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_head_comes_back),
        TEST(either_secret_opens_the_body),
        TEST(no_other_key_opens_the_body),
        TEST(maintenance_reads_the_roots),
        TEST(nothing_of_it_can_be_read_without),
        TEST(every_bit_is_signed),
        TEST(every_function_takes_any_bytes),
        TEST(it_has_one_name),
        TEST(strangers_signatures_do_not_count),
        TEST(limits_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
