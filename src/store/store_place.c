/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "store/store.h"
#include "store/store_space.h"

/* ---- errors ----------------------------------------------------------- */

int
place_settle(const struct place *p, struct err *e)
{
    if (e->code == ERR_NOSPACE)
        store_space_hint(p->fd, e);
    e->code = ERR_STORE;
    return -1;
}

int
place_fail(const struct place *p, const char *what, const char *name,
           struct err *e)
{
    (void)err_set_errno(e, ERR_STORE, "cannot %s %s in %s", what, name,
                        p->address);
    return place_settle(p, e);
}

int
place_missing(const struct place *p, struct err *e)
{
    struct stat s;

    if (fstat(p->fd, &s) == -1)
        return place_fail(p, "look at", "the folder", e);
    if (s.st_nlink == 0)
        return err_set(e, ERR_STORE, "the folder %s was removed", p->address);
    return 0;
}

/* ---- folders ---------------------------------------------------------- */

int
place_sync_folder(int fd)
{
    if (fsync(fd) == 0)
        return 0;
    /* Some network file systems cannot do this for folders, and need not. */
    return errno == EINVAL || errno == EOPNOTSUPP ? 0 : -1;
}

/*
 * Open `path`'s last component, `part`, in the folder `at`; make it if asked
 * to, durably.  1, 0 if there is none, -1.
 */
static int
step(struct place *p, int at, const char *path, const char *part, bool make,
     int *out, struct err *e)
{
    bool made = false;
    CLEANUP(fd_closep) int fd = openat(at, part, PLACE_FOLDER_FLAGS);

    if (fd == -1 && errno == ENOENT && make) {
        if (mkdirat(at, part, 0700) == 0)
            made = true;
        else if (errno != EEXIST)
            return place_fail(p, "make the folder", path, e);
        fd = openat(at, part, PLACE_FOLDER_FLAGS);
    }
    if (fd == -1 && errno == ENOENT && !make)
        return 0;
    if (fd == -1 && (errno == ENOTDIR || errno == ELOOP))
        return err_set(e, ERR_STORE,
                       "%s in %s is not a folder; a symbolic link is not "
                       "followed, use a mount in its place",
                       path, p->address);
    if (fd == -1)
        return place_fail(p, "open the folder", path, e);
    /* Another process may have made it and not have synced it yet. */
    if (make && (made || !made_has(&p->durable, path))) {
        if (place_sync_folder(at) == -1) {
            (void)place_fail(p, "make durable the folder", path, e);
            if (made)
                (void)unlinkat(at, part, AT_REMOVEDIR);
            return -1;
        }
        made_add(&p->durable, path);
    }
    *out = place_steal_fd(&fd);
    return 1;
}

int
place_folder(struct place *p, const char *path, size_t len, bool make, int *out,
             struct err *e)
{
    CLEANUP(fd_closep) int fd = openat(p->fd, ".", PLACE_FOLDER_FLAGS);
    char so_far[STORE_NAME_MAX + 1];
    size_t from = 0;

    if (fd == -1)
        return place_fail(p, "open", "the folder", e);
    while (from < len) {
        size_t to = from;
        while (to < len && path[to] != '/')
            to++;
        memcpy(so_far, path, to);
        so_far[to] = '\0';
        int next = -1;
        int rc = step(p, fd, so_far, so_far + from, make, &next, e);
        if (rc != 1)
            return rc;
        fd_close(&fd);
        fd = next;
        from = to + 1;
    }
    *out = place_steal_fd(&fd);
    return 1;
}

int
place_folder_of(struct place *p, const char *name, bool make, int *out,
                const char **leaf, struct err *e)
{
    const char *slash = strrchr(name, '/');

    *leaf = slash ? slash + 1 : name;
    int rc =
        place_folder(p, name, slash ? (size_t)(slash - name) : 0, make, out, e);
    return rc == -1 ? err_wrap(e, "object %s", name) : rc;
}

void
place_init(struct place *p, const char *address, int fd)
{
    *p = (struct place){.address = address, .fd = fd};
    made_init(&p->durable);
}

void
place_done(struct place *p)
{
    fd_close(&p->fd);
    made_done(&p->durable);
}
