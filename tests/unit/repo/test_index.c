/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/index.h"

#include "base/buf.h"
#include "packs.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

struct made {
    struct keyring keys;
    struct store *st;
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->st = store_mem_new(NULL);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    store_close(m->st);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

static int
publish(struct made *m, struct index *x, uint64_t first, uint32_t n,
        struct err *e)
{
    struct pack *p = make_pack(&m->keys, PACK_DATA, first, n);
    struct segment_builder *b = segment_builder_new();
    uint64_t bytes = 0;

    segment_builder_add(b, p);
    int rc = index_publish(x, b, (int64_t)first, &bytes, e);
    if (rc == 0)
        assert_true(bytes > n * 28);
    segment_builder_free(b);
    pack_free(p);
    return rc;
}

static size_t
places(struct index *x, uint64_t i)
{
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];

    make_id(i, id);
    return index_find(x, id, at);
}

static size_t
all_places(struct index *x, uint64_t i)
{
    CLEANUP(freep) struct location *at = NULL;
    uint8_t id[OBJECT_ID_BYTES];

    make_id(i, id);
    return index_find_all(x, id, &at);
}

static void
what_is_published_is_found_by_all(void **state)
{
    struct made *m = *state;
    struct index *a = index_new(m->st, &m->keys);
    struct index *b = index_new(m->st, &m->keys);

    assert_ok(publish(m, a, 0, 10, e));
    assert_int_equal(places(a, 9), 1);
    assert_int_equal(places(a, 10), 0);
    assert_int_equal(places(b, 9), 0);
    assert_ok(index_refresh(b, e));
    assert_int_equal(places(b, 9), 1);

    assert_ok(publish(m, b, 10, 10, e)); /* and the other way */
    assert_int_equal(places(a, 15), 0);
    assert_ok(index_refresh(a, e));
    assert_int_equal(places(a, 15), 1);
    assert_ok(index_refresh(a, e)); /* nothing is loaded twice */
    assert_int_equal(places(a, 15), 1);
    assert_int_equal(places(a, 5), 1);
    index_free(a);
    index_free(b);
    index_free(NULL);
}

static void
an_object_may_be_in_several_packs(void **state)
{
    struct made *m = *state;
    struct index *x = index_new(m->st, &m->keys);

    for (int i = 1; i <= INDEX_MAX_LOCATIONS + 1; i++) {
        assert_ok(publish(m, x, 0, 3, e));
        assert_int_equal(places(x, 1),
                         i < INDEX_MAX_LOCATIONS ? i : INDEX_MAX_LOCATIONS);
        assert_int_equal(all_places(x, 1), i);
    }
    for (int i = 0; i < 100; i++)
        assert_ok(publish(m, x, 0, 3, e));
    assert_int_equal(all_places(x, 1), INDEX_MAX_LOCATIONS + 1 + 100);
    index_free(x);
}

static int
note_name(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    (void)stat;
    (void)e;
    memcpy(cookie, name, strlen(name) + 1);
    return 0;
}

static void
a_damaged_segment_is_left_out_and_named(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf bytes = buf_of(1 << 20);
    struct index *x = index_new(m->st, &m->keys);
    char name[NAME_MAX_LEN], why[ERR_MSG_MAX];

    assert_ok(publish(m, x, 0, 10, e));
    assert_ok(store_list(m->st, "index/d/", note_name, name, e));
    index_free(x);
    assert_ok(store_get_all(m->st, name, &bytes, e));
    bytes.p[bytes.len / 2] ^= 1;
    assert_int_equal(store_mem_replace(m->st, name, bytes.p, bytes.len), 1);

    x = index_new(m->st, &m->keys);
    assert_false(index_damage(x, why, sizeof(why)));
    assert_ok(publish(m, x, 10, 10, e));
    assert_ok(index_refresh(x, e));
    assert_int_equal(places(x, 5), 0);
    assert_int_equal(places(x, 15), 1);
    assert_true(index_damage(x, why, sizeof(why)));
    assert_non_null(strstr(why, name));
    index_free(x);
}

static void
a_newer_segment_stops_us(void **state)
{
    struct made *m = *state;
    CLEANUP(buf_done) struct buf bytes = buf_of(1 << 20);
    struct index *x = index_new(m->st, &m->keys);
    char name[NAME_MAX_LEN];

    assert_ok(publish(m, x, 0, 10, e));
    index_free(x);
    assert_ok(store_list(m->st, "index/d/", note_name, name, e));
    assert_ok(store_get_all(m->st, name, &bytes, e));
    bytes.p[8] = 2;
    (void)store_mem_replace(m->st, name, bytes.p, bytes.len);
    x = index_new(m->st, &m->keys);
    assert_fails(index_refresh(x, e), ERR_UNSUP, name);
    index_free(x);
}

static void
a_failing_store_is_an_error(void **state)
{
    struct made *m = *state;
    struct store *st = store_fault_new(m->st);
    struct index *x = index_new(st, &m->keys), *y = index_new(st, &m->keys);

    store_fault_set(st, &(struct store_fault){.at = 1, .ops = STORE_OP_PUT});
    assert_fails(publish(m, x, 0, 10, e), ERR_STORE, "");
    assert_int_equal(places(x, 5), 0); /* not published: not found */
    assert_ok(publish(m, x, 0, 10, e));
    store_fault_set(st, &(struct store_fault){.at = 1, .ops = STORE_OP_LIST});
    assert_fails(index_refresh(y, e), ERR_STORE, "list");
    store_fault_set(st, &(struct store_fault){.at = 1, .ops = STORE_OP_GET});
    assert_fails(index_refresh(y, e), ERR_STORE, "index/d/");
    store_fault_set(st, NULL);
    assert_ok(index_refresh(y, e));
    assert_int_equal(places(y, 5), 1);
    index_free(x);
    index_free(y);
    store_close(st);
}

static void
others_objects_in_the_folder_are_ignored(void **state)
{
    struct made *m = *state;
    struct index *x = index_new(m->st, &m->keys);
    char why[ERR_MSG_MAX];

    assert_ok(store_put(m->st, "index/d/readme", "x", 1, e));
    assert_ok(store_put(m->st, "index/g/1", "x", 1, e));
    assert_ok(index_refresh(x, e));
    assert_false(index_damage(x, why, sizeof(why)));
    index_free(x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_is_published_is_found_by_all),
        TEST(an_object_may_be_in_several_packs),
        TEST(a_damaged_segment_is_left_out_and_named),
        TEST(a_newer_segment_stops_us),
        TEST(a_failing_store_is_an_error),
        TEST(others_objects_in_the_folder_are_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
