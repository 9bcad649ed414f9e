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
 * Connections: each call has one for itself, at most SESSIONS_MAX at a time.
 * One that broke is replaced, and the call tried again.
 */
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
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
#include "work/cancel.h"

enum {
    SESSIONS_MAX = 8,
    TRIES = 5,
    TEMP_NAME_LEN = 64,
};

const struct sftp_patience sftp_patience_usual = {.stall_ms = 60000,
                                                  .backoff_ms = 1000};

struct idle {
    struct sftp *session;
    struct idle *next;
};

/* ---- sessions ---------------------------------------------------------- */

/* One that nobody uses, or NULL: a new one may be opened. */
static struct sftp *
take_idle(struct sftp_store *s)
{
    struct sftp *got = NULL;

    (void)pthread_mutex_lock(&s->lock);
    while (!s->idle && s->sessions == SESSIONS_MAX)
        (void)pthread_cond_wait(&s->freed, &s->lock);
    struct idle *first = s->idle;
    if (first) {
        s->idle = first->next;
        got = first->session;
    } else {
        s->sessions++;
    }
    (void)pthread_mutex_unlock(&s->lock);
    free(first);
    return got;
}

/* NULL: it is closed. */
static void
give(struct sftp_store *s, struct sftp *session)
{
    struct idle *node = session ? xcalloc(1, sizeof(*node)) : NULL;

    (void)pthread_mutex_lock(&s->lock);
    if (node) {
        node->session = session;
        node->next = s->idle;
        s->idle = node;
        s->worked = true;
    } else {
        s->sessions--;
    }
    (void)pthread_cond_signal(&s->freed);
    (void)pthread_mutex_unlock(&s->lock);
}

static bool
has_worked(struct sftp_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool worked = s->worked;
    (void)pthread_mutex_unlock(&s->lock);
    return worked;
}

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
call_once(struct sftp_store *s, sftp_call_fn *fn, void *arg, unsigned tries,
          struct err *e)
{
    struct sftp *x = take_idle(s);

    if (!x && sftp_open(&s->where, s->base.address, s->patience.stall_ms,
                        s->cancel, &x, e) == -1) {
        give(s, NULL);
        return has_worked(s) ? SFTP_BROKEN : -1;
    }
    sftp_begin(x, s->cancel, s->up, s->down);
    int rc = fn(s, x, arg, tries, e);
    if (rc == SFTP_BROKEN) {
        sftp_close(x);
        x = NULL;
    }
    give(s, x);
    return rc;
}

