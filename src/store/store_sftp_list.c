/* SPDX-License-Identifier: Apache-2.0 */
/* The listing of store_sftp.c. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "store/store_folders.h"
#include "store/store_sftp_internal.h"

enum { ENTRIES_MAX = 1 << 20 /* of folders that are read together */ };

struct folder_entry {
    char *name; /* whole */
    struct sftp_attrs attrs;
};

/* Some folders, which are read together. */
struct folder {
    char *name; /* "" or "a/b/" */
    struct level *level;
};

struct level {
    struct folder folders[SFTP_FOLDERS_MAX];
    size_t n_folders;
    struct folder_entry *entries; /* of all of them */
    size_t n, room;
};

static void
level_empty(struct level *f)
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
    const struct folder *folder = cookie;
    struct level *f = folder->level;

    if (!store_component_ok(name, strlen(name)))
        return 0;
    CLEANUP(freep) char *whole = xasprintf("%s%s", folder->name, name);
    if (!store_name_ok(whole)) /* tmp/, and what is not ours */
        return 0;
    if (f->n == ENTRIES_MAX)
        return err_set(e, ERR_STORE, "the folder %s has too many entries",
                       folder->name);
    if (f->n == f->room) {
        f->room = f->room ? f->room * 2 : 64;
        f->entries = xrealloc(f->entries, f->room * sizeof(*f->entries));
    }
    f->entries[f->n++] = (struct folder_entry){STEAL(whole), *attrs};
    return 0;
}

/* Not every server tells it in the listing. */
static int
complete_entries(struct sftp_store *s, struct sftp *x, struct level *f,
                 struct err *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n; i++) {
        struct folder_entry *y = &f->entries[i];
        struct sftp_attrs *a = &y->attrs;
        int rc = SFTP_OK;
        if (!a->has_mode || !a->has_size || !a->has_mtime) {
            CLEANUP(freep) char *path = sftp_store_path(s, y->name);
            rc = sftp_lstat(x, path, a, e);
        }
        if (rc != SFTP_OK && rc != SFTP_NO_SUCH_FILE)
            return sftp_store_fail(s, x, rc, "look at", y->name, e);
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
    struct level *l = arg;
    struct sftp_folder folders[SFTP_FOLDERS_MAX] = {0};
    char *paths[SFTP_FOLDERS_MAX] = {0};
    CLEANUP(freep) char *place = sftp_store_path(s, ".");
    int there = SFTP_OK, result = 0;

    (void)tries;
    level_empty(l);
    for (size_t i = 0; i < l->n_folders; i++) {
        CLEANUP(freep) char *slash = sftp_store_path(s, l->folders[i].name);
        folders[i].path = paths[i] = xasprintf("%s.", slash);
        folders[i].cookie = &l->folders[i];
    }
    int rc = sftp_read_folders(x, folders, l->n_folders, note_entry, place,
                               &there, e);
    for (size_t i = 0; i < l->n_folders; i++)
        free(paths[i]);
    if (rc == -1)
        return SFTP_BROKEN;
    for (size_t i = 0; i < l->n_folders && result == 0; i++) {
        const char *name = l->folders[i].name[0] ? l->folders[i].name : "./";
        if (folders[i].status == SFTP_NO_SUCH_FILE)
            result = sftp_store_judge_place(s, x, there, e);
        else if (folders[i].status != SFTP_OK)
            result = sftp_store_fail(s, x, folders[i].status, "list the folder",
                                     name, e);
    }
    return result == 0 ? complete_entries(s, x, l, e) : result;
}

/* As many as are read together. */
static void
take_folders(struct folders *t, struct level *l)
{
    for (; t->n > 0 && l->n_folders < SFTP_FOLDERS_MAX; l->n_folders++)
        l->folders[l->n_folders] =
            (struct folder){.name = t->names[--t->n], .level = l};
}

static void
level_done(struct level *l)
{
    for (size_t i = 0; i < l->n_folders; i++)
        free(l->folders[i].name);
    level_empty(l);
}

/* No connection is held while `fn` runs: it may use the store. */
int
sftp_store_list(struct store *st, const char *prefix, store_list_fn *fn,
                void *cookie, struct err *e)
{
    struct sftp_store *s = (struct sftp_store *)st;
    CLEANUP(folders_done) struct folders todo = {0};

    folders_add(&todo, prefix);
    while (todo.n > 0) {
        CLEANUP(level_done) struct level l = {0};
        take_folders(&todo, &l);
        if (sftp_store_call(s, list_call, &l, 0, e) < 0)
            return -1;
        for (size_t i = 0; i < l.n; i++) {
            const struct folder_entry *y = &l.entries[i];
            struct store_stat stat = sftp_store_stat_of(&y->attrs);
            CLEANUP(freep) char *inner = xasprintf("%s/", y->name);
            if (S_ISDIR(y->attrs.mode))
                folders_add(&todo, inner);
            else if (fn(cookie, y->name, &stat, e) == -1)
                return -1;
        }
    }
    return 0;
}
