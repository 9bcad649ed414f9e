/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/object.h"

#include "base/buf.h"
#include "check.h"
#include "crypto/hash.h"
#include "repo/keyring.h"

enum { LEN = 20000 };

struct made {
    struct keyring keys;
    struct sealer *sealer;
    uint8_t plain[LEN], out[LEN];
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->sealer = sealer_new(&m->keys, 1);
    fill_random(m->plain, LEN, 5);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    sealer_free(m->sealer);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

static void
a_name_depends_on_key_type_and_bytes_only(void **state)
{
    struct made *m = *state;
    struct object_name a, b;
    struct keyring other;

    object_name(&m->keys, OBJECT_LEAF, m->plain, LEN, &a);
    object_name(&m->keys, OBJECT_LEAF, m->plain, LEN, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    object_name_of(a.h, &b);
    assert_memory_equal(&a, &b, sizeof(a));

    object_name(&m->keys, OBJECT_NODE, m->plain, LEN, &b);
    assert_memory_not_equal(a.h, b.h, sizeof(a.h));
    object_name(&m->keys, OBJECT_LEAF, m->plain, LEN - 1, &b);
    assert_memory_not_equal(a.h, b.h, sizeof(a.h));
    keyring_make(&other);
    object_name(&other, OBJECT_LEAF, m->plain, LEN, &b);
    assert_memory_not_equal(a.h, b.h, sizeof(a.h));
    keyring_done(&other);
}

static void
a_name_is_what_the_format_says(void **state)
{
    struct made *m = *state;
    struct object_name a;
    uint8_t h[32], both[64];

    object_name(&m->keys, OBJECT_LEAF, m->plain, LEN, &a);
    hash_keyed(m->keys.id_key, 1, m->plain, LEN, h);
    hash_derive(h, "vmkeep object 1", 15, both);
    assert_memory_equal(a.h, h, 32);
    assert_memory_equal(a.id, both, 32);
    assert_memory_equal(a.key, both + 32, 32);
}

/* A copy of what was sealed, as the sealer's own memory is used again. */
static uint8_t *
sealed_leaf(struct made *m, struct object_name *name, size_t *len)
{
    object_name(&m->keys, OBJECT_LEAF, m->plain, LEN, name);
    const uint8_t *sealed =
        object_seal_leaf(m->sealer, name, m->plain, LEN, len);
    return xmemdup(sealed, *len);
}

static void
a_leaf_comes_back(void **state)
{
    struct made *m = *state;
    struct object_name name, again;
    size_t len = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_leaf(m, &name, &len);

    assert_true(len < LEN);
    object_name_of(name.h, &again); /* the capability is enough */
    assert_ok(object_open_leaf(m->sealer, &again, sealed, len, m->out, LEN, e));
    assert_memory_equal(m->out, m->plain, LEN);
    assert_ok(
        object_verify_leaf(m->sealer, &name, sealed, len, m->plain, LEN, e));
}

static void
the_largest_leaf_that_does_not_compress_fits(void **state)
{
    struct made *m = *state;
    CLEANUP(freep) uint8_t *big = xmalloc(OBJECT_PLAIN_MAX);
    CLEANUP(freep) uint8_t *out = xmalloc(OBJECT_PLAIN_MAX);
    struct object_name name;
    size_t len = 0;
    uint64_t s = 9;

    for (size_t i = 0; i < OBJECT_PLAIN_MAX; i++) {
        s ^= s << 13, s ^= s >> 7, s ^= s << 17;
        big[i] = (uint8_t)(s >> 30);
    }
    object_name(&m->keys, OBJECT_LEAF, big, OBJECT_PLAIN_MAX, &name);
    const uint8_t *sealed =
        object_seal_leaf(m->sealer, &name, big, OBJECT_PLAIN_MAX, &len);
    assert_true(len <= OBJECT_PLAIN_MAX + OBJECT_OVERHEAD);
    assert_ok(object_open_leaf(m->sealer, &name, sealed, len, out,
                               OBJECT_PLAIN_MAX, e));
    assert_memory_equal(out, big, OBJECT_PLAIN_MAX);
}

static void
no_bit_of_a_leaf_can_be_changed(void **state)
{
    struct made *m = *state;
    struct object_name name;
    size_t len = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_leaf(m, &name, &len);

    for (size_t i = 0; i < len; i++) {
        uint8_t bit = (uint8_t)(1 << i % 8);
        sealed[i] ^= bit;
        assert_fails(
            object_open_leaf(m->sealer, &name, sealed, len, m->out, LEN, e),
            ERR_CORRUPT, "authentic");
        sealed[i] ^= bit;
    }
    for (size_t n = 0; n < len; n += 97)
        assert_fails(
            object_open_leaf(m->sealer, &name, sealed, n, m->out, LEN, e),
            ERR_CORRUPT, "");
    assert_fails(
        object_open_leaf(m->sealer, &name, sealed, SIZE_MAX, m->out, LEN, e),
        ERR_CORRUPT, "bytes");
}

static void
a_leaf_of_another_length_is_refused(void **state)
{
    struct made *m = *state;
    struct object_name name;
    size_t len = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_leaf(m, &name, &len);
    CLEANUP(freep) uint8_t *more = xmalloc(LEN + 4096);

    assert_fails(
        object_open_leaf(m->sealer, &name, sealed, len, m->out, LEN - 1, e),
        ERR_CORRUPT, "at most");
    assert_fails(
        object_open_leaf(m->sealer, &name, sealed, len, more, LEN + 4096, e),
        ERR_CORRUPT, "not 24096");
}

/* A writer that knows the keys stores other bytes under a name. */
static void
a_lie_about_the_content_is_found(void **state)
{
    struct made *m = *state;
    struct object_name name;
    uint8_t lie[LEN] = {1, 2, 3};
    size_t len = 0;

    object_name(&m->keys, OBJECT_LEAF, m->plain, LEN, &name);
    const uint8_t *sealed = object_seal_leaf(m->sealer, &name, lie, LEN, &len);
    CLEANUP(freep) uint8_t *copy = xmemdup(sealed, len);
    assert_fails(object_open_leaf(m->sealer, &name, copy, len, m->out, LEN, e),
                 ERR_CORRUPT, "its name says");
}

static void
verifying_compares_with_the_source(void **state)
{
    struct made *m = *state;
    struct object_name name;
    size_t len = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_leaf(m, &name, &len);

    m->plain[LEN - 1] ^= 1; /* a bit flipped in memory after it was sealed */
    assert_fails(
        object_verify_leaf(m->sealer, &name, sealed, len, m->plain, LEN, e),
        ERR_CORRUPT, "memory");
    m->plain[LEN - 1] ^= 1;
    sealed[len / 2] ^= 1;
    assert_fails(
        object_verify_leaf(m->sealer, &name, sealed, len, m->plain, LEN, e),
        ERR_CORRUPT, "memory");
}

static uint8_t *
sealed_node(struct made *m, struct object_name *name, size_t *len)
{
    object_name(&m->keys, OBJECT_NODE, m->plain, 3000, name);
    const uint8_t *sealed = object_seal_node(m->sealer, name, "the children",
                                             12, m->plain, 3000, len);
    return xmemdup(sealed, *len);
}

static void
a_node_comes_back_in_two_parts(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf children = buf_of(1000);
    struct object_name name;
    const uint8_t *entries = NULL;
    size_t len = 0, n = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_node(m, &name, &len);

    assert_ok(object_open_node(m->sealer, &name, sealed, len, &entries, &n, e));
    assert_int_equal(n, 3000);
    assert_memory_equal(entries, m->plain, 3000);
    assert_ok(
        object_open_children(&m->keys, name.id, sealed, len, &children, e));
    assert_int_equal(children.len, 12);
    assert_memory_equal(children.p, "the children", 12);
    assert_ok(object_verify_node(m->sealer, &name, sealed, len, "the children",
                                 12, e));
    assert_fails(object_verify_node(m->sealer, &name, sealed, len,
                                    "the Children", 12, e),
                 ERR_CORRUPT, "memory");
}

/* Every byte is covered by one part or the other. */
static void
no_bit_of_a_node_can_be_changed(void **state)
{
    struct made *m = *state;
    struct object_name name;
    size_t len = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_node(m, &name, &len);

    for (size_t i = 0; i < len * 8; i++) {
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_fails(object_verify_node(m->sealer, &name, sealed, len,
                                        "the children", 12, e),
                     ERR_CORRUPT, "");
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < len; n++)
        assert_fails(object_verify_node(m->sealer, &name, sealed, n,
                                        "the children", 12, e),
                     ERR_CORRUPT, "");
}

/* Maintenance has K_meta and the id: that opens the children only. */
static void
the_id_does_not_open_the_entries(void **state)
{
    struct made *m = *state;
    struct object_name name, guess;
    uint8_t derived[64];
    const uint8_t *entries = NULL;
    size_t len = 0, n = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_node(m, &name, &len);

    guess = name;
    keyring_derive(&m->keys, "node children", name.id, sizeof(name.id),
                   derived);
    memcpy(guess.key, derived, sizeof(guess.key));
    assert_fails(
        object_open_node(m->sealer, &guess, sealed, len, &entries, &n, e),
        ERR_CORRUPT, "authentic");
}

/* The first part of one node does not pass for another's. */
static void
parts_are_bound_to_their_node(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf children = buf_of(1000);
    struct object_name name, other;
    size_t len = 0;
    CLEANUP(freep) uint8_t *sealed = sealed_node(m, &name, &len);

    object_name(&m->keys, OBJECT_NODE, "other", 5, &other);
    assert_fails(
        object_open_children(&m->keys, other.id, sealed, len, &children, e),
        ERR_CORRUPT, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_name_depends_on_key_type_and_bytes_only),
        TEST(a_name_is_what_the_format_says),
        TEST(a_leaf_comes_back),
        TEST(the_largest_leaf_that_does_not_compress_fits),
        TEST(no_bit_of_a_leaf_can_be_changed),
        TEST(a_leaf_of_another_length_is_refused),
        TEST(a_lie_about_the_content_is_found),
        TEST(verifying_compares_with_the_source),
        TEST(a_node_comes_back_in_two_parts),
        TEST(no_bit_of_a_node_can_be_changed),
        TEST(the_id_does_not_open_the_entries),
        TEST(parts_are_bound_to_their_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
