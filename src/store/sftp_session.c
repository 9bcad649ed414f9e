/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sftp_session.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/sftp_internal.h"
#include "store/store.h"
#include "work/rate.h"

enum { PROTOCOL = 3, EXTENSIONS_MAX = 1000, MESSAGE_MAX = 300 };

void
sftp_close(struct sftp *s)
{
    if (!s)
        return;
    sftp_stream_close(s->stream);
    buf_done(&s->out);
    free(s->in);
    free(s->message);
    free(s);
}

void
sftp_hang_up(struct sftp *s)
{
    sftp_stream_hang_up(s->stream);
}

void
sftp_begin(struct sftp *s, struct cancel *cancel, struct rate *up,
           struct rate *down)
{
    sftp_stream_begin(s->stream, cancel, STORE_GRACE_MS);
    s->cancel = cancel;
    s->up = up;
    s->down = down;
}

const char *
sftp_message(const struct sftp *s)
{
    return s->message ? s->message : "";
}

/* ---- packets ----------------------------------------------------------- */

/* What is in s->out, and that is empty then. */
int
sftp_flush(struct sftp *s, struct err *e)
{
    rate_wait(s->up, s->out.len, s->cancel);
    int rc = sftp_stream_send(s->stream, &s->out, s->packets, e);
    buf_reset(&s->out);
    s->packets = 0;
    return rc;
}

int
sftp_nonsense(struct sftp *s, struct err *e)
{
    return sftp_stream_nonsense(s->stream, e);
}

/* Is this the answer to what was closed without waiting for it? */
static bool
was_for_later(struct sftp *s, uint32_t id)
{
    for (size_t i = 0; i < s->n_later; i++)
        if (s->later[i] == id) {
            s->later[i] = s->later[--s->n_later];
            return true;
        }
    return false;
}

static int
next_packet(struct sftp *s, struct reply *r, struct err *e)
{
    free(STEAL(s->in));
    if (sftp_stream_next(s->stream, &s->in, e) == -1)
        return -1;
    rate_wait(s->down, s->in->len, s->cancel);
    r->body = cursor_of(s->in->bytes, s->in->len);
    r->type = cursor_u8(&r->body);
    r->id = cursor_be32(&r->body);
    return 0;
}

/* The next packet; its bytes are good until the one after. */
int
sftp_next(struct sftp *s, struct reply *r, struct err *e)
{
    do {
        if (next_packet(s, r, e) == -1)
            return -1;
    } while (was_for_later(s, r->id));
    return 0;
}

static size_t
begin_packet(struct sftp *s, enum packet type, uint32_t id)
{
    size_t at = s->out.len;

    buf_be32(&s->out, 0); /* its length: sftp_packet_end() knows */
    buf_u8(&s->out, (uint8_t)type);
    buf_be32(&s->out, id);
    return at;
}

size_t
sftp_packet(struct sftp *s, enum packet type)
{
    s->last_id = sftp_stream_id(s->stream);
    return begin_packet(s, type, s->last_id);
}

void
sftp_add_bytes(struct sftp *s, const void *p, size_t len)
{
    buf_be32(&s->out, (uint32_t)len);
    buf_add(&s->out, p, len);
}

void
sftp_add_text(struct sftp *s, const char *text)
{
    sftp_add_bytes(s, text, strlen(text));
}

void
sftp_packet_end(struct sftp *s, size_t at)
{
    put_be32(s->out.p + at, (uint32_t)(s->out.len - at - 4));
    s->packets++;
}

/* Send what was begun at `at`, and wait for its answer. */
static int
ask(struct sftp *s, size_t at, struct reply *r, struct err *e)
{
    sftp_packet_end(s, at);
    if (sftp_flush(s, e) == -1 || sftp_next(s, r, e) == -1)
        return -1;
    return r->id == s->last_id ? 0 : sftp_nonsense(s, e);
}

const uint8_t *
sftp_take_bytes(struct cursor *c, uint32_t *len)
{
    *len = cursor_be32(c);
    return cursor_bytes(c, *len);
}

/* The status in a reply that must be one. */
int
sftp_status_of(struct sftp *s, struct reply *r, struct err *e)
{
    uint32_t code = r->type == STATUS ? cursor_be32(&r->body) : 0, len = 0;

    if (r->type != STATUS || r->body.ran_short || code > INT32_MAX)
        return sftp_nonsense(s, e);
    if (code == SFTP_OK)
        return SFTP_OK;
    const uint8_t *p = sftp_take_bytes(&r->body, &len);
    free(STEAL(s->message));
    if (p) {
        CLEANUP(freep) char *text = xstrndup((const char *)p, len);
        s->message = text_quote(text, MESSAGE_MAX);
    }
    return (int)code;
}

