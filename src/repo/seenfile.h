/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seenfile: the file in which a host remembers which backups it has seen in a
 * repository (seen.h), in the repository's cache folder (cachedir.h).
 *
 * Its name is seen-ADDRESS, ADDRESS 16 digits of HEX out of K_meta and the
 * repository's address: a copy of a repository at another place may well be
 * older.  Little-endian:
 *
 *   0        u8[8]   "VMKSEEN1"
 *   8        u32     n, at most SEEN_MAX_REFS
 *   12       u32     zero
 *   16       n × 44  namespace u32, machine tag u8[8], time i64, id u8[16], as
 *                    in the ref's name; when it was last seen i64, by our clock
 *   then     u8[32]  proof out of K_meta and the SHA-256 of all before it
 *
 * It says no more than the storage knows from the names of its objects, and
 * when this host looked.  What does not check is as good as not there.
 *
 * Threads:   any number; of those that write, seenfile_lock() lets in one.
 */
#ifndef REPO_SEENFILE_H
#define REPO_SEENFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"

struct keyring;

enum { SEENFILE_NAME_LEN = 32 };

struct seenfile {
    const struct keyring *keys; /* borrowed */
    char name[SEENFILE_NAME_LEN];
};

/* For the repository at `address`; `k` has K_meta. */
void seenfile_init(struct seenfile *f, const char *address,
                   const struct keyring *k);

/* A backup that was seen, and when. */
struct seen_known {
    struct ref_name ref;
    int64_t last_ns;
};

struct seen_memory {
    struct seen_known *refs; /* owned */
    size_t n, room;
};

void seen_memory_add(struct seen_memory *m, const struct ref_name *ref,
                     int64_t last_ns);
void seen_memory_done(struct seen_memory *m); /* for CLEANUP */

/* For qsort and bsearch: by the ref that these structs begin with. */
int seen_by_ref(const void *a, const void *b);

/* In the order of seen_by_ref; nothing, if there is no such file, or if it is
 * not ours.  `dir` is the cache folder. */
void seenfile_load(const struct seenfile *f, int dir, struct seen_memory *out);

/* At most SEEN_MAX_REFS.  What fails here costs no more than the memory. */
void seenfile_save(const struct seenfile *f, int dir,
                   const struct seen_memory *m);

/* Until `dir` is closed.  False if another command keeps it: what was seen now
 * is not remembered. */
bool seenfile_lock(int dir);

#endif
