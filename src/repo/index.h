/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: all segments of a repository, for lookups.
 *
 * It starts empty; index_refresh loads what the store has.  Segments are only
 * ever added.  One that is damaged is left out: writers
 * store again what they don't find, readers say that it may be the cause.
 *
 * Threads:   from any number at once.
 */
#ifndef REPO_INDEX_H
#define REPO_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/segment.h"

struct err;
struct index;
struct keyring;
struct store;

enum { INDEX_MAX_LOCATIONS = 8 };

/* Empty; borrows both. */
struct index *index_new(struct store *st, const struct keyring *k);
void index_free(struct index *x); /* NULL is allowed */

/* Load the segments that the store has and we don't.  ERR_STORE, ERR_UNSUP. */
int index_refresh(struct index *x, struct err *e);

/* Store what `b` holds as one more delta and look it up from then on. */
int index_publish(struct index *x, struct segment_builder *b, int64_t now_ns,
                  uint64_t *out_bytes, struct err *e);

/* The places of an object, each once, newest segment first, at most
 * INDEX_MAX_LOCATIONS; 0 if it is in no segment. */
size_t index_find(struct index *x, const uint8_t gid[GID_BYTES],
                  struct location out[INDEX_MAX_LOCATIONS]);

/* Why a segment was left out: into the message of an error that it may have
 * caused.  False if none was. */
bool index_damage(struct index *x, char *out, size_t room);

#endif
