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
#include "store/store_folders.h"
#include "store/store_internal.h"
#include "work/cancel.h"

enum {
    SESSIONS_MAX = 4,
    TRIES = 5,
    NS_PER_S = 1000000000,
    TEMP_NAME_LEN = 64,
    ENTRIES_MAX = 1 << 20, /* of one folder */
    BROKEN = -2            /* the connection; another may do it */
};

const struct sftp_patience sftp_patience_usual = {.stall_ms = 60000,
                                                  .backoff_ms = 1000};

struct idle {
    struct sftp *session;
    struct idle *next;
};

struct sftp_store {
    struct store base;
    struct sftp_address where;
    struct sftp_patience patience;
    const char *root;      /* "" for "/" */
    struct cancel *cancel; /* borrowed, or NULL; so are the next two */
    struct rate *up, *down;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct idle *idle; /* lock; as all below */
    unsigned sessions; /* that are open */
    bool worked;       /* one was, ever */
    void *folders;     /* that we know to be there; by tsearch(3) */
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

/* >= 0, -1 with e, or BROKEN with e. */
typedef int call_fn(struct sftp_store *s, struct sftp *x, void *arg,
                    unsigned tries, struct err *e);

static int
call_once(struct sftp_store *s, call_fn *fn, void *arg, unsigned tries,
          struct err *e)
{
    struct sftp *x = take_idle(s);

