/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/jsonframe.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

enum { QUOTE_MAX = 60 }; /* of bytes that are no JSON, in a message */

void
jsonframe_init(struct jsonframe *f, size_t max_bytes)
{
    *f = (struct jsonframe){
        .max_bytes = max_bytes,
        .in = buf_of(max_bytes + 2 * (size_t)JSONFRAME_CHUNK),
    };
}

void
jsonframe_done(struct jsonframe *f)
{
    buf_done(&f->in);
}

bool
jsonframe_inside(const struct jsonframe *f)
{
    return f->depth > 0;
}

void
jsonframe_add(struct jsonframe *f, const void *p, size_t n)
{
    assert(n <= JSONFRAME_CHUNK);
    if (f->start > 0) {
        buf_consume(&f->in, f->start);
        f->pos -= f->start;
        f->start = 0;
    }
    buf_add(&f->in, p, n);
    assert(!f->in.overflow); /* jsonframe_next keeps what is left short */
}

/* The bytes up to `c` are no object: skip the line, or fail. */
static int
not_json(struct jsonframe *f, uint8_t c, struct err *e)
{
    if (f->lenient) {
        f->depth = 0;
        f->in_string = false;
        f->escaped = false;
        f->skipping = c != '\n';
        f->start = f->pos;
        return 0;
    }
    CLEANUP(freep)
    char *raw =
        xstrndup((const char *)f->in.p + f->start, f->in.len - f->start);
    CLEANUP(freep) char *shown = text_quote(raw, QUOTE_MAX);
    return err_set(e, ERR_CORRUPT, "not a JSON object: \"%s\"", shown);
}

/* Between objects: white space, a line being skipped, or a brace. */
static int
look_outside(struct jsonframe *f, uint8_t c, struct err *e)
{
    if (c == '\n')
        f->skipping = false;
    if (f->skipping || isspace(c)) {
        f->start = f->pos + 1;
        return 0;
    }
    if (c != '{')
        return not_json(f, c, e);
    f->depth = 1;
    return 0;
}

/* Inside an object; 1 if `c` ends it. */
static int
look_inside(struct jsonframe *f, uint8_t c, struct err *e)
{
    if (f->in_string) {
        if (c < 0x20)
            return not_json(f, c, e);
        if (c == '"' && !f->escaped)
            f->in_string = false;
        f->escaped = c == '\\' && !f->escaped;
        return 0;
    }
    if (c == '"')
        f->in_string = true;
    else if (c == '{' || c == '[')
        f->depth++;
    else if (c == '}' || c == ']')
        f->depth--;
    return f->depth == 0;
}

/* The number `s` of n bytes, or what to read instead if jansson refuses it. */
static const char *
clamped(const char *s, size_t *n)
{
    static const char min[] = "-9223372036854775808";
    static const char *const max = min + 1;
    size_t sign = *s == '-';
    const char *limit = sign ? min : "9223372036854775807";
    size_t width = strlen(max) + sign;

    if (strspn(s + sign, "0123456789") + sign < *n || *n < width ||
        (*n == width && strncmp(s, limit, width) <= 0))
        return s;
    *n = width;
    return limit;
}

/* The object's text with the integers clamped that jansson refuses. */
static void
clamp_integers(const char *text, size_t len, struct buf *out)
{
    CLEANUP(freep) char *in = xcalloc(len + 1, 1);
    bool in_string = false;

    memcpy(in, text, len);
    for (size_t at = 0; at < len;) {
        size_t n = 1, kept = 1;
        const char *shown = in + at;
        if (in_string && in[at] == '\\') {
            n = kept = 2;
        } else if (in[at] == '"') {
            in_string = !in_string;
        } else if (!in_string &&
                   (in[at] == '-' || isdigit((unsigned char)in[at]))) {
            n = kept = strspn(in + at, "+-0123456789.eE");
            shown = clamped(in + at, &kept);
        }
        buf_add(out, shown, kept);
        at += n;
    }
}

static int
parse(struct jsonframe *f, json_t **out, struct err *e)
{
    const char *text = (const char *)f->in.p + f->start;
    size_t len = f->pos - f->start;
    json_error_t why;

    *out = json_loadb(text, len, 0, &why);
    if (!*out && json_error_code(&why) == json_error_numeric_overflow) {
        CLEANUP(buf_done) struct buf b = buf_of(len + 1);
        clamp_integers(text, len, &b);
        *out = json_loadb((const char *)b.p, b.len, 0, &why);
    }
    if (*out)
        return 1;
    if (f->lenient)
        return 0;
    CLEANUP(freep) char *cause = text_quote(why.text, sizeof(why.text));
    return err_set(e, ERR_CORRUPT, "not JSON at byte %d of a message: %s",
                   why.position, cause);
}

int
jsonframe_next(struct jsonframe *f, json_t **out, size_t *out_bytes,
               struct err *e)
{
    for (; f->pos < f->in.len; f->pos++) {
        uint8_t c = f->in.p[f->pos];
        int rc = f->depth ? look_inside(f, c, e) : look_outside(f, c, e);
        if (rc == -1)
            return -1;
        if (f->pos + 1 - f->start > f->max_bytes)
            return err_set(e, ERR_LIMIT,
                           "a message is longer than the limit of %zu bytes",
                           f->max_bytes);
        if (rc == 0)
            continue;
        f->pos++;
        rc = parse(f, out, e);
        *out_bytes = f->pos - f->start;
        f->start = f->pos;
        if (rc != 0)
            return rc;
        f->pos--; /* the loop goes on behind it */
    }
    return 0;
}
