/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_address.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

#define FORM "s3:https://HOST[:PORT]/BUCKET[/PREFIX]"

enum { BUCKET_MIN = 3, PORT_MAX = 65535 };

bool
s3_address_is(const char *text)
{
    return text_starts(text, "s3:");
}

static int
fail(const char *why, struct err *e)
{
    return err_set(e, ERR_USAGE, "the S3 address %s; it has the form " FORM,
                   why);
}

/* Only characters of `set` besides letters and digits? */
static bool
made_of(const char *s, size_t len, const char *set)
{
    for (size_t i = 0; i < len; i++) {
        bool ok = (s[i] >= 'a' && s[i] <= 'z') ||
                  (s[i] >= 'A' && s[i] <= 'Z') ||
                  (s[i] >= '0' && s[i] <= '9') || (s[i] && strchr(set, s[i]));
        if (!ok)
            return false;
    }
    return true;
}

/* The part before the port: a name, an IPv4 address or [an IPv6 one]. */
static size_t
host_name_len(const char *s, size_t len)
{
    if (len > 0 && s[0] == '[') {
        const char *end = memchr(s, ']', len);
        size_t n = end ? (size_t)(end - s) + 1 : 0;
        return n > 2 && made_of(s + 1, n - 2, ":.") ? n : 0;
    }
    size_t n = 0;
    while (n < len && s[n] != ':')
        n++;
    return made_of(s, n, ".-") ? n : 0;
}

static int
take_host(const char *s, size_t len, struct s3_address *a, struct err *e)
{
    size_t n = len <= S3_HOST_MAX ? host_name_len(s, len) : 0;
    uint64_t port = a->tls ? 443 : 80, usual = port;

    if (memchr(s, '@', len))
        return fail("must not hold a name or password (keys belong into "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or into the "
                    "shared credentials file)",
                    e);
    if (n == 0 || (n < len && s[n] != ':'))
        return fail("names no host", e);
    if (n < len) {
        CLEANUP(freep) char *digits = xstrndup(s + n + 1, len - n - 1);
        if (!text_parse_u64(digits, &port) || port == 0 || port > PORT_MAX)
            return fail("has a port that is none", e);
    }
    CLEANUP(freep) char *name = xstrndup(s, n);
    for (char *c = name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    a->host =
        port == usual ? STEAL(name) : xasprintf("%s:%u", name, (unsigned)port);
    return 0;
}

static bool
component_ok(const char *s, size_t len)
{
    return len > 0 && !(len == 1 && s[0] == '.') &&
           !(len == 2 && s[0] == '.' && s[1] == '.') &&
           made_of(s, len, "-._=+@,~!()");
}

static int
take_prefix(const char *s, struct s3_address *a, struct err *e)
{
    size_t len = strlen(s);

    while (len > 0 && s[len - 1] == '/')
        len--;
    for (size_t from = 0, i = 0; len > 0 && i <= len; i++) {
        if (i < len && s[i] != '/')
            continue;
        if (len > S3_PREFIX_MAX || !component_ok(s + from, i - from))
            return fail("has a prefix that is too long, or not made of "
                        "letters, digits and -._=+@,~!()",
                        e);
        from = i + 1;
    }
    a->prefix = xasprintf("%.*s%s", (int)len, s, len ? "/" : "");
    return 0;
}

static int
parse(const char *text, struct s3_address *a, struct err *e)
{
    const char *s = text + strlen("s3:");

    if (text_starts(s, "https://"))
        a->tls = true;
    else if (!text_starts(s, "http://"))
        return fail("names no server", e);
    s += a->tls ? 8 : 7;
    size_t host_len = strcspn(s, "/");
    if (take_host(s, host_len, a, e) == -1)
        return -1;
    s += host_len;
    if (*s == '/')
        s++;
    size_t n = strcspn(s, "/");
    if (n < BUCKET_MIN || n > S3_BUCKET_MAX || !component_ok(s, n) ||
        !made_of(s, n, "-._"))
        return fail("names no bucket", e);
    a->bucket = xstrndup(s, n);
    s += n;
    const char *style =
        getenv("VMKEEP_S3_STYLE"); /* NOLINT(concurrency-mt-unsafe) */
    if (style && *style && strcmp(style, "path") != 0 &&
        strcmp(style, "virtual") != 0)
        return err_set(e, ERR_USAGE,
                       "VMKEEP_S3_STYLE is neither 'path' nor 'virtual'");
    a->virtual_style = style && strcmp(style, "virtual") == 0;
    return take_prefix(*s ? s + 1 : s, a, e);
}

int
s3_address_parse(const char *text, struct s3_address *out, struct err *e)
{
    CLEANUP(s3_address_done) struct s3_address a = {0};

    if (parse(text, &a, e) == -1)
        return -1;
    *out = a;
    a = (struct s3_address){0};
    return 0;
}

void
s3_address_done(struct s3_address *a)
{
    free(a->host);
    free(a->bucket);
    free(a->prefix);
    *a = (struct s3_address){0};
}

char *
s3_address_host(const struct s3_address *a)
{
    return a->virtual_style ? xasprintf("%s.%s", a->bucket, a->host)
                            : xstrdup(a->host);
}

char *
s3_address_base(const struct s3_address *a)
{
    CLEANUP(freep) char *host = s3_address_host(a);

    return xasprintf("%s://%s", a->tls ? "https" : "http", host);
}

char *
s3_encode(const char *s, bool keep_slash)
{
    struct buf out = buf_of(SIZE_MAX / 8);

    for (; *s; s++) {
        if (made_of(s, 1, keep_slash ? "-._~/" : "-._~"))
            buf_u8(&out, (uint8_t)*s);
        else
            buf_printf(&out, "%%%02X", (unsigned)(unsigned char)*s);
    }
    (void)buf_text(&out);
    return (char *)out.p;
}

char *
s3_address_path(const struct s3_address *a, const char *name)
{
    CLEANUP(freep)
    char *plain = xasprintf("/%s%s%s%s", a->virtual_style ? "" : a->bucket,
                            a->virtual_style ? "" : (name ? "/" : ""),
                            name ? a->prefix : "", name ? name : "");

    return s3_encode(plain, true);
}
