/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/prune.h"

#include "base/err.h"
#include "base/mem.h"
#include "repo/gc.h"
#include "repo/repo_internal.h"
#include "store/store.h"

static int
check_may(const struct repo *r, struct err *e)
{
    const struct config *c = &r->config;
    uint64_t least = (c->lease_s > c->window_s ? c->lease_s : c->window_s) +
                     2 * (uint64_t)c->visibility_s;

    if (!(r->keys.has & KEY_MAINTENANCE))
        return err_set(e, ERR_KEY, "this key may not do maintenance");
    if (c->ro_compat != 0 || c->gc_compat != 0 ||
        c->min_writer > CONFIG_WRITER_LEVEL)
        return err_set(e, ERR_UNSUP,
                       "the repository has been changed so that this vmkeep "
                       "may not do maintenance; use a newer vmkeep");
#ifndef PROTOCOL_SWITCHES
    if (c->grace_s < least)
        return err_set(e, ERR_CORRUPT,
                       "the config's times make no sense: a grace of %u s is "
                       "less than %llu s",
                       c->grace_s, (unsigned long long)least);
#else
    (void)least;
#endif
    return 0;
}

int
repo_prune(struct repo *r, const struct prune_options *o, struct cancel *cancel,
           struct prune_result *out, struct err *e)
{
    struct prune_result result = {0};
    CLEANUP(gc_done)
    struct gc g = {
        .repo = r, .options = o, .cancel = cancel, .result = &result};

    if (check_may(r, e) == -1)
        return -1;
    if (gc_look(&g, e) == -1) {
        (void)err_wrap(e, "nothing was removed");
        if (e->code == ERR_CORRUPT)
            (void)err_hint(e, "run \"vmkeep check\" and repair what it finds "
                              "first");
        return -1;
    }
    if (gc_delete(&g, e) == -1 || gc_condemn(&g, e) == -1 ||
        (!o->dry_run && store_tidy(r->store, e) == -1))
        return -1;
    *out = result;
    return 0;
}
