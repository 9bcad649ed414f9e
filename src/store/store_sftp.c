/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder that ssh reaches; an object is a file of that name below it.
 *
 * Publishing: the object is written under a name in tmp/, synced where the
 * server can (fsync@openssh.com), and renamed; the protocol's rename replaces
 * nothing (OpenSSH makes a hard link and removes the other name, all in the
 * server: so an account that may not remove can write all the same).  Folders
 * cannot be synced over SFTP; the file is synced once more under its own name,
 * which on journaling file systems takes the folder's change with it.
 *
 * Time: the server's clock, in whole seconds, set as in store_dir.c right
 * before the rename and right after it, by writing the last byte again.
 *
 * A reply that was lost: our temporary name is gone and the object is there,
 * so the rename was done; else it was not.
 *
 * Connections: as sftp_pool.h says.  One that broke is replaced, and the calls
 * that were under way on it are tried again.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/sftp_address.h"
#include "store/sftp_session.h"
#include "store/store_sftp_internal.h"
#include "store/store_together.h"
#include "work/cancel.h"

enum { TRIES = 5 };

const struct sftp_patience sftp_patience_usual = {.stall_ms = 60000,
                                                  .backoff_ms = 1000};

/* ---- calls ----------------------------------------------------------- */

static bool
is_cancelled(const struct sftp_store *s)
{
    return s->cancel && cancel_raised(s->cancel);
}

static void
wait_before(const struct sftp_store *s, unsigned tries)
{
    uint64_t ms = s->patience.backoff_ms << (tries - 1);

    ms = ms / 2 + rand_u64() % (ms / 2 + 1);
    struct deadline end = deadline_in_ms(ms);
    /* poll(2) looks at no negative one. */
    struct pollfd p = {.fd = s->cancel ? cancel_fd(s->cancel) : -1,
                       .events = POLLIN};
    while (!is_cancelled(s) && !deadline_passed(end))
        (void)poll(&p, 1, deadline_poll_ms(end));
}

static int
call_once(struct sftp_store *s, sftp_call_fn *fn, void *arg, size_t bytes,
          unsigned tries, struct err *e)
{
    struct sftp *x = NULL;

    if (sftp_pool_take(&s->pool, bytes > SFTP_MUCH, s->cancel, &x, e) == -1)
        return sftp_pool_has_worked(&s->pool) ? SFTP_BROKEN : -1;
    sftp_begin(x, s->cancel, s->up, s->down);
    int rc = fn(s, x, arg, tries, e);
    sftp_pool_give(&s->pool, x, rc == SFTP_BROKEN);
    return rc;
}

int
sftp_store_call(struct sftp_store *s, sftp_call_fn *fn, void *arg, size_t bytes,
                struct err *e)
{
    for (unsigned tries = 0;; tries++) {
        int rc = call_once(s, fn, arg, bytes, tries, e);
        if (rc != SFTP_BROKEN)
            return rc;
        if (tries + 1 == TRIES)
            return err_hint(e, "tried %d times", (int)TRIES);
        wait_before(s, tries + 1);
        if (is_cancelled(s))
            return err_hint(e, "interrupted");
        err_clear(e);
    }
}

/* ---- errors and paths -------------------------------------------------- */

static const char *
status_text(int status)
{
    switch (status) {
    case SFTP_EOF:
        return "the file ends early";
    case SFTP_NO_SUCH_FILE:
        return "there is no such file or folder";
    case SFTP_DENIED:
        return "permission denied";
    case SFTP_UNSUPPORTED:
        return "the server cannot do this";
    default:
        return "the server says that it failed";
    }
}

/* SFTP_BROKEN for a status of -1, whose error is there; else -1. */
int
sftp_store_fail(const struct sftp_store *s, const struct sftp *x, int status,
                const char *what, const char *name, struct err *e)
{
    const char *says = sftp_message(x);

    if (status == -1)
        return SFTP_BROKEN;
    return err_set(e, ERR_STORE, "cannot %s %s in %s: %s%s%s%s", what, name,
                   s->base.address, status_text(status), *says ? " (" : "",
                   says, *says ? ")" : "");
}

char *
sftp_store_path(const struct sftp_store *s, const char *name)
{
    return xasprintf("%s/%s", s->root, name);
}

