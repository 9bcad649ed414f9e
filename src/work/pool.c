/* SPDX-License-Identifier: Apache-2.0 */
#include "work/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

struct job {
    struct job *next;
    struct group *group;
    pool_fn *fn;
    void *arg;
};

struct pool {
    pthread_mutex_t lock; /* guards the list, `stopping` and all groups */
    pthread_cond_t not_empty;
    struct job *first, **last;
    bool stopping;
    unsigned n_threads;
    pthread_t threads[];
};

struct group {
    struct pool *pool;
    pthread_cond_t changed; /* a job of the group has ended */
    size_t max_jobs, jobs;
    struct err err; /* the first; ERR_OK if none */
};

static void
run_job(struct pool *p, struct job *j)
{
    struct group *g = j->group;
    struct err e = {0};

    (void)pthread_mutex_lock(&p->lock);
    bool failed = g->err.code != ERR_OK;
    (void)pthread_mutex_unlock(&p->lock);

    int rc = j->fn(j->arg, failed, &e);
    assert((rc == -1) == (e.code != ERR_OK)); /* or a failure would be lost */
    free(j);

    (void)pthread_mutex_lock(&p->lock);
    if (rc == -1 && g->err.code == ERR_OK)
        g->err = e;
    g->jobs--;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

static void *
worker(void *arg)
{
    struct pool *p = arg;

    for (;;) {
        (void)pthread_mutex_lock(&p->lock);
        while (!p->first && !p->stopping)
            (void)pthread_cond_wait(&p->not_empty, &p->lock);
        struct job *j = p->first;
        if (j) {
            p->first = j->next;
            if (!p->first)
                p->last = &p->first;
        }
        (void)pthread_mutex_unlock(&p->lock);
        if (!j)
            return NULL;
        run_job(p, j);
    }
}

/* Those that this process may use. */
static unsigned
cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than a set can hold */
    return online < 1 ? 1 : (unsigned)online;
}

struct pool *
pool_new(unsigned n_threads)
{
    if (n_threads == 0)
        n_threads = cores();
    struct pool *p = xcalloc(1, sizeof(*p) + n_threads * sizeof(p->threads[0]));
    p->last = &p->first;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->not_empty, NULL);
    for (; p->n_threads < n_threads; p->n_threads++)
        if (pthread_create(&p->threads[p->n_threads], NULL, worker, p) != 0)
            break;
    if (p->n_threads == 0)
        abort(); /* not one thread to be had: nothing can run */
    return p;
}

void
pool_free(struct pool *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->stopping = true;
    (void)pthread_cond_broadcast(&p->not_empty);
    (void)pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        (void)pthread_join(p->threads[i], NULL);
    (void)pthread_cond_destroy(&p->not_empty);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

void
pool_freep(struct pool **p)
{
    pool_free(*p);
}

unsigned
pool_threads(const struct pool *p)
{
    return p->n_threads;
}

struct group *
group_new(struct pool *p, size_t max_jobs)
{
    assert(max_jobs > 0);
    struct group *g = xcalloc(1, sizeof(*g));

    g->pool = p;
    g->max_jobs = max_jobs;
    (void)pthread_cond_init(&g->changed, NULL);
    return g;
}

void
group_run(struct group *g, pool_fn *fn, void *arg)
{
    struct pool *p = g->pool;
    struct job *j = xcalloc(1, sizeof(*j));

    *j = (struct job){.group = g, .fn = fn, .arg = arg};
    (void)pthread_mutex_lock(&p->lock);
    while (g->jobs >= g->max_jobs)
        (void)pthread_cond_wait(&g->changed, &p->lock);
    g->jobs++;
    *p->last = j;
    p->last = &j->next;
    (void)pthread_cond_signal(&p->not_empty);
    (void)pthread_mutex_unlock(&p->lock);
}

int
group_failed(struct group *g)
{
    (void)pthread_mutex_lock(&g->pool->lock);
    int failed = g->err.code != ERR_OK;
    (void)pthread_mutex_unlock(&g->pool->lock);
    return failed;
}

int
group_wait(struct group *g, struct err *e)
{
    (void)pthread_mutex_lock(&g->pool->lock);
    while (g->jobs > 0)
        (void)pthread_cond_wait(&g->changed, &g->pool->lock);
    (void)pthread_mutex_unlock(&g->pool->lock);
    if (g->err.code == ERR_OK)
        return 0;
    *e = g->err;
    return -1;
}

void
group_free(struct group *g)
{
    struct err ignored = {0};

    if (!g)
        return;
    (void)group_wait(g, &ignored);
    (void)pthread_cond_destroy(&g->changed);
    free(g);
}

void
group_freep(struct group **g)
{
    group_free(*g);
}

struct thread {
    pthread_t id;
    void (*fn)(void *);
    void *arg;
};

static void *
thread_main(void *arg)
{
    struct thread *t = arg;

    t->fn(t->arg);
    return NULL;
}

struct thread *
thread_start(void (*fn)(void *), void *arg)
{
    struct thread *t = xcalloc(1, sizeof(*t));

    t->fn = fn;
    t->arg = arg;
    if (pthread_create(&t->id, NULL, thread_main, t) != 0)
        abort();
    return t;
}

void
thread_join(struct thread *t)
{
    if (!t)
        return;
    (void)pthread_join(t->id, NULL);
    free(t);
}
