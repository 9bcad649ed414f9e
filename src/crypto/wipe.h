/* SPDX-License-Identifier: Apache-2.0 */
/* wipe: secrets leave memory, and are compared in constant time. */
#ifndef CRYPTO_WIPE_H
#define CRYPTO_WIPE_H

#include <stdbool.h>
#include <stddef.h>

/* Zero bytes that the compiler can't leave out. */
void wipe(void *p, size_t len);

/* Wipe, then free.  NULL is allowed. */
void wipe_free(void *p, size_t len);

/*
 * Zeroed memory for keys that live long, between pages that nobody may touch:
 * not in core dumps, not swapped out if the limit of locked memory allows it
 * (RLIMIT_MEMLOCK).  secret_free wipes; NULL is allowed.  A few pages each.
 */
void *secret_new(size_t len);
void secret_free(void *p);

/* Equal?  Takes the same time wherever they differ. */
bool wipe_equal(const void *a, const void *b, size_t len);

#endif
