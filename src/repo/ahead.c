/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/ahead.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/tree.h"
#include "repo/volume.h"
#include "work/pool.h"

struct seat {
    bool ready; /* its thread is done with it, well or not */
    int rc;
    struct err e;
    uint64_t index;
    uint8_t *data; /* NULL until it is first used */
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];
};

struct ahead {
    struct volume_reader *reader; /* borrowed */
    unsigned n;                   /* seats, and threads */
    struct thread *threads[AHEAD_SLOTS];
    struct seat seats[AHEAD_SLOTS]; /* of a thread's own until ready */

    pthread_mutex_t lock;   /* guards all below, and all `ready` */
    pthread_cond_t changed; /* any of it */
    uint64_t begun, given;  /* slots, whose seats follow each other */
    uint64_t next;          /* where to look for the slot after those */
    bool looking;           /* somebody does */
    bool all_begun;         /* there are no more, or one failed */
    bool holds;             /* the caller has what was given last */
    bool stop;
};

/* The next seat to fill, or NULL: there is none any more.  One thread at a time
 * looks for a slot, and not under the lock: nodes may have to be read. */
static struct seat *
begin_locked(struct ahead *a)
{
    struct err e = {0};

    while (!a->stop && !a->all_begun &&
           (a->looking || a->begun - a->given == a->n))
        (void)pthread_cond_wait(&a->changed, &a->lock);
    if (a->stop || a->all_begun)
        return NULL;
    struct seat *s = &a->seats[a->begun % a->n];
    uint64_t index = a->next;
    a->looking = true;
    (void)pthread_mutex_unlock(&a->lock);
    int rc = volume_next_slot(a->reader, &index, &e);
    (void)pthread_mutex_lock(&a->lock);
    a->looking = false;
    a->next = index + 1;
    if (rc != 0) {
        s->ready = false;
        s->rc = rc;
        s->e = e;
        s->index = index;
        a->begun++;
    }
    if (rc == -1)
        s->ready = true;
    a->all_begun = rc != 1;
    (void)pthread_cond_broadcast(&a->changed);
    return rc == 1 ? s : NULL;
}

static void
read_slots(void *arg)
{
    struct ahead *a = arg;
    struct seat *s = NULL;

    (void)pthread_mutex_lock(&a->lock);
    while ((s = begin_locked(a))) {
        (void)pthread_mutex_unlock(&a->lock);
        if (!s->data)
            s->data = xmalloc(VOLUME_SLOT_BYTES);
        s->rc =
            volume_read_slot(a->reader, s->index, s->data, s->marked, &s->e);
        (void)pthread_mutex_lock(&a->lock);
        s->ready = true;
        a->all_begun |= s->rc == -1;
        (void)pthread_cond_broadcast(&a->changed);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

struct ahead *
ahead_new(struct volume_reader *v)
{
    struct ahead *a = xcalloc(1, sizeof(*a));
    uint64_t slots = tree_slots(volume_size(v));

    a->reader = v;
    a->n = (unsigned)u64_max(1, u64_min(slots, AHEAD_SLOTS));
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->changed, NULL);
    for (unsigned i = 0; i < a->n; i++)
        a->threads[i] = thread_start(read_slots, a);
    return a;
}

void
ahead_free(struct ahead *a)
{
    if (!a)
        return;
    (void)pthread_mutex_lock(&a->lock);
    a->stop = true;
    (void)pthread_cond_broadcast(&a->changed);
    (void)pthread_mutex_unlock(&a->lock);
    for (unsigned i = 0; i < a->n; i++)
        thread_join(a->threads[i]);
    for (unsigned i = 0; i < a->n; i++)
        free(a->seats[i].data);
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
}

void
ahead_freep(struct ahead **a)
{
    ahead_free(*a);
}

int
ahead_next(struct ahead *a, struct ahead_slot *out, struct err *e)
{
    int rc = 0;

    (void)pthread_mutex_lock(&a->lock);
    if (a->holds) {
        a->holds = false;
        a->given++;
        (void)pthread_cond_broadcast(&a->changed);
    }
    while (a->given == a->begun ? !a->all_begun
                                : !a->seats[a->given % a->n].ready)
        (void)pthread_cond_wait(&a->changed, &a->lock);
    if (a->given < a->begun) {
        const struct seat *s = &a->seats[a->given % a->n];
        if (s->rc == -1) { /* its turn stays: a next call fails as well */
            *e = s->e;
            rc = -1;
        } else {
            *out = (struct ahead_slot){s->index, s->data, s->marked};
            a->holds = true;
            rc = 1;
        }
    }
    (void)pthread_mutex_unlock(&a->lock);
    return rc;
}
