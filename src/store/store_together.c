/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_together.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "store/store_internal.h"
#include "work/pool.h"

/* What those who run the jobs share. */
struct runners {
    struct store_job *jobs;
    size_t n;
    atomic_size_t next;
    atomic_bool failed;
};

static void
run_some(void *arg)
{
    struct runners *r = arg;

    for (;;) {
        size_t i = atomic_fetch_add(&r->next, 1);
        if (i >= r->n || atomic_load(&r->failed))
            return;
        struct store_job *job = &r->jobs[i];
        job->rc = job->fn(job->arg, &job->err);
        if (job->rc == -1)
            atomic_store(&r->failed, true);
    }
}

size_t
store_width(const struct store *st)
{
    return st->ops->width ? st->ops->width : 1;
}

int
store_together(struct store *st, struct store_job *jobs, size_t n,
               struct err *e)
{
    struct runners r = {.jobs = jobs, .n = n};
    struct thread *others[STORE_TOGETHER_MAX] = {0};
    size_t width = u64_min(u64_min(store_width(st), n), STORE_TOGETHER_MAX);

    for (size_t i = 0; i < n; i++)
        jobs[i].rc = 1;
    for (size_t i = 1; i < width; i++)
        others[i] = thread_start(run_some, &r);
    run_some(&r);
    for (size_t i = 1; i < width; i++)
        thread_join(others[i]);
    for (size_t i = 0; i < n; i++)
        if (jobs[i].rc == -1) {
            *e = jobs[i].err;
            return -1;
        }
    return 0;
}
