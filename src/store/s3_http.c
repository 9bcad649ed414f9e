/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_http.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "store/s3_refusal.h"
#include "store/store_internal.h"
#include "work/cancel.h"
#include "work/rate.h"

enum {
    NS_PER_S = 1000000000,
    PATIENT_STALLS = 10, /* of a whole request, beside its bytes */
    SOCKET_BYTES = 512 << 10,
    RETRY_AFTER_MAX_S = 120,
    HEADERS_MAX = 12
};

const struct s3_patience s3_patience_usual = {
    .connect_ms = 15000,
    .stall_ms = 60000,
    .backoff_ms = 250,
    .backoff_max_ms = 20000,
    .patience_ms = 300000,
    .first_patience_ms = 10000,
};

struct handle {
    CURL *curl;
    struct handle *next;
};

struct s3_http {
    char *address; /* for messages */
    struct s3_address where;
    struct s3_keys keys;
    struct s3_patience patience;
    char *base, *host;
    char *ca_file;          /* NULL: the system's */
    _Atomic bool answered;  /* something, ever */
    struct cancel *cancel;  /* borrowed, or NULL */
    struct rate *up, *down; /* borrowed, or NULL */
    pthread_mutex_t lock;   /* guards `idle` */
    struct handle *idle;
};

/* ---- handles ----------------------------------------------------------- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void
init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

/* libcurl's own sockets would be inherited by programs that we start. */
static curl_socket_t
open_socket(void *cookie, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)cookie, (void)purpose;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static struct handle *
take_handle(struct s3_http *h)
{
    (void)pthread_mutex_lock(&h->lock);
    struct handle *got = h->idle;
    if (got)
        h->idle = got->next;
    (void)pthread_mutex_unlock(&h->lock);
    if (got)
        return got;
    got = xcalloc(1, sizeof(*got));
    got->curl = curl_easy_init();
    if (!got->curl)
        abort(); /* out of memory, as xcalloc does */
    return got;
}

static void
give_handle(struct s3_http *h, struct handle *handle)
{
    (void)pthread_mutex_lock(&h->lock);
    handle->next = h->idle;
    h->idle = handle;
    (void)pthread_mutex_unlock(&h->lock);
}

static const char *
env(const char *name)
{
    const char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return v && *v ? v : NULL;
}

static int
find_ca(struct s3_http *h, const struct store_account *who, struct err *e)
{
    static const char *const names[] = {"VMKEEP_TO_S3_CA_FILE",
                                        "VMKEEP_S3_CA_FILE", "AWS_CA_BUNDLE"};
    const char *name = NULL, *path = NULL;

    for (size_t i = who->is_second ? 0 : 1; i < ARRAY_LEN(names) && !path;
         i++) {
        name = names[i];
        path = env(name);
    }
    if (!path || !h->where.tls)
        return 0;
    if (access(path, R_OK) == -1) {
        (void)err_set_errno(e, ERR_STORE,
                            "cannot read the CA file %s that %s "
                            "names",
                            path, name);
        e->code = ERR_STORE;
        return -1;
    }
    h->ca_file = xstrdup(path);
    return 0;
}

static void
http_closep(struct s3_http **h)
{
    s3_http_close(*h);
}

int
s3_http_open(const char *address, const struct store_account *who,
             const struct s3_patience *patience, struct s3_http **out,
             struct err *e)
{
    CLEANUP(http_closep) struct s3_http *h = xcalloc(1, sizeof(*h));

    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_once(&once, init_curl);
    if (!curl_ready)
        return err_set(e, ERR_STORE, "libcurl does not start");
    h->address = xstrdup(address);
    h->patience = *patience;
    if (s3_address_parse(address, &h->where, e) == -1)
        return -1;
    h->base = s3_address_base(&h->where);
    h->host = s3_address_host(&h->where);
    if (s3_keys_find(h->where.host, who, &h->keys, e) == -1 ||
        find_ca(h, who, e) == -1)
        return -1;
    *out = STEAL(h);
    return 0;
}

void
s3_http_close(struct s3_http *h)
{
    if (!h)
        return;
    while (h->idle) {
        struct handle *next = h->idle->next;
        curl_easy_cleanup(h->idle->curl);
        free(h->idle);
        h->idle = next;
    }
    (void)pthread_mutex_destroy(&h->lock);
    s3_address_done(&h->where);
    s3_keys_done(&h->keys);
    free(h->ca_file);
    free(h->base);
    free(h->host);
    free(h->address);
    free(h);
}

