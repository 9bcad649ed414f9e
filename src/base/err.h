/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: how a failure travels up.
 *
 * A struct err lives on the caller's stack and is the last parameter, never
 * NULL.  Fallible functions return 0 or -1, lookups 1 (found), 0 (not) or -1.
 * Code branches on `code`; people read `msg`, which says what failed, why, and
 * where we know it what to do.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_code {
    ERR_OK = 0,
    ERR_USAGE,    /* the request makes no sense: option, name, address */
    ERR_NOENT,    /* the thing named does not exist */
    ERR_EXISTS,   /* it exists already, or is not empty */
    ERR_DENIED,   /* no permission */
    ERR_CORRUPT,  /* bytes from outside are not what they must be */
    ERR_UNSUP,    /* understood, but newer or other than what we can do */
    ERR_LIMIT,    /* over a named limit, or out of memory for a stranger */
    ERR_NOSPACE,  /* no room left on a local disk */
    ERR_TIMEOUT,  /* a deadline passed */
    ERR_CANCELED, /* the user or a policy said stop */
    ERR_IO,       /* a local system call failed */
    ERR_NOREPO,   /* there is no repository at this place */
    ERR_KEY,      /* no key here opens this */
    ERR_STORE,    /* the storage under a repository failed */
    ERR_QEMU      /* QEMU refused, or talks nonsense, or is gone */
};

enum { ERR_MSG_MAX = 1024 };

struct err {
    enum err_code code;
    char msg[ERR_MSG_MAX];
};

/* Fill the empty `e` and return -1, so that a failure is one line. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(errno)" behind it; ENOSPC and friends, EACCES,
 * ENOENT and EEXIST choose their own code, all else is `code`. */
int err_set_errno(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " in front of the message that is there.  Returns -1. */
int err_wrap(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Put "; advice" behind it.  Returns -1. */
int err_hint(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void err_clear(struct err *e);

/* A stable lower-case word for JSON and logs, such as "corrupt". */
const char *err_code_name(enum err_code code);

#endif
