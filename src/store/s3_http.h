/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_http: one signed request and its reply, again where that may help.
 *
 * Connections are kept and used again: each of the threads that ask at a time
 * has one.  No redirect is followed, no certificate goes unchecked.
 *
 * Bounds:  a reply's head S3_HEAD_MAX bytes, an error's body S3_ERROR_MAX, any
 *          other body what the caller said.  A transfer slower than
 *          S3_SLOWEST_BYTES a second for `stall_ms` is given up, and so is one
 *          that takes longer than its bytes at that rate, and ten times
 *          `stall_ms`.
 * Retries: what can pass (no connection, a stall, a reply cut short, status
 *          408, 429, 5xx) is tried again, after waits that grow to
 *          `backoff_max_ms` and are random in part, or as long as Retry-After
 *          says, until `patience_ms` have gone by; for `first_patience_ms` as
 *          long as the server has never answered anything.  A reply that makes
 *          no sense is asked for again S3_ODD_TRIES times in all.
 * Cancel:  as store_set_cancel says; an operation of several requests has that
 *          time for each.
 * Threads: any number at once.
 */
#ifndef STORE_S3_HTTP_H
#define STORE_S3_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/s3_address.h"
#include "store/s3_sign.h"
#include "store/s3_xml.h"

struct cancel;
struct err;
struct rate;
struct store_account;
struct s3_http;

enum {
    S3_HEAD_MAX = 64 << 10,
    S3_ERROR_MAX = 64 << 10,
    S3_SLOWEST_BYTES = 1024,
    S3_MARK_MAX = 128,
    S3_ODD_TRIES = 4,
    S3_EXTRA_MAX = 4
};

/* The header by which we know our own object again. */
#define S3_MARK_HEADER "x-amz-meta-vmkeep"

struct s3_patience {
    uint64_t connect_ms, stall_ms;
    uint64_t backoff_ms, backoff_max_ms;
    uint64_t patience_ms, first_patience_ms;
    unsigned max_tries; /* 0: as many as there is time for */
};

/* What a user wants; tests want less. */
extern const struct s3_patience s3_patience_usual;

struct s3_request {
    const char *what;                     /* "read object a/b": for messages */
    const char *method;                   /* "GET" */
    const char *name;                     /* of the object; NULL: the bucket */
    const char *query;                    /* canonical; NULL: none */
    struct s3_header extra[S3_EXTRA_MAX]; /* any order; NULL name: no more */
    const void *body;                     /* of a PUT; borrowed */
    size_t body_len;
    /* Where a good reply's body goes: exactly into_len bytes (NULL: see
     * `all`); or appended to `all` (NULL: to reply.text, of at most
     * S3_PAGE_MAX_BYTES). */
    uint8_t *into;
    size_t into_len;
    struct buf *all;
};

struct s3_reply {
    int status;
    bool has_length, has_range, has_mtime;
    uint64_t length;
    uint64_t range_first, range_last, range_size;
    int64_t mtime_ns;
    char mark[S3_MARK_MAX]; /* S3_MARK_HEADER's value; "" */
    struct buf text;
    struct s3_error error; /* of a status of 300 or more */
    /* About a failure: */
    bool transient;         /* another try may help */
    bool odd;               /* ... but not many: the reply makes no sense */
    uint64_t retry_after_s; /* 0: not said */
};
void s3_reply_done(struct s3_reply *r);

int s3_http_open(const char *address, const struct store_account *who,
                 const struct s3_patience *patience, struct s3_http **out,
                 struct err *e);
void s3_http_close(struct s3_http *h);
/* As store_set_cancel. */
void s3_http_set_cancel(struct s3_http *h, struct cancel *c);
/* As store_set_rates: bodies count. */
void s3_http_set_rates(struct s3_http *h, struct rate *up, struct rate *down);
const struct s3_address *s3_http_where(const struct s3_http *h);
const char *s3_http_region(const struct s3_http *h);

/*
 * One try.  0 if the reply came whole and its status is 2xx or one that the
 * operations tell apart: 404 for an object, 409, 412, 416, 501.  Else -1, with
 * e (ERR_STORE; ERR_DENIED for 403; ERR_NOENT for a missing bucket) and what
 * the reply says about trying again.  A body that does not fit is ERR_LIMIT
 * (`all`) or transient.
 */
int s3_http_once(struct s3_http *h, const struct s3_request *q,
                 struct s3_reply *r, struct err *e);

/* How long a request has been tried. */
struct s3_trial {
    struct deadline end;
    unsigned tries;
    bool started;
};

/* After a failure: true, e empty and `r` ready for the next try after a wait;
 * or false, and e stays. */
bool s3_http_again(struct s3_http *h, struct s3_trial *t, struct s3_reply *r,
                   struct err *e);

/* Both together: what needs no other care between two tries. */
int s3_http_call(struct s3_http *h, const struct s3_request *q,
                 struct s3_reply *r, struct err *e);

#endif