int
sftp_store_call(struct sftp_store *s, sftp_call_fn *fn, void *arg,
                struct err *e)
{
    for (unsigned tries = 0;; tries++) {
        int rc = call_once(s, fn, arg, tries, e);
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

static int
check_place(struct sftp_store *s, struct sftp *x, struct err *e)
{
    CLEANUP(freep) char *path = sftp_store_path(s, ".");
    struct sftp_attrs a;
    int status = sftp_lstat(x, path, &a, e);

    return sftp_store_judge_place(s, x, status, e);
}

/* What a look at an object has found: 1, 0 if there is none, else as
 * sftp_store_fail(). */
static int
judge(struct sftp_store *s, const struct sftp *x, const char *name, int status,
      const struct sftp_attrs *a, struct err *e)
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

/* Look at an object, as judge(). */
static int
look(struct sftp_store *s, struct sftp *x, const char *name,
     struct sftp_attrs *out, struct err *e)
{
    CLEANUP(freep) char *path = sftp_store_path(s, name);
    int status = sftp_lstat(x, path, out, e);

    return judge(s, x, name, status, out, e);
}

/* ---- folders ----------------------------------------------------------- */

static int
compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool
is_known(struct sftp_store *s, const char *folder)
{
    (void)pthread_mutex_lock(&s->lock);
    bool known = tfind(folder, &s->folders, compare) != NULL;
    (void)pthread_mutex_unlock(&s->lock);
    return known;
}

static void
remember(struct sftp_store *s, const char *folder)
{
    char *copy = xstrdup(folder);

    (void)pthread_mutex_lock(&s->lock);
    char **node = tsearch(copy, &s->folders, compare);
    if (!node)
        abort(); /* out of memory, as xstrdup does */
    if (*node == copy)
        copy = NULL;
    (void)pthread_mutex_unlock(&s->lock);
    free(copy);
}

/* The folders of `name`, as far as nobody made them.  What fails shows when
 * they are used. */
static int
make_folders(struct sftp_store *s, struct sftp *x, const char *name, bool again,
             struct err *e)
{
    for (const char *c = strchr(name, '/'); c; c = strchr(c + 1, '/')) {
        CLEANUP(freep) char *folder = xstrndup(name, (size_t)(c - name));
        CLEANUP(freep) char *path = sftp_store_path(s, folder);
        if (!again && is_known(s, folder))
            continue;
        if (sftp_make_folder(x, path, e) == -1)
            return SFTP_BROKEN;
        remember(s, folder);
    }
    return 0;
}

/* ---- writing ----------------------------------------------------------- */

struct put {
    const char *name;
    const uint8_t *p;
    size_t len;
    char temp[TEMP_NAME_LEN]; /* "tmp/..." */
    bool renaming;            /* it may be published */
};

static void
choose_temp(struct put *w)
{
    char when[CLOCK_TEXT_LEN];
    char *to = when;

    clock_format_utc(clock_wall_ns(), when);
    for (const char *c = when; *c; c++)
        if (*c != '-' && *c != ':')
            *to++ = (char)(*c | 0x20); /* 20261122t100000z */
    *to = '\0';
    (void)snprintf(w->temp, sizeof(w->temp), "tmp/%s-%016llx", when,
                   (unsigned long long)rand_u64());
}

/* Drop what was begun.  The status it failed with stays. */
static void
drop_temp(struct sftp_store *s, struct sftp *x, const struct put *w)
{
    CLEANUP(freep) char *path = sftp_store_path(s, w->temp);
    struct err ignored = {0};

    (void)sftp_remove(x, path, &ignored);
}

/* After a rename that was refused: is the name taken? */
static int
why_not_renamed(struct sftp_store *s, struct sftp *x, struct put *w, int status,
                struct err *e)
{
    struct sftp_attrs a;
    int taken = look(s, x, w->name, &a, e);

    drop_temp(s, x, w);
    if (taken == 1)
        return store_fail_exists(&s->base, w->name, e);
    return taken == 0
               ? sftp_store_fail(s, x, status, "publish object", w->name, e)
               : taken;
}

/* It has its name.  What the rest came to: a time that is too old would be a
 * lie. */
static int
finished(struct sftp_store *s, struct sftp *x, const struct put *w, int rc,
         struct err *e)
{
    if (rc == SFTP_OK)
        return 0;
    int failed = sftp_store_fail(s, x, rc, "make durable object", w->name, e);
    if (failed != SFTP_BROKEN) {
        CLEANUP(freep) char *path = sftp_store_path(s, w->name);
        struct err ignored = {0};
        (void)sftp_remove(x, path, &ignored);
    }
    return failed;
}

/* An earlier try may have published it: 0 and it is finished; 1 if not; or as
 * sftp_store_fail(). */
static int
take_up(struct sftp_store *s, struct sftp *x, struct put *w, struct err *e)
{
    CLEANUP(freep) char *path = sftp_store_path(s, w->name);
    struct sftp_attrs a;
    struct sftp_handle h;
    int temp = look(s, x, w->temp, &a, e);

    if (temp == 1) {
        drop_temp(s, x, w);
        w->renaming = false;
        return 1;
    }
    if (temp != 0)
        return temp;
    int there = look(s, x, w->name, &a, e);
    if (there != 1)
        return there == 0 ? 1 : there;
    if (a.size != w->len)
        return store_fail_exists(&s->base, w->name, e);
    int rc = sftp_open_file(x, path, SFTP_WRITE, &h, e);
    if (rc != SFTP_OK)
        return sftp_store_fail(s, x, rc, "open object", w->name, e);
    rc = sftp_finish(x, &h, w->p, w->len, e);
    return finished(s, x, w, rc, e);
}

/* The folders of `name` that nobody knows to be there, or all, to be made with
 * what comes next; owned by the caller. */
static void
add_folders(struct sftp_store *s, struct sftp_new *n, const char *name,
            bool again)
{
    for (const char *c = strchr(name, '/'); c; c = strchr(c + 1, '/')) {
        CLEANUP(freep) char *folder = xstrndup(name, (size_t)(c - name));
        if (n->n_folders < SFTP_FOLDERS_MAX && (again || !is_known(s, folder)))
            n->folders[n->n_folders++] = sftp_store_path(s, folder);
    }
}

static void
new_done(struct sftp_new *n)
{
    for (size_t i = 0; i < n->n_folders; i++)
        free(n->folders[i]);
}

static void
remember_all(struct sftp_store *s, const char *name)
{
    for (const char *c = strchr(name, '/'); c; c = strchr(c + 1, '/')) {
        CLEANUP(freep) char *folder = xstrndup(name, (size_t)(c - name));
        remember(s, folder);
    }
}

/* Look whether the name is taken, and create the temporary file. */
static int
create_once(struct sftp_store *s, struct sftp *x, struct put *w, bool again,
            struct sftp_new *out, struct err *e)
{
    CLEANUP(freep) char *path = sftp_store_path(s, w->name);
    CLEANUP(freep) char *temp = sftp_store_path(s, w->temp);
    CLEANUP(new_done) struct sftp_new n = {.path = path, .temp = temp};

    add_folders(s, &n, w->temp, again);
    add_folders(s, &n, w->name, again);
    if (sftp_create(x, &n, e) == -1)
        return -1;
    /* What failed shows when they are used; a name with more of them than go
     * with one trip makes the rest then. */
    remember_all(s, w->temp);
    if (n.n_folders < SFTP_FOLDERS_MAX)
        remember_all(s, w->name);
    *out = n;
    out->path = out->temp = NULL;
    out->n_folders = 0;
    return 0;
}

static int
create_temp(struct sftp_store *s, struct sftp *x, struct put *w,
            struct sftp_handle *h, struct err *e)
{
    struct sftp_new n = {0};
    struct err ignored = {0};

    choose_temp(w);
    if (create_once(s, x, w, false, &n, e) == -1 ||
        (n.looked != SFTP_OK && n.opened == SFTP_NO_SUCH_FILE &&
         create_once(s, x, w, true, &n, e) == -1))
        return SFTP_BROKEN;
    int there = judge(s, x, w->name, n.looked, &n.attrs, e);
    if (there == 0 && n.opened == SFTP_OK) {
        *h = n.handle;
        return 0;
    }
    if (n.opened == SFTP_OK) {
        if (sftp_close_later(x, &n.handle, &ignored) == 0)
            drop_temp(s, x, w);
    }
    if (there == 1)
        return store_fail_exists(&s->base, w->name, e);
    return there == 0 ? sftp_store_fail(s, x, n.opened,
                                        "create a temporary file for object",
                                        w->name, e)
                      : there;
}

static int
write_temp(struct sftp_store *s, struct sftp *x, struct put *w,
           const struct sftp_handle *h, struct err *e)
{
    int rc = sftp_write(x, h, w->p, w->len, e);

    if (rc == SFTP_OK)
        return 0;
    int failed = sftp_store_fail(s, x, rc, "write object", w->name, e);
    if (failed != SFTP_BROKEN) {
        struct err ignored = {0};
        (void)sftp_close_handle(x, h, &ignored);
        drop_temp(s, x, w);
        if (rc == SFTP_FAILURE)
            return err_hint(e, "is there room left on its disk?");
    }
    return failed;
}

/* It has been written.  As sftp_publish; the handle is closed in any case. */
static int
rename_temp(struct sftp_store *s, struct sftp *x, struct put *w,
            struct sftp_handle *h, bool *out_renamed, struct err *e)
{
    CLEANUP(freep) char *from = sftp_store_path(s, w->temp);
    CLEANUP(freep) char *to = sftp_store_path(s, w->name);

    w->renaming = true;
    int rc = sftp_publish(x, from, to, h, w->p, w->len, out_renamed, e);
    if (rc != SFTP_NO_SUCH_FILE || *out_renamed)
        return rc;
    /* Somebody removed a folder that we had made. */
    if (make_folders(s, x, w->name, true, e) == SFTP_BROKEN)
        return -1;
    rc = sftp_open_file(x, from, SFTP_WRITE, h, e);
    return rc == SFTP_OK
               ? sftp_publish(x, from, to, h, w->p, w->len, out_renamed, e)
               : rc;
}

static int
put_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
         struct err *e)
{
    struct put *w = arg;
    struct sftp_handle h;
    bool renamed = false;

