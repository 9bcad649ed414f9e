/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gidsort: puts records that begin with a short object id in the order of
 * their ids.  In place and byte by byte, which for ids, as good as random,
 * takes three looks at each of ten million; whoever makes ids up gets at most
 * one look a byte.
 */
#ifndef REPO_GIDSORT_H
#define REPO_GIDSORT_H

#include <stddef.h>

enum { GIDSORT_MAX_BYTES = 64 };

/* n records of `each` bytes, GID_BYTES to GIDSORT_MAX_BYTES; those of the same
 * id in any order. */
void gidsort(void *records, size_t n, size_t each);

#endif
