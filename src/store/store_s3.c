/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bucket of an S3 service; an object is an object of that name behind the
 * address's prefix.
 *
 * Publishing: one PUT of the whole, with its SHA-256 signed; S3 shows it whole
 * or not at all.  It goes with "If-None-Match: *", by which a server that knows
 * conditions lets only one of many writers win; others are asked for the name
 * first, which leaves a gap, unless it is new.  The repository's safety needs
 * neither.
 *
 * A reply that was lost: each put carries a mark of its own in the object's
 * metadata, so that a second try which meets the first knows it again.
 *
 * Time: of the storage, in whole seconds, as a HEAD tells no more.
 *
 * Trust: docs/design/remote.md.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "store/s3_http.h"
#include "store/store_internal.h"
#include "store/store_together.h"

enum { EMPTY_PAGES_MAX = 1000 }; /* in a row: S3 may send some */

struct s3_store {
    struct store base;
    struct s3_http *http;
    _Atomic bool no_conditions; /* the server said 501 to one */
};

/* What is not told apart by store.h is ERR_STORE. */
static int
settle(struct err *e)
{
    if (e->code == ERR_DENIED || e->code == ERR_NOENT)
        e->code = ERR_STORE;
    return -1;
}

static int
fail_odd(const struct store *st, const char *what, const char *why,
         struct err *e)
{
    return err_set(e, ERR_STORE, "cannot %s in %s: %s", what, st->address, why);
}

/* A reply that makes no sense: perhaps another one does.  True to try again. */
static bool
odd_again(struct s3_store *s, struct s3_trial *t, struct s3_reply *r,
          struct err *e)
{
    r->transient = r->odd = true;
    return s3_http_again(s->http, t, r, e);
}

/* ---- looking ----------------------------------------------------------- */

/* 1 and the reply's head, 0 if there is none, -1. */
static int
head(struct s3_store *s, const char *name, struct s3_reply *r, struct err *e)
{
    CLEANUP(freep) char *what = xasprintf("look for object %s", name);
    struct s3_request q = {.what = what, .method = "HEAD", .name = name};
    struct s3_trial t = {0};

    for (;;) {
        if (s3_http_call(s->http, &q, r, e) == -1)
            return settle(e);
        if (r->status == 404)
            return 0;
        if (r->status == 200 && r->has_length && r->has_mtime)
            return 1;
        (void)fail_odd(&s->base, what,
                       r->status == 200
                           ? "the answer lacks the object's size or time"
                           : "the answer makes no sense",
                       e);
        if (!odd_again(s, &t, r, e))
            return -1;
    }
}

/* Something was not found: 0, but only if the bucket is still there. */
static int
bucket_missing(struct s3_store *s, struct err *e)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    struct s3_request q = {.what = "look for the bucket",
                           .method = "GET",
                           .query = "list-type=2&max-keys=1"};

    return s3_http_call(s->http, &q, &r, e) == -1 ? settle(e) : 0;
}

/* After a 404 for an object; what has a body says whether it is that. */
static int
missing(struct s3_store *s, const char *name, const struct s3_reply *r,
        struct err *e)
{
    if (strcmp(r->error.code, "NoSuchKey") == 0)
        return store_fail_noent(&s->base, name, e);
    return bucket_missing(s, e) == -1 ? -1
                                      : store_fail_noent(&s->base, name, e);
}

static int
s3_stat(struct store *st, const char *name, struct store_stat *out,
        struct err *e)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    int rc = head(s, name, &r, e);

    if (rc == 1)
        *out =
            (struct store_stat){.size_bytes = r.length, .mtime_ns = r.mtime_ns};
    return rc == 0 ? bucket_missing(s, e) : rc;
}

/* ---- writing ----------------------------------------------------------- */

/*
 * What became of a put: 1 if the object is there and ours, 0 if there is none,
 * -1 with ERR_EXISTS if another is there.
 */
static int
look_at_put(struct s3_store *s, const char *name, const char *mark, size_t len,
            struct err *e)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    int rc = head(s, name, &r, e);

    if (rc != 1)
        return rc;
    if (strcmp(r.mark, mark) == 0 && r.length == len)
        return 1;
    return store_fail_exists(&s->base, name, e);
}