    if (tries > 0 && w->renaming) {
        int rc = take_up(s, x, w, e);
        if (rc != 1)
            return rc;
    } else if (tries > 0 && w->temp[0]) {
        drop_temp(s, x, w);
    }
    int rc = create_temp(s, x, w, &h, e);
    if (rc == 0)
        rc = write_temp(s, x, w, &h, e);
    if (rc != 0)
        return rc;
    rc = rename_temp(s, x, w, &h, &renamed, e);
    if (rc == -1)
        return SFTP_BROKEN;
    return renamed ? finished(s, x, w, rc, e) : why_not_renamed(s, x, w, rc, e);
}

static int
sftp_store_put(struct store *st, const char *name, const void *p, size_t len,
               struct err *e)
{
    struct put w = {.name = name, .p = p, .len = len};

    return sftp_store_call((struct sftp_store *)st, put_call, &w, e);
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
    int rc = sftp_store_call((struct sftp_store *)st, get_call, g, e);

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
    int rc = judge(s, x, n->name, status, &n->attrs, e);

    (void)tries;
    return rc == 0 ? sftp_store_judge_place(s, x, there, e) : rc;
}

static int
sftp_store_stat(struct store *st, const char *name, struct store_stat *out,
                struct err *e)
{
    struct named n = {.name = name};
    int rc = sftp_store_call((struct sftp_store *)st, stat_call, &n, e);

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
    int rc = look(s, x, n->name, &n->attrs, e);

