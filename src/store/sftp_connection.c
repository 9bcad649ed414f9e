/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sftp_connection.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "store/sftp_session.h"
#include "store/sftp_ssh.h"
#include "work/cancel.h"

enum {
    HEAD_BYTES = 4,
    PACKET_MIN = 5, /* type and id */
    ANSWER_STALLS = 10,
    /* Each stream has that much under way. */
    QUEUE_MAX = SFTP_STREAMS_MAX * SFTP_UNDER_WAY_MAX,
    MS = 1000000 /* nanoseconds */
};

#define NONSENSE                                                        \
    "makes no sense: is that an SFTP server, and does its shell print " \
    "nothing at login?"

struct sftp_stream {
    struct sftp_connection *connection;
    uint32_t number, next_id; /* an id is number modulo SFTP_STREAMS_MAX */
    struct cancel *cancel;    /* borrowed, or NULL */
    uint64_t grace_ms;
    bool cancelled;      /* it was seen to be raised ... */
    struct deadline end; /* ... and this is the end then */
    /* connection->lock: */
    unsigned asked; /* answers that are to come */
    struct sftp_packet *first, **last;
};

struct sftp_connection {
    char *address;
    uint64_t stall_ms;
    struct ssh ssh;
    int wake; /* eventfd: there is more to send for who has the turn */
    /* Of who has the turn: */
    struct buf sending;
    size_t sent;
    uint8_t head[HEAD_BYTES]; /* of a packet */
    size_t got;               /* of it all */
    struct sftp_packet *coming;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock: */
    bool turn_taken, greeted;
    struct buf queued; /* to be sent */
    uint64_t heard_ns; /* when the last packet came */
    const char *why;   /* it is broken */
    char *said;        /* by ssh, then */
    struct sftp_stream *streams[SFTP_STREAMS_MAX];
    unsigned n_streams, n_open;
};

/* ---- opening and closing ----------------------------------------------- */

