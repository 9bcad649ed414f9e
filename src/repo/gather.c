/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gather.h"

#include <stdio.h>
#include <string.h>

#include "store/store.h"

void
gather_done(struct gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        buf_done(&g->items[i].bytes);
    g->n = 0;
}

/* g->n if it is not there. */
static size_t
find(const struct gather *g, const char *name)
{
    size_t i = 0;

    while (i < g->n && strcmp(g->items[i].name, name) != 0)
        i++;
    return i;
}

void
gather_add(struct gather *g, struct store *st, const char *name,
           size_t max_bytes)
{
    if (store_width(st) == 1 || g->n == GATHER_MAX || find(g, name) < g->n)
        return;
    struct gathered *x = &g->items[g->n++];
    *x = (struct gathered){.store = st, .bytes = buf_of(max_bytes)};
    (void)snprintf(x->name, sizeof(x->name), "%s", name);
}

/* A failure is told to who asks for it. */
static int
read_one(void *arg, struct err *e)
{
    struct gathered *x = arg;

    (void)e;
    (void)store_get_all(x->store, x->name, &x->bytes, &x->err);
    return 0;
}

size_t
gather_jobs(struct gather *g, size_t from, struct store_job *jobs)
{
    size_t n = 0;

    for (size_t i = from; i < g->n; i++)
        jobs[n++] = (struct store_job){.fn = read_one, .arg = &g->items[i]};
    return n;
}

void
gather_run(struct gather *g, size_t from)
{
    struct store_job jobs[GATHER_MAX];
    struct err never = {0};
    size_t n = gather_jobs(g, from, jobs);

    if (n > 0)
        (void)store_together(g->items[from].store, jobs, n, &never);
}

int
gather_get(struct gather *g, struct store *st, const char *name,
           struct buf *out, struct err *e)
{
    size_t i = find(g, name);
    const struct gathered *x = &g->items[i];

    if (i == g->n)
        return store_get_all(st, name, out, e);
    if (x->err.code != ERR_OK) {
        *e = x->err;
        return -1;
    }
    buf_reset(out);
    buf_add(out, x->bytes.p, x->bytes.len);
    return 0;
}
