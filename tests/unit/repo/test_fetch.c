/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/fetch.h"

#include "base/buf.h"
#include "check.h"
#include "repo/index.h"
#include "repo/keyring.h"
#include "repo/pack.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

enum { LEAF = 8192 };

struct made {
    struct keyring keys;
    struct store *mem, *st;
    struct index *index;
    struct fetch *fetch;
    struct sealer *sealer;
    struct pack *pack;
    char pack_name[NAME_MAX_LEN]; /* of the last that was stored */
    uint8_t out[64][LEAF];
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->mem = store_mem_new(NULL);
    m->st = store_fault_new(m->mem);
    m->index = index_new(m->st, &m->keys);
    m->fetch = fetch_new(m->st, &m->keys, m->index);
    m->sealer = sealer_new(&m->keys, 1);
    m->pack = pack_new();
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    pack_free(m->pack);
    sealer_free(m->sealer);
    fetch_free(m->fetch);
    index_free(m->index);
    store_close(m->st);
    store_close(m->mem);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

static void
leaf_bytes(unsigned i, uint8_t p[LEAF])
{
    fill_random(p, LEAF, i + 1);
}

static void
leaf_name(struct made *m, unsigned i, struct object_name *name)
{
    uint8_t p[LEAF];

    leaf_bytes(i, p);
    object_name(&m->keys, OBJECT_LEAF, p, LEAF, name);
}

static void
put_pack(struct made *m)
{
    struct segment_builder *b = segment_builder_new();
    uint64_t bytes = 0;

    pack_seal(m->pack, &m->keys);
    name_pack(m->pack->kind, m->pack->name, m->pack_name);
    assert_ok(store_put(m->mem, m->pack_name, m->pack->bytes, m->pack->len, e));
    segment_builder_add(b, m->pack);
    assert_ok(index_publish(m->index, b, 0, &bytes, e));
    segment_builder_free(b);
    store_fault_set(m->st, NULL); /* count from here */
}

/* Leaves first, first + 1... in one pack. */
static void
put_leaves(struct made *m, unsigned first, unsigned n)
{
    pack_reset(m->pack, PACK_DATA);
    for (unsigned i = first; i < first + n; i++) {
        struct object_name name;
        uint8_t p[LEAF];
        size_t len = 0;
        leaf_bytes(i, p);
        leaf_name(m, i, &name);
        const uint8_t *sealed =
            object_seal_leaf(m->sealer, &name, p, LEAF, &len);
        pack_add(m->pack, OBJECT_LEAF, name.id, LEAF, sealed, len);
    }
    put_pack(m);
}

static int
get_leaves(struct made *m, const unsigned *which, size_t n, size_t *failed,
           struct err *e)
{
    struct object_name names[64];
    struct fetch_leaf leaves[64];
    uint8_t want[LEAF];

    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++) {
        leaf_name(m, which[i], &names[i]);
        leaves[i] = (struct fetch_leaf){names[i].h, m->out[i], LEAF};
    }
    if (fetch_leaves(m->fetch, leaves, n, NULL, NULL, failed, e) == -1)
        return -1;
    for (size_t i = 0; i < n; i++) {
        leaf_bytes(which[i], want);
        assert_memory_equal(m->out[i], want, LEAF);
    }
    return 0;
}

static void
leaves_come_in_the_order_asked(void **state)
{
    struct made *m = *state;
    static const unsigned which[] = {7, 3, 15, 0, 3, 12};
    size_t failed = 0;

    put_leaves(m, 0, 10);
    put_leaves(m, 10, 10);
    assert_ok(get_leaves(m, which, ARRAY_LEN(which), &failed, e));
    assert_ok(get_leaves(m, which, 0, &failed, e));
}

static void
neighbours_are_read_at_once(void **state)
{
    struct made *m = *state;
    unsigned which[60];
    size_t failed = 0;

    for (unsigned i = 0; i < 60; i++)
        which[i] = 59 - i;
    put_leaves(m, 0, 60);
    assert_ok(get_leaves(m, which, 60, &failed, e));
    assert_int_equal(store_fault_count(m->st), 1);
    assert_ok(get_leaves(m, which, 60, &failed, e)); /* and kept */
    assert_int_equal(store_fault_count(m->st), 1);
}