    if (!x && sftp_open(&s->where, s->base.address, s->patience.stall_ms,
                        s->cancel, &x, e) == -1) {
        give(s, NULL);
        return has_worked(s) ? BROKEN : -1;
    }
    sftp_begin(x, s->cancel, s->up, s->down);
    int rc = fn(s, x, arg, tries, e);
    if (rc == BROKEN) {
        sftp_close(x);
        x = NULL;
    }
    give(s, x);
    return rc;
}

static int
call(struct sftp_store *s, call_fn *fn, void *arg, struct err *e)
{
    for (unsigned tries = 0;; tries++) {
        int rc = call_once(s, fn, arg, tries, e);
        if (rc != BROKEN)
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

/* BROKEN for a status of -1, whose error is there; else -1. */
static int
fail(const struct sftp_store *s, const struct sftp *x, int status,
     const char *what, const char *name, struct err *e)
{
    const char *says = sftp_message(x);

    if (status == -1)
        return BROKEN;
    return err_set(e, ERR_STORE, "cannot %s %s in %s: %s%s%s%s", what, name,
                   s->base.address, status_text(status), *says ? " (" : "",
                   says, *says ? ")" : "");
}

static char *
path_of(const struct sftp_store *s, const char *name)
{
    return xasprintf("%s/%s", s->root, name);
}

/* 0 if the place is still there, else as fail(). */
static int
check_place(struct sftp_store *s, struct sftp *x, struct err *e)
{
    CLEANUP(freep) char *path = path_of(s, ".");
    struct sftp_attrs a;
    int rc = sftp_lstat(x, path, &a, e);

    if (rc == SFTP_NO_SUCH_FILE)
        return err_set(e, ERR_STORE, "the folder %s was removed",
                       s->base.address);
    return rc == SFTP_OK ? 0 : fail(s, x, rc, "look at", "the folder", e);
}

/* Look at an object: 1, 0 if there is none, else as fail(). */
static int
look(struct sftp_store *s, struct sftp *x, const char *name,
     struct sftp_attrs *out, struct err *e)
{
    CLEANUP(freep) char *path = path_of(s, name);
    struct sftp_attrs a;
    int rc = sftp_lstat(x, path, &a, e);

    if (rc == SFTP_NO_SUCH_FILE)
        return 0;
    if (rc != SFTP_OK)
        return fail(s, x, rc, "look at object", name, e);
    if (!a.has_mode || !a.has_size || !a.has_mtime)
        return err_set(e, ERR_STORE,
                       "cannot look at object %s in %s: the server does not "
                       "tell its kind, size and time",
                       name, s->base.address);
    if (S_ISDIR(a.mode))
        return 0;
    if (!S_ISREG(a.mode))
        return err_set(e, ERR_STORE, "%s in %s is neither a file nor a folder",
                       name, s->base.address);
    *out = a;
    return 1;
}

static struct store_stat
stat_of(const struct sftp_attrs *a)
{
    return (struct store_stat){.size_bytes = a->size,
                               .mtime_ns = (int64_t)a->mtime * NS_PER_S};
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
        CLEANUP(freep) char *path = path_of(s, folder);
        if (!again && is_known(s, folder))
            continue;
        if (sftp_make_folder(x, path, e) == -1)
            return BROKEN;
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

/* The server's time, now, on what is written already; and durable. */
static int
stamp(struct sftp *x, const struct sftp_handle *h, const struct put *w,
      struct err *e)
{
    int rc = w->len > 0 ? sftp_write(x, h, w->len - 1, w->p + w->len - 1, 1, e)
                        : sftp_resize(x, h, 0, e);

    return rc == SFTP_OK ? sftp_sync(x, h, e) : rc;
}

static int
create_temp(struct sftp_store *s, struct sftp *x, struct put *w,
            struct sftp_handle *h, struct err *e)
{
    choose_temp(w);
    CLEANUP(freep) char *path = path_of(s, w->temp);
    unsigned flags = SFTP_WRITE | SFTP_CREATE_NEW;
    int rc = sftp_open_file(x, path, flags, h, e);

    if (rc != SFTP_NO_SUCH_FILE)
        return rc;
    if (make_folders(s, x, w->temp, true, e) == BROKEN)
        return -1;
    return sftp_open_file(x, path, flags, h, e);
}

/* Drop what was begun.  The status it failed with stays. */
static void
drop_temp(struct sftp_store *s, struct sftp *x, const struct put *w)
{
    CLEANUP(freep) char *path = path_of(s, w->temp);
    struct err ignored = {0};

    (void)sftp_remove(x, path, &ignored);
}

static int
rename_temp(struct sftp_store *s, struct sftp *x, struct put *w, struct err *e)
{
    CLEANUP(freep) char *from = path_of(s, w->temp);
    CLEANUP(freep) char *to = path_of(s, w->name);

    if (make_folders(s, x, w->name, false, e) == BROKEN)
        return -1;
    w->renaming = true;
    int rc = sftp_rename(x, from, to, e);
    if (rc != SFTP_NO_SUCH_FILE)
        return rc;
    /* Somebody removed a folder that we had made. */
    if (make_folders(s, x, w->name, true, e) == BROKEN)
        return -1;
    return sftp_rename(x, from, to, e);
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
    return taken == 0 ? fail(s, x, status, "publish object", w->name, e)
                      : taken;
}

/* It has its name; a time that is too old would be a lie. */
static int
finish(struct sftp_store *s, struct sftp *x, const struct put *w,
       const struct sftp_handle *h, struct err *e)
{
    int rc = stamp(x, h, w, e);

    if (rc == SFTP_OK)
        rc = sftp_close_handle(x, h, e);
    if (rc == SFTP_OK)
        return 0;
    int failed = fail(s, x, rc, "make durable object", w->name, e);
    if (failed != BROKEN) {
        CLEANUP(freep) char *path = path_of(s, w->name);
        struct err ignored = {0};
        (void)sftp_remove(x, path, &ignored);
    }
    return failed;
}

/* An earlier try may have published it: 0 and it is finished; 1 if not; or as
 * fail(). */
static int
take_up(struct sftp_store *s, struct sftp *x, struct put *w, struct err *e)
{
    CLEANUP(freep) char *path = path_of(s, w->name);
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
        return fail(s, x, rc, "open object", w->name, e);
    return finish(s, x, w, &h, e);
}

static int
write_temp(struct sftp_store *s, struct sftp *x, struct put *w,
           struct sftp_handle *h, struct err *e)
{
    int rc = create_temp(s, x, w, h, e);

    if (rc != SFTP_OK)
        return fail(s, x, rc, "create a temporary file for object", w->name, e);
    rc = sftp_write(x, h, 0, w->p, w->len, e);
    if (rc == SFTP_OK)
        rc = stamp(x, h, w, e);
    if (rc == SFTP_OK)
        return 0;
    int failed = fail(s, x, rc, "write object", w->name, e);
    if (failed != BROKEN) {
        struct err ignored = {0};
        (void)sftp_close_handle(x, h, &ignored);
        drop_temp(s, x, w);
        if (rc == SFTP_FAILURE)
            return err_hint(e, "is there room left on its disk?");
    }
    return failed;
}

static int
put_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
         struct err *e)
{
    struct put *w = arg;
    struct sftp_handle h;
    struct sftp_attrs a;

    if (tries > 0 && w->renaming) {
        int rc = take_up(s, x, w, e);
        if (rc != 1)
            return rc;
    } else if (tries > 0 && w->temp[0]) {
        drop_temp(s, x, w);
    }
    int there = look(s, x, w->name, &a, e);
    if (there == 1)
        return store_fail_exists(&s->base, w->name, e);
    if (there != 0)
        return there;
    int rc = write_temp(s, x, w, &h, e);
    if (rc != 0)
        return rc;
    rc = rename_temp(s, x, w, e);
    if (rc == SFTP_OK)
        return finish(s, x, w, &h, e);
    if (rc == -1)
        return BROKEN;
    int failed = why_not_renamed(s, x, w, rc, e);
    struct err ignored = {0};
    if (failed != BROKEN && sftp_close_handle(x, &h, &ignored) == -1)
        return failed; /* the next call finds the connection broken */
    return failed;
}

static int
sftp_store_put(struct store *st, const char *name, const void *p, size_t len,
               struct err *e)
{
    struct put w = {.name = name, .p = p, .len = len};

    return call((struct sftp_store *)st, put_call, &w, e);
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

static int
read_open(struct sftp_store *s, struct sftp *x, struct get *g,
          const struct sftp_handle *h, struct err *e)
{
    struct sftp_attrs a;
    int rc = sftp_stat_open(x, h, &a, e);

    if (rc != SFTP_OK)
        return fail(s, x, rc, "look at object", g->name, e);
    if (a.has_mode && S_ISDIR(a.mode))
        return 0;
    if (!a.has_size)
        return err_set(e, ERR_STORE,
                       "cannot read object %s in %s: the server does not tell "
                       "its size",
                       g->name, s->base.address);
    if (g->all) {
        g->to->len = g->before;
        g->out = store_room_for(g->to, a.size, g->name, e);
        if (!g->out)
            return -1;
        g->len = (size_t)a.size;
    }
    if (range_inside(g->offset, g->len, a.size)) {
        rc = sftp_read(x, h, g->offset, g->out, g->len, e);
        if (rc == SFTP_OK)
            return 1;
        if (rc != SFTP_EOF)
            return fail(s, x, rc, "read object", g->name, e);
    }
    return store_fail_short(&s->base, g->name, a.size, g->offset, g->len, e);
}

/* 1, 0 if there is none. */
static int
get_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
         struct err *e)
{
    struct get *g = arg;
    CLEANUP(freep) char *path = path_of(s, g->name);
    struct sftp_handle h;
    struct err ignored = {0};
    int rc = sftp_open_file(x, path, SFTP_READ, &h, e);

    (void)tries;
    if (rc == SFTP_NO_SUCH_FILE)
        return check_place(s, x, e);
    if (rc != SFTP_OK)
        return fail(s, x, rc, "open object", g->name, e);
    rc = read_open(s, x, g, &h, e);
    if (rc != BROKEN)
        (void)sftp_close_handle(x, &h, &ignored);
    return rc;
}

static int
get(struct store *st, struct get *g, struct err *e)
{
    int rc = call((struct sftp_store *)st, get_call, g, e);

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
    int rc = look(s, x, n->name, &n->attrs, e);

    (void)tries;
    return rc == 0 ? check_place(s, x, e) : rc;
}

static int
sftp_store_stat(struct store *st, const char *name, struct store_stat *out,
                struct err *e)
{
    struct named n = {.name = name};
    int rc = call((struct sftp_store *)st, stat_call, &n, e);

    if (rc == 1)
        *out = stat_of(&n.attrs);
    return rc;
}

/* ---- removing ---------------------------------------------------------- */

static int
remove_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
            struct err *e)
{
    struct named *n = arg;
    CLEANUP(freep) char *path = path_of(s, n->name);
    int rc = look(s, x, n->name, &n->attrs, e);

    if (rc == 0 && tries > 0)
        return 1; /* by the try before, whose reply was lost */
    if (rc != 1)
        return rc == 0 ? check_place(s, x, e) : rc;
    rc = sftp_remove(x, path, e);
    if (rc == SFTP_OK || rc == SFTP_NO_SUCH_FILE)
        return 1;
    int failed = fail(s, x, rc, "remove object", n->name, e);
    if (rc == SFTP_DENIED || rc == SFTP_UNSUPPORTED)
        e->code = ERR_DENIED;
    return failed;
}

static int
sftp_store_remove(struct store *st, const char *name, struct err *e)
{
    struct named n = {.name = name};
    int rc = call((struct sftp_store *)st, remove_call, &n, e);

    if (rc == 0)
        return store_fail_noent(st, name, e);
    return rc == 1 ? 0 : -1;
}

/* ---- listing ----------------------------------------------------------- */

struct folder_entry {
    char *name; /* whole */
    struct sftp_attrs attrs;
};

struct folder {
    const char *name; /* "" or "a/b/" */
    struct folder_entry *entries;
    size_t n, room;
};

static void
folder_empty(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->entries[i].name);
    free(f->entries);
    f->entries = NULL;
    f->n = f->room = 0;
}

static int
note_entry(void *cookie, const char *name, const struct sftp_attrs *attrs,
           struct err *e)
{
    struct folder *f = cookie;

