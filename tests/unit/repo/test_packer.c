/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/packer.h"

#include <pthread.h>
#include <unistd.h>

#include "base/buf.h"
#include "packs.h"
#include "repo/index.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"
#include "store/store_sweep.h"
#include "work/cancel.h"

struct made {
    struct keyring keys;
    struct store *mem, *st;
    struct index *index;
    struct cancel *cancel;
    struct packer *packer;
};

static int
setup(void **state)
{
    struct made *m = xcalloc(1, sizeof(*m));

    keyring_make(&m->keys);
    m->mem = store_mem_new(NULL);
    m->st = store_fault_new(m->mem);
    m->index = index_new(m->st, &m->keys);
    m->cancel = cancel_new();
    m->packer = packer_new(m->st, &m->keys, m->index, m->cancel);
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct made *m = *state;

    packer_free(m->packer);
    index_free(m->index);
    cancel_free(m->cancel);
    store_close(m->st);
    store_close(m->mem);
    keyring_done(&m->keys);
    free(m);
    return 0;
}

/* Objects first, first + 1... of `len` bytes: half leaves, half nodes. */
static int
add(struct packer *p, uint64_t first, unsigned n, size_t len, struct err *e)
{
    CLEANUP(freep) uint8_t *bytes = xmalloc(len);
    uint8_t id[OBJECT_ID_BYTES];

    for (uint64_t i = first; i < first + n; i++) {
        make_id(i, id);
        memset(bytes, (int)i, len);
        if (packer_claim(p, id) && packer_add(p, i % 2 ? PACK_META : PACK_DATA,
                                              i % 2 ? OBJECT_NODE : OBJECT_LEAF,
                                              id, len, bytes, len, e) == -1)
            return -1;
    }
    return 0;
}

/* Each object is in the index and where it says. */
static void
assert_stored(struct store *st, struct index *x, uint64_t first, unsigned n,
              size_t len)
{
    CLEANUP(freep) uint8_t *bytes = xmalloc(len), *want = xmalloc(len);
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];
    char name[NAME_MAX_LEN];

    for (uint64_t i = first; i < first + n; i++) {
        make_id(i, id);
        assert_int_equal(index_find(x, id, at), 1);
        assert_int_equal(at[0].kind, i % 2 ? PACK_META : PACK_DATA);
        assert_int_equal(at[0].type, i % 2 ? OBJECT_NODE : OBJECT_LEAF);
        assert_int_equal(at[0].len, len);
        name_pack(at[0].kind, at[0].pack, name);
        assert_ok(store_get(st, name, at[0].offset, bytes, len, e));
        memset(want, (int)i, len);
        assert_memory_equal(bytes, want, len);
    }
}

static void
objects_are_stored_and_indexed(void **state)
{
    struct made *m = *state;

    assert_ok(add(m->packer, 0, 100, 1000, e));
    assert_ok(packer_finish(m->packer, e));
    assert_stored(m->mem, m->index, 0, 100, 1000);
    assert_int_equal(store_fault_count(m->st), 3); /* two packs, one delta */
    assert_true(packer_stored_bytes(m->packer) > 100 * 1000);
}

static void
nothing_added_is_nothing_stored(void **state)
{
    struct made *m = *state;

    assert_ok(packer_finish(m->packer, e));
    assert_int_equal(store_fault_count(m->st), 0);
    assert_int_equal(packer_stored_bytes(m->packer), 0);
}

static void
stored_bytes_are_what_the_store_got(void **state)
{
    struct made *m = *state;
    struct store_stat stat;
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];
    char name[NAME_MAX_LEN];

    make_id(0, id);
    assert_ok(add(m->packer, 0, 1, 1000, e));
    assert_ok(packer_finish(m->packer, e));
    assert_int_equal(index_find(m->index, id, at), 1);
    name_pack(at[0].kind, at[0].pack, name);
    assert_int_equal(1, store_stat(m->mem, name, &stat, &(struct err){0}));
    assert_int_equal(stat.size_bytes, at[0].pack_bytes);
    assert_true(packer_stored_bytes(m->packer) > stat.size_bytes + 28);
}

static void
a_claim_is_given_once(void **state)
{
    struct made *m = *state;
    uint8_t id[OBJECT_ID_BYTES];

    make_id(1, id);
    assert_false(packer_has(m->packer, id));
    assert_true(packer_claim(m->packer, id));
    assert_false(packer_claim(m->packer, id));
    assert_true(packer_has(m->packer, id));
}