static void
the_one_that_fails_is_named(void **state)
{
    struct made *m = *state;
    static const unsigned which[] = {4, 5, 99, 6};
    size_t failed = 0;

    put_leaves(m, 0, 10);
    assert_fails(get_leaves(m, which, 4, &failed, e), ERR_CORRUPT,
                 "in no index");
    assert_int_equal(failed, 2);
}

/* Flip a bit of the sealed bytes of the pack's i-th object. */
static void
damage(struct made *m, unsigned i)
{
    CLEANUP(freep) uint8_t *copy = xmemdup(m->pack->bytes, m->pack->len);

    copy[m->pack->entries[i].offset + 20] ^= 1;
    assert_int_equal(
        store_mem_replace(m->mem, m->pack_name, copy, m->pack->len), 1);
}

static void
damage_is_found_and_located(void **state)
{
    struct made *m = *state;
    static const unsigned which[] = {0, 1, 2, 3};
    size_t failed = 0;

    put_leaves(m, 0, 4);
    damage(m, 2);
    assert_fails(get_leaves(m, which, 4, &failed, e), ERR_CORRUPT,
                 m->pack_name);
    assert_int_equal(failed, 2);
    assert_ok(get_leaves(m, (const unsigned[]){0, 1, 3}, 3, &failed, e));
}

static void
damage_on_the_way_is_not_kept(void **state)
{
    struct made *m = *state;
    size_t failed = 0;

    put_leaves(m, 0, 4);
    store_fault_set(m->st, &(struct store_fault){.at = 1,
                                                 .ops = STORE_OP_GET,
                                                 .what = STORE_FAULT_FLIP,
                                                 .bit = 1000});
    assert_fails(get_leaves(m, (const unsigned[]){0}, 1, &failed, e),
                 ERR_CORRUPT, "authentic");
    assert_ok(get_leaves(m, (const unsigned[]){0}, 1, &failed, e));
}

static void
a_second_copy_serves(void **state)
{
    struct made *m = *state;
    static const unsigned which[] = {0, 1, 2, 3};
    size_t failed = 0;

    put_leaves(m, 0, 4);
    put_leaves(m, 0, 4);
    damage(m, 1); /* of the newer copy, which is tried first */
    assert_ok(get_leaves(m, which, 4, &failed, e));
    assert_ok(store_remove(m->mem, m->pack_name, e));
    fetch_free(m->fetch);
    m->fetch = fetch_new(m->st, &m->keys, m->index);
    assert_ok(get_leaves(m, which, 4, &failed, e));
}

static void
a_missing_pack_is_damage(void **state)
{
    struct made *m = *state;
    size_t failed = 0;

    put_leaves(m, 0, 4);
    assert_ok(store_remove(m->mem, m->pack_name, e));
    assert_fails(get_leaves(m, (const unsigned[]){0}, 1, &failed, e),
                 ERR_CORRUPT, m->pack_name);
}

/* Of many places of an object, all but the oldest are gone: it is found. */
static void
dead_places_hide_none(void **state)
{
    struct made *m = *state;
    char names[3 * INDEX_MAX_LOCATIONS][NAME_MAX_LEN];
    const unsigned which[] = {0, 1};
    size_t failed = 9;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        put_leaves(m, 0, 2);
        memcpy(names[i], m->pack_name, NAME_MAX_LEN);
    }
    for (size_t i = 1; i < ARRAY_LEN(names); i++)
        assert_ok(store_remove(m->mem, names[i], e));
    assert_ok(get_leaves(m, which, 2, &failed, e));
    assert_ok(store_remove(m->mem, names[0], e));
    fetch_free(m->fetch);
    m->fetch = fetch_new(m->st, &m->keys, m->index);
    assert_fails(get_leaves(m, which, 2, &failed, e), ERR_CORRUPT, "object");
}

/* Maintenance moved the objects to another pack: a reader that has an old
 * index looks again. */
static void
a_moved_object_is_found(void **state)
{
    struct made *m = *state;
    struct index *old = index_new(m->st, &m->keys);
    struct fetch *f = fetch_new(m->st, &m->keys, old);
    char first[NAME_MAX_LEN];
    size_t failed = 0;

    put_leaves(m, 0, 4);
    memcpy(first, m->pack_name, sizeof(first));
    assert_ok(index_refresh(old, e));
    put_leaves(m, 0, 4);
    assert_ok(store_remove(m->mem, first, e));
    fetch_free(m->fetch);
    m->fetch = f;
    assert_ok(get_leaves(m, (const unsigned[]){0, 1, 2, 3}, 4, &failed, e));
    fetch_free(f);
    index_free(old);
    m->fetch = fetch_new(m->st, &m->keys, m->index);
}

