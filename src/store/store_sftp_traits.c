/* SPDX-License-Identifier: Apache-2.0 */
/* What store_sftp.c can find out about its server. */
#include "base/err.h"
#include "base/mem.h"
#include "store/store_sftp_internal.h"

static int
traits_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
            struct err *e)
{
    struct store_traits *out = arg;
    CLEANUP(freep) char *path = sftp_store_path(s, ".");
    int rc = sftp_space(x, path, &out->free_bytes, &out->total_bytes, e);

    (void)tries;
    if (rc == -1)
        return SFTP_BROKEN;
    out->has_space = rc == SFTP_OK;
    out->syncs_files = sftp_can_sync(x) ? STORE_YES : STORE_NO;
    return 0;
}

void
sftp_store_traits(struct store *st, struct store_traits *out)
{
    struct err ignored = {0};

    (void)sftp_store_call((struct sftp_store *)st, traits_call, out, 0,
                          &ignored);
}

static int
overwrite_call(struct sftp_store *s, struct sftp *x, void *arg, unsigned tries,
               struct err *e)
{
    const char *const *old = arg;
    CLEANUP(freep) char *path = sftp_store_path(s, *old);
    struct sftp_handle h;
    int rc = sftp_open_file(x, path, SFTP_WRITE, &h, e);

    (void)tries;
    if (rc == SFTP_DENIED)
        return 0;
    if (rc != SFTP_OK)
        return sftp_store_fail(s, x, rc, "open object", *old, e);
    return sftp_close_handle(x, &h, e) == -1 ? SFTP_BROKEN : 1;
}

/* Files have owners, so an old one tells more than what was just written. */
enum store_known
sftp_store_try_overwrite(struct store *st, const char *own, const void *p,
                         size_t len, const char *old)
{
    struct err ignored = {0};
    int rc = sftp_store_call((struct sftp_store *)st, overwrite_call, &old, 0,
                             &ignored);

    (void)own, (void)p, (void)len;
    return rc == 1 ? STORE_YES : rc == 0 ? STORE_NO : STORE_UNKNOWN;
}
