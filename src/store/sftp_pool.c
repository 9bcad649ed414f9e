/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sftp_pool.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/sftp_session.h"
#include "store/store.h"
#include "work/cancel.h"
#include "work/pool.h"

enum {
    REFUSALS = 2, /* and no more connections are tried for */
    CONNECTIONS_NEAR = 3,
    CONNECT_MS = 200 /* that it took, and one more is of use */
};

struct sftp_link {
    struct sftp_link *next;
    struct sftp *sessions[SFTP_STREAMS_MAX];
    bool taken[SFTP_STREAMS_MAX];
    unsigned n_sessions, n_taken;
    bool moves[SFTP_STREAMS_MAX]; /* much, for who has taken it */
    unsigned n_movers;
    bool broken;
};

void
sftp_pool_init(struct sftp_pool *p, const struct sftp_address *where,
               const char *address, uint64_t stall_ms)
{
    *p = (struct sftp_pool){.where = where,
                            .address = address,
                            .stall_ms = stall_ms,
                            .most = SFTP_CONNECTIONS_MAX};
    p->stop = cancel_new();
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
}

static void
link_free(struct sftp_link *l)
{
    for (unsigned i = 0; i < l->n_sessions; i++)
        sftp_close(l->sessions[i]);
    free(l);
}

void
sftp_pool_done(struct sftp_pool *p)
{
    cancel_raise(p->stop);
    for (unsigned i = 0; i < SFTP_CONNECTIONS_MAX; i++)
        thread_join(p->openers[i]);
    for (struct sftp_link *l = p->links; l; l = l->next)
        sftp_hang_up(l->sessions[0]);
    while (p->links) {
        struct sftp_link *next = p->links->next;
        link_free(p->links);
        p->links = next;
    }
    cancel_free(p->stop);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
}

/* ---- with the lock held ------------------------------------------------ */

/* One of this connection; NULL: it has as many as it may have. */
static struct sftp *
session_of(struct sftp_pool *p, struct sftp_link *l, bool moves_much)
{
    unsigned i = 0;

    while (i < l->n_sessions && l->taken[i])
        i++;
    if (i == l->n_sessions) {
        struct sftp *s = sftp_join(l->sessions[0]);
        if (!s)
            return NULL;
        l->sessions[l->n_sessions++] = s;
    }
    l->taken[i] = true;
    l->n_taken++;
    l->moves[i] = moves_much;
    if (moves_much && l->n_movers++ == 0)
        p->moving++;
    return l->sessions[i];
}

/* A connection is left for those who ask, if there may be two. */
static bool
may_move_more(const struct sftp_pool *p)
{
    return p->moving == 0 || p->moving + 1 < p->most;
}

static bool
may_connect(const struct sftp_pool *p, bool moves_much)
{
    if (p->n >= p->most)
        return false;
    /* Others will share the one that is being made. */
    return moves_much ? may_move_more(p) && p->coming == 0 : p->opening == 0;
}

/* On one that is idle, or, if there is none and will be none, with another. */
static struct sftp *
find_to_move(struct sftp_pool *p)
{
    struct sftp_link *best = NULL;

    for (struct sftp_link *l = p->links; l; l = l->next) {
        bool has_room = l->n_movers > 0 ? l->n_movers < SFTP_MOVERS_MAX
                                        : may_move_more(p) &&
                                              (l->n_taken == 0 || p->most == 1);
        if (!l->broken && has_room && (!best || l->n_movers < best->n_movers))
            best = l;
    }
    if (!best || (best->n_movers > 0 && may_connect(p, true)))
        return NULL;
    return session_of(p, best, true);
}

static struct sftp *
find_to_ask(struct sftp_pool *p)
{
    struct sftp *s = NULL;

    for (struct sftp_link *l = p->links; l && !s; l = l->next)
        if (!l->broken && (l->n_movers == 0 || p->most == 1))
            s = session_of(p, l, false);
    return s;
}

static void
add(struct sftp_pool *p, struct sftp_link *l)
{
    struct sftp_link **end = &p->links;

    while (*end)
        end = &(*end)->next;
    *end = l;
}

static struct sftp_link *
link_of(struct sftp_pool *p, const struct sftp *s, unsigned *out_i)
{
    for (struct sftp_link *l = p->links; l; l = l->next)
        for (unsigned i = 0; i < l->n_sessions; i++)
            if (l->sessions[i] == s) {
                *out_i = i;
                return l;
            }
    abort(); /* it is none of ours */
}

/* ---- taking and giving ------------------------------------------------- */

/* Some servers, and some firewalls, allow few: with those that there are it
 * goes on.  1 if there are any, else -1. */
static int
make_do(struct sftp_pool *p, struct err *e)
{
    if (++p->refused < REFUSALS || p->n == 0)
        return -1;
    p->most = p->n;
    err_clear(e);
    return 1;
}