static void
full_packs_go_while_more_are_filled(void **state)
{
    struct made *m = *state;
    enum { LEN = 200000, N = 1000 }; /* three packs of each kind */

    assert_ok(add(m->packer, 0, N, LEN, e));
    assert_ok(packer_finish(m->packer, e));
    assert_stored(m->mem, m->index, 0, N, LEN);
    assert_true(store_fault_count(m->st) >= 7);
}

/* A delta is published midway: its objects move from the claims to the index
 * and are never in neither. */
static void
a_long_run_publishes_midway(void **state)
{
    struct made *m = *state;
    enum { N = PACKER_DELTA_ENTRIES + 2 * PACK_MAX_ENTRIES };
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];

    assert_ok(add(m->packer, 0, N, 1, e));
    for (uint64_t i = 0; i < N; i += 5) {
        make_id(i, id);
        if (!packer_has(m->packer, id) && index_find(m->index, id, at) == 0)
            fail_msg("object %u", (unsigned)i);
    }
    assert_ok(packer_finish(m->packer, e));
    for (uint64_t i = 0; i < N; i += 5) {
        make_id(i, id);
        assert_int_equal(index_find(m->index, id, at), 1);
        assert_false(packer_has(m->packer, id));
    }
}

static int
count_object(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    unsigned *n = cookie;

    (void)name;
    (void)stat;
    (void)e;
    ++*n;
    return 0;
}

static unsigned
objects_there(const struct made *m, const char *prefix)
{
    unsigned n = 0;

    assert_ok(store_list(m->mem, prefix, count_object, &n, e));
    return n;
}

/* How many of these does somebody find who opens the index now? */
static unsigned
found_by_others(const struct made *m, uint64_t first, unsigned n)
{
    struct index *x = index_new(m->mem, &m->keys);
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES];
    unsigned found = 0;

    assert_ok(index_refresh(x, e));
    for (uint64_t i = first; i < first + n; i++) {
        make_id(i, id);
        found += index_find(x, id, at) > 0;
    }
    index_free(x);
    return found;
}

/* Who is killed leaves most of what he has sent to the next one; and not a
 * delta for each pack. */
static void
what_was_sent_is_told_now_and_then(void **state)
{
    struct made *m = *state;
    enum { LEN = 250000, N = 2400 }; /* 600 MB */

    assert_ok(add(m->packer, 0, N, LEN, e));
    assert_true(found_by_others(m, 0, N) > N / 2);
    assert_ok(packer_finish(m->packer, e));
    assert_stored(m->mem, m->index, 0, N, LEN);
    assert_true(objects_there(m, "index/") <=
                N * (uint64_t)LEN / PACKER_DELTA_BYTES + 1);
}

/* Whatever the reason: what is in the store by then is told. */
static void
giving_up_tells_what_is_there(void **state)
{
    struct made *m = *state;
    enum { LEN = 250000, N = 140 }; /* of one kind: one full pack */

    for (unsigned canceled = 0; canceled < 2; canceled++) {
        uint64_t first = canceled * UINT64_C(1000);
        for (unsigned i = 0; i < N; i++)
            assert_ok(add(m->packer, first + 2 * i, 1, LEN, e));
        while (objects_there(m, "packs/") < 1 + canceled)
            (void)usleep(1000);
        assert_int_equal(found_by_others(m, first, 2 * N), 0);
        if (canceled)
            cancel_raise(m->cancel);
        packer_free(m->packer);
        assert_true(found_by_others(m, first, 2 * N) >= 100);
        m->packer = packer_new(m->st, &m->keys, m->index, m->cancel);
    }
}

/* A storage that has failed is left alone. */
static void
giving_up_a_failed_storage_tells_nothing(void **state)
{
    struct made *m = *state;
    enum { LEN = 250000, N = 140 }; /* of one kind: one full pack */
    struct err why = {0};
    int rc = 0;

    for (unsigned i = 0; i < N; i++)
        assert_ok(add(m->packer, 2 * i, 1, LEN, e));
    while (objects_there(m, "packs/") == 0)
        (void)usleep(1000);
    store_fault_set(m->st, &(struct store_fault){.at = 1,
                                                 .prefix = "packs/",
                                                 .then = STORE_THEN_AGAIN});
    for (unsigned i = N; i < 10 * N && rc == 0; i++)
        rc = add(m->packer, 2 * i, 1, LEN, &why);
    assert_int_equal(why.code, ERR_STORE);
    packer_free(m->packer);
    m->packer = NULL;
    assert_int_equal(found_by_others(m, 0, 2 * N), 0);
}

