/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that fails: whatever operation of init, backup or incremental fails,
 * is cut, loses its reply, or is the last before a crash, earlier backups can
 * be read, a backup that was reported as made can be, and the next one works.
 */
#include "fixture.h"
#include "repo/checker.h"
#include "store/store_fault.h"
#include "store/store_sweep.h"

enum { SIZE = 300 << 10 };

struct sweep {
    uint8_t *p[2]; /* content of the first backup and the second */
    struct cancel *cancel;
    unsigned made, not_made; /* how rounds ended */
};

static int
setup(void **state)
{
    struct sweep *s = xcalloc(1, sizeof(*s));

    s->cancel = cancel_new();
    for (int i = 0; i < 2; i++) {
        s->p[i] = xcalloc(1, SIZE);
        fill_random(s->p[i], 200 * KIB, 1);
        fill_random(s->p[i] + 210 * KIB, 70 * KIB, (uint64_t)i + 5);
    }
    *state = s;
    return 0;
}

static int
teardown(void **state)
{
    struct sweep *s = *state;

    cancel_free(s->cancel);
    free(s->p[0]);
    free(s->p[1]);
    free(s);
    return 0;
}

/* Open anew and make backup number i. */
static int
back_up(struct sweep *s, struct store *st, int i, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    if (repo_open(st, PASSWORD, &r, e) == -1)
        return -1;
    return write_backup(r, s->cancel, "web", i + 1, s->p[i], SIZE, NULL, e);
}

struct count {
    struct sweep *s;
    struct repo *r;
    unsigned seen[2];
};

static int
check_one(void *cookie, const struct manifest *m, struct err *e)
{
    struct count *c = cookie;
    int i = m->time_ns == 1 ? 0 : 1;

    c->seen[i]++;
    int rc = compare_volume(c->r, &m->volumes[0].root, c->s->p[i], e);
    return rc == 1 ? err_set(e, ERR_CORRUPT, "wrong bytes") : rc;
}

/*
 * All backups there are can be read; how many of each.  A store that shows half
 * an object, as no real one does, may make one of them damage: but not another.
 */
static int
count_backups(struct sweep *s, struct store *st, const struct store_fault *f,
              struct count *out, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    *out = (struct count){.s = s};
    if (repo_open(st, PASSWORD, &r, e) == -1)
        return -1;
    out->r = r;
    if (backup_list(r, check_one, out, e) == 0)
        return 0;
    if (f->what != STORE_FAULT_CUT || !strstr(e->msg, "1 of ") ||
        !strstr(e->msg, "cut short"))
        return -1;
    err_clear(e);
    return 0;
}

static void
first_fault(void *cookie, const struct check_fault *f)
{
    struct err *e = cookie;

    if (e->code == ERR_OK)
        (void)err_set(e, ERR_CORRUPT, "%s %s: %s", check_what_name(f->what),
                      f->name, f->why);
}

/* A check of all data finds nothing, but for the half objects above. */
static int
check_all(struct sweep *s, struct store *st, const struct store_fault *f,
          struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct err fault = {0};
    const struct check_options o = {.data.read = CHECK_READ_ALL,
                                    .threads = 1,
                                    .fault = first_fault,
                                    .fault_cookie = &fault};
    struct check_result result;

    if (repo_open(st, PASSWORD, &r, e) == -1 ||
        check_repo(r, &o, s->cancel, &result, e) == -1)
        return -1;
    if (result.faults == 0 || f->what == STORE_FAULT_CUT)
        return 0;
    *e = fault;
    return err_wrap(e, "a check found %llu faults",
                    (unsigned long long)result.faults);
}

/* ---- a backup on a repository that has one ---------------------------- */

static int
prepare_first(void *cookie, struct store *inner, struct err *e)
{
    if (cheap_init(inner, e) == -1)
        return -1;
    return back_up(cookie, inner, 0, e);
}

static int
run_second(void *cookie, struct store *faulty, struct err *e)
{
    return back_up(cookie, faulty, 1, e);
}

static int
check_second(void *cookie, struct store *inner, const struct store_fault *f,
             int rc, struct err *e)
{
    struct sweep *s = cookie;
    struct count c;

    if (count_backups(s, inner, f, &c, e) == -1)
        return -1;
    if (c.seen[0] != 1)
        return err_set(e, ERR_NOENT, "the earlier backup is gone");
    if (rc == 0 && c.seen[1] != 1)
        return err_set(e, ERR_NOENT, "it was reported as made and is not");
    s->made += rc == 0;
    s->not_made += rc == -1;
    if (back_up(s, inner, 1, e) == -1)
        return err_wrap(e, "the next backup does not work");
    if (check_all(s, inner, f, e) == -1)
        return -1;
    return count_backups(s, inner, f, &c, e);
}

static void
any_operation_of_a_backup_may_fail(void **state)
{
    struct sweep *s = *state;
    struct store_sweep sweep = {.prepare = prepare_first,
                                .run = run_second,
                                .check = check_second,
                                .cookie = s};
    uint64_t rounds = 0;

    assert_ok(store_sweep(&sweep, &rounds, e));
    print_message("# %llu points of failure\n", (unsigned long long)rounds);
    assert_true(rounds > 50);
    assert_true(s->made > 0 && s->not_made > 20);
}

/* ---- init and the first backup ---------------------------------------- */

static int
run_init(void *cookie, struct store *faulty, struct err *e)
{
    if (cheap_init(faulty, e) == -1)
        return -1;
    return back_up(cookie, faulty, 0, e);
}

static int
check_init(void *cookie, struct store *inner, const struct store_fault *f,
           int rc, struct err *e)
{
    struct sweep *s = cookie;
    struct count c;
    struct err why = {0};

    if (f->what == STORE_FAULT_CUT && rc == -1)
        return 0; /* half a config: no real store shows one */
    if (cheap_init(inner, &why) == -1 && why.code != ERR_EXISTS) {
        *e = why;
        return err_wrap(e, "init can't be repeated");
    }
    if (count_backups(s, inner, f, &c, e) == -1)
        return -1;
    if (rc == 0 && c.seen[0] != 1)
        return err_set(e, ERR_NOENT, "it was reported as made and is not");
    if (back_up(s, inner, 0, e) == -1)
        return -1;
    return check_all(s, inner, f, e);
}

static void
any_operation_of_init_may_fail(void **state)
{
    struct store_sweep sweep = {.run = run_init,
                                .check = check_init,
                                .cookie = *state,
                                .ops = STORE_OP_CHANGES};
    uint64_t rounds = 0;

    assert_ok(store_sweep(&sweep, &rounds, e));
    print_message("# %llu points of failure\n", (unsigned long long)rounds);
    assert_true(rounds > 30);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(any_operation_of_a_backup_may_fail),
        TEST(any_operation_of_init_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