/* 1 if it is done, 0 to look and try again, -1. */
static int
put_once(struct s3_store *s, const struct s3_request *with_condition,
         struct s3_trial *t, struct err *e)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    struct s3_request q = *with_condition;

    if (s->no_conditions)
        q.extra[1].name = NULL;
    if (s3_http_once(s->http, &q, &r, e) == -1)
        return s3_http_again(s->http, t, &r, e) ? 0 : settle(e);
    if (r.status == 200 || r.status == 201 || r.status == 204)
        return 1;
    if (r.status == 501 && q.extra[1].name) {
        s->no_conditions = true;
        return 0;
    }
    /* It is there, and may be ours: a reply was lost. */
    if (r.status == 412 && t->tries++ == 0)
        return 0;
    /* 409: somebody else is at it. */
    (void)err_set(e, ERR_STORE, "cannot %s in %s: the storage says %d %s",
                  q.what, s->base.address, r.status, r.error.code);
    r.transient = r.status == 409 || r.status == 412;
    return s3_http_again(s->http, t, &r, e) ? 0 : -1;
}

static int
put(struct store *st, const char *name, const void *p, size_t len, bool is_new,
    struct err *e)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(freep) char *what = xasprintf("write object %s", name);
    char hash[S3_HASH_TEXT], mark[S3_MARK_MAX];

    s3_sign_hash(p, len, hash);
    (void)snprintf(mark, sizeof(mark), "%s-%016llx", hash,
                   (unsigned long long)rand_u64());
    struct s3_request q = {
        .what = what,
        .method = "PUT",
        .name = name,
        .extra = {{S3_MARK_HEADER, mark}, {"if-none-match", "*"}},
        .body = len ? p : "",
        .body_len = len};
    struct s3_trial t = {0};

    for (;;) {
        int rc = is_new ? 0 : look_at_put(s, name, mark, len, e);
        is_new = false; /* from now on it may be there, of our own making */
        if (rc == 0)
            rc = put_once(s, &q, &t, e);
        if (rc != 0)
            return rc == 1 ? 0 : -1;
    }
}

static int
s3_put(struct store *st, const char *name, const void *p, size_t len,
       struct err *e)
{
    return put(st, name, p, len, false, e);
}

static int
s3_put_new(struct store *st, const char *name, const void *p, size_t len,
           struct err *e)
{
    return put(st, name, p, len, true, e);
}

/* ---- reading ----------------------------------------------------------- */

/* Is this the part of the object that was asked for?  NULL, or why not. */
static const char *
wrong_range(const struct s3_reply *r, uint64_t offset, size_t len)
{
    if (r->status == 200)
        return offset == 0 && r->length == len
                   ? NULL
                   : "the storage cannot read a part of an object";
    if (r->status != 206 || !r->has_range)
        return "the answer does not say which part it is";
    if (r->range_first != offset || r->range_last >= r->range_size ||
        r->range_last - r->range_first > len - 1)
        return "the answer is another part than was asked for";
    if (r->length != r->range_last - r->range_first + 1)
        return "the answer has another length than it says";
    if (r->length < len && r->range_last + 1 != r->range_size)
        return "the answer is shorter than what was asked for";
    return NULL;
}

/* The object may be too short for [offset, offset + len): see how long it is.
 */
static int
check_range(struct s3_store *s, const char *name, uint64_t offset, size_t len,
            struct err *e)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    int rc = head(s, name, &r, e);

    if (rc != 1)
        return rc == 0 ? missing(s, name, &r, e) : -1;
    if (range_inside(offset, len, r.length))
        return 0;
    return store_fail_short(&s->base, name, r.length, offset, len, e);
}

