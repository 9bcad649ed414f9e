/* SPDX-License-Identifier: Apache-2.0 */
/* The writing of store_sftp.c, which says how it is done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/store_sftp_internal.h"

enum { TEMP_NAME_LEN = 64 };

/* ---- folders ----------------------------------------------------------- */

/* All folders of `name`.  What fails shows when they are used. */
static int
make_folders(struct sftp_store *s, struct sftp *x, const char *name,
             struct err *e)
{
    char *folders[STORE_NAME_MAX];
    size_t n = 0;

    for (const char *c = strchr(name, '/'); c; c = strchr(c + 1, '/')) {
        CLEANUP(freep) char *folder = xstrndup(name, (size_t)(c - name));
        folders[n++] = sftp_store_path(s, folder);
    }
    int rc = sftp_make_folders(x, folders, n, e);
    for (size_t i = 0; i < n; i++)
        free(folders[i]);
    return rc == -1 ? SFTP_BROKEN : 0;
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

/* Look at an object: as sftp_store_judge. */
static int
look(struct sftp_store *s, struct sftp *x, const char *name,
     struct sftp_attrs *out, struct err *e)
{
    CLEANUP(freep) char *path = sftp_store_path(s, name);
    int status = sftp_lstat(x, path, out, e);

    return sftp_store_judge(s, x, name, status, out, e);
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
        if (n->n_folders < SFTP_FOLDERS_MAX &&
            (again || !made_has(&s->made, folder)))
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
        made_add(&s->made, folder);
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
    int there = sftp_store_judge(s, x, w->name, n.looked, &n.attrs, e);
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
    if (make_folders(s, x, w->name, e) == SFTP_BROKEN)
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

int
sftp_store_put(struct store *st, const char *name, const void *p, size_t len,
               struct err *e)
{
    struct put w = {.name = name, .p = p, .len = len};

    return sftp_store_call((struct sftp_store *)st, put_call, &w, len, e);
}
