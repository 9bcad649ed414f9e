/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that fails while a backup builds on another one, while backups are
 * forgotten, and while maintenance condemns, copies and deletes: whatever
 * operation fails, is cut, loses its reply or is the last before a crash, every
 * backup that was there is restored to its bytes, a check of all data is clean,
 * the next run needs no help, and maintenance loses nothing later on.
 *
 * Every STEP-th operation; all by VMKEEP_ALL_FAULTS=1.
 */
#include "base/buf.h"
#include "repo/checker.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "store/store_fault.h"
#include "store/store_sweep.h"
#include "vclock.h"

enum { SIZE = 400 << 10, BACKUPS = 3, STEP = 3 };

/* The backups 0 and 1 of "web", 2 of "db"; 0 and 1 share a quarter. */
struct world {
    const struct job *job;
    struct cancel *cancel;
    struct store *template; /* what all rounds start with */
    int64_t now_ns;         /* when they do */
    uint8_t *p[BACKUPS];
    char ids[BACKUPS][BACKUP_ID_LEN + 1];
    struct volume_root roots[BACKUPS];
    uint64_t packs; /* in the template */
    bool may_go;    /* backup 0 is not to be restored any more */
    unsigned done, not_done;
    unsigned halves, stuck;    /* rounds with half an object */
    char notice[NAME_MAX_LEN]; /* the last damaged one that a check found */
};

struct job {
    const char *name;
    bool retired;   /* backup 0, a grace before */
    bool condemned; /* and its packs */
    unsigned least; /* rounds of the whole sweep */
    int (*run)(struct world *w, struct repo *r, struct err *e);
    /* It is as it must be once that is done: 1, 0, -1. */
    int (*done)(struct world *w, struct repo *r, struct err *e);
};

/* ---- what is tried ------------------------------------------------------ */

static int
make(struct world *w, struct repo *r, int i, const char *machine, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    if (write_backup(r, w->cancel, machine, vclock.now_ns, w->p[i], SIZE, &m,
                     e) == -1)
        return -1;
    memcpy(w->ids[i], m->id, sizeof(w->ids[i]));
    w->roots[i] = m->volumes[0].root;
    return 0;
}

/* One volume is taken over from backup 1 unseen, the other was read. */
static int
build_on_1(struct world *w, struct repo *r, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    const struct backup_options o = {.base = w->ids[1], .threads = 1};
    struct backup_writer *b = NULL;
    struct volume_root root = {0};

    if (backup_begin(r, &o, w->cancel, &b, e) == -1)
        return -1;
    free(m->machine);
    m->machine = xstrdup("built");
    m->time_ns = vclock.now_ns;
    manifest_add_volume(m, "disk/vda", &w->roots[1]);
    if (write_volume(b, "disk/vdb", w->p[2] + 4096, SIZE - 4096, &root, e) ==
        -1) {
        backup_abandonp(&b);
        return -1;
    }
    manifest_add_volume(m, "disk/vdb", &root);
    return backup_commit(&b, m, e);
}

static int
is_built(struct world *w, struct repo *r, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    if (backup_find(r, "built@latest", &m, e) == -1)
        return -1;
    int rc = compare_volume(r, &m->volumes[0].root, w->p[1], e);
    if (rc == 0)
        rc = compare_volume(r, &m->volumes[1].root, w->p[2] + 4096, e);
    return rc == -1 ? -1 : rc == 0;
}

static int
forget_0(struct world *w, struct repo *r, struct err *e)
{
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const char *name = w->ids[0];
    size_t n = 0;

    if (forget_by_name(r, &name, 1, &plan, e) == -1) {
        if (!strstr(e->msg, "is retired already"))
            return -1;
        err_clear(e); /* by the run before, to whom that was not said */
        return 0;
    }
    return forget_carry_out(r, &plan, w->cancel, &n, e);
}

static int
count(void *cookie, const struct manifest *m, struct err *e)
{
    (void)m;
    (void)e;
    ++*(unsigned *)cookie;
    return 0;
}

static int
is_forgotten(struct world *w, struct repo *r, struct err *e)
{
    unsigned n = 0;

    (void)w;
    return backup_list(r, count, &n, e) == -1 ? -1 : n == BACKUPS - 1;
}

static int
prune(struct world *w, struct repo *r, struct err *e)
{
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    struct prune_result result = {0};

    return repo_prune(r, &o, w->cancel, &result, e);
}

static int
has_condemned(struct world *w, struct repo *r, struct err *e)
{
    (void)w;
    (void)e;
    return usage_of(r->store, "cond/").objects > 0;
}

