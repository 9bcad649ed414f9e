/* SPDX-License-Identifier: Apache-2.0 */
/* store_made: folders that a store has made, or knows to be there in good
 * order, and need not look at again.  Any number of threads. */
#ifndef STORE_STORE_MADE_H
#define STORE_STORE_MADE_H

#include <pthread.h>
#include <stdbool.h>

struct made {
    pthread_mutex_t lock;
    void *names; /* lock; by tsearch(3) */
};

void made_init(struct made *m);
void made_done(struct made *m);
bool made_has(struct made *m, const char *folder);
void made_add(struct made *m, const char *folder);

#endif