static void
a_failed_upload_fails_the_rest(void **state)
{
    struct made *m = *state;
    struct err why = {0};
    int rc = 0;

    store_fault_set(m->st, &(struct store_fault){.at = 2});
    for (uint64_t i = 0; i < 100 && rc == 0; i++)
        rc = add(m->packer, i * 1000, 1000, 10000, &why);
    assert_int_equal(rc, -1);
    assert_int_equal(why.code, ERR_STORE);
    assert_fails(packer_finish(m->packer, e), ERR_STORE, "pack");
    assert_false(store_fault_count(m->st) > 6); /* it stopped soon */
}

static void
a_cancel_stops_it(void **state)
{
    struct made *m = *state;

    assert_ok(add(m->packer, 0, 10, 1000, e));
    cancel_raise(m->cancel);
    assert_fails(add(m->packer, 10, 10, 1000, e), ERR_CANCELED, "");
    assert_fails(packer_finish(m->packer, e), ERR_CANCELED, "");
    assert_int_equal(store_fault_count(m->st), 0);
}

static void
given_up_publishes_nothing(void **state)
{
    struct made *m = *state;

    assert_ok(add(m->packer, 0, 10, 1000, e));
    packer_free(m->packer);
    m->packer = NULL;
    assert_int_equal(store_fault_count(m->st), 0);
}

struct part {
    struct packer *packer;
    uint64_t first;
};

static void *
add_part(void *arg)
{
    struct part *p = arg;

    assert_ok(add(p->packer, p->first, 3000, 9000, e));
    return NULL;
}

/* Overlapping parts: each object is stored once all the same. */
static void
many_threads_add(void **state)
{
    struct made *m = *state;
    struct part parts[4];
    pthread_t threads[4];

    for (uint64_t i = 0; i < 4; i++) {
        parts[i] = (struct part){m->packer, i * 2000};
        assert_int_equal(pthread_create(&threads[i], NULL, add_part, &parts[i]),
                         0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_ok(packer_finish(m->packer, e));
    assert_stored(m->mem, m->index, 0, 9000, 9000);
}

/* ---- every failure of the store --------------------------------------- */

static int
run(void *cookie, struct store *st, struct err *e)
{
    struct keyring *k = cookie;
    struct index *x = index_new(st, k);
    struct cancel *cancel = cancel_new();
    struct packer *p = packer_new(st, k, x, cancel);
    int rc = add(p, 0, 20, 1000, e) == 0 && packer_finish(p, e) == 0 ? 0 : -1;

    packer_free(p);
    index_free(x);
    cancel_free(cancel);
    return rc;
}

/* Whatever a delta in the store names is in the store. */
static int
check(void *cookie, struct store *inner, const struct store_fault *f, int rc,
      struct err *e)
{
    struct keyring *k = cookie;
    struct index *x = index_new(inner, k);
    struct location at[INDEX_MAX_LOCATIONS];
    uint8_t id[OBJECT_ID_BYTES], bytes[1000];
    char name[NAME_MAX_LEN];
    unsigned found = 0;

    (void)f;
    int bad = index_refresh(x, e);
    for (uint64_t i = 0; bad == 0 && i < 20; i++) {
        make_id(i, id);
        size_t n = index_find(x, id, at);
        found += n > 0;
        for (size_t j = 0; bad == 0 && j < n; j++) {
            name_pack(at[j].kind, at[j].pack, name);
            bad = store_get(inner, name, at[j].offset, bytes, at[j].len, e);
        }
    }
    if (bad == 0 && rc == 0 && found != 20)
        bad = err_set(e, ERR_CORRUPT, "%u of 20 objects are there", found);
    index_free(x);
    return bad;
}

static void
deltas_name_only_what_is_there(void **state)
{
    struct made *m = *state;
    struct store_sweep s = {.run = run, .check = check, .cookie = &m->keys};
    uint64_t rounds = 0;

    assert_ok(store_sweep(&s, &rounds, e));
    assert_true(rounds >= 3 * 3 * 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(objects_are_stored_and_indexed),
        TEST(nothing_added_is_nothing_stored),
        TEST(stored_bytes_are_what_the_store_got),
        TEST(a_claim_is_given_once),
        TEST(full_packs_go_while_more_are_filled),
        TEST(a_long_run_publishes_midway),
        TEST(what_was_sent_is_told_now_and_then),
        TEST(giving_up_tells_what_is_there),
        TEST(giving_up_a_failed_storage_tells_nothing),
        TEST(a_failed_upload_fails_the_rest),
        TEST(a_cancel_stops_it),
        TEST(given_up_publishes_nothing),
        TEST(many_threads_add),
        TEST(deltas_name_only_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