static int
s3_get(struct store *st, const char *name, uint64_t offset, void *out,
       size_t len, struct err *e)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    uint64_t last = 0;

    /* What cannot be said in a request, or needs none. */
    if (len == 0 || !u64_add(offset, len - 1, &last) || last > INT64_MAX)
        return check_range(s, name, offset, len, e);
    CLEANUP(freep) char *what = xasprintf("read object %s", name);
    CLEANUP(freep)
    char *range = xasprintf("bytes=%llu-%llu", (unsigned long long)offset,
                            (unsigned long long)last);
    struct s3_request q = {.what = what,
                           .method = "GET",
                           .name = name,
                           .extra = {{"range", range}},
                           .into = out,
                           .into_len = len};
    struct s3_trial t = {0};
    for (;;) {
        if (s3_http_call(s->http, &q, &r, e) == -1)
            return settle(e);
        if (r.status == 404)
            return missing(s, name, &r, e);
        const char *why = "the storage says that it is shorter, and it is not";
        if (r.status == 416) {
            if (check_range(s, name, offset, len, e) == -1)
                return -1;
        } else {
            why = wrong_range(&r, offset, len);
            if (!why && r.length < len)
                return store_fail_short(st, name, r.range_size, offset, len, e);
        }
        if (!why)
            return 0;
        (void)fail_odd(st, what, why, e);
        if (!odd_again(s, &t, &r, e))
            return -1;
    }
}

static int
s3_get_all(struct store *st, const char *name, struct buf *out, struct err *e)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    CLEANUP(freep) char *what = xasprintf("read object %s", name);
    struct s3_request q = {
        .what = what, .method = "GET", .name = name, .all = out};
    size_t before = out->len;
    struct s3_trial t = {0};

    for (;;) {
        if (s3_http_call(s->http, &q, &r, e) == -1)
            return settle(e);
        if (r.status == 404)
            return missing(s, name, &r, e);
        if (r.status == 200 && r.has_length && out->len - before == r.length)
            return 0;
        out->len = before;
        (void)fail_odd(st, what, "the answer is not the whole object", e);
        if (!odd_again(s, &t, &r, e))
            return -1;
    }
}

/* ---- removing ---------------------------------------------------------- */

static int
s3_remove(struct store *st, const char *name, struct err *e)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    CLEANUP(freep) char *what = xasprintf("remove object %s", name);
    struct s3_request q = {.what = what, .method = "DELETE", .name = name};

    /* DELETE says the same whether there was one or not. */
    int there = head(s, name, &r, e);
    if (there != 1)
        return there == 0 ? missing(s, name, &r, e) : -1;
    if (s3_http_call(s->http, &q, &r, e) == -1)
        return e->code == ERR_DENIED ? -1 : settle(e);
    if (r.status == 204 || r.status == 200 || r.status == 404)
        return 0;
    return fail_odd(st, what, "the answer makes no sense", e);
}

/* ---- listing ----------------------------------------------------------- */

struct lister {
    struct s3_store *s;
    char *prefix; /* in the bucket */
    char *last;   /* the key before; NULL at first */
    char *token;
    unsigned max_keys; /* of a page; 0: S3_PAGE_MAX_KEYS */
    unsigned empty;
    store_list_fn *fn;
    void *cookie;
};

static void
lister_done(struct lister *l)
{
    free(l->prefix);
    free(l->last);
    free(l->token);
}

static char *
page_query(const struct lister *l)
{
    CLEANUP(freep) char *prefix = s3_encode(l->prefix, false);
    CLEANUP(freep) char *token = l->token ? s3_encode(l->token, false) : NULL;

    return xasprintf("%s%s%sencoding-type=url&list-type=2&max-keys=%u&"
                     "prefix=%s",
                     token ? "continuation-token=" : "", token ? token : "",
                     token ? "&" : "",
                     l->max_keys ? l->max_keys : S3_PAGE_MAX_KEYS, prefix);
}

/* Is it part of what was asked for, and behind all that came before? */
static const char *
wrong_page(const struct lister *l, const struct s3_page *page)
{
    const char *last = l->last;

    for (size_t i = 0; i < page->n; i++) {
        const char *key = page->entries[i].key;
        if (!text_starts(key, l->prefix))
            return "the storage lists what was not asked for";
        if (last && strcmp(key, last) <= 0)
            return "the storage lists in no order, or in circles";
        last = key;
    }
    if (page->truncated && page->n == 0 && l->empty + 1 == EMPTY_PAGES_MAX)
        return "the listing has no end";
    return NULL;
}