static void
storage_failures_are_no_damage(void **state)
{
    struct made *m = *state;
    size_t failed = 0;

    put_leaves(m, 0, 4);
    store_fault_set(m->st, &(struct store_fault){.at = 1, .ops = STORE_OP_GET});
    assert_fails(get_leaves(m, (const unsigned[]){0}, 1, &failed, e), ERR_STORE,
                 "object");
}

/* ---- nodes ----------------------------------------------------------- */

/* A slot node with one leaf, stored; its capability. */
static void
put_nodes(struct made *m, unsigned n, uint8_t h[][CAPABILITY_BYTES])
{
    pack_reset(m->pack, PACK_META);
    for (unsigned i = 0; i < n; i++) {
        CLEANUP(node_freep) struct node *node = node_new(0);
        CLEANUP(buf_done) struct buf entries = buf_of(OBJECT_PLAIN_MAX);
        CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
        struct object_name name;
        uint8_t leaf[CAPABILITY_BYTES];
        size_t len = 0;
        memset(leaf, (int)i % 255 + 1, sizeof(leaf));
        node_add_hole(node, i);
        node_add_leaf(node, 2, leaf);
        node_pack(node, &entries);
        node_children_pack(node, &children);
        object_name(&m->keys, OBJECT_NODE, entries.p, entries.len, &name);
        const uint8_t *sealed =
            object_seal_node(m->sealer, &name, children.p, children.len,
                             entries.p, entries.len, &len);
        pack_add(m->pack, OBJECT_NODE, name.id, entries.len, sealed, len);
        memcpy(h[i], name.h, CAPABILITY_BYTES);
    }
    put_pack(m);
}

static void
nodes_are_kept_open(void **state)
{
    struct made *m = *state;
    enum { N = FETCH_NODES + 100 };
    static uint8_t h[N][CAPABILITY_BYTES];
    struct fetched_node *n = NULL, *first = NULL;

    put_nodes(m, N, h);
    assert_ok(fetch_node(m->fetch, h[0], 0, &first, e));
    for (unsigned i = 0; i < N; i++) {
        assert_ok(fetch_node(m->fetch, h[i], 0, &n, e));
        const struct node *node = fetched_node(n);
        assert_int_equal(node->n, i ? 2 : 1);
        assert_int_equal(node->entries[node->n - 1].blocks, 2);
        fetch_node_put(m->fetch, n);
    }
    assert_int_equal(fetched_node(first)->n, 1); /* ours: never evicted */
    fetch_node_put(m->fetch, first);
    fetch_node_put(m->fetch, NULL);
    assert_int_equal(store_fault_count(m->st), 1); /* all in one read */
}

static void
a_node_of_another_level_is_refused(void **state)
{
    struct made *m = *state;
    struct fetched_node *n = NULL;
    uint8_t h[1][CAPABILITY_BYTES];

    put_nodes(m, 1, h);
    assert_fails(fetch_node(m->fetch, h[0], 1, &n, e), ERR_CORRUPT, "level");
    assert_ok(fetch_node(m->fetch, h[0], 0, &n, e));
    fetch_node_put(m->fetch, n);
}

static void
a_leaf_is_no_node(void **state)
{
    struct made *m = *state;
    struct fetched_node *n = NULL;
    struct object_name name;

    put_leaves(m, 0, 1);
    leaf_name(m, 0, &name);
    assert_fails(fetch_node(m->fetch, name.h, 0, &n, e), ERR_CORRUPT, "type");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(leaves_come_in_the_order_asked),
        TEST(neighbours_are_read_at_once),
        TEST(the_one_that_fails_is_named),
        TEST(damage_is_found_and_located),
        TEST(damage_on_the_way_is_not_kept),
        TEST(a_second_copy_serves),
        TEST(a_missing_pack_is_damage),
        TEST(dead_places_hide_none),
        TEST(a_moved_object_is_found),
        TEST(storage_failures_are_no_damage),
        TEST(nodes_are_kept_open),
        TEST(a_node_of_another_level_is_refused),
        TEST(a_leaf_is_no_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
