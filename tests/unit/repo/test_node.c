/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/node.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "check.h"

static const uint8_t *
capability(int i)
{
    static uint8_t h[CAPABILITY_BYTES];

    memset(h, i, sizeof(h));
    return h;
}

/* A slot of two leaves: hole 3, data 16, hole 5, data 64, and a hole behind. */
static struct node *
slot(void)
{
    struct node *n = node_new(0);

    node_add_hole(n, 1);
    node_add_hole(n, 2);
    node_add_leaf(n, 16, capability(1));
    node_add_hole(n, 5);
    node_add_hole(n, 0);
    node_add_leaf(n, 64, capability(2));
    node_add_hole(n, 1960);
    return n;
}

static struct node *
inner(void)
{
    struct node *n = node_new(2);

    node_add_child(n, 0, capability(1));
    node_add_child(n, 5, capability(2));
    node_add_child(n, 127, capability(3));
    return n;
}

static struct buf
bytes_of(struct node *n)
{
    struct buf b = buf_of(OBJECT_PLAIN_MAX);

    node_pack(n, &b);
    node_free(n);
    return b;
}

static int
unpack(const uint8_t *p, size_t len, struct err *e)
{
    CLEANUP(node_freep) struct node *n = NULL;

    return node_unpack(p, len, &n, e);
}

static void
a_slot_comes_back(void **state)
{
    CLEANUP(buf_done) struct buf b = bytes_of(slot());
    CLEANUP(node_freep) struct node *n = NULL;

    (void)state;
    assert_int_equal(b.len, 12 + 4 * 4 + 2 * 32);
    assert_memory_equal(b.p, "\0\0\4\0\0\0\x80\0\0\0\0\0", 12);
    assert_memory_equal(b.p + 12, "\0\3\0\0\1\x10\0\0\1", 9);
    assert_ok(node_unpack(b.p, b.len, &n, e));
    assert_int_equal(n->level, 0);
    assert_int_equal(n->n, 4);
    assert_true(node_is_hole(&n->entries[0]));
    assert_int_equal(n->entries[0].blocks, 3);
    assert_int_equal(n->entries[1].blocks, 16);
    assert_memory_equal(n->entries[1].h, capability(1), CAPABILITY_BYTES);
    assert_int_equal(n->entries[2].blocks, 5);
    assert_int_equal(n->entries[3].blocks, 64);
}

static void
an_inner_node_comes_back(void **state)
{
    CLEANUP(buf_done) struct buf b = bytes_of(inner());
    CLEANUP(node_freep) struct node *n = NULL;

    (void)state;
    assert_int_equal(b.len, 12 + 128 * 32);
    assert_ok(node_unpack(b.p, b.len, &n, e));
    assert_int_equal(n->level, 2);
    assert_int_equal(n->n, 128);
    for (uint32_t i = 0; i < 128; i++)
        assert_int_equal(node_is_hole(&n->entries[i]),
                         i != 0 && i != 5 && i != 127);
    assert_memory_equal(n->entries[5].h, capability(2), CAPABILITY_BYTES);
}

/* Packing what was unpacked gives the same bytes, for whatever is accepted:
 * there is one encoding for one content. */
static void
what_is_accepted_is_canonical(void **state)
{
    struct buf all[] = {bytes_of(slot()), bytes_of(inner())};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        unsigned accepted = 0;
        for (size_t i = 0; i < all[k].len * 8; i++) {
            CLEANUP(node_freep) struct node *n = NULL;
            CLEANUP(buf_done) struct buf again = buf_of(OBJECT_PLAIN_MAX);
            struct err e = {0};
            all[k].p[i / 8] ^= (uint8_t)(1 << i % 8);
            if (node_unpack(all[k].p, all[k].len, &n, &e) == 0) {
                node_pack(n, &again);
                assert_int_equal(again.len, all[k].len);
                assert_memory_equal(again.p, all[k].p, again.len);
                accepted++;
            }
            all[k].p[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        assert_true(accepted > 100); /* bits of the capabilities */
        buf_done(&all[k]);
    }
}

static void
cut_short_or_too_long_is_refused(void **state)
{
    struct buf all[] = {bytes_of(slot()), bytes_of(inner())};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        for (size_t n = 0; n < all[k].len; n++)
            assert_fails(unpack(all[k].p, n, e), ERR_CORRUPT, "node");
        buf_u8(&all[k], 0);
        assert_fails(unpack(all[k].p, all[k].len, e), ERR_CORRUPT, "too many");
        buf_done(&all[k]);
    }
}

/* Bytes of a slot node with these (blocks << 8 | type) and leaves of h = 1. */
static struct buf
slot_of(const uint32_t *words, uint16_t n)
{
    struct buf b = buf_of(OBJECT_PLAIN_MAX);

    buf_u8(&b, 0);
    buf_u8(&b, 0);
    buf_le16(&b, n);
    buf_le64(&b, 8 << 20);
    for (uint16_t i = 0; i < n; i++) {
        buf_le32(&b, words[i]);
        if (words[i] & 0xff)
            buf_add(&b, capability(1), CAPABILITY_BYTES);
    }
    return b;
}

