/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that shows again what maintenance has removed, or objects of another
 * repository of the same owner: nobody reads wrong bytes, what is there can be
 * restored, and a backup that is made beside them can be.
 */
#include "base/buf.h"
#include "repo/checker.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "vclock.h"

enum { SIZE = 200 << 10, OBJECTS = 64, BACKUPS = 2 };

struct object {
    char name[NAME_MAX_LEN];
    int64_t stored_ns;
    struct buf bytes;
};

struct world {
    struct fixture f;
    uint8_t *p[BACKUPS]; /* of backup 0, which is removed, and of 1 */
    char ids[BACKUPS][BACKUP_ID_LEN + 1];
    struct object objects[OBJECTS]; /* that were there once */
    size_t n;
};

/* ---- what the store keeps -------------------------------------------------
 */

static int
keep(void *cookie, const char *name, const struct store_stat *stat,
     struct err *e)
{
    struct world *w = cookie;

    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->objects[i].name, name) == 0)
            return 0;
    assert_true(w->n < OBJECTS);
    struct object *o = &w->objects[w->n++];
    *o = (struct object){.stored_ns = stat->mtime_ns, .bytes = buf_of(8 << 20)};
    (void)strncpy(o->name, name, sizeof(o->name) - 1);
    return store_get_all(w->f.st, name, &o->bytes, e);
}

static void
keep_all(struct world *w)
{
    assert_ok(store_list(w->f.st, "", keep, w, e));
}

static bool
has(struct world *w, const char *name)
{
    struct store_stat stat;
    struct err e = {0};

    return store_stat(w->f.st, name, &stat, &e) == 1;
}

/* With the time that it had, or now. */
static void
show(struct world *w, const struct object *o, bool as_then)
{
    int64_t now_ns = vclock.now_ns;

    if (as_then)
        vclock.now_ns = o->stored_ns;
    assert_ok(store_put(w->f.st, o->name, o->bytes.p, o->bytes.len, e));
    vclock.now_ns = now_ns;
}

/* ---- a life ---------------------------------------------------------------
 */

static void
back_up(struct world *w, int i)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    vclock_pass_hours(1);
    fixture_reopen(&w->f);
    assert_ok(write_backup(w->f.r, w->f.cancel, "web", vclock.now_ns, w->p[i],
                           SIZE, &m, e));
    memcpy(w->ids[i], m->id, sizeof(w->ids[i]));
    keep_all(w);
}

static int
prune(struct world *w, struct err *e)
{
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    struct prune_result r = {0};

    fixture_reopen(&w->f);
    return repo_prune(w->f.r, &o, w->f.cancel, &r, e);
}

/* Backup 0 is forgotten, and all that only it needs goes, with the notices. */
static int
setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const char *name = w->ids[0];
    size_t n = 0;

    vfixture_start(&w->f);
    for (int i = 0; i < BACKUPS; i++) {
        w->p[i] = xcalloc(1, SIZE);
        fill_random(w->p[i], SIZE, (uint64_t)i + 1);
    }
    memcpy(w->p[1], w->p[0], SIZE / 4);
    back_up(w, 0);
    back_up(w, 1);
    assert_ok(forget_by_name(w->f.r, &name, 1, &plan, e));
    assert_ok(forget_carry_out(w->f.r, &plan, w->f.cancel, &n, e));
    for (int i = 0; i < 12; i++) {
        vclock_pass_hours(100);
        assert_ok(prune(w, e));
        keep_all(w);
    }
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < w->n; i++)
        buf_done(&w->objects[i].bytes);
    for (int i = 0; i < BACKUPS; i++)
        free(w->p[i]);
    fixture_end(&w->f);
    free(w);
    return 0;
}

/* ---- what must hold ---------------------------------------------------------
 */

/* 0 if backup i is restored to its bytes, -1 if it can't be. */
static int
restore(struct world *w, int i)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct err e = {0};

    fixture_reopen(&w->f);
    if (backup_find(w->f.r, w->ids[i], &m, &e) == -1)
        return -1;
    int rc = compare_volume(w->f.r, &m->volumes[0].root, w->p[i], &e);
    if (rc == 1)
        fail_msg("backup %d: WRONG BYTES", i);
    return rc;
}

