/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_made.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int
compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

void
made_init(struct made *m)
{
    m->names = NULL;
    (void)pthread_mutex_init(&m->lock, NULL);
}

void
made_done(struct made *m)
{
    tdestroy(m->names, free);
    (void)pthread_mutex_destroy(&m->lock);
}

bool
made_has(struct made *m, const char *folder)
{
    (void)pthread_mutex_lock(&m->lock);
    bool has = tfind(folder, &m->names, compare) != NULL;
    (void)pthread_mutex_unlock(&m->lock);
    return has;
}

void
made_add(struct made *m, const char *folder)
{
    char *copy = xstrdup(folder);

    (void)pthread_mutex_lock(&m->lock);
    char **node = tsearch(copy, &m->names, compare);
    if (!node)
        abort(); /* out of memory, as xstrdup does */
    if (*node == copy)
        copy = NULL;
    (void)pthread_mutex_unlock(&m->lock);
    free(copy);
}