    if (!store_component_ok(name, strlen(name)))
        return 0;
    CLEANUP(freep) char *whole = xasprintf("%s%s", f->name, name);
    if (!store_name_ok(whole)) /* tmp/, and what is not ours */
        return 0;
    if (f->n == ENTRIES_MAX)
        return err_set(e, ERR_STORE, "the folder %s has too many entries",
                       f->name);
    if (f->n == f->room) {
        f->room = f->room ? f->room * 2 : 64;
        f->entries = xrealloc(f->entries, f->room * sizeof(*f->entries));
    }
    f->entries[f->n++] = (struct folder_entry){STEAL(whole), *attrs};
    return 0;
}

/* Not every server tells it in the listing. */
static int
complete_entries(struct sftp_store *s, struct sftp *x, struct folder *f,
                 struct err *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n; i++) {
        struct folder_entry *y = &f->entries[i];
        struct sftp_attrs *a = &y->attrs;
        int rc = SFTP_OK;
        if (!a->has_mode || !a->has_size || !a->has_mtime) {
            CLEANUP(freep) char *path = path_of(s, y->name);
            rc = sftp_lstat(x, path, a, e);
        }
        if (rc != SFTP_OK && rc != SFTP_NO_SUCH_FILE)
            return fail(s, x, rc, "look at", y->name, e);
        if (rc == SFTP_OK && !S_ISDIR(a->mode) && !S_ISREG(a->mode))
            return err_set(e, ERR_STORE,
                           "%s in %s is neither a file nor a folder", y->name,
                           s->base.address);
        if (rc == SFTP_OK) {
            struct folder_entry keep = *y;
            y->name = NULL;
            f->entries[kept++] = keep;
        } else {
            free(STEAL(y->name));
        }
    }
    f->n = kept;
    return 0;
}

