/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gather.h"

#include "check.h"
#include "distant.h"
#include "store/store.h"
#include "store/store_mem.h"

enum { OBJECTS = GATHER_MAX + 2, BYTES_MAX = 100 };

struct world {
    struct store *mem;
    struct distant *far;
    struct gather g;
};

static void
name_of(size_t i, char out[NAME_MAX_LEN])
{
    (void)snprintf(out, NAME_MAX_LEN, "lost/%zu", i);
}

static int
setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    char name[NAME_MAX_LEN];

    w->mem = store_mem_new(NULL);
    w->far = distant_new(w->mem);
    for (size_t i = 0; i < OBJECTS; i++) {
        name_of(i, name);
        assert_ok(store_put(w->mem, name, name, strlen(name), e));
    }
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    gather_done(&w->g);
    store_close(&w->far->base);
    store_close(w->mem);
    free(w);
    return 0;
}

static void
add(struct world *w, struct store *st, size_t i, size_t max_bytes)
{
    char name[NAME_MAX_LEN];

    name_of(i, name);
    gather_add(&w->g, st, name, max_bytes);
}

static int
get(struct world *w, struct store *st, size_t i, struct err *e)
{
    CLEANUP(buf_done) struct buf out = buf_of(BYTES_MAX);
    char name[NAME_MAX_LEN];

    name_of(i, name);
    if (gather_get(&w->g, st, name, &out, e) == -1)
        return -1;
    assert_string_equal(buf_text(&out), name);
    return 0;
}

/* Each once, before it is asked for; what there was no room for then. */
static void
what_is_distant_is_read_ahead(void **state)
{
    struct world *w = *state;
    struct store *far = &w->far->base;

    for (int twice = 0; twice < 2; twice++)
        for (size_t i = 0; i < OBJECTS; i++)
            add(w, far, i, BYTES_MAX);
    assert_int_equal(w->g.n, GATHER_MAX);
    gather_run(&w->g, 0);
    assert_int_equal(distant_asked(w->far, "get"), GATHER_MAX);
    for (size_t i = 0; i < OBJECTS; i++)
        assert_ok(get(w, far, i, e));
    assert_int_equal(distant_asked(w->far, "get"), OBJECTS);
}

static void
what_is_near_is_read_when_asked_for(void **state)
{
    struct world *w = *state;

    add(w, w->mem, 0, BYTES_MAX);
    assert_int_equal(w->g.n, 0);
    gather_run(&w->g, 0);
    assert_ok(get(w, w->mem, 0, e));
}

static void
some_are_read_later(void **state)
{
    struct world *w = *state;
    struct store *far = &w->far->base;

    add(w, far, 0, BYTES_MAX);
    gather_run(&w->g, 0);
    add(w, far, 1, BYTES_MAX);
    add(w, far, 2, BYTES_MAX);
    gather_run(&w->g, 1);
    assert_int_equal(distant_asked(w->far, "get"), 3);
    for (size_t i = 0; i < 3; i++)
        assert_ok(get(w, far, i, e));
    assert_int_equal(distant_asked(w->far, "get"), 3);
}

/* One that fails is told to who asks for it, and to nobody else. */
static void
a_failure_is_one_objects(void **state)
{
    struct world *w = *state;
    struct store *far = &w->far->base;
    char name[NAME_MAX_LEN];

    name_of(1, name);
    assert_ok(store_remove(w->mem, name, e));
    add(w, far, 0, BYTES_MAX);
    add(w, far, 1, BYTES_MAX);
    add(w, far, 2, 3);
    add(w, far, 3, BYTES_MAX);
    gather_run(&w->g, 0);
    assert_ok(get(w, far, 0, e));
    assert_fails(get(w, far, 1, e), ERR_NOENT, name);
    assert_fails(get(w, far, 2, e), ERR_LIMIT, "lost/2");
    assert_ok(get(w, far, 3, e));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_distant_is_read_ahead),
        TEST(what_is_near_is_read_when_asked_for),
        TEST(some_are_read_later),
        TEST(a_failure_is_one_objects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