/* As s3_http_once has it: ERR_NOENT is a missing bucket. */
static int
try_page(struct lister *l, struct s3_page *out, struct err *e)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    CLEANUP(freep) char *query = page_query(l);
    struct s3_store *s = l->s;
    struct s3_request q = {
        .what = "list objects", .method = "GET", .query = query};
    struct s3_trial t = {0};

    for (;;) {
        CLEANUP(s3_page_done) struct s3_page page = {0};
        if (s3_http_call(s->http, &q, &r, e) == -1)
            return -1;
        const char *why = NULL;
        struct err odd = {0};
        if (r.status != 200)
            why = "the answer makes no sense";
        else if (s3_xml_page(r.text.p, r.text.len, "the listing", &page,
                             &odd) == -1)
            why = odd.msg;
        else
            why = wrong_page(l, &page);
        if (!why) {
            *out = page;
            page = (struct s3_page){0};
            return 0;
        }
        (void)fail_odd(&s->base, q.what, why, e);
        if (!odd_again(s, &t, &r, e))
            return -1;
    }
}

static int
read_page(struct lister *l, struct s3_page *out, struct err *e)
{
    return try_page(l, out, e) == -1 ? settle(e) : 0;
}

static int
tell_page(struct lister *l, const struct s3_page *page, struct err *e)
{
    size_t skip = strlen(s3_http_where(l->s->http)->prefix);

    for (size_t i = 0; i < page->n; i++) {
        const struct s3_entry *x = &page->entries[i];
        struct store_stat stat = {.size_bytes = x->size_bytes,
                                  .mtime_ns = x->mtime_ns};
        if (store_name_ok(x->key + skip) &&
            l->fn(l->cookie, x->key + skip, &stat, e) == -1)
            return -1;
    }
    return 0;
}

static int
s3_list(struct store *st, const char *prefix, store_list_fn *fn, void *cookie,
        struct err *e)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(lister_done)
    struct lister l = {
        .s = s,
        .prefix = xasprintf("%s%s", s3_http_where(s->http)->prefix, prefix),
        .fn = fn,
        .cookie = cookie};

    for (;;) {
        CLEANUP(s3_page_done) struct s3_page page = {0};
        if (read_page(&l, &page, e) == -1 || tell_page(&l, &page, e) == -1)
            return -1;
        if (!page.truncated)
            return 0;
        l.empty = page.n == 0 ? l.empty + 1 : 0;
        if (page.n > 0) {
            free(l.last);
            l.last = STEAL(page.entries[page.n - 1].key);
        }
        free(l.token);
        l.token = STEAL(page.token);
    }
}

/* ---- opening ----------------------------------------------------------- */

static void
s3_close(struct store *st)
{
    struct s3_store *s = (struct s3_store *)st;

    s3_http_close(s->http);
    free(s);
}

static void
s3_set_cancel(struct store *st, struct cancel *c)
{
    s3_http_set_cancel(((struct s3_store *)st)->http, c);
}

static void
s3_set_rates(struct store *st, struct rate *up, struct rate *down)
{
    s3_http_set_rates(((struct s3_store *)st)->http, up, down);
}

/* One question about the bucket: whether the answer says yes or no. */
static enum store_known
ask_bucket(struct s3_store *s, const char *query, const char *yes,
           const char *no)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    struct s3_request q = {
        .what = "ask about the bucket", .method = "GET", .query = query};
    struct err ignored = {0};
    int rc = s3_http_once(s->http, &q, &r, &ignored);
    const char *text = buf_text(&r.text);

    if (rc == 0 && r.status == 200 && strstr(text, yes))
        return STORE_YES;
    return (text && strstr(text, no)) || strcmp(r.error.code, no) == 0
               ? STORE_NO
               : STORE_UNKNOWN;
}

/* GetBucketVersioning and GetObjectLockConfiguration, Amazon S3 API Reference.
 */
static void
s3_traits(struct store *st, struct store_traits *out)
{
    struct s3_store *s = (struct s3_store *)st;

    out->versioned = ask_bucket(s, "versioning=", "<Status>Enabled</Status>",
                                "VersioningConfiguration");
    out->locked = ask_bucket(
        s, "object-lock=", "<ObjectLockEnabled>Enabled</ObjectLockEnabled>",
        "ObjectLockConfigurationNotFoundError");
}

