/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/tree.h"

#include "base/buf.h"
#include "check.h"
#include "crypto/hash.h"
#include "repo/volume.h"

#define MIB (UINT64_C(1) << 20)

static void
shapes_are_what_the_format_says(void **state)
{
    (void)state;
    assert_int_equal(tree_slots(0), 0);
    assert_int_equal(tree_levels(0), 0);
    assert_int_equal(tree_slots(1), 1);
    assert_int_equal(tree_levels(1), 0);
    assert_int_equal(tree_slots(8 * MIB), 1);
    assert_int_equal(tree_levels(8 * MIB), 0);
    assert_int_equal(tree_slots(8 * MIB + 1), 2);
    assert_int_equal(tree_levels(8 * MIB + 1), 1);
    assert_int_equal(tree_levels(1024 * MIB), 1);
    assert_int_equal(tree_levels(1024 * MIB + 1), 2);
    assert_int_equal(tree_levels(MIB << 20), 3);
    assert_int_equal(tree_levels(VOLUME_SIZE_MAX), NODE_LEVEL_MAX);
    assert_int_equal(tree_slots(VOLUME_SIZE_MAX), tree_slots_below(4));
}

/* What was stored, by level. */
struct stored {
    size_t nodes[NODE_LEVEL_MAX + 1];
    bool fail;
};

static int
store(void *cookie, struct node *n, uint8_t out_h[CAPABILITY_BYTES],
      struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(OBJECT_PLAIN_MAX);
    struct stored *s = cookie;

    if (s->fail)
        return err_set(e, ERR_STORE, "no");
    s->nodes[n->level]++;
    node_pack(n, &b);
    hash_sha256(b.p, b.len, out_h);
    return 0;
}

static void
add(struct tree_list *l, uint64_t index)
{
    uint8_t h[CAPABILITY_BYTES];

    memset(h, (int)(index % 255) + 1, sizeof(h));
    tree_list_add(l, index, h);
}

static void
no_slots_are_a_null_root(void **state)
{
    CLEANUP(tree_list_done) struct tree_list l = {0};
    struct stored s = {0};
    uint8_t h[CAPABILITY_BYTES], zero[CAPABILITY_BYTES] = {0};

    (void)state;
    memset(h, 1, sizeof(h));
    assert_ok(tree_build(&l, 4, NULL, store, &s, h, e));
    assert_memory_equal(h, zero, sizeof(h));
}

static void
a_single_slot_is_its_own_root(void **state)
{
    CLEANUP(tree_list_done) struct tree_list l = {0};
    struct stored s = {0};
    uint8_t h[CAPABILITY_BYTES], want[CAPABILITY_BYTES];

    (void)state;
    memset(want, 1, sizeof(want));
    add(&l, 0);
    assert_ok(tree_build(&l, 0, NULL, store, &s, h, e));
    assert_memory_equal(h, want, sizeof(h));
    assert_int_equal(s.nodes[1], 0);
}

static void
only_nodes_above_slots_are_stored(void **state)
{
    CLEANUP(tree_list_done) struct tree_list l = {0};
    struct stored s = {0};
    uint8_t h[CAPABILITY_BYTES];

    (void)state;
    add(&l, 0);
    add(&l, 127);
    add(&l, 128);
    add(&l, 128 * 128 * 50);
    add(&l, 128 * 128 * 127 + 128 * 127 + 127);
    assert_ok(tree_build(&l, 3, NULL, store, &s, h, e));
    assert_int_equal(s.nodes[1], 4);
    assert_int_equal(s.nodes[2], 3);
    assert_int_equal(s.nodes[3], 1);
}

static void
the_order_does_not_matter(void **state)
{
    uint8_t first[CAPABILITY_BYTES], second[CAPABILITY_BYTES];
    struct tree_list a = {0}, b = {0};
    struct stored s = {0};

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        add(&a, i * 3);
        add(&b, (999 - i) * 3);
    }
    assert_ok(tree_build(&a, 2, NULL, store, &s, first, e));
    assert_ok(tree_build(&b, 2, NULL, store, &s, second, e));
    assert_memory_equal(first, second, sizeof(first));
    tree_list_done(&a);
    tree_list_done(&b);
}

static void
the_position_does_matter(void **state)
{
    uint8_t first[CAPABILITY_BYTES], second[CAPABILITY_BYTES];
    uint8_t h[CAPABILITY_BYTES] = {1};
    struct tree_list a = {0}, b = {0};
    struct stored s = {0};

    (void)state;
    tree_list_add(&a, 1, h);
    tree_list_add(&b, 2, h);
    assert_ok(tree_build(&a, 1, NULL, store, &s, first, e));
    assert_ok(tree_build(&b, 1, NULL, store, &s, second, e));
    assert_memory_not_equal(first, second, sizeof(first));
    tree_list_done(&a);
    tree_list_done(&b);
}

static void
a_slot_twice_is_refused(void **state)
{
    CLEANUP(tree_list_done) struct tree_list l = {0};
    struct stored s = {0};
    uint8_t h[CAPABILITY_BYTES];

    (void)state;
    add(&l, 5);
    add(&l, 9);
    add(&l, 5);
    assert_fails(tree_build(&l, 1, NULL, store, &s, h, e), ERR_USAGE, "slot 5");
}

static void
failures_travel_up(void **state)
{
    CLEANUP(tree_list_done) struct tree_list l = {0};
    struct stored s = {.fail = true};
    uint8_t h[CAPABILITY_BYTES];

    (void)state;
    add(&l, 5);
    assert_fails(tree_build(&l, 1, NULL, store, &s, h, e), ERR_STORE, "no");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_what_the_format_says),
        cmocka_unit_test(no_slots_are_a_null_root),
        cmocka_unit_test(a_single_slot_is_its_own_root),
        cmocka_unit_test(only_nodes_above_slots_are_stored),
        cmocka_unit_test(the_order_does_not_matter),
        cmocka_unit_test(the_position_does_matter),
        cmocka_unit_test(a_slot_twice_is_refused),
        cmocka_unit_test(failures_travel_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
