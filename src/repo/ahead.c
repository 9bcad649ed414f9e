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

enum { FOUND_MAX = AHEAD_SLOTS + AHEAD_EXPECTED };

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
    struct thread *scout;
    struct thread *threads[AHEAD_SLOTS];
    struct seat seats[AHEAD_SLOTS]; /* of a thread's own until ready */

    pthread_mutex_t lock;      /* guards all below, and all `ready` */
    pthread_cond_t changed;    /* any of it */
    uint64_t found[FOUND_MAX]; /* slots: the scout was there */
    /* Slots, each of which has the place that follows; the same for seats. */
    uint64_t n_found, begun, given;
    bool all_found;
    int found_rc; /* why, then: there are no more, or -1 */
    struct err found_e;
    bool all_begun; /* there are no more, or one failed */
    bool holds;     /* the caller has what was given last */
    bool stop;
};

/* Finds the slots that are not all zeros.  What they need is asked for in their
 * order, before anybody has a seat for them, so that what is wanted later never
 * takes the room of what is wanted before. */
static void
scout(void *arg)
{
    struct ahead *a = arg;
    uint64_t index = 0;

    (void)pthread_mutex_lock(&a->lock);
    while (!a->all_found) {
        while (!a->stop && !a->all_begun && a->n_found - a->given == FOUND_MAX)
            (void)pthread_cond_wait(&a->changed, &a->lock);
        if (a->stop || a->all_begun)
            break;
        struct err e = {0};
        (void)pthread_mutex_unlock(&a->lock);
        int rc = volume_next_slot(a->reader, &index, &e);
        if (rc == 1)
            volume_expect_slot(a->reader, index);
        (void)pthread_mutex_lock(&a->lock);
        if (rc == 1)
            a->found[a->n_found++ % FOUND_MAX] = index++;
        a->all_found = rc != 1;
        a->found_rc = rc;
        a->found_e = e;
        (void)pthread_cond_broadcast(&a->changed);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

/* The next seat to fill, or NULL: there is none any more. */
static struct seat *
begin_locked(struct ahead *a)
{
    while (!a->stop && !a->all_begun &&
           (a->begun - a->given == a->n ||
            (a->begun == a->n_found && !a->all_found)))
        (void)pthread_cond_wait(&a->changed, &a->lock);
    if (a->stop || a->all_begun)
        return NULL;
    struct seat *s = &a->seats[a->begun % a->n];
    bool is_end = a->begun == a->n_found;
    if (!is_end || a->found_rc == -1) {
        s->index = a->found[a->begun % FOUND_MAX];
        s->rc = is_end ? -1 : 0;
        s->e = a->found_e;
        s->ready = is_end;
        a->begun++;
    }
    a->all_begun = is_end;
    (void)pthread_cond_broadcast(&a->changed);
    return is_end ? NULL : s;
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
    a->scout = thread_start(scout, a);
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
    thread_join(a->scout);
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