    if (rc == 0 && tries > 0)
        return 1; /* by the try before, whose reply was lost */
    if (rc != 1)
        return rc == 0 ? check_place(s, x, e) : rc;
    rc = sftp_remove(x, path, e);
    if (rc == SFTP_OK || rc == SFTP_NO_SUCH_FILE)
        return 1;
    int failed = sftp_store_fail(s, x, rc, "remove object", n->name, e);
    if (rc == SFTP_DENIED || rc == SFTP_UNSUPPORTED)
        e->code = ERR_DENIED;
    return failed;
}

static int
sftp_store_remove(struct store *st, const char *name, struct err *e)
{
    struct named n = {.name = name};
    int rc = sftp_store_call((struct sftp_store *)st, remove_call, &n, e);

    if (rc == 0)
        return store_fail_noent(st, name, e);
    return rc == 1 ? 0 : -1;
}

/* ---- opening ----------------------------------------------------------- */

static void
sftp_store_close(struct store *st)
{
    struct sftp_store *s = (struct sftp_store *)st;

    while (s->idle) {
        struct idle *next = s->idle->next;
        sftp_close(s->idle->session);
        free(s->idle);
        s->idle = next;
    }
    tdestroy(s->folders, free);
    sftp_address_done(&s->where);
    (void)pthread_cond_destroy(&s->freed);
    (void)pthread_mutex_destroy(&s->lock);
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

static const struct store_ops sftp_ops = {
    .put = sftp_store_put,
    .get = sftp_store_get,
    .get_all = sftp_store_get_all,
    .stat = sftp_store_stat,
    .list = sftp_store_list,
    .try_overwrite = sftp_store_try_overwrite,
    .traits = sftp_store_traits,
    .remove = sftp_store_remove,
    .set_cancel = sftp_store_set_cancel,
    .set_rates = sftp_store_set_rates,
    .close = sftp_store_close,
};

/* The place itself, with the folders it is in. */
static int
make_place(struct sftp_store *s, struct sftp *x, struct err *e)
{
    const char *path = s->where.path;

    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] && path[i] != '/')
            continue;
        CLEANUP(freep) char *part = xstrndup(path, i);
        if (sftp_make_folder(x, part, e) == -1)
            return SFTP_BROKEN;
    }
    return 0;
}

/* 1 if it is there, 0 if not. */
static int
open_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
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

int
store_sftp_open_patient(const char *address, bool create,
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
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->freed, NULL);
    CLEANUP(store_closep) struct store *st = &s->base;
    int there = sftp_store_call(s, open_call, &create, e);
    if (there == 0)
        return err_set(e, ERR_NOENT, "there is no folder %s on %s",
                       s->where.path, s->where.host);
    if (there != 1)
        return -1;
    *out = STEAL(st);
    return 0;
}

int
store_sftp_open(const char *address, bool create, struct store **out,
                struct err *e)
{
    return store_sftp_open_patient(address, create, &sftp_patience_usual, out,
                                   e);
}
