/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int
err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    assert(e->code == ERR_OK && code != ERR_OK);
    e->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    return -1;
}

static enum err_code
code_of_errno(int no, enum err_code otherwise)
{
    switch (no) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NOSPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOENT:
        return ERR_NOENT;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return otherwise;
    }
}

int
err_set_errno(struct err *e, enum err_code code, const char *fmt, ...)
{
    int no = errno;
    const char *known = strerrordesc_np(no);
    char cause[80];
    va_list ap;

    assert(e->code == ERR_OK && code != ERR_OK);
    e->code = code_of_errno(no, code);
    if (known)
        (void)snprintf(cause, sizeof(cause), ": %s", known);
    else
        (void)snprintf(cause, sizeof(cause), ": error number %d", no);
    /* A long path must not push the cause out. */
    va_start(ap, fmt);
    (void)vsnprintf(e->msg, sizeof(e->msg) - strlen(cause), fmt, ap);
    va_end(ap);
    memcpy(e->msg + strlen(e->msg), cause, strlen(cause) + 1);
    return -1;
}

int
err_wrap(struct err *e, const char *fmt, ...)
{
    char ctx[sizeof(e->msg)];
    va_list ap;

    assert(e->code != ERR_OK);
    va_start(ap, fmt);
    (void)vsnprintf(ctx, sizeof(ctx), fmt, ap);
    va_end(ap);

    size_t n = strlen(ctx), m = strlen(e->msg);
    if (n + 2 + m < sizeof(e->msg)) { /* else the cause outranks the context */
        memmove(e->msg + n + 2, e->msg, m + 1);
        memcpy(e->msg, ctx, n);
        memcpy(e->msg + n, ": ", 2);
    }
    return -1;
}

int
err_hint(struct err *e, const char *fmt, ...)
{
    va_list ap;

    size_t n = strlen(e->msg);

    assert(e->code != ERR_OK);
    if (n + 3 > sizeof(e->msg))
        return -1;
    memcpy(e->msg + n, "; ", 2);
    va_start(ap, fmt);
    (void)vsnprintf(e->msg + n + 2, sizeof(e->msg) - n - 2, fmt, ap);
    va_end(ap);
    return -1;
}

void
err_clear(struct err *e)
{
    e->code = ERR_OK;
    e->msg[0] = '\0';
}

const char *
err_code_name(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return "ok";
    case ERR_USAGE:
        return "usage";
    case ERR_NOENT:
        return "not_found";
    case ERR_EXISTS:
        return "exists";
    case ERR_DENIED:
        return "denied";
    case ERR_CORRUPT:
        return "corrupt";
    case ERR_UNSUP:
        return "unsupported";
    case ERR_LIMIT:
        return "limit";
    case ERR_NOSPACE:
        return "no_space";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_CANCELED:
        return "canceled";
    case ERR_IO:
        return "io";
    case ERR_NOREPO:
        return "no_repository";
    case ERR_KEY:
        return "wrong_key";
    case ERR_STORE:
        return "storage";
    case ERR_QEMU:
        return "qemu";
    }
    return "unknown";
}
