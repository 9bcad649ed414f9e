/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checked: when this host last looked whether a repository is whole.
 *
 * Two lines in CACHE/REPOSITORY/checked: of `check`, and of `check --read-data`
 * (or repeated --read-subset N/M; each part is noted by itself):
 *     structure 1795420800000000000 0
 *     data 1795420800000000000 0
 * the kind, the time since 1970 UTC in ns, how many faults were found.  It is
 * in the cache and not in the repository, as an append-only host, or a key that
 * only reads, could not put it there; so each host knows of its own checks, and
 * of none once its cache is removed.
 *
 * Trust: whoever may write the cache is this user; what makes no sense counts
 * as not there.
 */
#ifndef CLI_CHECKED_H
#define CLI_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

enum checked_what { CHECKED_STRUCTURE, CHECKED_DATA, CHECKED_KINDS };

struct checked {
    struct {
        int64_t time_ns; /* 0: never, as far as is known */
        uint64_t faults;
    } last[CHECKED_KINDS];
};

/* `cache` is the folder of all caches; NULL: there is none, nothing is known.
 */
void checked_read(const char *cache, const char *repo_id, struct checked *out);

/* Such a check has come to its end now.  What cannot be written is not: no
 * check fails for that. */
void checked_note(const char *cache, const char *repo_id,
                  enum checked_what what, uint64_t faults);

/* From the file's text; false, and *out empty, if it makes no sense. */
bool checked_parse(const char *text, struct checked *out);

#endif