int
sftp_ask_status(struct sftp *s, size_t at, struct err *e)
{
    struct reply r;

    return ask(s, at, &r, e) == -1 ? -1 : sftp_status_of(s, &r, e);
}

int
sftp_take_attrs(struct cursor *c, struct sftp_attrs *out)
{
    struct sftp_attrs a = {0};
    uint32_t flags = cursor_be32(c), n = 0;

    if (flags & SFTP_ATTR_SIZE)
        a.size = cursor_be64(c);
    if (flags & SFTP_ATTR_OWNER)
        (void)cursor_be64(c);
    if (flags & SFTP_ATTR_MODE)
        a.mode = cursor_be32(c);
    if (flags & SFTP_ATTR_TIMES) {
        (void)cursor_be32(c);
        a.mtime = cursor_be32(c);
    }
    if (flags & (uint32_t)SFTP_ATTR_EXTENDED)
        n = cursor_be32(c);
    for (uint32_t i = 0, len = 0; i < n && !c->ran_short; i++) {
        (void)sftp_take_bytes(c, &len);
        (void)sftp_take_bytes(c, &len);
    }
    a.has_size = flags & SFTP_ATTR_SIZE;
    a.has_mode = flags & SFTP_ATTR_MODE;
    a.has_mtime = flags & SFTP_ATTR_TIMES;
    *out = a;
    return c->ran_short ? -1 : 0;
}

int
sftp_attrs_of(struct sftp *s, struct reply *r, struct sftp_attrs *out,
              struct err *e)
{
    struct sftp_attrs a;