void
s3_http_set_cancel(struct s3_http *h, struct cancel *c)
{
    h->cancel = c;
}

void
s3_http_set_rates(struct s3_http *h, struct rate *up, struct rate *down)
{
    h->up = up;
    h->down = down;
}

static bool
is_cancelled(const struct s3_http *h)
{
    return h->cancel && cancel_raised(h->cancel);
}

const struct s3_address *
s3_http_where(const struct s3_http *h)
{
    return &h->where;
}

const char *
s3_http_region(const struct s3_http *h)
{
    return h->keys.region;
}

void
s3_reply_done(struct s3_reply *r)
{
    buf_done(&r->text);
}

/* ---- what libcurl calls ------------------------------------------------ */

struct transfer {
    const struct s3_request *q;
    struct s3_reply *r;
    const struct s3_http *h;
    CURL *curl;
    size_t sent, got, head_bytes;
    int64_t server_ns;   /* its Date; 0: unknown */
    const char *bad;     /* why we ended it */
    bool too_long;       /* for q->all */
    bool error_cut;      /* enough of an error's body was read */
    bool cancelled;      /* it is to end, in a moment ... */
    struct deadline end; /* ... at the latest here */
    char message[CURL_ERROR_SIZE];
    struct err *e;
};

static size_t
on_send(char *p, size_t size, size_t n, void *cookie)
{
    struct transfer *t = cookie;
    size_t len = (size_t)u64_min(size * n, t->q->body_len - t->sent);

    len = (size_t)u64_min(len, rate_piece(t->h->up));
    rate_wait(t->h->up, len, t->h->cancel);
    if (len > 0)
        memcpy(p, (const uint8_t *)t->q->body + t->sent, len);
    t->sent += len;
    return len;
}

/* At least once a second. */
static int
on_progress(void *cookie, curl_off_t down, curl_off_t got, curl_off_t up,
            curl_off_t sent)
{
    struct transfer *t = cookie;

    (void)down, (void)got, (void)up, (void)sent;
    if (!is_cancelled(t->h))
        return 0;
    if (!t->cancelled)
        t->end = deadline_in_ms(STORE_GRACE_MS);
    t->cancelled = true;
    return deadline_passed(t->end);
}

/* Again from the start, where a kept connection proved to be dead. */
static int
on_seek(void *cookie, curl_off_t offset, int origin)
{
    struct transfer *t = cookie;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->q->body_len)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static bool
starts_with(const char *s, const char *name)
{
    return strncasecmp(s, name, strlen(name)) == 0;
}

static const char *
value_of(const char *line, const char *name)
{
    size_t n = strlen(name);

    if (!starts_with(line, name) || line[n] != ':')
        return NULL;
    return line + n + 1 + strspn(line + n + 1, " \t");
}

static bool
take_number(const char **s, uint64_t *out)
{
    size_t n = strspn(*s, "0123456789");
    CLEANUP(freep) char *digits = xstrndup(*s, n);

    *s += n;
    return text_parse_u64(digits, out);
}

/* "bytes 0-9/443", "bytes * /443" */
static void
take_range(const char *s, struct s3_reply *r)
{
    uint64_t first = 0, last = 0, size = 0;

    if (!starts_with(s, "bytes "))
        return;
    s += 6;
    if (*s == '*')
        s++;
    else if (!take_number(&s, &first) || *s++ != '-' ||
             !take_number(&s, &last) || last < first)
        return;
    if (*s++ != '/' || !take_number(&s, &size))
        return;
    r->range_first = first;
    r->range_last = last;
    r->range_size = size;
    r->has_range = true;
}

static bool
parse_date(const char *s, int64_t *out_ns)
{
    time_t t = curl_getdate(s, NULL);

    return t > 0 && !__builtin_mul_overflow((int64_t)t, NS_PER_S, out_ns);
}

static void
take_header(struct transfer *t, const char *line)
{
    struct s3_reply *r = t->r;
    const char *v = NULL;

    if ((v = value_of(line, "content-length")))
        r->has_length = take_number(&v, &r->length) && !*v;
    else if ((v = value_of(line, "content-range")))
        take_range(v, r);
    else if ((v = value_of(line, "last-modified")))
        r->has_mtime = parse_date(v, &r->mtime_ns);
    else if ((v = value_of(line, "date")))
        (void)parse_date(v, &t->server_ns);
    else if ((v = value_of(line, "retry-after")))
        (void)take_number(&v, &r->retry_after_s);
    else if ((v = value_of(line, S3_MARK_HEADER)) && strlen(v) < S3_MARK_MAX)
        memcpy(r->mark, v, strlen(v) + 1);
    else if ((v = value_of(line, "x-amz-bucket-region")) &&
             strlen(v) < sizeof(r->error.region))
        memcpy(r->error.region, v, strlen(v) + 1);
}

