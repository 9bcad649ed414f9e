/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/store_internal.h"

enum { NAME_QUOTED_MAX = 300 };

/* ---- names ------------------------------------------------------------ */

bool
store_component_ok(const char *s, size_t len)
{
    if (len == 0 || s[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        bool ok = (s[i] >= 'a' && s[i] <= 'z') ||
                  (s[i] >= '0' && s[i] <= '9') || s[i] == '.' || s[i] == '_' ||
                  s[i] == '-';
        if (!ok)
            return false;
    }
    return true;
}

/* The first `len` bytes: components with one '/' between each two. */
static bool
path_ok(const char *name, size_t len)
{
    size_t from = 0;

    if (len > STORE_NAME_MAX || strcmp(name, "tmp") == 0 ||
        text_starts(name, "tmp/"))
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && name[i] != '/')
            continue;
        if (!store_component_ok(name + from, i - from))
            return false;
        from = i + 1;
    }
    return true;
}

bool
store_name_ok(const char *name)
{
    return path_ok(name, strlen(name));
}

bool
store_prefix_ok(const char *prefix)
{
    size_t n = strlen(prefix);

    return n == 0 || (prefix[n - 1] == '/' && path_ok(prefix, n - 1));
}

static int
check_name(const struct store *st, const char *name, struct err *e)
{
    if (store_name_ok(name))
        return 0;
    CLEANUP(freep) char *quoted = text_quote(name, NAME_QUOTED_MAX);
    return err_set(e, ERR_USAGE, "'%s' cannot be the name of an object in %s",
                   quoted, st->address);
}

/* ---- for the backends ------------------------------------------------- */

uint8_t *
store_room_for(struct buf *out, uint64_t size, const char *name, struct err *e)
{
    if (size > out->max_bytes - out->len) {
        (void)err_set(
            e, ERR_LIMIT, "object %s has %llu bytes, more than the %zu allowed",
            name, (unsigned long long)size, out->max_bytes - out->len);
        return NULL;
    }
    return buf_extend(out, (size_t)size);
}

int
store_fail_noent(const struct store *st, const char *name, struct err *e)
{
    return err_set(e, ERR_NOENT, "there is no object %s in %s", name,
                   st->address);
}

int
store_fail_exists(const struct store *st, const char *name, struct err *e)
{
    return err_set(e, ERR_EXISTS, "object %s exists already in %s", name,
                   st->address);
}

int
store_fail_short(const struct store *st, const char *name, uint64_t size,
                 uint64_t offset, size_t len, struct err *e)
{
    return err_set(e, ERR_CORRUPT,
                   "object %s in %s has only %llu bytes, wanted %zu from %llu "
                   "on",
                   name, st->address, (unsigned long long)size, len,
                   (unsigned long long)offset);
}

/* ---- addresses -------------------------------------------------------- */

/* The length of "scheme" in "scheme:...", or 0 if it is a plain path. */
static size_t
scheme_len(const char *address)
{
    size_t n = strcspn(address, ":/");

    return address[n] == ':' ? n : 0;
}

static int
open_address(const char *address, bool create, const struct store_account *who,
             struct store **out, struct err *e)
{
    const char *path = address;
    size_t n = scheme_len(address);

    if (n == 4 && text_starts(address, "file:")) {
        path += 5;
        if (text_starts(path, "//")) {
            path += 2; /* a URL: what comes next is a host */
            if (path[0] != '/')
                return err_set(e, ERR_USAGE,
                               "storage address %s names another host; write "
                               "file:/PATH",
                               address);
        }
    } else if (n == 2 && text_starts(address, "s3:")) {
        return store_s3_open(address, create, who, out, e);
    } else if (n == 4 && text_starts(address, "sftp:")) {
        return store_sftp_open(address, create, who, out, e);
    } else if (n > 0) {
        return err_set(e, ERR_USAGE,
                       "storage address %s: there is no kind of storage "
                       "called '%.*s'; write a path, file:PATH (for a path "
                       "with a colon), sftp:USER@HOST:/PATH or "
                       "s3:https://HOST/BUCKET/PREFIX",
                       address, (int)n, address);
    }
    if (!path[0])
        return err_set(e, ERR_USAGE,
                       "storage address '%s' names no place; write a path",
                       address);
    return store_dir_open(address, path, create, out, e);
}