static bool
is_found(struct world *w)
{
    const struct check_options o = {.data.read = CHECK_READ_ALL, .threads = 1};
    struct check_result r = {0};
    struct err e = {0};

    fixture_reopen(&w->f);
    return check_repo(w->f.r, &o, w->f.cancel, &r, &e) == -1 || r.faults > 0;
}

/* A backup of what backup 0 was: it must not build on what is not there. */
static int
build(struct world *w)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    struct err e = {0};

    fixture_reopen(&w->f);
    if (write_backup(w->f.r, w->f.cancel, "new", vclock.now_ns, w->p[0], SIZE,
                     &m, &e) == -1)
        return -1;
    int rc = compare_volume(w->f.r, &m->volumes[0].root, w->p[0], &e);
    if (rc != 0)
        fail_msg("a backup was made that can't be read: %s", e.msg);
    return 0;
}

static void
what_was_removed_is_shown_again(void **state)
{
    unsigned shown = 0, found = 0, refused = 0;
    size_t n = ((struct world *)*state)->n;

    for (size_t i = 0; i < n; i++)
        for (int as_then = 0; as_then < 2; as_then++) {
            struct world *w = *state;
            const struct object *o = &w->objects[i];
            struct err why = {0};
            if (has(w, o->name))
                continue;
            show(w, o, as_then);
            shown++;
            found += is_found(w);
            (void)restore(w, 0);
            assert_int_equal(restore(w, 1), 0);
            refused += build(w) == -1;
            for (int run = 0; run < 4; run++) {
                vclock_pass_hours(100);
                (void)prune(w, &why); /* may find something wrong and stop */
                assert_int_equal(restore(w, 1), 0);
            }
            teardown(state);
            (void)setup(state);
            n = ((struct world *)*state)->n;
        }
    print_message("# %u removed objects shown again: %u found by a check, the "
                  "others harmless; %u backups refused, 0 wrong bytes\n",
                  shown, found, refused);
    assert_true(shown > 10);
}

/* ---- objects of another repository -------------------------------------- */

struct foreign {
    struct world *w;
    struct store *from;
    unsigned shown, found;
};

static int
show_foreign(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(8 << 20);
    struct foreign *x = cookie;
    struct store *st = x->w->f.st;
    /* The password opens that bundle as well, and it is passed over; a marker
     * counts for its time, and is nobody's. */
    bool is_harmless =
        strncmp(name, "keys/", 5) == 0 || strncmp(name, "sess/", 5) == 0;

    (void)stat;
    if (store_get_all(x->from, name, &bytes, e) == -1)
        return -1;
    if (has(x->w, name))
        return 0; /* the config: it is replaced in test_repo.c */
    if (store_put(st, name, bytes.p, bytes.len, e) == -1)
        return -1;
    x->shown++;
    bool found = is_found(x->w);
    x->found += found;
    if (!found && !is_harmless)
        fail_msg("%s of another repository was not found", name);
    assert_int_equal(restore(x->w, 1), 0);
    return store_remove(st, name, e);
}

static void
what_is_of_another_repository_is_found(void **state)
{
    struct world other = {.f = {0}};
    struct foreign x = {.w = *state};

    other.f.st = store_mem_new(&vclock);
    other.f.cancel = cancel_new();
    assert_ok(cheap_init(other.f.st, e));
    fixture_open(&other.f);
    assert_ok(write_backup(other.f.r, other.f.cancel, "web", vclock.now_ns,
                           x.w->p[0], SIZE, NULL, e));
    x.from = other.f.st;
    assert_ok(store_list(other.f.st, "", show_foreign, &x, e));
    print_message("# %u objects of another repository: %u found, the others "
                  "harmless\n",
                  x.shown, x.found);
    assert_true(x.found >= 4);
    fixture_end(&other.f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_was_removed_is_shown_again),
        TEST(what_is_of_another_repository_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
