/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: immutable, named objects in a dumb place (a folder, SFTP, S3).
 *
 * Names:     components of [a-z0-9._-] joined by '/', none starting with '.',
 *            the first not "tmp", at most STORE_NAME_MAX bytes; anything else
 *            is a bug of ours and refused (ERR_USAGE).  No name may be the
 *            folder of another ("a" beside "a/b"): stores differ on that.
 * Objects:   written once, whole or not at all, durable when store_put
 *            returns, visible to store_list soon after; never changed.
 * Times:     of the storage's own clock.  Ours is not trusted.
 * Ownership: the caller's buffers are borrowed for the call only.
 * Threads:   every call may be made from many threads at once.
 * Errors:    ERR_NOENT, ERR_EXISTS, ERR_CORRUPT (an object shorter than asked
 *            for) where said; everything else, a full disk included, is
 *            ERR_STORE with the object, the cause and, if known, the remedy.
 *            After a failed store_put the object may be there all the same,
 *            whole: a reply can be lost.  Results are untouched by failures,
 *            but for the bytes behind `out` of store_get.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cancel;
struct err;
struct rate;
struct store;

enum { STORE_NAME_MAX = 240, STORE_GRACE_MS = 3000 };

struct store_stat {
    uint64_t size_bytes;
    int64_t mtime_ns; /* by the storage's clock, since 1970 UTC */
};

/*
 * Open the place that `address` names: a path, or "file:PATH", or as
 * store/s3_address.h and store/sftp_address.h say.  It must exist already
 * (ERR_NOENT).  ERR_USAGE if the address has a form we do not know; a path with
 * a colon in its first component is written "./a:b" or "file:a:b".
 */
int store_open(const char *address, struct store **out, struct err *e);

/* The same, making the place if it does not exist (`init` alone does that). */
int store_create(const char *address, struct store **out, struct err *e);

/* Who asks, where an address cannot say it: so far the keys of S3 alone. */
struct store_account {
    /* Variables of the second of two repositories, named VMKEEP_TO_AWS_... and
     * VMKEEP_TO_S3_CA_FILE, count before the usual ones. */
    bool is_second;
    const char *profile; /* counts before all keys; NULL: as variables say */
    /* Where asking costs a round trip, it is not asked whether the place is
     * there: who opens it asks for something at once, and store_there if that
     * is not found. */
    bool unseen;
};

/* As store_open; `who` is needed during the call only. */
int store_open_as(const char *address, const struct store_account *who,
                  struct store **out, struct err *e);

/* Is the place still there?  1, 0, -1.  Nobody asks but for store_open_as's
 * `unseen`. */
int store_there(struct store *st, struct err *e);

void store_close(struct store *st); /* NULL is allowed */
void store_closep(struct store **st);

/*
 * From now on `c` (borrowed; NULL: nothing) cuts short what waits for a distant
 * storage.  Once it is raised nothing is tried again, and each operation, also
 * one that begins later, has STORE_GRACE_MS left: enough to tidy up where the
 * storage works.  What is cut short is ERR_STORE ("interrupted"): nobody knows
 * what became of it.  To be called while no operation is under way.
 */
void store_set_cancel(struct store *st, struct cancel *c);

/* From now on what is written to and read from the storage keeps to these
 * (borrowed; NULL: no limit), with all others that share them.  As for
 * store_set_cancel; what store_open does is not counted. */
void store_set_rates(struct store *st, struct rate *upload,
                     struct rate *download);

/* So many calls at a time that read or write much will come soon: what takes a
 * distant storage long to be made ready for is begun now. */
void store_expect(struct store *st, unsigned calls);

/* As given by the user, without credentials; borrowed. */
const char *store_address(const struct store *st);

/* Write a new object.  ERR_EXISTS if there is one of that name; it is durable
 * then, but not what this call was given. */
int store_put(struct store *st, const char *name, const void *p, size_t len,
              struct err *e);

/* The same for a name that nobody can have used before, as chance is in it:
 * where it would cost a round trip nobody looks first, so that whether an
 * object of that name is noticed is up to the storage. */
int store_put_new(struct store *st, const char *name, const void *p, size_t len,
                  struct err *e);

/* Exactly `len` bytes from `offset` on.  ERR_NOENT; ERR_CORRUPT if the object
 * ends before. */
int store_get(struct store *st, const char *name, uint64_t offset, void *out,
              size_t len, struct err *e);

/* Append the whole object to `out`; ERR_LIMIT past out->max_bytes. */
int store_get_all(struct store *st, const char *name, struct buf *out,
                  struct err *e);

/* 1 and *out if it exists, 0 if not, -1. */
int store_stat(struct store *st, const char *name, struct store_stat *out,
               struct err *e);

/* Called for each object; -1 (with e set) ends the listing with that error. */
typedef int store_list_fn(void *cookie, const char *name,
                          const struct store_stat *stat, struct err *e);

/*
 * Every object whose name starts with `prefix` ("" or "refs/": whole
 * components), in no order.  Any failure to list is an error, never a shorter
 * list.  Objects that come or go meanwhile may or may not be seen; `fn` may
 * itself use the store.  What cannot be an object (by its name) is skipped.
 */
int store_list(struct store *st, const char *prefix, store_list_fn *fn,
               void *cookie, struct err *e);

/* Done once it returns 0.  ERR_NOENT if there is none; ERR_DENIED if the
 * storage keeps us from removing (append-only). */
int store_remove(struct store *st, const char *name, struct err *e);

/* What is known of the place; what can't be asked is unknown. */
enum store_known { STORE_UNKNOWN = 0, STORE_NO, STORE_YES };
struct store_traits {
    bool has_space;
    uint64_t free_bytes, total_bytes;
    enum store_known versioned;   /* what is removed or replaced is kept */
    enum store_known locked;      /* so that nobody can remove it for a time */
    enum store_known syncs_files; /* a put is durable by the storage's word */
    enum store_known syncs_folders; /* and so is its name */
};
/* Never fails: it asks once. */
void store_get_traits(struct store *st, struct store_traits *out);

/*
 * Could this account destroy an object by writing over it, whatever care
 * store_put takes?  Tried where that does no harm: `own` is an object of ours
 * that holds these bytes, which may be written again, or seem to be newer;
 * `old` is one that is only opened, where that tells.  Never fails.
 */
enum store_known store_try_overwrite(struct store *st, const char *own,
                                     const void *p, size_t len,
                                     const char *old);

/* Remove what is no object: what processes that died have left behind, a day
 * ago or more. */
int store_tidy(struct store *st, struct err *e);

#endif
