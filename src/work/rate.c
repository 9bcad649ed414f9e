/* SPDX-License-Identifier: Apache-2.0 */
#include "work/rate.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "work/cancel.h"

enum { DAY_MINUTES = 24 * 60, PIECES_A_SECOND = 16 };

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

struct window {
    unsigned from, to; /* minutes of the day; over midnight if from > to */
    uint64_t bytes;    /* a second; 0: unlimited */
};

/* What processes share. */
struct limit {
    struct window windows[RATE_MAX_WINDOWS];
    size_t n;
    uint64_t bytes;           /* outside of them */
    _Atomic uint64_t next_ns; /* whose turn it is then has not come yet */
};

struct rate {
    struct limit *limit; /* owned, or mapped: */
    int fd;              /* then it is this, else -1 */

    pthread_mutex_t lock; /* guards all below */
    uint64_t taken_bytes, waited_ns;
};

/* ---- from text ------------------------------------------------------- */

static bool
parse_minutes(const char *text, unsigned *out)
{
    uint64_t hour = 0, minute = 0;

    if (strlen(text) != 5 || text[2] != ':')
        return false;
    char h[3] = {text[0], text[1], '\0'};
    if (!text_parse_u64(h, &hour) || !text_parse_u64(text + 3, &minute) ||
        minute > 59 || hour * 60 + minute > DAY_MINUTES)
        return false;
    *out = (unsigned)(hour * 60 + minute);
    return true;
}

static int
parse_bytes(const char *text, const char *what, uint64_t *out, struct err *e)
{
    uint64_t n = 0;

    if (strcmp(text, "unlimited") == 0) {
        *out = 0;
        return 0;
    }
    if (!text_parse_size(text, &n))
        return err_set(e, ERR_USAGE,
                       "%s: \"%s\" is no rate; write bytes a second like 2M, "
                       "08:00-18:00=2M,20M, or unlimited",
                       what, text);
    if (n < RATE_MIN_BYTES)
        return err_set(e, ERR_USAGE,
                       "%s: %llu bytes a second are too few: storages give up "
                       "on connections that slow; at least %d",
                       what, (unsigned long long)n, RATE_MIN_BYTES);
    *out = n;
    return 0;
}

/* "08:00-18:00" */
static bool
parse_window(const char *text, struct window *out)
{
    const char *dash = strchr(text, '-');

    if (!dash)
        return false;
    CLEANUP(freep) char *from = xstrndup(text, (size_t)(dash - text));
    return parse_minutes(from, &out->from) &&
           parse_minutes(dash + 1, &out->to) && out->from != out->to;
}

static int
parse_item(struct limit *r, char *item, const char *what, bool *has_rest,
           struct err *e)
{
    char *equals = strchr(item, '=');

    if (!equals) {
        if (*has_rest)
            return err_set(e, ERR_USAGE,
                           "%s: only one rate can be for the rest of the day",
                           what);
        *has_rest = true;
        return parse_bytes(item, what, &r->bytes, e);
    }
    *equals = '\0';
    if (r->n == RATE_MAX_WINDOWS)
        return err_set(e, ERR_USAGE, "%s: more than %d windows", what,
                       RATE_MAX_WINDOWS);
    struct window *w = &r->windows[r->n++];
    if (!parse_window(item, w))
        return err_set(e, ERR_USAGE,
                       "%s: \"%s\" is no time of the day; write 08:00-18:00, "
                       "or 22:00-06:00 over midnight",
                       what, item);
    return parse_bytes(equals + 1, what, &w->bytes, e);
}

static void
rate_freep(struct rate **r)
{
    rate_free(*r);
}

static int
parse_limit(struct limit *r, const char *text, const char *what, struct err *e)
{
    CLEANUP(freep) char *copy = xstrdup(text);
    bool has_rest = false;

    for (char *item = copy, *next = NULL; item; item = next) {
        next = strchr(item, ',');
        if (next)
            *next++ = '\0';
        if (parse_item(r, item, what, &has_rest, e) == -1)
            return -1;
    }
    return 0;
}

static int
map_limit(struct rate *r, int fd, struct err *e)
{
    void *p = mmap(NULL, sizeof(*r->limit), PROT_READ | PROT_WRITE, MAP_SHARED,
                   fd, 0);

    if (p == MAP_FAILED)
        return err_set_errno(e, ERR_IO, "cannot map a limit");
    r->limit = p;
    r->fd = fd;
    return 0;
}

static int
join_limit(struct rate *r, const char *number, const char *what, struct err *e)
{
    struct stat st;
    uint64_t fd = 0;

    if (!text_parse_u64(number, &fd) || fd > INT_MAX ||
        fstat((int)fd, &st) == -1 || st.st_size != sizeof(*r->limit))
        return err_set(e, ERR_USAGE, "%s: no limit is shared by descriptor %s",
                       what, number);
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    if (map_limit(r, (int)fd, e) == -1)
        return -1;
    return r->limit->n <= RATE_MAX_WINDOWS
               ? 0
               : err_set(e, ERR_USAGE, "%s: descriptor %s shares no limit",
                         what, number);
}

