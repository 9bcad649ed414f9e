/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seen: which backups this host has seen in a repository, so that one that the
 * storage loses, or does not show any more, is missed.
 *
 * Nothing in a repository can tell that its storage was set back to an older
 * state, or that the newest ref is not shown.  But maintenance removes a ref
 * only long after its mark (retired/) was stored, and the mark only a grace
 * after that.  So whoever saw a ref that had no mark, and finds neither of them
 * before that time is over, knows that the storage has lost both
 * (docs/design/repository.md, "What a host remembers").
 *
 * What is known is kept in a file of the cache (seenfile.h).  Nothing here is
 * ever an error, and a store that does what it must is asked for nothing but
 * the marks of backups that maintenance has removed.
 *
 * Threads:   any number at once.  Of commands that write the file at once each
 *            adds what it saw to what the others did.
 * Trust:     only refs whose signature is right are remembered, so that a
 *            storage can't fill the memory with names of its own.
 */
#ifndef REPO_SEEN_H
#define REPO_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repo/name.h"

struct keyring;
struct repo;
struct seen;

enum {
    SEEN_MAX_REFS = 65536, /* of more, those of the newest backups */
    SEEN_MAX_ASKED = 64    /* that are missing, by one listing of them */
};

/* How wrong clocks may be.  None is, in the world of the tests. */
#ifndef SEEN_CLOCK_DOUBT_S
#define SEEN_CLOCK_DOUBT_S 300
#endif

/* `dir` is the folder of all caches; NULL: nothing is remembered.  Borrows k.
 */
struct seen *seen_new(const char *dir, const char *address,
                      const struct keyring *k);
void seen_free(struct seen *s); /* NULL is allowed */

/* ---- a listing of refs ------------------------------------------------ */

/* What was found out about a ref.  What says that it has no mark was listed
 * after the refs were. */
enum seen_how {
    SEEN_LISTED,   /* it is there */
    SEEN_UNMARKED, /* and in retired/ there is nothing of its name */
    SEEN_READ,     /* and after that it was read; its signature is right */
    SEEN_RETIRED   /* its mark is right: the host need not miss it */
};

struct seen_ref {
    struct ref_name ref;
    enum seen_how how;
};

struct seen_look {
    char prefix[NAME_MAX_LEN]; /* all names that start so were listed */
    int64_t begun_ns;          /* our clock, before that */
    struct seen_ref *refs;     /* owned; in any order */
    size_t n, room;
};

/* To be called before the refs are listed. */
void seen_look_begin(struct seen_look *l, const char *prefix);
void seen_look_add(struct seen_look *l, const struct ref_name *ref,
                   enum seen_how how);
void seen_look_done(struct seen_look *l);

/* ---- and what it lacks ------------------------------------------------ */

struct vanished {
    struct ref_name ref;
    int64_t seen_ns; /* when it was last seen, by our clock */
    bool unlisted;   /* by its name the storage does give it */
};

struct vanished_list {
    struct vanished *items; /* owned; by id */
    size_t n;
};
void vanished_list_done(struct vanished_list *l);

/*
 * Hold what was listed against what is known, and remember it.  Of what is
 * missing the storage is asked by name, for at most `max_asked`: the ref, then
 * its mark.  `out`, which may be NULL, gets what has vanished, to be
 * vanished_list_done.
 */
void seen_compare(struct repo *r, struct seen_look *l, size_t max_asked,
                  struct vanished_list *out);

/* How many have, by the newest listings there were. */
size_t seen_vanished(struct seen *s);

#endif
