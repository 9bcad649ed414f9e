/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: worker threads that run jobs, sized to the cores.
 *
 * Jobs of one pool belong to groups.  A group counts its unfinished jobs and
 * keeps the first error; once it has one, its later jobs are told so and
 * should only clean up.  A group also bounds how many of its jobs may wait or
 * run, which bounds the memory that they hold.
 */
#ifndef WORK_POOL_H
#define WORK_POOL_H

#include <stddef.h>

struct err;
struct pool;
struct group;

/* n_threads 0: one a core that this process may use. */
struct pool *pool_new(unsigned n_threads);
/* All groups must have been freed. */
void pool_free(struct pool *p);
unsigned pool_threads(const struct pool *p);

/*
 * Runs on a worker.  `failed` is nonzero if the group has an error already.
 * Returns 0, or -1 with `e` set, which becomes the group's error if it is the
 * first.
 */
typedef int pool_fn(void *arg, int failed, struct err *e);

/* At most max_jobs (> 0) of the group wait or run at a time. */
struct group *group_new(struct pool *p, size_t max_jobs);

/* Waits while the group is full: not to be called by a job.  fn(arg) will be
 * called in any case. */
void group_run(struct group *g, pool_fn *fn, void *arg);

/* Has a job of the group failed? */
int group_failed(struct group *g);

/* Waits for all jobs.  Returns 0, or -1 with the first error. */
int group_wait(struct group *g, struct err *e);

/* Waits for all jobs, then frees.  NULL is allowed. */
void group_free(struct group *g);
void group_freep(struct group **g);
void pool_freep(struct pool **p);

/* A thread of one's own, for work that waits rather than computes. */
struct thread;
struct thread *thread_start(void (*fn)(void *), void *arg);
void thread_join(struct thread *t); /* NULL is allowed; frees */

#endif