static int
list_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
          struct err *e)
{
    struct folder *f = arg;
    CLEANUP(freep) char *slash = path_of(s, f->name);
    CLEANUP(freep) char *path = xasprintf("%s.", slash);
    struct sftp_handle h;
    struct err ignored = {0};
    int rc = sftp_open_folder(x, path, &h, e);

    (void)tries;
    folder_empty(f);
    if (rc == SFTP_NO_SUCH_FILE)
        return check_place(s, x, e);
    if (rc != SFTP_OK)
        return fail(s, x, rc, "list the folder", f->name[0] ? f->name : "./",
                    e);
    rc = sftp_read_folder(x, &h, note_entry, f, e);
    if (rc != SFTP_OK)
        return fail(s, x, rc, "list the folder", f->name[0] ? f->name : "./",
                    e);
    if (sftp_close_handle(x, &h, &ignored) == -1) {
        *e = ignored;
        return BROKEN;
    }
    return complete_entries(s, x, f, e);
}

/* No connection is held while `fn` runs: it may use the store. */
static int
sftp_store_list(struct store *st, const char *prefix, store_list_fn *fn,
                void *cookie, struct err *e)
{
    struct sftp_store *s = (struct sftp_store *)st;
    CLEANUP(folders_done) struct folders todo = {0};

    folders_add(&todo, prefix);
    while (todo.n > 0) {
        CLEANUP(freep) char *name = todo.names[--todo.n];
        CLEANUP(folder_empty) struct folder f = {.name = name};
        if (call(s, list_call, &f, e) < 0)
            return -1;
        for (size_t i = 0; i < f.n; i++) {
            const struct folder_entry *y = &f.entries[i];
            struct store_stat stat = stat_of(&y->attrs);
            CLEANUP(freep) char *inner = xasprintf("%s/", y->name);
            if (S_ISDIR(y->attrs.mode))
                folders_add(&todo, inner);
            else if (fn(cookie, y->name, &stat, e) == -1)
                return -1;
        }
    }
    return 0;
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

static int
traits_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
            struct err *e)
{
    struct store_traits *out = arg;
    CLEANUP(freep) char *path = path_of(s, ".");
    int rc = sftp_space(x, path, &out->free_bytes, &out->total_bytes, e);