static void
other_encodings_are_refused(void **state)
{
    static const struct {
        uint32_t words[3];
        uint16_t n;
        enum err_code code;
        const char *text;
    } bad[] = {
        {{0x101, 0x100}, 2, ERR_CORRUPT, "hole"},        /* ends in a hole */
        {{0x100}, 1, ERR_CORRUPT, "hole"},               /* only a hole */
        {{0x100, 0x100, 0x101}, 3, ERR_CORRUPT, "hole"}, /* two that touch */
        {{0x000, 0x101}, 2, ERR_CORRUPT, "0 blocks"},
        {{0x001}, 1, ERR_CORRUPT, "0 blocks"},
        {{65 << 8 | 1}, 1, ERR_CORRUPT, "65 blocks"},
        {{2048 << 8, 0x101}, 2, ERR_CORRUPT, "1 blocks"}, /* past the end */
        {{2049 << 8, 0x101}, 2, ERR_CORRUPT, "2049 blocks"},
        {{0xffffff00, 0x101}, 2, ERR_CORRUPT, "blocks"},
        {{0x102}, 1, ERR_UNSUP, "type 2"},
        {{0x1ff}, 1, ERR_UNSUP, "type 255"},
        {{0}, 0, ERR_CORRUPT, "0 entries"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(buf_done) struct buf b = slot_of(bad[i].words, bad[i].n);
        assert_fails(unpack(b.p, b.len, e), bad[i].code, bad[i].text);
    }
}

static void
a_leaf_that_names_nothing_is_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = slot_of((const uint32_t[]){0x101}, 1);

    (void)state;
    memset(b.p + 16, 0, CAPABILITY_BYTES);
    assert_fails(unpack(b.p, b.len, e), ERR_CORRUPT, "hole");
}

static void
an_inner_node_does_not_end_in_a_hole(void **state)
{
    CLEANUP(buf_done) struct buf b = bytes_of(inner());

    (void)state;
    memset(b.p + b.len - CAPABILITY_BYTES, 0, CAPABILITY_BYTES);
    assert_fails(unpack(b.p, b.len, e), ERR_CORRUPT, "ends in a hole");
}

static void
an_inner_node_has_128_children_at_most(void **state)
{
    CLEANUP(buf_done) struct buf b = bytes_of(inner());

    (void)state;
    put_le16(b.p + 2, 129);
    buf_add(&b, capability(1), CAPABILITY_BYTES);
    assert_fails(unpack(b.p, b.len, e), ERR_CORRUPT, "129 children");
}

static void
a_full_slot_of_single_blocks_fits(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
    struct node_children list;
    struct node *n = node_new(0);

    (void)state;
    for (int i = 0; i < NODE_SLOT_BLOCKS; i++)
        node_add_leaf(n, 1, capability(1 + i % 255));
    node_pack(n, &b);
    node_children_pack(n, &children);
    node_free(n);
    assert_ok(buf_check(&b, "node", e));
    assert_ok(buf_check(&children, "children", e));
    assert_true(b.len + children.len <= OBJECT_PLAIN_MAX);
    assert_ok(unpack(b.p, b.len, e));
    assert_ok(node_children_unpack(children.p, children.len, &list, e));
    assert_int_equal(list.n, NODE_SLOT_BLOCKS);
}

static void
children_are_the_ids_of_what_is_no_hole(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(node_freep) struct node *n = inner();
    struct node_children list;
    struct object_name name;

    (void)state;
    node_children_pack(n, &b);
    assert_int_equal(b.len, 4 + 3 * GID_BYTES);
    assert_ok(node_children_unpack(b.p, b.len, &list, e));
    assert_int_equal(list.level, 2);
    assert_int_equal(list.n, 3);
    for (int i = 0; i < 3; i++) {
        object_name_of(capability(i + 1), &name);
        assert_memory_equal(list.gids + i * GID_BYTES, name.id, GID_BYTES);
    }
    for (size_t k = 0; k < b.len; k++)
        assert_fails(node_children_unpack(b.p, k, &list, e), ERR_CORRUPT,
                     "children");
    b.p[0] = NODE_LEVEL_MAX + 1;
    assert_fails(node_children_unpack(b.p, b.len, &list, e), ERR_CORRUPT,
                 "sense");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_comes_back),
        cmocka_unit_test(an_inner_node_comes_back),
        cmocka_unit_test(what_is_accepted_is_canonical),
        cmocka_unit_test(cut_short_or_too_long_is_refused),
        cmocka_unit_test(other_encodings_are_refused),
        cmocka_unit_test(a_leaf_that_names_nothing_is_refused),
        cmocka_unit_test(an_inner_node_does_not_end_in_a_hole),
        cmocka_unit_test(an_inner_node_has_128_children_at_most),
        cmocka_unit_test(a_full_slot_of_single_blocks_fits),
        cmocka_unit_test(children_are_the_ids_of_what_is_no_hole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