/* Is the place itself still there?  0, else as sftp_store_fail(). */
int
sftp_store_judge_place(struct sftp_store *s, const struct sftp *x, int status,
                       struct err *e)
{
    if (status == SFTP_NO_SUCH_FILE)
        return err_set(e, ERR_STORE, "the folder %s was removed",
                       s->base.address);
    return status == SFTP_OK
               ? 0
               : sftp_store_fail(s, x, status, "look at", "the folder", e);
}

int
sftp_store_judge(const struct sftp_store *s, const struct sftp *x,
                 const char *name, int status, const struct sftp_attrs *a,
                 struct err *e)
{
    if (status == SFTP_NO_SUCH_FILE)
        return 0;
    if (status != SFTP_OK)
        return sftp_store_fail(s, x, status, "look at object", name, e);
    if (!a->has_mode || !a->has_size || !a->has_mtime)
        return err_set(e, ERR_STORE,
                       "cannot look at object %s in %s: the server does not "
                       "tell its kind, size and time",
                       name, s->base.address);
    if (S_ISDIR(a->mode))
        return 0;
    if (!S_ISREG(a->mode))
        return err_set(e, ERR_STORE, "%s in %s is neither a file nor a folder",
                       name, s->base.address);
    return 1;
}

/* ---- reading ----------------------------------------------------------- */

struct get {
    const char *name;
    bool all;
    uint64_t offset;
    uint8_t *out;
    size_t len;
    struct buf *to;
    size_t before; /* to->len */
};

/* 1 if it is an object whose size is known, 0 if it is none. */
static int
judge_open(struct sftp_store *s, const struct sftp *x, const struct get *g,
           int status, const struct sftp_attrs *a, struct err *e)
{
    if (status != SFTP_OK)
        return sftp_store_fail(s, x, status, "look at object", g->name, e);
    if (a->has_mode && S_ISDIR(a->mode))
        return 0;
    if (!a->has_size)
        return err_set(e, ERR_STORE,
                       "cannot read object %s in %s: the server does not tell "
                       "its size",
                       g->name, s->base.address);
    return 1;
}

static int
read_part(struct sftp_store *s, struct sftp *x, struct get *g,
          const struct sftp_handle *h, struct err *e)
{
    struct sftp_attrs a = {0};
    int status = SFTP_OK;
    int rc = sftp_read(x, h, g->offset, g->out, g->len, &a, &status, e);

    if (rc == -1)
        return SFTP_BROKEN;
    int good = judge_open(s, x, g, status, &a, e);
    if (good != 1)
        return good;
    if (range_inside(g->offset, g->len, a.size)) {
        if (rc == SFTP_OK)
            return 1;
        if (rc != SFTP_EOF)
            return sftp_store_fail(s, x, rc, "read object", g->name, e);
    }
    return store_fail_short(&s->base, g->name, a.size, g->offset, g->len, e);
}

/* The size is not known before: most are small, and come with the answer. */
static int
read_all(struct sftp_store *s, struct sftp *x, struct get *g,
         const struct sftp_handle *h, struct err *e)
{
    CLEANUP(freep) uint8_t *first = xmalloc(SFTP_CHUNK);
    struct sftp_attrs a = {0};
    size_t n = 0;
    int rc = sftp_read_first(x, h, &a, first, &n, e);

    if (rc == -1)
        return SFTP_BROKEN;
    int good = a.has_mode || a.has_size ? judge_open(s, x, g, SFTP_OK, &a, e)
                                        : judge_open(s, x, g, rc, &a, e);
    if (good != 1)
        return good;
    if (rc != SFTP_OK)
        return sftp_store_fail(s, x, rc, "read object", g->name, e);
    g->to->len = g->before;
    uint8_t *out = store_room_for(g->to, a.size, g->name, e);
    if (!out)
        return -1;
    n = (size_t)u64_min(n, a.size);
    memcpy(out, first, n);
    if (n < a.size)
        rc = sftp_read(x, h, n, out + n, (size_t)a.size - n, NULL, NULL, e);
    if (rc == SFTP_OK)
        return 1;
    if (rc != SFTP_EOF)
        return sftp_store_fail(s, x, rc, "read object", g->name, e);
    return store_fail_short(&s->base, g->name, a.size, 0, (size_t)a.size, e);
}