int
rate_parse(const char *text, const char *what, struct rate **out, struct err *e)
{
    CLEANUP(rate_freep) struct rate *r = xcalloc(1, sizeof(*r));

    (void)pthread_mutex_init(&r->lock, NULL);
    r->fd = -1;
    if (text_starts(text, RATE_SHARED_PREFIX)) {
        if (join_limit(r, text + strlen(RATE_SHARED_PREFIX), what, e) == -1)
            return -1;
    } else {
        r->limit = xcalloc(1, sizeof(*r->limit));
        if (parse_limit(r->limit, text, what, e) == -1)
            return -1;
    }
    *out = STEAL(r);
    return 0;
}

int
rate_share(struct rate *r, int *out_fd, struct err *e)
{
    if (r->fd == -1) {
        CLEANUP(fd_closep) int fd = memfd_create("vmkeep-limit", MFD_CLOEXEC);
        struct limit *own = r->limit;

        if (fd == -1 || fd_write(fd, own, sizeof(*own), "a limit", e) == -1 ||
            map_limit(r, fd, e) == -1)
            return fd == -1 ? err_set_errno(e, ERR_IO, "cannot share a limit")
                            : -1;
        free(own);
        fd = -1; /* r's */
    }
    *out_fd = r->fd;
    return 0;
}

void
rate_free(struct rate *r)
{
    if (!r)
        return;
    (void)pthread_mutex_destroy(&r->lock);
    if (r->fd == -1) {
        free(r->limit);
    } else {
        (void)munmap(r->limit, sizeof(*r->limit));
        (void)close(r->fd);
    }
    free(r);
}

/* ---- taking ---------------------------------------------------------- */

/* Bytes a second now; 0: unlimited. */
static uint64_t
bytes_now(const struct limit *r)
{
    time_t now = (time_t)(clock_wall_ns() / (int64_t)NS_PER_S);
    struct tm tm;

    if (r->n == 0 || !localtime_r(&now, &tm))
        return r->bytes;
    unsigned minute = (unsigned)(tm.tm_hour * 60 + tm.tm_min);
    for (size_t i = 0; i < r->n; i++) {
        const struct window *w = &r->windows[i];
        bool inside = w->from < w->to ? minute >= w->from && minute < w->to
                                      : minute >= w->from || minute < w->to;
        if (inside)
            return w->bytes;
    }
    return r->bytes;
}

size_t
rate_piece(struct rate *r)
{
    uint64_t bytes = r ? bytes_now(r->limit) : 0;

    if (bytes == 0)
        return SIZE_MAX;
    return (size_t)u64_max(RATE_PIECE_MIN,
                           u64_min(RATE_PIECE_MAX, bytes / PIECES_A_SECOND));
}

/* No lock, which a process that dies could leave to the others. */
static uint64_t
next_turn(struct limit *l, size_t bytes, uint64_t now)
{
    uint64_t burst = u64_min(now, RATE_BURST_MS * NS_PER_MS);
    uint64_t a_second = bytes_now(l);

    if (a_second == 0) {
        atomic_store(&l->next_ns, 0);
        return 0;
    }
    /* Objects are far from being so large that this overflows; a part of a
     * nanosecond lost to each piece is nothing. */
    uint64_t takes =
        bytes / a_second * NS_PER_S + bytes % a_second * NS_PER_S / a_second;
    uint64_t next = atomic_load(&l->next_ns), start = 0;

    do
        start = u64_max(next, now - burst);
    while (!atomic_compare_exchange_weak(&l->next_ns, &next, start + takes));
    return start;
}

uint64_t
rate_take(struct rate *r, size_t bytes)
{
    uint64_t now = clock_mono_ns(), start = next_turn(r->limit, bytes, now);
    uint64_t turn = start > now ? start : 0;

    (void)pthread_mutex_lock(&r->lock);
    r->taken_bytes += bytes;
    r->waited_ns += turn ? turn - now : 0;
    (void)pthread_mutex_unlock(&r->lock);
    return turn;
}

void
rate_wait(struct rate *r, size_t bytes, const struct cancel *c)
{
    if (!r || bytes == 0 || (c && cancel_raised(c)))
        return;
    struct deadline turn = {rate_take(r, bytes)};
    /* poll(2) looks at no negative one. */
    struct pollfd p = {.fd = c ? cancel_fd(c) : -1, .events = POLLIN};
    while (turn.at_ns > 0 && !deadline_passed(turn) && !(c && cancel_raised(c)))
        (void)poll(&p, 1, deadline_poll_ms(turn));
}

void
rate_counts(struct rate *r, uint64_t *out_bytes, uint64_t *out_waited_ns)
{
    (void)pthread_mutex_lock(&r->lock);
    *out_bytes = r->taken_bytes;
    *out_waited_ns = r->waited_ns;
    (void)pthread_mutex_unlock(&r->lock);
}