static int
has_deleted(struct world *w, struct repo *r, struct err *e)
{
    (void)e;
    return usage_of(r->store, "packs/").objects < w->packs;
}

static const struct job jobs[] = {
    {"an incremental backup", false, false, 200, build_on_1, is_built},
    {"forget", false, false, 50, forget_0, is_forgotten},
    {"a prune that condemns", true, false, 200, prune, has_condemned},
    {"a prune that deletes", true, true, 200, prune, has_deleted},
};

/* ---- what they start with ------------------------------------------------ */

static int
try(struct world *w, struct store *st,
    int (*fn)(struct world *w, struct repo *r, struct err *e), struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;

    if (repo_open(st, PASSWORD, &r, e) == -1)
        return -1;
    return fn(w, r, e);
}

static int
make_first(struct world *w, struct repo *r, struct err *e)
{
    for (int i = 0; i < BACKUPS; i++) {
        vclock_pass_hours(1);
        if (make(w, r, i, i < 2 ? "web" : "db", e) == -1)
            return -1;
    }
    return 0;
}

static void
make_template(struct world *w)
{
    vclock.now_ns = VCLOCK_START;
    vclock_skew_ns = 0;
    w->template = store_mem_new(&vclock);
    assert_ok(cheap_init(w->template, e));
    assert_ok(try(w, w->template, make_first, e));
    vclock_pass_hours(1);
    if (w->job->retired) { /* its ref is due when its packs are */
        vclock_pass_hours(200);
        assert_ok(try(w, w->template, forget_0, e));
        vclock_pass_hours(73);
    }
    if (w->job->condemned) {
        assert_ok(try(w, w->template, prune, e));
        assert_true(usage_of(w->template, "cond/").objects > 0);
        vclock_pass_hours(73);
    }
    w->packs = usage_of(w->template, "packs/").objects;
    w->now_ns = vclock.now_ns;
}

struct copy {
    struct store *from, *to;
};

/* Its time, too. */
static int
copy_object(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = buf_of(4 << 20);
    const struct copy *c = cookie;

    vclock.now_ns = stat->mtime_ns;
    if (store_get_all(c->from, name, &bytes, e) == -1)
        return -1;
    return store_put(c->to, name, bytes.p, bytes.len, e);
}

static int
prepare(void *cookie, struct store *inner, struct err *e)
{
    const struct world *w = cookie;
    struct copy c = {w->template, inner};

    int rc = store_list(w->template, "", copy_object, &c, e);
    vclock.now_ns = w->now_ns;
    return rc;
}

static int
run(void *cookie, struct store *faulty, struct err *e)
{
    struct world *w = cookie;

    return try(w, faulty, w->job->run, e);
}

/* ---- what must hold -------------------------------------------------------
 */

static int
restore_all(struct world *w, struct repo *r, struct err *e)
{
    for (int i = 0; i < BACKUPS; i++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        struct err why = {0};
        int rc = backup_find(r, w->ids[i], &m, &why);
        if (rc == -1 && why.code == ERR_NOENT && i == 0 && w->may_go)
            continue;
        if (rc == 0)
            rc = compare_volume(r, &m->volumes[0].root, w->p[i], &why);
        if (rc == 1)
            return err_set(e, ERR_CORRUPT, "backup %d: WRONG BYTES", i);
        if (rc == -1 && (i > 0 || !w->may_go)) {
            *e = why;
            return err_wrap(e, "backup %d can't be restored", i);
        }
    }
    return 0;
}

struct first {
    struct world *w;
    struct err err;
};

static void
first_fault(void *cookie, const struct check_fault *f)
{
    struct first *x = cookie;

    if (x->err.code == ERR_OK)
        (void)err_set(&x->err, ERR_CORRUPT, "%s %s: %s",
                      check_what_name(f->what), f->name, f->why);
    if (f->what == CHECK_NOTICE) {
        assert_non_null(strstr(f->why, "; "));
        (void)strncpy(x->w->notice, f->name, sizeof(x->w->notice) - 1);
    }
}

static int
check_all(struct world *w, struct repo *r, struct err *e)
{
    struct first first = {.w = w};
    const struct check_options o = {.data.read = CHECK_READ_ALL,
                                    .threads = 1,
                                    .fault = first_fault,
                                    .fault_cookie = &first};
    struct check_result result;

    if (check_repo(r, &o, w->cancel, &result, e) == -1)
        return -1;
    if (result.faults == 0)
        return 0;
    *e = first.err;
    return err_wrap(e, "a check found damage");
}

