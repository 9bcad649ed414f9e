/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repository under the test's clock, with backups of four contents that can
 * be made, retired, pruned and read again.  For tests of maintenance.
 */
#ifndef TESTS_REPO_PRUNEFIXTURE_H
#define TESTS_REPO_PRUNEFIXTURE_H

#include "base/buf.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "vclock.h"

enum { SIZE = 900 << 10 };

struct world {
    struct fixture f;
    uint8_t *p[4]; /* contents: 0 and 1 have nothing in common */
    char ids[4][BACKUP_ID_LEN + 1];
    struct volume_root roots[4];
};

static int
setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    vfixture_start(&w->f);
    for (unsigned i = 0; i < 4; i++) {
        w->p[i] = xcalloc(1, SIZE);
        fill_random(w->p[i], SIZE, i + 1);
    }
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    fixture_end(&w->f);
    for (int i = 0; i < 4; i++)
        free(w->p[i]);
    free(w);
    return 0;
}

static void
back_up(struct world *w, int i)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    fixture_reopen(&w->f);
    assert_ok(write_backup(w->f.r, w->f.cancel, "web", vclock.now_ns, w->p[i],
                           SIZE, &m, e));
    memcpy(w->ids[i], m->id, sizeof(w->ids[i]));
    w->roots[i] = m->volumes[0].root;
}

static void
retire(struct world *w, int i)
{
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    const char *name = w->ids[i];
    size_t n = 0;

    assert_ok(forget_by_name(w->f.r, &name, 1, &plan, e));
    assert_int_equal(plan.n, 1);
    assert_ok(forget_carry_out(w->f.r, &plan, w->f.cancel, &n, e));
    assert_int_equal(n, 1);
}

static struct prune_result
prune(struct world *w)
{
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    struct prune_result r = {0};

    fixture_reopen(&w->f);
    assert_ok(repo_prune(w->f.r, &o, w->f.cancel, &r, e));
    return r;
}

static void
assert_readable(struct world *w, int i)
{
    fixture_reopen(&w->f);
    assert_volume(w->f.r, &w->roots[i], w->p[i]);
}

#endif
