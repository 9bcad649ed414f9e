/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: what this host and this key can do at a repository's storage, and how
 * that behaves, by trying it.
 *
 * What is put there to try it is a sync marker of the key's writer, as every
 * backup puts some: where it cannot be removed again, maintenance removes it as
 * it does those.  History is not touched.
 */
#ifndef REPO_DOCTOR_H
#define REPO_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

struct cancel;
struct repo;

enum { DOCTOR_LIST_WAIT_MS = 10000 };

struct doctor_result {
    struct store_traits traits;
    bool may_write; /* the key has what it takes to try; else all up to
                     * `removed` is unknown */
    uint64_t put_ns, stat_ns, get_ns, list_ns; /* how long each took */
    bool keeps;               /* what was put was read back the same */
    bool is_exclusive;        /* a second object of the same name was refused */
    bool is_listed;           /* within DOCTOR_LIST_WAIT_MS ... */
    uint64_t listed_after_ns; /* ... of having been put */
    int64_t ahead_ns, ahead_by_ns; /* the storage's clock is so much ahead of
                                    * ours, give or take */
    enum store_known overwrites;   /* the storage would let this host write
                                    * over an object, history's too */
    bool removed;                  /* the marker could be removed again */
    struct err refused;            /* why not */

    unsigned writers;       /* that have put sync markers */
    int64_t last_writer_ns; /* of the newest of others; 0: there is none */
    int64_t maintained_ns;  /* of maintenance's newest; 0: none is there */
    uint64_t markers;
};

/* ERR_STORE where an operation fails that every backup needs.  *out counts
 * only if it succeeds. */
int doctor_look(struct repo *r, struct cancel *cancel,
                struct doctor_result *out, struct err *e);

#endif
