/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: all segments of a repository, for lookups.
 *
 * It starts empty; index_refresh loads what the store has.  Segments are only
 * ever added, and mapped from local files where there is a cache.  One that is
 * damaged is left out: writers store again what they don't find, readers say
 * that it may be the cause.
 *
 * Memory:    what is mapped counts as the process's while it is in use.  Of the
 *            entries, most of an index, no more than about
 *            INDEX_RESIDENT_BYTES does, however many there are: from time to
 *            time the kernel gets them back.  Bloom filters, 10 bits an object,
 *            stay.
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
struct lost;
struct store;

enum {
    INDEX_MAX_LOCATIONS = 8,
    INDEX_RESIDENT_BYTES = 16 << 20,
    /* A look at an entry has the kernel map what is around it, if it has that
     * in memory: 64 KiB, for which there is a setting, but no call. */
    INDEX_LOOKS = INDEX_RESIDENT_BYTES / (64 << 10)
};

/* Empty; borrows both. */
struct index *index_new(struct store *st, const struct keyring *k);
void index_free(struct index *x); /* NULL is allowed */

/* Where segments are kept between runs (repo/segcache.h); at most once, and
 * before the first refresh.  Without it they are in memory. */
void index_use_cache(struct index *x, const char *dir);

/* From now on what is lost (borrowed) is not found any more: its records are
 * loaded by index_refresh too.  Before the index is used. */
void index_heed(struct index *x, struct lost *l);

/* Load the segments that the store has and we don't.  ERR_STORE, ERR_UNSUP. */
int index_refresh(struct index *x, struct err *e);
/* The same for who has refreshed what is lost. */
int index_refresh_rest(struct index *x, struct err *e);

/* The segment of that id, for as long as the index is there: 1; 0 if it is not
 * loaded.  ERR_CORRUPT if it is damaged. */
int index_segment(struct index *x, const uint8_t id[NAME_ID_BYTES],
                  struct segment *out, struct err *e);

/* Whoever has looked at so many entries of such segments (INDEX_LOOKS, or a
 * part of one from end to end) gives back their memory. */
void index_rest(struct index *x);

/* The segment of that id will be read from begin to end, won't be looked at for
 * a while: where it is mapped, this is what brings it close, and what frees our
 * memory of it.  Nothing happens if it is not loaded. */
void index_warm(struct index *x, const uint8_t id[NAME_ID_BYTES]);
void index_cool(struct index *x, const uint8_t id[NAME_ID_BYTES]);
/* All of them. */
void index_cool_all(struct index *x);

/* Store what `b` holds as one more delta and look it up from then on. */
int index_publish(struct index *x, struct segment_builder *b, int64_t now_ns,
                  uint64_t *out_bytes, struct err *e);

/* The places of an object, each once, newest segment first, at most
 * INDEX_MAX_LOCATIONS; 0 if it is in no segment. */
size_t index_find(struct index *x, const uint8_t gid[GID_BYTES],
                  struct location out[INDEX_MAX_LOCATIONS]);

/* The same without a limit; *out is the caller's to free.  For who has tried
 * those of index_find: many may be gone. */
size_t index_find_all(struct index *x, const uint8_t gid[GID_BYTES],
                      struct location **out);

/* The lost pack that an object was in: 1 and *out, 0 if there is none. */
int index_find_lost(struct index *x, const uint8_t gid[GID_BYTES],
                    struct location *out);

/* Why a segment was left out: into the message of an error that it may have
 * caused.  False if none was. */
bool index_damage(struct index *x, char *out, size_t room);

#endif