static void
connection_free(struct sftp_connection *c)
{
    ssh_end(&c->ssh, c->greeted);
    fd_close(&c->wake);
    buf_done(&c->sending);
    buf_done(&c->queued);
    free(c->coming);
    free(c->said);
    free(c->address);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

int
sftp_connection_open(const struct sftp_address *where, const char *address,
                     uint64_t stall_ms, struct sftp_connection **out,
                     struct err *e)
{
    struct sftp_connection *c = xcalloc(1, sizeof(*c));
    pthread_condattr_t attributes;

    c->address = xstrdup(address);
    c->stall_ms = stall_ms;
    c->queued = c->sending = buf_of(QUEUE_MAX);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    int rc = ssh_start(where, &c->ssh, e);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && c->wake == -1)
        rc = err_set_errno(e, ERR_STORE, "cannot make an event");
    if (rc == -1) {
        connection_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

struct sftp_stream *
sftp_stream_open(struct sftp_connection *c)
{
    struct sftp_stream *t = NULL;

    (void)pthread_mutex_lock(&c->lock);
    if (c->n_streams < SFTP_STREAMS_MAX) {
        t = xcalloc(1, sizeof(*t));
        t->connection = c;
        t->number = t->next_id = c->n_streams;
        t->last = &t->first;
        c->streams[c->n_streams++] = t;
        c->n_open++;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return t;
}

void
sftp_stream_close(struct sftp_stream *t)
{
    if (!t)
        return;
    struct sftp_connection *c = t->connection;
    (void)pthread_mutex_lock(&c->lock);
    c->streams[t->number] = NULL;
    bool is_last = --c->n_open == 0;
    (void)pthread_mutex_unlock(&c->lock);
    while (t->first) {
        struct sftp_packet *next = t->first->next;
        free(t->first);
        t->first = next;
    }
    free(t);
    if (is_last)
        connection_free(c);
}

void
sftp_stream_hang_up(struct sftp_stream *t)
{
    (void)shutdown(t->connection->ssh.fd, SHUT_WR);
}

struct sftp_connection *
sftp_stream_connection(struct sftp_stream *t)
{
    return t->connection;
}

void
sftp_stream_begin(struct sftp_stream *t, struct cancel *cancel,
                  uint64_t grace_ms)
{
    t->cancel = cancel;
    t->grace_ms = grace_ms;
    t->cancelled = false;
}

uint32_t
sftp_stream_id(struct sftp_stream *t)
{
    uint32_t id = t->next_id;

    t->next_id += SFTP_STREAMS_MAX;
    return id;
}

/* ---- the end of one that broke ----------------------------------------- */

/* The first reason counts.  With the lock held: ssh's last words are in a pipe
 * that does not block. */
static void
break_off(struct sftp_connection *c, const char *why)
{
    if (c->why)
        return;
    c->why = why;
    c->said = ssh_said(&c->ssh);
    (void)pthread_cond_broadcast(&c->changed);
}

/* With the lock held. */
static int
fail_broken(const struct sftp_connection *c, struct err *e)
{
    (void)err_set(e, ERR_STORE, "the connection to %s %s", c->address, c->why);
    return c->said[0] ? err_hint(e, "ssh says: %s", c->said) : -1;
}

int
sftp_stream_nonsense(struct sftp_stream *t, struct err *e)
{
    struct sftp_connection *c = t->connection;

    (void)pthread_mutex_lock(&c->lock);
    break_off(c, NONSENSE);
    int rc = fail_broken(c, e);
    (void)pthread_mutex_unlock(&c->lock);
    return rc;
}

/* ---- the turn ---------------------------------------------------------- */

/* Is there anything to be sent? */
static bool
has_more(struct sftp_connection *c)
{
    if (c->sent < c->sending.len)
        return true;
    buf_reset(&c->sending);
    c->sent = 0;
    (void)pthread_mutex_lock(&c->lock);
    struct buf queued = c->queued;
    c->queued = c->sending;
    c->sending = queued;
    (void)pthread_mutex_unlock(&c->lock);
    return c->sending.len > 0;
}

/* As much as it takes at once.  Why it is broken, or NULL. */
static const char *
send_some(struct sftp_connection *c)
{
    while (has_more(c)) {
        ssize_t n = send(c->ssh.fd, c->sending.p + c->sent,
                         c->sending.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            c->sent += (size_t)n;
        else if (n == -1 && errno == EAGAIN)
            return NULL;
        else if (n == -1 && errno != EINTR)
            return "ended";
    }
    return NULL;
}

/* It is here, whole. */
static const char *
deliver(struct sftp_connection *c, struct sftp_packet *p)
{
    const char *why = NULL;

    (void)pthread_mutex_lock(&c->lock);
    uint32_t number =
        c->greeted ? get_be32(p->bytes + 1) % SFTP_STREAMS_MAX : 0;
    struct sftp_stream *t = c->streams[number];
    c->greeted = true;
    c->heard_ns = clock_mono_ns();
    if (t && t->asked > 0) {
        t->asked--;
        *t->last = p;
        t->last = &p->next;
    } else {
        free(p);
        why = NONSENSE;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return why;
}

/* What is to come of the packet, at most: where to, how much. */
static size_t
wanted(struct sftp_connection *c, uint8_t **to)
{
    if (c->got < HEAD_BYTES) {
        *to = c->head + c->got;
        return HEAD_BYTES - c->got;
    }
    *to = c->coming->bytes + (c->got - HEAD_BYTES);
    return c->coming->len - (c->got - HEAD_BYTES);
}

/* Up to the end of a packet, or as much as there is now.  As send_some. */
static const char *
receive_some(struct sftp_connection *c, bool *out_came)
{
    uint8_t *to = NULL;

    for (;;) {
        size_t left = wanted(c, &to);
        ssize_t n = recv(c->ssh.fd, to, left, MSG_DONTWAIT);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN)
            return NULL;
        if (n <= 0)
            return "ended";
        c->got += (size_t)n;
        if (c->got == HEAD_BYTES) {
            uint32_t len = get_be32(c->head);
            if (len < PACKET_MIN || len > SFTP_PACKET_MAX)
                return NONSENSE;
            c->coming = xmalloc(sizeof(*c->coming) + len);
            *c->coming = (struct sftp_packet){.len = len};
        } else if (c->got > HEAD_BYTES && (size_t)n == left) {
            c->got = 0;
            *out_came = true;
            return deliver(c, STEAL(c->coming));
        }
    }
}

/* Until there is more to be done, or that deadline. */
static const char *
await(struct sftp_connection *c, const struct sftp_stream *t,
      struct deadline until)
{
    short events = c->sent < c->sending.len ? POLLIN | POLLOUT : POLLIN;
    /* poll(2) looks at no negative one. */
    struct pollfd p[] = {
        {.fd = c->ssh.fd, .events = events},
        {.fd = c->wake, .events = POLLIN},
        {.fd = t->cancel && !t->cancelled ? cancel_fd(t->cancel) : -1,
         .events = POLLIN}};
    eventfd_t ignored = 0;
    int n = poll(p, ARRAY_LEN(p), deadline_poll_ms(until));

    if (n > 0 && p[1].revents)
        (void)eventfd_read(c->wake, &ignored);
    return n == -1 && errno != EINTR ? "cannot be waited for" : NULL;
}

/* The lock is held then. */
static void
end_turn(struct sftp_connection *c, const char *why)
{
    (void)pthread_mutex_lock(&c->lock);
    c->turn_taken = false;
    if (why)
        break_off(c, why);
    (void)pthread_cond_broadcast(&c->changed);
}

/* With the lock held, but for the time that it takes. */
static void
take_turn(struct sftp_connection *c, const struct sftp_stream *t,
          struct deadline until)
{
    bool came = false;

    c->turn_taken = true;
    (void)pthread_mutex_unlock(&c->lock);
    const char *why = send_some(c);
    if (!why)
        why = receive_some(c, &came);
    if (!why && !came)
        why = await(c, t, until);
    end_turn(c, why);
}

/* ---- packets ----------------------------------------------------------- */

int
sftp_stream_send(struct sftp_stream *t, const struct buf *packets, unsigned n,
                 struct err *e)
{
    struct sftp_connection *c = t->connection;
    int rc = 0;

    (void)pthread_mutex_lock(&c->lock);
    t->asked += n;
    buf_add(&c->queued, packets->p, packets->len);
    bool mine = !c->turn_taken;
    c->turn_taken = true;
    (void)pthread_mutex_unlock(&c->lock);
    if (mine)
        end_turn(c, send_some(c));
    else
        (void)pthread_mutex_lock(&c->lock);
    if (c->why)
        rc = fail_broken(c, e);
    (void)pthread_mutex_unlock(&c->lock);
    if (!mine)
        (void)eventfd_write(c->wake, 1);
    return rc;
}

/* Also of what goes on for long, but never stalls. */
static bool
is_given_up(struct sftp_stream *t)
{
    if (!t->cancel || !cancel_raised(t->cancel))
        return false;
    if (!t->cancelled)
        t->end = deadline_in_ms(t->grace_ms);
    t->cancelled = true;
    return deadline_passed(t->end);
}

/* With the lock held: how long one waits that began then. */
static struct deadline
patience(const struct sftp_stream *t, uint64_t began_ns)
{
    const struct sftp_connection *c = t->connection;
    uint64_t stall_ns = c->stall_ms * MS;
    uint64_t silent = (c->heard_ns > began_ns ? c->heard_ns : began_ns);
    uint64_t end =
        u64_min(silent + stall_ns, began_ns + ANSWER_STALLS * stall_ns);

    return (struct deadline){t->cancelled ? u64_min(end, t->end.at_ns) : end};
}

static void
wait_for_others(struct sftp_connection *c, struct deadline until)
{
    struct timespec t = {.tv_sec = (time_t)(until.at_ns / 1000000000),
                         .tv_nsec = (long)(until.at_ns % 1000000000)};

    (void)pthread_cond_timedwait(&c->changed, &c->lock, &t);
}

int
sftp_stream_next(struct sftp_stream *t, struct sftp_packet **out, struct err *e)
{
    struct sftp_connection *c = t->connection;
    uint64_t began_ns = clock_mono_ns();
    int rc = 0;

    (void)pthread_mutex_lock(&c->lock);
    while (!c->why) {
        if (is_given_up(t)) {
            break_off(c, "was given up: interrupted");
            break;
        }
        if (t->first)
            break;
        struct deadline until = patience(t, began_ns);
        if (deadline_passed(until))
            break_off(c, "stalled");
        else if (c->turn_taken)
            wait_for_others(c, until);
        else
            take_turn(c, t, until);
    }
    if (t->first) {
        *out = t->first;
        t->first = t->first->next;
        if (!t->first)
            t->last = &t->first;
    } else {
        rc = fail_broken(c, e);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return rc;
}