static void
reset_reply(struct s3_reply *r)
{
    struct buf text = r->text;

    buf_reset(&text);
    if (text.max_bytes == 0)
        text = buf_of(S3_PAGE_MAX_BYTES);
    *r = (struct s3_reply){.text = text};
}

static size_t
on_header(char *p, size_t size, size_t n, void *cookie)
{
    struct transfer *t = cookie;
    size_t len = size * n;

    t->head_bytes += len;
    if (t->head_bytes > S3_HEAD_MAX) {
        t->bad = "the head of its answer is too long";
        return 0;
    }
    while (len > 0 &&
           (p[len - 1] == '\r' || p[len - 1] == '\n' || p[len - 1] == ' '))
        len--;
    CLEANUP(freep) char *line = xstrndup(p, len);
    if (starts_with(line, "HTTP/"))
        reset_reply(t->r); /* the last of several, after 100 Continue */
    else
        take_header(t, line);
    return size * n;
}

static size_t
on_error_body(struct transfer *t, const void *p, size_t len)
{
    struct buf *text = &t->r->text;

    if (text->len + len > S3_ERROR_MAX) {
        t->error_cut = true;
        return 0;
    }
    buf_add(text, p, len);
    return len;
}

static bool
room_for_all(struct transfer *t)
{
    const struct s3_request *q = t->q;

    if (!t->r->has_length) {
        t->bad = "its answer does not say how long it is";
        return false;
    }
    if (t->r->length > q->all->max_bytes - q->all->len) {
        t->too_long = true;
        return false;
    }
    return true;
}

static size_t
on_body(char *p, size_t size, size_t n, void *cookie)
{
    struct transfer *t = cookie;
    const struct s3_request *q = t->q;
    size_t len = size * n;
    long status = 0;

    rate_wait(t->h->down, len, t->h->cancel);
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300)
        return on_error_body(t, p, len);
    if (q->all) {
        if (t->got == 0 && !room_for_all(t))
            return 0;
        buf_add(q->all, p, len);
        if (q->all->overflow) {
            q->all->overflow = false;
            t->too_long = true;
            return 0;
        }
    } else if (q->into) {
        if (len > q->into_len - t->got) {
            t->bad = "its answer is longer than what was asked for";
            return 0;
        }
        memcpy(q->into + t->got, p, len);
    } else {
        buf_add(&t->r->text, p, len);
        if (t->r->text.overflow) {
            t->bad = "its answer is too long";
            return 0;
        }
    }
    t->got += len;
    return len;
}

/* ---- one try ----------------------------------------------------------- */

static int
compare_headers(const void *a, const void *b)
{
    return strcmp(((const struct s3_header *)a)->name,
                  ((const struct s3_header *)b)->name);
}