int
store_open(const char *address, struct store **out, struct err *e)
{
    return open_address(address, false, &(struct store_account){0}, out, e);
}

int
store_open_as(const char *address, const struct store_account *who,
              struct store **out, struct err *e)
{
    return open_address(address, false, who, out, e);
}

int
store_create(const char *address, struct store **out, struct err *e)
{
    return open_address(address, true, &(struct store_account){0}, out, e);
}

/* ---- the calls -------------------------------------------------------- */

int
store_there(struct store *st, struct err *e)
{
    return st->ops->there ? st->ops->there(st, e) : 1;
}

void
store_close(struct store *st)
{
    if (!st)
        return;
    free(STEAL(st->address));
    st->ops->close(st);
}

void
store_closep(struct store **st)
{
    store_close(*st);
}

void
store_set_cancel(struct store *st, struct cancel *c)
{
    if (st->ops->set_cancel)
        st->ops->set_cancel(st, c);
}

void
store_set_rates(struct store *st, struct rate *upload, struct rate *download)
{
    if (st->ops->set_rates)
        st->ops->set_rates(st, upload, download);
}

void
store_expect(struct store *st, unsigned calls)
{
    if (st->ops->expect)
        st->ops->expect(st, calls);
}

const char *
store_address(const struct store *st)
{
    return st->address;
}

int
store_put(struct store *st, const char *name, const void *p, size_t len,
          struct err *e)
{
    if (check_name(st, name, e) == -1)
        return -1;
    return st->ops->put(st, name, p, len, e);
}

int
store_put_new(struct store *st, const char *name, const void *p, size_t len,
              struct err *e)
{
    if (check_name(st, name, e) == -1)
        return -1;
    return (st->ops->put_new ? st->ops->put_new : st->ops->put)(st, name, p,
                                                                len, e);
}

int
store_get(struct store *st, const char *name, uint64_t offset, void *out,
          size_t len, struct err *e)
{
    if (check_name(st, name, e) == -1)
        return -1;
    return st->ops->get(st, name, offset, out, len, e);
}

int
store_get_all(struct store *st, const char *name, struct buf *out,
              struct err *e)
{
    size_t before = out->len;

    if (check_name(st, name, e) == -1)
        return -1;
    if (st->ops->get_all(st, name, out, e) == -1) {
        out->len = before;
        return -1;
    }
    return 0;
}

int
store_stat(struct store *st, const char *name, struct store_stat *out,
           struct err *e)
{
    if (check_name(st, name, e) == -1)
        return -1;
    return st->ops->stat(st, name, out, e);
}

int
store_list(struct store *st, const char *prefix, store_list_fn *fn,
           void *cookie, struct err *e)
{
    if (!store_prefix_ok(prefix)) {
        CLEANUP(freep) char *quoted = text_quote(prefix, NAME_QUOTED_MAX);
        return err_set(e, ERR_USAGE, "'%s' cannot be a prefix of names in %s",
                       quoted, st->address);
    }
    return st->ops->list(st, prefix, fn, cookie, e);
}

int
store_remove(struct store *st, const char *name, struct err *e)
{
    if (check_name(st, name, e) == -1)
        return -1;
    return st->ops->remove(st, name, e);
}

enum store_known
store_try_overwrite(struct store *st, const char *own, const void *p,
                    size_t len, const char *old)
{
    if (!st->ops->try_overwrite || !store_name_ok(own) || !store_name_ok(old))
        return STORE_UNKNOWN;
    return st->ops->try_overwrite(st, own, p, len, old);
}

void
store_get_traits(struct store *st, struct store_traits *out)
{
    *out = (struct store_traits){0};
    if (st->ops->traits)
        st->ops->traits(st, out);
}

int
store_tidy(struct store *st, struct err *e)
{
    return st->ops->tidy ? st->ops->tidy(st, e) : 0;
}