/* 1, 0 if there is none. */
static int
get_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
         struct err *e)
{
    struct get *g = arg;
    CLEANUP(freep) char *path = sftp_store_path(s, g->name);
    struct sftp_handle h;
    struct err ignored = {0};
    CLEANUP(freep) char *place = sftp_store_path(s, ".");
    int there = SFTP_OK;
    int rc = sftp_open_object(x, path, &h, place, &there, e);

    (void)tries;
    if (rc == SFTP_NO_SUCH_FILE)
        return sftp_store_judge_place(s, x, there, e);
    if (rc != SFTP_OK)
        return sftp_store_fail(s, x, rc, "open object", g->name, e);
    rc = g->all ? read_all(s, x, g, &h, e) : read_part(s, x, g, &h, e);
    if (rc != SFTP_BROKEN) /* else the next call finds it so */
        (void)sftp_close_later(x, &h, &ignored);
    return rc;
}

static int
get(struct store *st, struct get *g, struct err *e)
{
    int rc = sftp_store_call((struct sftp_store *)st, get_call, g,
                             g->all ? 0 : g->len, e);

    if (rc == 0)
        return store_fail_noent(st, g->name, e);
    return rc == 1 ? 0 : -1;
}

static int
sftp_store_get(struct store *st, const char *name, uint64_t offset, void *out,
               size_t len, struct err *e)
{
    struct get g = {.name = name, .offset = offset, .out = out, .len = len};

    return get(st, &g, e);
}

static int
sftp_store_get_all(struct store *st, const char *name, struct buf *out,
                   struct err *e)
{
    struct get g = {.name = name, .all = true, .to = out, .before = out->len};

    return get(st, &g, e);
}

struct named {
    const char *name;
    struct sftp_attrs attrs;
};

static int
stat_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
          struct err *e)
{
    struct named *n = arg;
    CLEANUP(freep) char *path = sftp_store_path(s, n->name);
    CLEANUP(freep) char *place = sftp_store_path(s, ".");
    int there = SFTP_OK;
    int status = sftp_look(x, path, &n->attrs, place, &there, e);
    int rc = sftp_store_judge(s, x, n->name, status, &n->attrs, e);

    (void)tries;
    return rc == 0 ? sftp_store_judge_place(s, x, there, e) : rc;
}

static int
sftp_store_stat(struct store *st, const char *name, struct store_stat *out,
                struct err *e)
{
    struct named n = {.name = name};
    int rc = sftp_store_call((struct sftp_store *)st, stat_call, &n, 0, e);

    if (rc == 1)
        *out = sftp_store_stat_of(&n.attrs);
    return rc;
}

/* ---- removing ---------------------------------------------------------- */

static int
remove_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
            struct err *e)
{
    struct named *n = arg;
    CLEANUP(freep) char *path = sftp_store_path(s, n->name);
    CLEANUP(freep) char *place = sftp_store_path(s, ".");
    int there = SFTP_OK, removed = SFTP_OK;
    int status =
        sftp_look_remove(x, path, &n->attrs, place, &there, &removed, e);
    int rc = sftp_store_judge(s, x, n->name, status, &n->attrs, e);

    if (rc == 0 && tries > 0)
        return 1; /* by the try before, whose reply was lost */
    if (rc != 1)
        return rc == 0 ? sftp_store_judge_place(s, x, there, e) : rc;
    if (removed == SFTP_OK || removed == SFTP_NO_SUCH_FILE)
        return 1;
    int failed = sftp_store_fail(s, x, removed, "remove object", n->name, e);
    if (removed == SFTP_DENIED || removed == SFTP_UNSUPPORTED)
        e->code = ERR_DENIED;
    return failed;
}

static int
sftp_store_remove(struct store *st, const char *name, struct err *e)
{
    struct named n = {.name = name};
    int rc = sftp_store_call((struct sftp_store *)st, remove_call, &n, 0, e);

    if (rc == 0)
        return store_fail_noent(st, name, e);
    return rc == 1 ? 0 : -1;
}

/* ---- opening ----------------------------------------------------------- */

static void
sftp_store_close(struct store *st)
{
    struct sftp_store *s = (struct sftp_store *)st;

    sftp_pool_done(&s->pool);
    made_done(&s->made);
    sftp_address_done(&s->where);
    free(s);
}

