/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repository under the test's clock, with backups of four contents that can
 * be made, retired, pruned and read again.  For tests of maintenance.
 */
#ifndef TESTS_REPO_PRUNEFIXTURE_H
#define TESTS_REPO_PRUNEFIXTURE_H

#include "base/buf.h"
#include "maintain.h"
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
    fixture_retire(&w->f, w->ids[i]);
}

static struct prune_result
prune(struct world *w)
{
    fixture_reopen(&w->f);
    return fixture_prune(&w->f);
}

static void
assert_readable(struct world *w, int i)
{
    fixture_reopen(&w->f);
    assert_volume(w->f.r, &w->roots[i], w->p[i]);
}

#endif
