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

/* Parts: 5 blocks of leaf 1 (of 20, from its 3rd), 10 of leaf 2, the 4 of leaf
 * 1 behind a gap, all of leaf 2 again, and a hole. */
static struct node *
parts(void)
{
    struct node *n = node_new(0);

    assert_true(node_add_part(n, 2, capability(1), 3, 20));
    assert_true(node_add_part(n, 3, capability(1), 5, 20)); /* goes on */
    assert_true(node_add_part(n, 10, capability(2), 0, 10));
    assert_true(node_add_part(n, 4, capability(1), 9, 20));
    assert_true(node_add_part(n, 10, capability(2), 0, 10));
    node_add_hole(n, 5);
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
    struct buf all[] = {bytes_of(slot()), bytes_of(parts()), bytes_of(inner())};

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
    struct buf all[] = {bytes_of(slot()), bytes_of(parts()), bytes_of(inner())};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        for (size_t n = 0; n < all[k].len; n++)
            assert_fails(unpack(all[k].p, n, e), ERR_CORRUPT, "node");
        buf_u8(&all[k], 0);
        assert_fails(unpack(all[k].p, all[k].len, e), ERR_CORRUPT, "too many");
        buf_done(&all[k]);
    }
}

static void
parts_of_leaves_come_back(void **state)
{
    CLEANUP(buf_done) struct buf b = bytes_of(parts());
    CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(node_freep) struct node *n = NULL;
    struct node_children list;
    struct object_name name;
    struct node_use use;

    (void)state;
    assert_int_equal(b.len, 12 + (4 + 34) + (4 + 32) + 7 + 7);
    assert_memory_equal(b.p + 12, "\2\5\0\0\1\1", 6);
    assert_memory_equal(b.p + 12 + 36, "\3\x14\1\x0a\0\0\2", 7);
    assert_memory_equal(b.p + b.len - 14, "\3\4\0\0\0\0\x09", 7);
    assert_memory_equal(b.p + b.len - 7, "\3\x0a\0\0\1\0\0", 7);
    assert_ok(node_unpack(b.p, b.len, &n, e));
    assert_int_equal(n->n, 4);
    assert_int_equal(n->n_leaves, 2);
    assert_int_equal(n->entries[2].leaf, 0);
    assert_int_equal(n->entries[2].first, 9);
    assert_int_equal(n->entries[2].leaf_blocks, 20);
    assert_memory_equal(n->entries[2].h, capability(1), CAPABILITY_BYTES);
    assert_false(node_is_whole(&n->entries[2]));
    assert_true(node_is_whole(&n->entries[3]));
    assert_ptr_equal(node_leaf(n, 1), &n->entries[1]);
    node_use(n, &use);
    assert_int_equal(use.held, 30);
    assert_int_equal(use.used, 5 + 10 + 4);

    /* Maintenance sees each leaf once. */
    node_children_pack(n, &children);
    assert_ok(node_children_unpack(children.p, children.len, &list, e));
    assert_int_equal(list.n, 2);
    for (int i = 0; i < 2; i++) {
        object_name_of(capability(i + 1), &name);
        assert_memory_equal(list.gids + i * GID_BYTES, name.id, GID_BYTES);
    }
}

static void
a_leaf_has_one_length(void **state)
{
    CLEANUP(node_freep) struct node *n = parts();
    uint32_t before = n->n;

    (void)state;
    assert_false(node_add_part(n, 1, capability(1), 0, 21));
    assert_int_equal(n->n, before);
}

struct entry {
    uint32_t type, blocks;
    int leaf; /* h if the type is 1 or 2, else a number */
    uint8_t first, whole;
};