static void
sftp_store_set_cancel(struct store *st, struct cancel *c)
{
    ((struct sftp_store *)st)->cancel = c;
}

static void
sftp_store_set_rates(struct store *st, struct rate *up, struct rate *down)
{
    struct sftp_store *s = (struct sftp_store *)st;

    s->up = up;
    s->down = down;
}

/* The place itself, with the folders it is in.  What fails shows when it is
 * looked at. */
static int
make_place(struct sftp_store *s, struct sftp *x, struct err *e)
{
    const char *path = s->where.path;
    size_t n = 0, len = strlen(path);
    CLEANUP(freep) char **folders = xcalloc(len + 1, sizeof(*folders));

    for (size_t i = 1; i <= len; i++)
        if (i == len || path[i] == '/')
            folders[n++] = xstrndup(path, i);
    int rc = sftp_make_folders(x, folders, n, e);
    for (size_t i = 0; i < n; i++)
        free(folders[i]);
    return rc == -1 ? SFTP_BROKEN : 0;
}

/* 1 if it is there, 0 if not. */
static int
look_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
          struct err *e)
{
    const bool *create = arg;
    CLEANUP(freep) char *path = sftp_store_path(s, ".");
    struct sftp_attrs a;
    int rc = sftp_lstat(x, path, &a, e);

    (void)tries;
    if (rc == SFTP_NO_SUCH_FILE && *create) {
        if (make_place(s, x, e) == SFTP_BROKEN)
            return SFTP_BROKEN;
        rc = sftp_lstat(x, path, &a, e);
        if (rc == SFTP_NO_SUCH_FILE)
            return sftp_store_fail(s, x, rc, "make", "the folder", e);
    }
    if (rc == SFTP_NO_SUCH_FILE)
        return 0;
    return rc == SFTP_OK
               ? 1
               : sftp_store_fail(s, x, rc, "look at", "the folder", e);
}
/* Has the connection been made?  Nothing is asked. */
static int
greet_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
           struct err *e)
{
    (void)s, (void)x, (void)arg, (void)tries, (void)e;
    return 1;
}

static int
sftp_store_there(struct store *st, struct err *e)
{
    bool create = false;

    return sftp_store_call((struct sftp_store *)st, look_call, &create, 0, e);
}

static void
sftp_store_expect(struct store *st, unsigned calls)
{
    sftp_pool_expect(&((struct sftp_store *)st)->pool, calls);
}

static const struct store_ops sftp_ops = {
    .put = sftp_store_put,
    .get = sftp_store_get,
    .get_all = sftp_store_get_all,
    .stat = sftp_store_stat,
    .list = sftp_store_list,
    .try_overwrite = sftp_store_try_overwrite,
    .traits = sftp_store_traits,
    .there = sftp_store_there,
    .remove = sftp_store_remove,
    .set_cancel = sftp_store_set_cancel,
    .set_rates = sftp_store_set_rates,
    .expect = sftp_store_expect,
    .width = STORE_TOGETHER_MAX,
    .close = sftp_store_close,
};

int
store_sftp_open_patient(const char *address, bool create,
                        const struct store_account *who,
                        const struct sftp_patience *patience,
                        struct store **out, struct err *e)
{
    struct sftp_address where = {0};

    if (sftp_address_parse(address, &where, e) == -1)
        return -1;
    struct sftp_store *s = xcalloc(1, sizeof(*s));
    s->base = (struct store){.ops = &sftp_ops, .address = xstrdup(address)};
    s->where = where;
    s->patience = *patience;
    s->root = strcmp(where.path, "/") == 0 ? "" : s->where.path;
    made_init(&s->made);
    sftp_pool_init(&s->pool, &s->where, s->base.address, patience->stall_ms);
    CLEANUP(store_closep) struct store *st = &s->base;
    int there = sftp_store_call(
        s, who->unseen && !create ? greet_call : look_call, &create, 0, e);
    if (there == 0)
        return err_set(e, ERR_NOENT, "there is no folder %s on %s",
                       s->where.path, s->where.host);
    if (there != 1)
        return -1;
    *out = STEAL(st);
    return 0;
}

int
store_sftp_open(const char *address, bool create,
                const struct store_account *who, struct store **out,
                struct err *e)
{
    return store_sftp_open_patient(address, create, who, &sftp_patience_usual,
                                   out, e);
}