static int
must_be_done(struct world *w, struct repo *r, struct err *e)
{
    int rc = w->job->done(w, r, e);

    return rc == 0 ? err_set(e, ERR_NOENT, "it is not done") : rc;
}

/* The same again, and then maintenance until all that can go is gone. */
static int
go_on(struct world *w, struct store *st, struct err *e)
{
    if (try(w, st, w->job->run, e) == -1)
        return err_wrap(e, "the next run does not work");
    if (try(w, st, must_be_done, e) == -1)
        return err_wrap(e, "after the next run");
    w->may_go |= w->job->run == forget_0;
    for (int i = 0; i < 2; i++) {
        vclock_pass_hours(200);
        if (try(w, st, prune, e) == -1)
            return err_wrap(e, "later maintenance does not work");
    }
    if (try(w, st, restore_all, e) == -1 || try(w, st, check_all, e) == -1)
        return err_wrap(e, "after later maintenance");
    return w->job->run == build_on_1 ? try(w, st, must_be_done, e) : 0;
}

static int
mend(struct world *w, struct repo *r, struct err *e)
{
    const struct repair_options o = {.threads = 1};
    struct repair_result result;

    return repair_repo(r, &o, w->cancel, &result, e);
}

/* The store shows half an object, as no real one does: that is damage, which a
 * check has found.  It may be in the way until one does what the check says,
 * but no backup is the worse for it. */
static int
live_with_half(struct world *w, struct store *st, struct err *e)
{
    struct err why = {0};

    w->halves++;
    if (try(w, st, mend, e) == -1)
        return err_wrap(e, "half an object can't be repaired");
    if (!w->notice[0])
        return go_on(w, st, e);
    w->stuck++;
    if (try(w, st, w->job->run, &why) == 0 && try(w, st, must_be_done, e) == -1)
        return -1;
    if (try(w, st, restore_all, e) == -1 ||
        store_remove(st, w->notice, e) == -1 || try(w, st, mend, e) == -1)
        return err_wrap(e, "without the notice");
    return go_on(w, st, e);
}

static int
check(void *cookie, struct store *inner, const struct store_fault *f, int rc,
      struct err *e)
{
    struct world *w = cookie;

    struct err why = {0};

    w->notice[0] = '\0';
    w->may_go = w->job->retired;
    w->done += rc == 0;
    w->not_done += rc == -1;
    if (rc == 0 && try(w, inner, must_be_done, e) == -1)
        return err_wrap(e, "it was reported as done");
    if (try(w, inner, restore_all, e) == -1)
        return -1;
    if (try(w, inner, check_all, &why) == 0)
        return go_on(w, inner, e);
    if (f->what == STORE_FAULT_CUT)
        return live_with_half(w, inner, e);
    *e = why;
    return -1;
}

/* ---- the sweep ------------------------------------------------------------
 */

static void
sweep(struct world *w)
{
    bool all = getenv("VMKEEP_ALL_FAULTS") != NULL; /* NOLINT(concurrency-*) */
    const struct store_sweep sweep = {.prepare = prepare,
                                      .run = run,
                                      .check = check,
                                      .cookie = w,
                                      .clock = &vclock,
                                      .step = all ? 1 : STEP};
    uint64_t rounds = 0;
    struct err e = {0};

    w->done = w->not_done = w->halves = w->stuck = 0;
    make_template(w);
    int rc = store_sweep(&sweep, &rounds, &e);
    store_close(w->template);
    if (rc == -1)
        fail_msg("%s: %s", w->job->name, e.msg);
    print_message("# %s: %llu points, %u done, %u not, 0 failures; half an "
                  "object %u times, a notice %u times\n",
                  w->job->name, (unsigned long long)rounds, w->done,
                  w->not_done, w->halves, w->stuck);
    assert_true(rounds > (all ? w->job->least : w->job->least / STEP));
    assert_true(w->done > 0 && w->not_done > 0);
}

static void
any_operation_may_fail(void **state)
{
    struct world w = {.cancel = cancel_new()};

    (void)state;
    for (int i = 0; i < BACKUPS; i++) {
        w.p[i] = xcalloc(1, SIZE);
        fill_random(w.p[i], SIZE, (uint64_t)i + 1);
    }
    memcpy(w.p[1], w.p[0], SIZE / 4);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        w.job = &jobs[i];
        sweep(&w);
    }
    for (int i = 0; i < BACKUPS; i++)
        free(w.p[i]);
    cancel_free(w.cancel);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_operation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