/* Bytes of a slot node with these. */
static struct buf
slot_of(const struct entry *entries, uint16_t n)
{
    struct buf b = buf_of(OBJECT_PLAIN_MAX);

    buf_u8(&b, 0);
    buf_u8(&b, 0);
    buf_le16(&b, n);
    buf_le64(&b, 8 << 20);
    for (uint16_t i = 0; i < n; i++) {
        uint32_t type = entries[i].type;
        buf_le32(&b, entries[i].blocks << 8 | type);
        if (type == 1 || type == 2)
            buf_add(&b, capability(entries[i].leaf), CAPABILITY_BYTES);
        if (type == 3)
            buf_le16(&b, (uint16_t)entries[i].leaf);
        if (type == 2 || type == 3)
            buf_u8(&b, entries[i].first);
        if (type == 2)
            buf_u8(&b, entries[i].whole);
    }
    return b;
}

static void
other_encodings_are_refused(void **state)
{
    static const struct {
        struct entry entries[4];
        uint16_t n;
        enum err_code code;
        const char *text;
    } bad[] = {
        {{{1, 1, 1, 0, 0}, {0, 1, 0, 0, 0}},
         2,
         ERR_CORRUPT,
         "hole"},                                    /* ends in a hole */
        {{{0, 1, 0, 0, 0}}, 1, ERR_CORRUPT, "hole"}, /* only a hole */
        {{{0, 1, 0, 0, 0}, {0, 1, 0, 0, 0}, {1, 1, 1, 0, 0}},
         3,
         ERR_CORRUPT,
         "hole"}, /* touch */
        {{{0, 0, 0, 0, 0}, {1, 1, 1, 0, 0}}, 2, ERR_CORRUPT, "0 blocks"},
        {{{1, 0, 1, 0, 0}}, 1, ERR_CORRUPT, "0 blocks"},
        {{{1, 65, 1, 0, 0}}, 1, ERR_CORRUPT, "65 blocks"},
        {{{0, 2048, 0, 0, 0}, {1, 1, 1, 0, 0}},
         2,
         ERR_CORRUPT,
         "1 blocks"}, /* past the end */
        {{{0, 2049, 0, 0, 0}, {1, 1, 1, 0, 0}}, 2, ERR_CORRUPT, "2049 blocks"},
        {{{0, 0xffffff, 0, 0, 0}, {1, 1, 1, 0, 0}}, 2, ERR_CORRUPT, "blocks"},
        {{{4, 1, 0, 0, 0}}, 1, ERR_UNSUP, "type 4"},
        {{{255, 1, 0, 0, 0}}, 1, ERR_UNSUP, "type 255"},
        {{{0, 0, 0, 0, 0}}, 0, ERR_CORRUPT, "0 entries"},
        /* Parts: outside of their leaf, empty, all of it. */
        {{{2, 5, 1, 6, 10}}, 1, ERR_CORRUPT, "5 blocks from block 6"},
        {{{2, 5, 1, 255, 10}}, 1, ERR_CORRUPT, "from block 255"},
        {{{2, 0, 1, 1, 10}}, 1, ERR_CORRUPT, "0 blocks"},
        {{{2, 5, 1, 0, 0}}, 1, ERR_CORRUPT, "of a leaf of 0"},
        {{{2, 60, 1, 1, 65}}, 1, ERR_CORRUPT, "of a leaf of 65"},
        {{{2, 200, 1, 0, 255}}, 1, ERR_CORRUPT, "200 blocks"},
        {{{2, 10, 1, 0, 10}}, 1, ERR_CORRUPT, "10 blocks from block 0"},
        /* Leaves that were not named, or are once more. */
        {{{3, 1, 0, 0, 0}}, 1, ERR_CORRUPT, "leaf 0, of 0"},
        {{{1, 9, 1, 0, 0}, {3, 1, 1, 0, 0}}, 2, ERR_CORRUPT, "leaf 1, of 1"},
        {{{1, 9, 1, 0, 0}, {3, 1, 65535, 0, 0}}, 2, ERR_CORRUPT, "leaf 65535"},
        {{{1, 9, 1, 0, 0}, {1, 9, 1, 0, 0}}, 2, ERR_CORRUPT, "again"},
        {{{1, 9, 1, 0, 0}, {2, 5, 1, 0, 9}}, 2, ERR_CORRUPT, "again"},
        {{{2, 5, 1, 0, 9}, {1, 9, 1, 0, 0}}, 2, ERR_CORRUPT, "again"},
        {{{1, 9, 1, 0, 0}, {3, 5, 0, 5, 0}},
         2,
         ERR_CORRUPT,
         "5 blocks from block 5"},
        {{{1, 9, 1, 0, 0}, {3, 65, 0, 0, 0}}, 2, ERR_CORRUPT, "65 blocks"},
        /* What goes on is one. */
        {{{2, 5, 1, 0, 9}, {3, 4, 0, 5, 0}}, 2, ERR_CORRUPT, "before it"},
        {{{1, 9, 1, 0, 0}, {3, 2, 0, 3, 0}, {3, 2, 0, 5, 0}},
         3,
         ERR_CORRUPT,
         "before it"},
        /* More than twice what is used. */
        {{{2, 4, 1, 0, 9}}, 1, ERR_CORRUPT, "hold 9 blocks, and it uses 4"},
        {{{2, 4, 1, 0, 9}, {0, 1, 0, 0, 0}, {3, 4, 0, 0, 0}},
         3,
         ERR_CORRUPT,
         "hold 9 blocks, and it uses 4"},
    };
    static const struct entry good[] = {
        {2, 4, 1, 0, 9}, {0, 1, 0, 0, 0}, {3, 4, 0, 5, 0}, {3, 9, 0, 0, 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(buf_done)
        struct buf b = slot_of(bad[i].entries, bad[i].n);
        assert_fails(unpack(b.p, b.len, e), bad[i].code, bad[i].text);
    }
    CLEANUP(buf_done) struct buf b = slot_of(good, ARRAY_LEN(good));
    assert_ok(unpack(b.p, b.len, e));
}

/* The most that a slot can name: every other block of as many leaves as there
 * is room for, all of which a table wants in one place. */
static void
as_many_parts_as_can_be(void **state)
{
    CLEANUP(buf_done) struct buf b = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(buf_done) struct buf again = buf_of(OBJECT_PLAIN_MAX);
    CLEANUP(node_freep) struct node *n = node_new(0);
    CLEANUP(node_freep) struct node *got = NULL;
    uint8_t h[CAPABILITY_BYTES] = {7, 7};

    (void)state;
    for (uint32_t i = 0; i < NODE_SLOT_BLOCKS; i++) {
        put_le32(h + 20, i);
        assert_true(node_add_part(n, 1, h, i % 2, 2));
    }
    node_pack(n, &b);
    assert_ok(buf_check(&b, "node", e));
    assert_ok(node_unpack(b.p, b.len, &got, e));
    assert_int_equal(got->n_leaves, NODE_SLOT_BLOCKS);
    node_pack(got, &again);
    assert_int_equal(again.len, b.len);
    assert_memory_equal(again.p, b.p, b.len);
}

static void
a_leaf_that_names_nothing_is_refused(void **state)
{
    CLEANUP(buf_done)
    struct buf b = slot_of((const struct entry[]){{1, 1, 1, 0, 0}}, 1);

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
    for (uint32_t i = 0; i < NODE_SLOT_BLOCKS; i++) {
        uint8_t h[CAPABILITY_BYTES] = {1};
        put_le32(h + 4, i);
        node_add_leaf(n, 1, h);
    }
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
        cmocka_unit_test(parts_of_leaves_come_back),
        cmocka_unit_test(a_leaf_has_one_length),
        cmocka_unit_test(other_encodings_are_refused),
        cmocka_unit_test(as_many_parts_as_can_be),
        cmocka_unit_test(a_leaf_that_names_nothing_is_refused),
        cmocka_unit_test(an_inner_node_does_not_end_in_a_hole),
        cmocka_unit_test(an_inner_node_has_128_children_at_most),
        cmocka_unit_test(a_full_slot_of_single_blocks_fits),
        cmocka_unit_test(children_are_the_ids_of_what_is_no_hole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
