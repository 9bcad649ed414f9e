/* SPDX-License-Identifier: Apache-2.0 */
/* maintain: forgetting and pruning in a fixture. */
#ifndef TESTS_REPO_MAINTAIN_H
#define TESTS_REPO_MAINTAIN_H

#include "fixture.h"
#include "repo/forget.h"
#include "repo/prune.h"

static inline void
fixture_retire(struct fixture *f, const char *id)
{
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    size_t n = 0;

    assert_ok(forget_by_name(f->r, &id, 1, &plan, e));
    assert_int_equal(plan.n, 1);
    assert_ok(forget_carry_out(f->r, &plan, f->cancel, &n, e));
    assert_int_equal(n, 1);
}

static inline struct prune_result
fixture_prune(struct fixture *f)
{
    const struct prune_options o = {.max_repack_bytes = UINT64_MAX};
    struct prune_result r = {0};

    assert_ok(repo_prune(f->r, &o, f->cancel, &r, e));
    return r;
}

#endif
