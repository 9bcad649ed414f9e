/* SPDX-License-Identifier: Apache-2.0 */
#include "work/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

struct queue {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t not_full;
    pthread_cond_t not_empty;
    size_t capacity;
    size_t head, count;
    bool closed;
    void *items[]; /* ring of `capacity` */
};

struct queue *
queue_new(size_t capacity)
{
    assert(capacity > 0);
    struct queue *q = xcalloc(1, sizeof(*q) + capacity * sizeof(q->items[0]));

    q->capacity = capacity;
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_cond_init(&q->not_full, NULL);
    (void)pthread_cond_init(&q->not_empty, NULL);
    return q;
}

void
queue_free(struct queue *q)
{
    if (!q)
        return;
    assert(q->count == 0);
    (void)pthread_cond_destroy(&q->not_empty);
    (void)pthread_cond_destroy(&q->not_full);
    (void)pthread_mutex_destroy(&q->lock);
    free(q);
}

bool
queue_push(struct queue *q, void *item)
{
    assert(item);
    (void)pthread_mutex_lock(&q->lock);
    while (q->count == q->capacity && !q->closed)
        (void)pthread_cond_wait(&q->not_full, &q->lock);
    bool open = !q->closed;
    if (open) {
        q->items[(q->head + q->count) % q->capacity] = item;
        q->count++;
        (void)pthread_cond_signal(&q->not_empty);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return open;
}

static void *
take_locked(struct queue *q)
{
    if (q->count == 0)
        return NULL;
    void *item = q->items[q->head];
    q->head = (q->head + 1) % q->capacity;
    q->count--;
    (void)pthread_cond_signal(&q->not_full);
    return item;
}

void *
queue_pop(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    while (q->count == 0 && !q->closed)
        (void)pthread_cond_wait(&q->not_empty, &q->lock);
    void *item = take_locked(q);
    (void)pthread_mutex_unlock(&q->lock);
    return item;
}

void *
queue_try_pop(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    void *item = take_locked(q);
    (void)pthread_mutex_unlock(&q->lock);
    return item;
}

void
queue_close(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->closed = true;
    (void)pthread_cond_broadcast(&q->not_full);
    (void)pthread_cond_broadcast(&q->not_empty);
    (void)pthread_mutex_unlock(&q->lock);
}
