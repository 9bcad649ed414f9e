/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sftp_address.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

#define LETTERS                                            \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" \
    "0123456789"

enum { NAME_MAX_BYTES = 255, PORT_MAX = 65535 };

bool
sftp_address_is(const char *text)
{
    return text_starts(text, "sftp:");
}

static int
fail(const char *why, struct err *e)
{
    return err_set(e, ERR_USAGE,
                   "the SFTP address %s; it has the form "
                   "sftp:[USER@]HOST:/PATH or sftp://[USER@]HOST[:PORT]/PATH",
                   why);
}

/* One word that ssh cannot take for an option. */
static bool
word_ok(const char *s, const char *set)
{
    size_t n = strlen(s);

    return n > 0 && n <= NAME_MAX_BYTES && s[0] != '-' && strspn(s, set) == n;
}

static int
take_host(const char *s, size_t len, bool is_url, struct sftp_address *a,
          struct err *e)
{
    CLEANUP(freep) char *text = xstrndup(s, len);
    char *host = strrchr(text, '@');

    if (host) {
        *host++ = '\0';
        if (strchr(text, ':'))
            return fail("must not hold a password (ssh takes keys)", e);
        if (!word_ok(text, LETTERS "._-+@\\"))
            return fail("names no user that can be", e);
        a->user = xstrdup(text);
    } else {
        host = text;
    }
    if (host[0] == '[' && strchr(host, ']')) {
        char *end = strchr(host, ']');
        *end = '\0';
        a->host = xstrdup(host + 1);
        host = end + 1;
    } else {
        size_t n = strcspn(host, ":");
        a->host = xstrndup(host, n);
        host += n;
    }
    if (!word_ok(a->host, LETTERS ".-_:%"))
        return fail("names no host", e);
    if (!*host)
        return 0;
    uint64_t port = 0;
    if (!is_url || host[0] != ':' || !text_parse_u64(host + 1, &port) ||
        port == 0 || port > PORT_MAX)
        return fail("has a port that is none", e);
    a->port = xasprintf("%u", (unsigned)port);
    return 0;
}

static int
take_path(const char *s, struct sftp_address *a, struct err *e)
{
    size_t len = strlen(s);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return fail("has a character in its path that cannot be", e);
    while (len > 1 && s[len - 1] == '/')
        len--;
    if (len == 0 || len > SFTP_PATH_MAX)
        return fail("names no folder", e);
    a->path = xstrndup(s, len);
    return 0;
}

/* Where HOST ends in "[USER@]HOST:PATH": at the first ':' outside of []. */
static const char *
end_of_host(const char *s)
{
    const char *at = s + strcspn(s, "[:/");

    if (*at == '[')
        at += strcspn(at, "]/");
    return at + strcspn(at, ":/");
}

static int
parse(const char *text, struct sftp_address *a, struct err *e)
{
    const char *s = text + strlen("sftp:");

    if (text_starts(s, "//")) {
        s += 2;
        size_t n = strcspn(s, "/");
        return take_host(s, n, true, a, e) == -1 ? -1 : take_path(s + n, a, e);
    }
    const char *end = end_of_host(s);
    if (*end != ':')
        return fail("lacks a ':' between host and path", e);
    if (end[1] != '/' && strchr(end, '@')) /* USER:PASSWORD@HOST:... */
        return fail("must not hold a password (ssh takes keys)", e);
    return take_host(s, (size_t)(end - s), false, a, e) == -1
               ? -1
               : take_path(end + 1, a, e);
}

int
sftp_address_parse(const char *text, struct sftp_address *out, struct err *e)
{
    CLEANUP(sftp_address_done) struct sftp_address a = {0};

    if (parse(text, &a, e) == -1)
        return -1;
    *out = a;
    a = (struct sftp_address){0};
    return 0;
}

void
sftp_address_done(struct sftp_address *a)
{
    free(a->user);
    free(a->host);
    free(a->port);
    free(a->path);
    *a = (struct sftp_address){0};
}
