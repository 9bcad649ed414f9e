/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relied: the packs that a backup relies on because they hold objects which it
 * found in the index and so did not store.
 *
 * What was there when it was looked up may have been removed since: before a
 * backup is published they are looked at again (docs/design/repository.md,
 * "The writer's protocol").
 *
 * Threads:   relied_add from many at once.
 */
#ifndef REPO_RELIED_H
#define REPO_RELIED_H

#include <stddef.h>

#include "repo/segment.h"

struct err;
struct relied;
struct store;

struct relied *relied_new(void);
void relied_free(struct relied *r); /* NULL is allowed */

void relied_add(struct relied *r, const struct location *at);
size_t relied_packs(struct relied *r);

/* Are all still there, at their size?  ERR_STORE names one that is not. */
int relied_check(struct relied *r, struct store *st, struct err *e);

#endif