    (void)tries;
    if (rc == -1)
        return BROKEN;
    out->has_space = rc == SFTP_OK;
    out->syncs_files = sftp_can_sync(x) ? STORE_YES : STORE_NO;
    return 0;
}

static void
sftp_store_traits(struct store *st, struct store_traits *out)
{
    struct err ignored = {0};

    (void)call((struct sftp_store *)st, traits_call, out, &ignored);
}

static int
overwrite_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
               struct err *e)
{
    struct named *n = arg;
    CLEANUP(freep) char *path = path_of(s, n->name);
    struct sftp_handle h;
    int rc = sftp_open_file(x, path, SFTP_WRITE, &h, e);

    (void)tries;
    if (rc == SFTP_DENIED)
        return 0;
    if (rc != SFTP_OK)
        return fail(s, x, rc, "open object", n->name, e);
    return sftp_close_handle(x, &h, e) == -1 ? BROKEN : 1;
}

/* Files have owners, so an old one tells more than what was just written. */
static enum store_known
sftp_store_try_overwrite(struct store *st, const char *own, const void *p,
                         size_t len, const char *old)
{
    struct named n = {.name = old};
    struct err ignored = {0};
    int rc = call((struct sftp_store *)st, overwrite_call, &n, &ignored);

    (void)own, (void)p, (void)len;
    return rc == 1 ? STORE_YES : rc == 0 ? STORE_NO : STORE_UNKNOWN;
}

static const struct store_ops sftp_ops = {
    .put = sftp_store_put,
    .get = sftp_store_get,
    .get_all = sftp_store_get_all,
    .stat = sftp_store_stat,
    .list = sftp_store_list,
    .remove = sftp_store_remove,
    .set_cancel = sftp_store_set_cancel,
    .set_rates = sftp_store_set_rates,
    .try_overwrite = sftp_store_try_overwrite,
    .traits = sftp_store_traits,
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
            return BROKEN;
    }
    return 0;
}

/* 1 if it is there, 0 if not. */
static int
open_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
          struct err *e)
{
    const bool *create = arg;
    CLEANUP(freep) char *path = path_of(s, ".");
    struct sftp_attrs a;
    int rc = sftp_lstat(x, path, &a, e);

    (void)tries;
    if (rc == SFTP_NO_SUCH_FILE && *create) {
        if (make_place(s, x, e) == BROKEN)
            return BROKEN;
        rc = sftp_lstat(x, path, &a, e);
        if (rc == SFTP_NO_SUCH_FILE)
            return fail(s, x, rc, "make", "the folder", e);
    }
    if (rc == SFTP_NO_SUCH_FILE)
        return 0;
    return rc == SFTP_OK ? 1 : fail(s, x, rc, "look at", "the folder", e);
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
    int there = call(s, open_call, &create, e);
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
