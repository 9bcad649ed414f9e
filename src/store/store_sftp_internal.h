/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of store_sftp.c, which says how it works, share: the others
 * have its writing, its listing, and what can be found out about a server. */
#ifndef STORE_STORE_SFTP_INTERNAL_H
#define STORE_STORE_SFTP_INTERNAL_H

#include "store/sftp_address.h"
#include "store/sftp_pool.h"
#include "store/sftp_session.h"
#include "store/store_internal.h"
#include "store/store_made.h"

enum {
    SFTP_BROKEN = -2,     /* the connection; another may do it */
    SFTP_MUCH = 256 << 10 /* bytes that fill a line for a while */
};

struct sftp_store {
    struct store base;
    struct sftp_address where;
    struct sftp_patience patience;
    const char *root;      /* "" for "/" */
    struct cancel *cancel; /* borrowed, or NULL; so are the next two */
    struct rate *up, *down;
    struct sftp_pool pool;
    struct made made;
};

/* >= 0, -1 with e, or SFTP_BROKEN with e. */
typedef int sftp_call_fn(struct sftp_store *s, struct sftp *x, void *arg,
                         unsigned tries, struct err *e);

/* Have fn do it on a connection, again on another where that may help; with so
 * many bytes of data. */
int sftp_store_call(struct sftp_store *s, sftp_call_fn *fn, void *arg,
                    size_t bytes, struct err *e);

/* SFTP_BROKEN for a status of -1, whose error is there; else -1. */
int sftp_store_fail(const struct sftp_store *s, const struct sftp *x,
                    int status, const char *what, const char *name,
                    struct err *e);
/* The caller's. */
char *sftp_store_path(const struct sftp_store *s, const char *name);
/* Is the place itself still there, by the status of a look at it?  0, else as
 * sftp_store_fail. */
int sftp_store_judge_place(struct sftp_store *s, const struct sftp *x,
                           int status, struct err *e);
/* What a look at an object has found: 1, 0 if there is none, else as
 * sftp_store_fail. */
int sftp_store_judge(const struct sftp_store *s, const struct sftp *x,
                     const char *name, int status, const struct sftp_attrs *a,
                     struct err *e);
static inline struct store_stat
sftp_store_stat_of(const struct sftp_attrs *a)
{
    return (struct store_stat){.size_bytes = a->size,
                               .mtime_ns =
                                   (int64_t)a->mtime * INT64_C(1000000000)};
}

/* What the others add to its store_ops. */
int sftp_store_put(struct store *st, const char *name, const void *p,
                   size_t len, struct err *e);
void sftp_store_traits(struct store *st, struct store_traits *out);
enum store_known sftp_store_try_overwrite(struct store *st, const char *own,
                                          const void *p, size_t len,
                                          const char *old);
int sftp_store_list(struct store *st, const char *prefix, store_list_fn *fn,
                    void *cookie, struct err *e);

#endif
