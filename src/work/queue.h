/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue: a bounded queue of pointers between threads.
 *
 * A full queue makes its senders wait: back-pressure is how memory stays
 * bounded.  What was sent is no longer the sender's.  A closed queue takes no
 * more and yields what is left.
 */
#ifndef WORK_QUEUE_H
#define WORK_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct queue;

struct queue *queue_new(size_t capacity);
void queue_free(struct queue *q); /* must be empty */

/* Waits while full.  `item` is not NULL.  False, and `item` still the
 * caller's, once closed. */
bool queue_push(struct queue *q, void *item);
/* Waits for an item; NULL once closed and empty. */
void *queue_pop(struct queue *q);
/* Does not wait; NULL if there is none now. */
void *queue_try_pop(struct queue *q);

/* Wakes everybody who waits.  May be called more than once. */
void queue_close(struct queue *q);

#endif