/* A near server costs processor time a connection, and one fills the line: what
 * keeps that from a distant one is its window of 2 MiB a round trip. */
static void
bound(struct sftp_pool *p, uint64_t ms)
{
    p->most = (unsigned)u64_min(p->most, CONNECTIONS_NEAR + ms / CONNECT_MS);
}

/* With the lock held, but for the time that it takes.  The connection that has
 * been made, or NULL. */
static struct sftp_link *
connect_link(struct sftp_pool *p, struct cancel *cancel, uint64_t grace_ms,
             struct err *e)
{
    struct sftp *s = NULL;
    uint64_t began_ns = clock_mono_ns();

    (void)pthread_mutex_unlock(&p->lock);
    int rc =
        sftp_open(p->where, p->address, p->stall_ms, cancel, grace_ms, &s, e);
    (void)pthread_mutex_lock(&p->lock);
    p->opening--;
    (void)pthread_cond_broadcast(&p->changed);
    if (rc == -1) {
        p->n--;
        p->failures++;
        p->failure = *e;
        return NULL;
    }
    struct sftp_link *l = xcalloc(1, sizeof(*l));
    l->sessions[l->n_sessions++] = s;
    add(p, l);
    p->refused = 0;
    if (!p->measured)
        bound(p, (clock_mono_ns() - began_ns) / 1000000);
    p->measured = true;
    return l;
}

/* A new connection, for a call.  As make_do, or 0 and *out. */
static int
connect_now(struct sftp_pool *p, bool moves_much, struct cancel *cancel,
            struct sftp **out, struct err *e)
{
    p->n++;
    p->opening++;
    p->moving += moves_much; /* already */
    struct sftp_link *l = connect_link(p, cancel, STORE_GRACE_MS, e);
    p->moving -= moves_much;
    if (!l)
        return make_do(p, e);
    *out = session_of(p, l, moves_much);
    return 0;
}

/* One for later.  If it fails, whoever needs it tries again, and tells why. */
static void
open_one(void *arg)
{
    struct sftp_pool *p = arg;
    struct err ignored = {0};

    (void)pthread_mutex_lock(&p->lock);
    (void)connect_link(p, p->stop, 0, &ignored);
    p->coming--;
    (void)pthread_mutex_unlock(&p->lock);
}

void
sftp_pool_expect(struct sftp_pool *p, unsigned calls)
{
    unsigned n = 0;

    (void)pthread_mutex_lock(&p->lock);
    if (!p->expected)
        for (; p->n < p->most && p->n < calls; n++) {
            p->n++;
            p->opening++;
            p->coming++;
        }
    p->expected = true;
    (void)pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < n; i++)
        p->openers[i] = thread_start(open_one, p);
}

/* Until something has changed.  Those who wait for the only connection fail
 * with who tried to make it: they would try one after the other. */
static int
wait_for_change(struct sftp_pool *p, struct err *e)
{
    unsigned before = p->failures;

    (void)pthread_cond_wait(&p->changed, &p->lock);
    if (p->failures == before || p->n > 0)
        return 0;
    *e = p->failure;
    return -1;
}

int
sftp_pool_take(struct sftp_pool *p, bool moves_much, struct cancel *cancel,
               struct sftp **out, struct err *e)
{
    struct sftp *s = NULL;
    int rc = 0;

    (void)pthread_mutex_lock(&p->lock);
    while (!s && rc != -1) {
        s = moves_much ? find_to_move(p) : find_to_ask(p);
        if (s)
            break;
        if (may_connect(p, moves_much))
            rc = connect_now(p, moves_much, cancel, &s, e);
        else
            rc = wait_for_change(p, e);
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (rc == -1)
        return -1;
    *out = s;
    return 0;
}

/* Take it out, if it is of no more use and nobody uses it. */
static struct sftp_link *
take_out_broken(struct sftp_pool *p, struct sftp_link *l)
{
    struct sftp_link **at = &p->links;

    if (!l->broken || l->n_taken > 0)
        return NULL;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    p->n--;
    return l;
}

void
sftp_pool_give(struct sftp_pool *p, struct sftp *s, bool broken)
{
    unsigned i = 0;

    (void)pthread_mutex_lock(&p->lock);
    struct sftp_link *l = link_of(p, s, &i);
    l->taken[i] = false;
    l->n_taken--;
    l->broken |= broken;
    if (l->moves[i] && --l->n_movers == 0)
        p->moving--;
    p->worked |= !broken;
    struct sftp_link *gone = take_out_broken(p, l);
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
    if (gone)
        link_free(gone);
}

bool
sftp_pool_has_worked(struct sftp_pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    bool worked = p->worked;
    (void)pthread_mutex_unlock(&p->lock);
    return worked;
}
