/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/relied.h"

#include "packs.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

/* A pack that is in the store, named by `i`. */
static struct location
stored(struct store *st, uint64_t i)
{
    struct location at = {.kind = i % 2 ? PACK_META : PACK_DATA,
                          .pack_bytes = 5};
    char name[NAME_MAX_LEN];

    make_id(i, at.pack);
    name_pack(at.kind, at.pack, name);
    assert_ok(store_put(st, name, "12345", 5, e));
    return at;
}

static void
lose(struct store *st, const struct location *at)
{
    char name[NAME_MAX_LEN];

    name_pack(at->kind, at->pack, name);
    assert_ok(store_remove(st, name, e));
}

/* With few packs and with many, for these are looked for differently. */
static const uint64_t counts[] = {1, 10, 64, 65, 200};

static void
what_is_there_is_fine(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        struct store *st = store_mem_new(NULL);
        struct relied *r = relied_new();
        assert_ok(relied_check(r, st, e));
        for (uint64_t i = 0; i < counts[k]; i++) {
            struct location at = stored(st, i);
            relied_add(r, &at, at.pack);
            relied_add(r, &at, at.pack);
        }
        assert_int_equal(relied_packs(r), counts[k]);
        assert_ok(relied_check(r, st, e));
        relied_free(r);
        store_close(st);
    }
    relied_free(NULL);
}

static void
one_that_is_gone_is_missed(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        struct store *st = store_mem_new(NULL);
        struct relied *r = relied_new();
        for (uint64_t i = 0; i < counts[k]; i++) {
            struct location at = stored(st, i);
            relied_add(r, &at, at.pack);
            if (i == counts[k] / 2)
                lose(st, &at);
        }
        assert_fails(relied_check(r, st, e), ERR_STORE, "is gone");
        relied_free(r);
        store_close(st);
    }
}

static void
one_of_another_size_is_missed(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        struct store *st = store_mem_new(NULL);
        struct relied *r = relied_new();
        for (uint64_t i = 0; i < counts[k]; i++) {
            struct location at = stored(st, i);
            at.pack_bytes += i == 0;
            relied_add(r, &at, at.pack);
        }
        assert_fails(relied_check(r, st, e), ERR_STORE, "packs/");
        relied_free(r);
        store_close(st);
    }
}

static void
not_knowing_is_a_failure(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        struct store *mem = store_mem_new(NULL), *st = store_fault_new(mem);
        struct relied *r = relied_new();
        for (uint64_t i = 0; i < counts[k]; i++) {
            struct location at = stored(mem, i);
            relied_add(r, &at, at.pack);
        }
        store_fault_set(st, &(struct store_fault){.at = 1});
        assert_fails(relied_check(r, st, e), ERR_STORE, "");
        relied_free(r);
        store_close(st);
        store_close(mem);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_fine),
        cmocka_unit_test(one_that_is_gone_is_missed),
        cmocka_unit_test(one_of_another_size_is_missed),
        cmocka_unit_test(not_knowing_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
