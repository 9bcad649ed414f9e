/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_sweep.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/store_fault.h"
#include "store/store_mem.h"

static const char *const then_names[] = {
    [STORE_THEN_GOES_ON] = "once",
    [STORE_THEN_AGAIN] = "for ever",
    [STORE_THEN_CRASH] = "with a crash",
};

/* One round.  1 if the fault was met, 0 if not, -1. */
static int
sweep_round(const struct store_sweep *s, struct store_fault *plan,
            struct err *e)
{
    CLEANUP(store_closep) struct store *mem = store_mem_new(s->clock);
    CLEANUP(store_closep) struct store *st = store_fault_new(mem);
    struct err outcome = {0};

    if (s->prepare && s->prepare(s->cookie, mem, e) == -1)
        return -1;
    store_fault_set(st, plan);
    int rc = s->run(s->cookie, st, &outcome);
    bool met = store_fault_hits(st) > 0;
    if (!met && rc == -1) {
        *e = outcome;
        return err_wrap(e, "failed without a fault");
    }
    if (!met)
        plan->at = 0;
    if (s->check && s->check(s->cookie, mem, plan, rc, e) == -1)
        return -1;
    return met ? 1 : 0;
}

static int
sweep_fault(const struct store_sweep *s, const struct store_fault *fault,
            uint64_t first, uint64_t *rounds, struct err *e)
{
    struct store_fault plan = *fault;
    uint64_t step = s->step ? s->step : 1;

    for (uint64_t n = 1 + first % step;; n += step) {
        plan.at = n;
        int rc = sweep_round(s, &plan, e);
        ++*rounds;
        if (rc == -1)
            return err_wrap(e, "%s at operation %llu, %s",
                            store_fault_name(plan.what), (unsigned long long)n,
                            then_names[plan.then]);
        if (rc == 0)
            return 0;
    }
}

int
store_sweep(const struct store_sweep *s, uint64_t *rounds, struct err *e)
{
    static const enum store_fault_what whats[] = {
        STORE_FAULT_FAIL, STORE_FAULT_CUT, STORE_FAULT_NO_REPLY};
    static const enum store_fault_then thens[] = {
        STORE_THEN_GOES_ON, STORE_THEN_AGAIN, STORE_THEN_CRASH};
    uint64_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(whats); i++) {
        for (size_t j = 0; j < ARRAY_LEN(thens); j++) {
            struct store_fault plan = {.ops = s->ops,
                                       .prefix = s->prefix,
                                       .what = whats[i],
                                       .then = thens[j]};
            if (sweep_fault(s, &plan, i * ARRAY_LEN(thens) + j, &n, e) == -1)
                return -1;
        }
    }
    if (rounds)
        *rounds = n;
    return 0;
}