/* A bucket's rights do not look at whose object it is: one of our own tells. */
static enum store_known
s3_try_overwrite(struct store *st, const char *own, const void *p, size_t len,
                 const char *old)
{
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    struct s3_request q = {.what = "write over an object",
                           .method = "PUT",
                           .name = own,
                           .body = len ? p : "",
                           .body_len = len};
    struct err why = {0};

    (void)old;
    if (s3_http_call(s->http, &q, &r, &why) == -1)
        return why.code == ERR_DENIED ? STORE_NO : STORE_UNKNOWN;
    return r.status == 200 || r.status == 201 || r.status == 204
               ? STORE_YES
               : STORE_UNKNOWN;
}

/* Is the bucket there, and may we see it?  1, 0, -1. */
static int
probe(struct s3_store *s, struct err *e)
{
    CLEANUP(s3_page_done) struct s3_page page = {0};
    CLEANUP(lister_done)
    struct lister l = {.s = s,
                       .prefix = xstrdup(s3_http_where(s->http)->prefix),
                       .max_keys = 1};

    if (try_page(&l, &page, e) == 0)
        return 1;
    if (e->code == ERR_NOENT) {
        err_clear(e);
        return 0;
    }
    return settle(e);
}

static int
s3_there(struct store *st, struct err *e)
{
    return probe((struct s3_store *)st, e);
}

static const struct store_ops s3_ops = {
    .put = s3_put,
    .put_new = s3_put_new,
    .get = s3_get,
    .get_all = s3_get_all,
    .stat = s3_stat,
    .list = s3_list,
    .remove = s3_remove,
    .set_cancel = s3_set_cancel,
    .set_rates = s3_set_rates,
    .try_overwrite = s3_try_overwrite,
    .traits = s3_traits,
    .there = s3_there,
    .width = STORE_TOGETHER_MAX,
    .close = s3_close,
};

static int
make_bucket(struct s3_store *s, struct err *e)
{
    CLEANUP(s3_reply_done) struct s3_reply r = {0};
    const char *region = s3_http_region(s->http);
    /* CreateBucket, Amazon S3 API Reference: us-east-1 must not be named. */
    CLEANUP(freep)
    char *body = strcmp(region, "us-east-1") == 0
                     ? xstrdup("")
                     : xasprintf("<CreateBucketConfiguration xmlns=\"http://"
                                 "s3.amazonaws.com/doc/2006-03-01/\">"
                                 "<LocationConstraint>%s</LocationConstraint>"
                                 "</CreateBucketConfiguration>",
                                 region);
    struct s3_request q = {.what = "make the bucket",
                           .method = "PUT",
                           .body = body,
                           .body_len = strlen(body)};

    if (s3_http_call(s->http, &q, &r, e) == -1) {
        (void)settle(e);
        return err_hint(e, "make the bucket by the means of the service, then "
                           "try again");
    }
    if (r.status != 409)
        return 0;
    if (strcmp(r.error.code, "BucketAlreadyOwnedByYou") == 0)
        return 0;
    return err_set(e, ERR_STORE,
                   "cannot make the bucket for %s: its name is taken by "
                   "somebody else; choose another one",
                   s->base.address);
}

int
store_s3_open_patient(const char *address, bool create,
                      const struct store_account *who,
                      const struct s3_patience *patience, struct store **out,
                      struct err *e)
{
    struct s3_http *http = NULL;

    if (s3_http_open(address, who, patience, &http, e) == -1)
        return -1;
    struct s3_store *s = xcalloc(1, sizeof(*s));
    s->base = (struct store){.ops = &s3_ops, .address = xstrdup(address)};
    s->http = http;
    CLEANUP(store_closep) struct store *st = &s->base;
    int there = who->unseen && !create ? 1 : probe(s, e);
    if (there == -1)
        return -1;
    if (there == 0 && !create)
        return err_set(e, ERR_NOENT, "there is no bucket %s on %s",
                       s3_http_where(http)->bucket, s3_http_where(http)->host);
    if (there == 0 && make_bucket(s, e) == -1)
        return -1;
    *out = STEAL(st);
    return 0;
}

int
store_s3_open(const char *address, bool create, const struct store_account *who,
              struct store **out, struct err *e)
{
    return store_s3_open_patient(address, create, who, &s3_patience_usual, out,
                                 e);
}