    if (r->type != ATTRS) {
        int rc = sftp_status_of(s, r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    if (sftp_take_attrs(&r->body, &a) == -1)
        return sftp_nonsense(s, e);
    *out = a;
    return SFTP_OK;
}

int
sftp_handle_of(struct sftp *s, struct reply *r, struct sftp_handle *out,
               struct err *e)
{
    uint32_t len = 0;

    if (r->type != HANDLE) {
        int rc = sftp_status_of(s, r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    const uint8_t *p = sftp_take_bytes(&r->body, &len);
    if (!p || len > SFTP_HANDLE_MAX)
        return sftp_nonsense(s, e);
    memcpy(out->p, p, len);
    out->len = len;
    return SFTP_OK;
}

static int
ask_attrs(struct sftp *s, size_t at, struct sftp_attrs *out, struct err *e)
{
    struct reply r;

    return ask(s, at, &r, e) == -1 ? -1 : sftp_attrs_of(s, &r, out, e);
}

static int
ask_handle(struct sftp *s, size_t at, struct sftp_handle *out, struct err *e)
{
    struct reply r;

    return ask(s, at, &r, e) == -1 ? -1 : sftp_handle_of(s, &r, out, e);
}

/* ---- opening ----------------------------------------------------------- */

static bool
is_called(const uint8_t *name, uint32_t len, const char *what)
{
    return len == strlen(what) && memcmp(name, what, len) == 0;
}

static int
take_version(struct sftp *s, struct reply *r, struct err *e)
{
    if (r->type != VERSION || r->id < PROTOCOL)
        return sftp_nonsense(s, e);
    for (int i = 0; cursor_left(&r->body) > 0; i++) {
        uint32_t len = 0, ignored = 0;
        const uint8_t *name = sftp_take_bytes(&r->body, &len);
        (void)sftp_take_bytes(&r->body, &ignored);
        if (r->body.ran_short || i == EXTENSIONS_MAX)
            return sftp_nonsense(s, e);
        s->has_fsync |= is_called(name, len, SFTP_FSYNC);
        s->has_statvfs |= is_called(name, len, SFTP_STATVFS);
    }
    return 0;
}

static void
sftp_closep(struct sftp **s)
{
    sftp_close(*s);
}

/* NULL if it is shared by as many as may be. */
static struct sftp *
session_on(struct sftp_connection *c)
{
    struct sftp_stream *stream = sftp_stream_open(c);

    if (!stream)
        return NULL;
    struct sftp *s = xcalloc(1, sizeof(*s));
    s->stream = stream;
    s->out = buf_of(SFTP_UNDER_WAY_MAX);
    return s;
}

int
sftp_open(const struct sftp_address *where, const char *address,
          uint64_t stall_ms, struct cancel *cancel, uint64_t grace_ms,
          struct sftp **out, struct err *e)
{
    struct sftp_connection *c = NULL;
    struct reply r;

    if (sftp_connection_open(where, address, stall_ms, &c, e) == -1)
        return -1;
    CLEANUP(sftp_closep) struct sftp *s = session_on(c);
    sftp_stream_begin(s->stream, cancel, grace_ms);
    /* Where others have an id, this one has the version. */
    sftp_packet_end(s, begin_packet(s, INIT, PROTOCOL));
    if (sftp_flush(s, e) == -1 || sftp_next(s, &r, e) == -1 ||
        take_version(s, &r, e) == -1)
        return -1;
    *out = STEAL(s);
    return 0;
}

struct sftp *
sftp_join(struct sftp *other)
{
    struct sftp *s = session_on(sftp_stream_connection(other->stream));

    if (s) {
        s->has_fsync = other->has_fsync;
        s->has_statvfs = other->has_statvfs;
    }
    return s;
}

/* ---- single requests --------------------------------------------------- */

size_t
sftp_packet_path(struct sftp *s, enum packet type, const char *path)
{
    size_t at = sftp_packet(s, type);

    sftp_add_text(s, path);
    return at;
}

size_t
sftp_packet_handle(struct sftp *s, enum packet type,
                   const struct sftp_handle *h)
{
    size_t at = sftp_packet(s, type);

    sftp_add_bytes(s, h->p, h->len);
    return at;
}

int
sftp_lstat(struct sftp *s, const char *path, struct sftp_attrs *out,
           struct err *e)
{
    return ask_attrs(s, sftp_packet_path(s, LSTAT, path), out, e);
}

size_t
sftp_packet_open(struct sftp *s, const char *path, unsigned flags)
{
    size_t at = sftp_packet_path(s, OPEN, path);

    /* SSH_FXF_CREAT is 8, SSH_FXF_EXCL 0x20 */
    buf_be32(&s->out, flags);
    if (flags & SFTP_CREATE_NEW) {
        buf_be32(&s->out, SFTP_ATTR_MODE);
        buf_be32(&s->out, 0600);
    } else {
        buf_be32(&s->out, 0);
    }
    return at;
}

int
sftp_open_file(struct sftp *s, const char *path, unsigned flags,
               struct sftp_handle *out, struct err *e)
{
    return ask_handle(s, sftp_packet_open(s, path, flags), out, e);
}

int
sftp_close_handle(struct sftp *s, const struct sftp_handle *h, struct err *e)
{
    return sftp_ask_status(s, sftp_packet_handle(s, CLOSE, h), e);
}

int
sftp_close_later(struct sftp *s, const struct sftp_handle *h, struct err *e)
{
    if (s->n_later == SFTP_LATER_MAX)
        return sftp_close_handle(s, h, e) == -1 ? -1 : 0;
    sftp_packet_end(s, sftp_packet_handle(s, CLOSE, h));
    s->later[s->n_later++] = s->last_id;
    return sftp_flush(s, e);
}

int
sftp_remove(struct sftp *s, const char *path, struct err *e)
{
    return sftp_ask_status(s, sftp_packet_path(s, REMOVE, path), e);
}

bool
sftp_can_sync(const struct sftp *s)
{
    return s->has_fsync;
}

int
sftp_space(struct sftp *s, const char *path, uint64_t *out_free,
           uint64_t *out_total, struct err *e)
{
    struct reply r;
    uint64_t free_bytes = 0, total = 0;

    if (!s->has_statvfs)
        return SFTP_UNSUPPORTED;
    size_t at = sftp_packet(s, EXTENDED);
    sftp_add_text(s, SFTP_STATVFS);
    sftp_add_text(s, path);
    if (ask(s, at, &r, e) == -1)
        return -1;
    if (r.type != EXTENDED_REPLY) {
        int rc = sftp_status_of(s, &r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    /* PROTOCOL 4.4: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, ... */
    (void)cursor_be64(&r.body);
    uint64_t unit = cursor_be64(&r.body), blocks = cursor_be64(&r.body);
    (void)cursor_be64(&r.body);
    uint64_t available = cursor_be64(&r.body);
    if (r.body.ran_short)
        return sftp_nonsense(s, e);
    if (unit == 0 || !u64_mul(available, unit, &free_bytes) ||
        !u64_mul(blocks, unit, &total) || free_bytes > total)
        return SFTP_UNSUPPORTED;
    *out_free = free_bytes;
    *out_total = total;
    return SFTP_OK;
}
