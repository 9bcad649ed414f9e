/* SPDX-License-Identifier: Apache-2.0 */
/* What maintenance finds alive, counted in another way, with so little room for
 * what waits to be marked that it takes many rounds. */
#include "maintain.h"
#include "repo/index.h"
#include "repo/rules.h"
#include "repo/walk.h"
#include "vclock.h"

enum { SIZE = (9 << 20) + 5000, BACKUPS = 4 };

struct protocol_rules protocol_rules = PROTOCOL_ALL_RULES;

struct world {
    struct fixture f;
    uint8_t *p;
    struct volume_root roots[BACKUPS];
};

static int
setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    vfixture_start(&w->f);
    w->p = xcalloc(1, SIZE);
    fill_random(w->p, SIZE, 1);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    fixture_end(&w->f);
    free(w->p);
    free(w);
    return 0;
}

static void
back_up(struct world *w, int i)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    fixture_reopen(&w->f);
    assert_ok(write_backup(w->f.r, w->f.cancel, "web", vclock.now_ns, w->p,
                           SIZE, &m, e));
    w->roots[i] = m->volumes[0].root;
}

static int
locate(void *cookie, const uint8_t gid[GID_BYTES],
       struct location out[INDEX_MAX_LOCATIONS], struct err *e)
{
    (void)e;
    return (int)index_find(cookie, gid, out);
}

/* What is below the first n, as walk itself remembers it. */
static size_t
count(struct world *w, int n)
{
    struct repo *r = w->f.r;
    CLEANUP(walk_freep)
    struct walk *walk =
        walk_new(r->store, &r->keys, locate, r->index, w->f.cancel);
    struct object_name name;

    assert_ok(index_refresh(r->index, e));
    for (int i = 0; i < n; i++) {
        object_name_of(w->roots[i].h, &name);
        assert_ok(walk_add_root(walk, w->roots[i].levels, name.id, e));
    }
    assert_ok(walk_run(walk, e));
    return walk_found(walk)->n;
}

static struct prune_result
prune(struct world *w)
{
    fixture_reopen(&w->f);
    return fixture_prune(&w->f);
}

/* Backups that have most in common, and the same objects in many segments. */
static void
each_is_counted_once(void **state)
{
    struct world *w = *state;
    uint64_t live_bytes = 0;

    for (int i = 0; i < BACKUPS; i++) {
        if (i != 2) /* that one is all the same */
            memset(w->p + (i + 1) * 700000, 'a' + i, 300);
        back_up(w, i);
        struct prune_result r = prune(w);
        size_t n = count(w, i + 1);
        assert_true(n > 100);
        assert_int_equal(r.objects, n);
        assert_true(i == 2 ? r.live_bytes == live_bytes
                           : r.live_bytes > live_bytes);
        live_bytes = r.live_bytes;
        vclock_pass_hours(30 * 24); /* what is old enough is merged */
    }
    for (int i = 0; i < 3; i++) {
        struct prune_result r = prune(w);
        assert_int_equal(r.objects, count(w, BACKUPS));
        assert_int_equal(r.live_bytes, live_bytes);
        assert_int_equal(r.pardoned, 0);
        vclock_pass_hours(30 * 24);
    }
    fixture_reopen(&w->f);
    assert_volume(w->f.r, &w->roots[BACKUPS - 1], w->p);
}

static void
nothing_is_alive_without_backups(void **state)
{
    struct world *w = *state;
    struct prune_result r = prune(w);

    assert_int_equal(r.objects, 0);
    assert_int_equal(r.live_bytes, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_is_counted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_alive_without_backups, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