static void
add_line(struct curl_slist **list, const char *name, const char *value)
{
    CLEANUP(freep) char *line = xasprintf("%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (!longer)
        abort(); /* out of memory, as xasprintf does */
    *list = longer;
}

/* The signed headers, for libcurl. */
static struct curl_slist *
make_headers(const struct s3_http *h, const struct s3_request *q,
             const char *path)
{
    struct s3_header headers[HEADERS_MAX];
    struct curl_slist *list = NULL;
    char date[S3_DATE_TEXT], hash[S3_HASH_TEXT];
    size_t n = 0;

    s3_sign_date(clock_wall_ns(), date);
    s3_sign_hash(q->body ? q->body : "", q->body_len, hash);
    headers[n++] = (struct s3_header){"host", h->host};
    headers[n++] = (struct s3_header){"x-amz-content-sha256", hash};
    headers[n++] = (struct s3_header){"x-amz-date", date};
    if (h->keys.token)
        headers[n++] =
            (struct s3_header){"x-amz-security-token", h->keys.token};
    for (size_t i = 0; i < S3_EXTRA_MAX && q->extra[i].name; i++)
        headers[n++] = q->extra[i];
    qsort(headers, n, sizeof(headers[0]), compare_headers);
    struct s3_unsigned u = {.method = q->method,
                            .path = path,
                            .query = q->query ? q->query : "",
                            .headers = headers,
                            .n_headers = n,
                            .payload_hash = hash};
    CLEANUP(freep) char *authorization = s3_sign(&h->keys, date, &u);
    for (size_t i = 0; i < n; i++)
        add_line(&list, headers[i].name, headers[i].value);
    add_line(&list, "Authorization", authorization);
    if (q->body) {
        add_line(&list, "Content-Type", "application/octet-stream");
        add_line(&list, "Expect", ""); /* libcurl would wait for an answer */
    }
    return list;
}

#define SET(t, option, value) \
    ((void)curl_easy_setopt((t)->curl, CURLOPT_##option, (value)))

static void
set_limits(struct transfer *t, const struct s3_http *h)
{
    uint64_t bytes = t->q->body_len + t->q->into_len;
    uint64_t stall_s = div_up(h->patience.stall_ms, 1000);

    if (t->q->all)
        bytes += t->q->all->max_bytes;
    uint64_t whole_ms =
        h->patience.stall_ms * PATIENT_STALLS + bytes / S3_SLOWEST_BYTES * 1000;
    SET(t, CONNECTTIMEOUT_MS, (long)h->patience.connect_ms);
    SET(t, LOW_SPEED_LIMIT, (long)S3_SLOWEST_BYTES);
    SET(t, LOW_SPEED_TIME, (long)stall_s);
    SET(t, TIMEOUT_MS, (long)u64_min(whole_ms, INT32_MAX));
}

static void
set_up(struct transfer *t, const struct s3_http *h, const char *url,
       struct curl_slist *headers)
{
    const struct s3_request *q = t->q;

    curl_easy_reset(t->curl); /* keeps the connection */
    SET(t, URL, url);
    SET(t, PROTOCOLS_STR, h->where.tls ? "https" : "http");
    SET(t, PATH_AS_IS, 1L);
    SET(t, HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(t, SUPPRESS_CONNECT_HEADERS, 1L);
    SET(t, SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(t, NOSIGNAL, 1L);
    SET(t, TCP_KEEPALIVE, 1L);
    /* What comes at a time is waited for at once. */
    SET(t, BUFFERSIZE, (long)(h->down ? RATE_PIECE_MAX : SOCKET_BYTES));
    SET(t, UPLOAD_BUFFERSIZE, (long)SOCKET_BYTES);
    SET(t, OPENSOCKETFUNCTION, open_socket);
    SET(t, ERRORBUFFER, t->message);
    SET(t, HTTPHEADER, headers);
    SET(t, HEADERFUNCTION, on_header);
    SET(t, HEADERDATA, t);
    SET(t, WRITEFUNCTION, on_body);
    SET(t, WRITEDATA, t);
    SET(t, NOPROGRESS, 0L);
    SET(t, XFERINFOFUNCTION, on_progress);
    SET(t, XFERINFODATA, t);
    if (h->ca_file)
        SET(t, CAINFO, h->ca_file);
    set_limits(t, h);
    if (q->body) {
        SET(t, UPLOAD, 1L);
        SET(t, INFILESIZE_LARGE, (curl_off_t)q->body_len);
        SET(t, READFUNCTION, on_send);
        SET(t, READDATA, t);
        SET(t, SEEKFUNCTION, on_seek);
        SET(t, SEEKDATA, t);
    } else if (strcmp(q->method, "HEAD") == 0) {
        SET(t, NOBODY, 1L);
    }
    SET(t, CUSTOMREQUEST, q->method);
}

static int
fail_transport(const struct s3_http *h, struct transfer *t, CURLcode rc)
{
    const char *why = t->bad                            ? t->bad
                      : rc == CURLE_ABORTED_BY_CALLBACK ? "interrupted"
                      : t->message[0]                   ? t->message
                                      : curl_easy_strerror(rc);
    CLEANUP(freep) char *quoted = text_quote(why, S3_MESSAGE_MAX);

    t->r->transient = s3_refusal_passes(rc);
    t->r->odd = t->bad || rc == CURLE_WEIRD_SERVER_REPLY;
    (void)err_set(t->e, ERR_STORE, "cannot %s in %s: %s", t->q->what,
                  h->address, quoted);
    return s3_refusal_hint(rc, &h->where, t->e);
}

/* The transfer went well, as far as libcurl can tell. */
static int
judge(const struct s3_http *h, struct transfer *t)
{
    struct s3_reply *r = t->r;
    struct s3_error in_body = {0};
    bool is_error =
        r->text.len > 0 && s3_xml_error(r->text.p, r->text.len, &in_body);

    if (is_error) {
        if (!in_body.region[0])
            memcpy(in_body.region, r->error.region, sizeof(in_body.region));
        r->error = in_body;
    }
    if (r->status >= 200 && r->status < 300 && !is_error) {
        if (t->q->into && t->got != t->q->into_len && r->status != 204) {
            /* The caller knows whether the object is that short. */
            r->length = t->got;
            r->has_length = true;
        }
        return 0;
    }
    struct s3_refusal why = {.what = t->q->what,
                             .address = h->address,
                             .where = &h->where,
                             .region = h->keys.region,
                             .about_object = t->q->name != NULL,
                             .server_ns = t->server_ns};
    return s3_refusal(&why, r, t->e);
}

static int
perform(struct s3_http *h, struct transfer *t)
{
    const struct s3_request *q = t->q;
    size_t all_before = q->all ? q->all->len : 0;
    CLEANUP(freep) char *path = s3_address_path(&h->where, q->name);
    CLEANUP(freep)
    char *url = xasprintf("%s%s%s%s", h->base, path, q->query ? "?" : "",
                          q->query ? q->query : "");
    struct curl_slist *headers = make_headers(h, q, path);
    long status = 0;

    reset_reply(t->r);
    set_up(t, h, url, headers);
    CURLcode rc = curl_easy_perform(t->curl);
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    t->r->status = (int)status;
    SET(t, HTTPHEADER, NULL);
    SET(t, ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    if (status > 0)
        h->answered = true;
    int result = -1;
    if (t->too_long)
        (void)err_set(t->e, ERR_LIMIT,
                      "cannot %s in %s: it is larger than "
                      "the %zu bytes allowed",
                      q->what, h->address, q->all->max_bytes - all_before);
    else if (rc == CURLE_OK || (t->error_cut && status >= 300))
        result = judge(h, t);
    else
        result = fail_transport(h, t, rc);
    if (result == -1 && q->all)
        q->all->len = all_before;
    return result;
}

int
s3_http_once(struct s3_http *h, const struct s3_request *q, struct s3_reply *r,
             struct err *e)
{
    struct handle *handle = take_handle(h);
    struct transfer t = {.q = q, .r = r, .h = h, .curl = handle->curl, .e = e};
    int rc = perform(h, &t);

    give_handle(h, handle);
    return rc;
}

/* ---- again ------------------------------------------------------------- */

/* False if it was interrupted. */
static bool
sleep_ms(const struct s3_http *h, uint64_t ms)
{
    struct deadline end = deadline_in_ms(ms);
    /* poll(2) looks at no negative one. */
    struct pollfd p = {.fd = h->cancel ? cancel_fd(h->cancel) : -1,
                       .events = POLLIN};

    while (!is_cancelled(h) && !deadline_passed(end))
        (void)poll(&p, 1, deadline_poll_ms(end));
    return !is_cancelled(h);
}

/* Half of it is chance, so that many who failed together do not come back
 * together. */
static uint64_t
backoff_ms(const struct s3_patience *p, unsigned tries)
{
    uint64_t ms = p->backoff_ms;

    for (unsigned i = 1; i < tries && ms < p->backoff_max_ms; i++)
        ms *= 2;
    ms = u64_min(ms, p->backoff_max_ms);
    return ms / 2 + (ms > 1 ? rand_u64() % (ms / 2 + 1) : 0);
}

bool
s3_http_again(struct s3_http *h, struct s3_trial *t, struct s3_reply *r,
              struct err *e)
{
    const struct s3_patience *p = &h->patience;

    if (!t->started) {
        t->started = true;
        t->end =
            deadline_in_ms(h->answered ? p->patience_ms : p->first_patience_ms);
    }
    t->tries++;
    if (!r->transient)
        return false;
    uint64_t wait = backoff_ms(p, t->tries);
    if (r->retry_after_s > 0)
        wait =
            u64_max(wait, u64_min(r->retry_after_s, RETRY_AFTER_MAX_S) * 1000);
    if ((r->odd && t->tries >= S3_ODD_TRIES) ||
        (p->max_tries > 0 && t->tries >= p->max_tries) ||
        deadline_in_ms(wait).at_ns >= t->end.at_ns) {
        (void)err_hint(e, "tried %u times", t->tries);
        return false;
    }
    if (!sleep_ms(h, wait)) {
        (void)err_hint(e, "interrupted");
        return false;
    }
    err_clear(e);
    return true;
}

int
s3_http_call(struct s3_http *h, const struct s3_request *q, struct s3_reply *r,
             struct err *e)
{
    struct s3_trial t = {0};

    while (s3_http_once(h, q, r, e) == -1)
        if (!s3_http_again(h, &t, r, e))
            return -1;
    return 0;
}
