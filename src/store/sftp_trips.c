/* SPDX-License-Identifier: Apache-2.0 */
/* The half of sftp_session.h that has several requests under way. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "store/sftp_internal.h"

enum {
    NAMES_MAX = 1 << 20, /* of a reply */
    EMPTY_REPLIES_MAX = 100,
    FOLDER_FIRST = 2, /* requests for a folder's names at a time ... */
    FOLDER_MAX = 8,   /* ... and later */
    TRIP_MAX = SFTP_FOLDERS_MAX + 4
};

/* ---- several requests, one trip ---------------------------------------- */

/* What was asked, and where its answer goes. */
struct question {
    uint32_t id;
    bool answered;
    bool quiet; /* what it fails with is nothing to tell of */
    int status;
    struct sftp_attrs *attrs;   /* or */
    struct sftp_handle *handle; /* or */
    uint8_t *data;              /* of at most SFTP_CHUNK; or a status alone */
    size_t *len;
};

struct trip {
    struct question q[TRIP_MAX];
    size_t n;
};

/* The request that was begun at `at`. */
static struct question *
put_question(struct sftp *s, struct trip *t, size_t at)
{
    struct question *q = &t->q[t->n++];

    sftp_packet_end(s, at);
    *q = (struct question){.id = s->last_id};
    return q;
}

static int
data_of(struct sftp *s, struct reply *r, struct question *q, struct err *e)
{
    uint32_t len = 0;

    if (r->type != DATA) {
        int rc = sftp_status_of(s, r, e);
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    const uint8_t *p = sftp_take_bytes(&r->body, &len);
    if (!p || len == 0 || len > SFTP_CHUNK)
        return sftp_nonsense(s, e);
    memcpy(q->data, p, len);
    *q->len = len;
    return SFTP_OK;
}

static int
take_answer(struct sftp *s, struct reply *r, struct question *q, struct err *e)
{
    char *before = STEAL(s->message);

    q->answered = true;
    q->status = q->attrs    ? sftp_attrs_of(s, r, q->attrs, e)
                : q->handle ? sftp_handle_of(s, r, q->handle, e)
                : q->data   ? data_of(s, r, q, e)
                            : sftp_status_of(s, r, e);
    /* The first that failed says why. */
    if (before || q->quiet) {
        free(s->message);
        s->message = before;
    }
    return q->status == -1 ? -1 : 0;
}

/* Sends what was put, and waits for all the answers, in whatever order. */
static int
make_trip(struct sftp *s, struct trip *t, struct err *e)
{
    struct reply r;

    free(STEAL(s->message));
    if (sftp_flush(s, e) == -1)
        return -1;
    for (size_t got = 0; got < t->n; got++) {
        struct question *q = NULL;
        if (sftp_next(s, &r, e) == -1)
            return -1;
        for (size_t i = 0; i < t->n; i++)
            if (!t->q[i].answered && t->q[i].id == r.id)
                q = &t->q[i];
        if (!q)
            return sftp_nonsense(s, e);
        if (take_answer(s, &r, q, e) == -1)
            return -1;
    }
    return 0;
}

/* The first of these that did not go well. */
static int
worst_of(const struct trip *t, size_t from)
{
    for (size_t i = from; i < t->n; i++)
        if (t->q[i].status != SFTP_OK)
            return t->q[i].status;
    return SFTP_OK;
}

int
sftp_look(struct sftp *s, const char *path, struct sftp_attrs *out,
          const char *place, int *out_place, struct err *e)
{
    struct sftp_attrs a, ignored;
    struct trip t = {0};

    put_question(s, &t, sftp_packet_path(s, LSTAT, path))->attrs = &a;
    struct question *q = put_question(s, &t, sftp_packet_path(s, LSTAT, place));
    q->attrs = &ignored;
    if (make_trip(s, &t, e) == -1)
        return -1;
    *out_place = q->status;
    if (t.q[0].status == SFTP_OK)
        *out = a;
    return t.q[0].status;
}

int
sftp_look_remove(struct sftp *s, const char *path, struct sftp_attrs *out,
                 const char *place, int *out_place, int *out_removed,
                 struct err *e)
{
    struct sftp_attrs a, ignored;
    struct trip t = {0};
    struct question *looked =
        put_question(s, &t, sftp_packet_path(s, LSTAT, path));

    looked->attrs = &a;
    struct question *there =
        put_question(s, &t, sftp_packet_path(s, LSTAT, place));
    there->attrs = &ignored;
    struct question *removed =
        put_question(s, &t, sftp_packet_path(s, REMOVE, path));
    if (make_trip(s, &t, e) == -1)
        return -1;
    *out_place = there->status;
    *out_removed = removed->status;
    if (looked->status == SFTP_OK)
        *out = a;
    return looked->status;
}

int
sftp_open_object(struct sftp *s, const char *path, struct sftp_handle *out,
                 const char *place, int *out_place, struct err *e)
{
    struct sftp_attrs ignored;
    struct trip t = {0};
    struct question *opened =
        put_question(s, &t, sftp_packet_open(s, path, SFTP_READ));

    opened->handle = out;
    struct question *there =
        put_question(s, &t, sftp_packet_path(s, LSTAT, place));
    there->attrs = &ignored;
    if (make_trip(s, &t, e) == -1)
        return -1;
    *out_place = there->status;
    return opened->status;
}

static size_t
begin_make_folder(struct sftp *s, const char *path)
{
    size_t at = sftp_packet_path(s, MKDIR, path);

    buf_be32(&s->out, SFTP_ATTR_MODE);
    buf_be32(&s->out, 0700);
    return at;
}

int
sftp_make_folders(struct sftp *s, char *const *paths, size_t n, struct err *e)
{
    for (size_t i = 0; i < n;) {
        struct trip t = {0};
        for (; i < n && t.n < SFTP_FOLDERS_MAX; i++)
            put_question(s, &t, begin_make_folder(s, paths[i]))->quiet = true;
        if (make_trip(s, &t, e) == -1)
            return -1;
    }
    return 0;
}

int
sftp_create(struct sftp *s, struct sftp_new *n, struct err *e)
{
    struct trip t = {0};
    struct question *looked =
        put_question(s, &t, sftp_packet_path(s, LSTAT, n->path));

    looked->attrs = &n->attrs;
    looked->quiet = true;
    for (size_t i = 0; i < n->n_folders; i++)
        put_question(s, &t, begin_make_folder(s, n->folders[i]))->quiet = true;
    struct question *opened = put_question(
        s, &t, sftp_packet_open(s, n->temp, SFTP_WRITE | SFTP_CREATE_NEW));
    opened->handle = &n->handle;
    if (make_trip(s, &t, e) == -1)
        return -1;
    n->looked = looked->status;
    n->opened = opened->status;
    return 0;
}

/* The server's time, now, on what is written already. */
static size_t
begin_stamp(struct sftp *s, const struct sftp_handle *h, const uint8_t *p,
            size_t len)
{
    size_t at = sftp_packet_handle(s, len > 0 ? WRITE : FSETSTAT, h);

    if (len > 0) {
        buf_be64(&s->out, len - 1);
        sftp_add_bytes(s, p + len - 1, 1);
    } else {
        buf_be32(&s->out, SFTP_ATTR_SIZE);
        buf_be64(&s->out, 0);
    }
    return at;
}

static size_t
begin_sync(struct sftp *s, const struct sftp_handle *h)
{
    size_t at = sftp_packet(s, EXTENDED);

    sftp_add_text(s, SFTP_FSYNC);
    sftp_add_bytes(s, h->p, h->len);
    return at;
}

static void
put_end(struct sftp *s, struct trip *t, const struct sftp_handle *h,
        const void *p, size_t len)
{
    (void)put_question(s, t, begin_stamp(s, h, p, len));
    if (s->has_fsync)
        (void)put_question(s, t, begin_sync(s, h));
    (void)put_question(s, t, sftp_packet_handle(s, CLOSE, h));
}

int
sftp_finish(struct sftp *s, const struct sftp_handle *h, const void *p,
            size_t len, struct err *e)
{
    struct trip t = {0};

    put_end(s, &t, h, p, len);
    return make_trip(s, &t, e) == -1 ? -1 : worst_of(&t, 0);
}

int
sftp_publish(struct sftp *s, const char *from, const char *to,
             const struct sftp_handle *h, const void *p, size_t len,
             bool *out_renamed, struct err *e)
{
    struct trip t = {0};
    size_t at = sftp_packet_path(s, RENAME, from);

    sftp_add_text(s, to);
    (void)put_question(s, &t, at);
    put_end(s, &t, h, p, len);
    if (make_trip(s, &t, e) == -1)
        return -1;
    *out_renamed = t.q[0].status == SFTP_OK;
    return worst_of(&t, 0);
}

static size_t
begin_read(struct sftp *s, const struct sftp_handle *h, uint64_t offset,
           uint32_t len)
{
    size_t at = sftp_packet_handle(s, READ, h);

    buf_be64(&s->out, offset);
    buf_be32(&s->out, len);
    return at;
}

int
sftp_read_first(struct sftp *s, const struct sftp_handle *h,
                struct sftp_attrs *attrs, uint8_t out[SFTP_CHUNK],
                size_t *out_len, struct err *e)
{
    struct trip t = {0};

    *out_len = 0;
    put_question(s, &t, sftp_packet_handle(s, FSTAT, h))->attrs = attrs;
    struct question *q = put_question(s, &t, begin_read(s, h, 0, SFTP_CHUNK));
    q->data = out;
    q->len = out_len;
    if (make_trip(s, &t, e) == -1)
        return -1;
    if (t.q[0].status != SFTP_OK)
        return t.q[0].status;
    /* Whoever wants more of a file that is empty, or a folder, learns it. */
    return q->status == SFTP_EOF ? SFTP_OK : q->status;
}

/* ---- many requests under way ------------------------------------------- */

struct part {
    uint64_t offset;
    size_t at, len; /* in the caller's bytes */
    uint32_t id;
    bool busy;
};

struct window {
    struct part parts[SFTP_WINDOW];
    unsigned busy;
    size_t next;     /* the first byte that nobody asked about */
    struct trip end; /* of a file that is written: what goes behind */
    size_t end_left; /* answers */
};

static struct part *
free_part(struct window *w)
{
    for (size_t i = 0; i < SFTP_WINDOW; i++)
        if (!w->parts[i].busy)
            return &w->parts[i];
    return NULL;
}

static struct part *
find_part(struct window *w, uint32_t id)
{
    for (size_t i = 0; i < SFTP_WINDOW; i++)
        if (w->parts[i].busy && w->parts[i].id == id)
            return &w->parts[i];
    return NULL;
}

static void
send_part(struct sftp *s, struct window *w, const struct sftp_handle *h,
          struct part *p, const uint8_t *bytes)
{
    size_t at = sftp_packet_handle(s, bytes ? WRITE : READ, h);

    p->id = s->last_id;
    if (!p->busy)
        w->busy++;
    p->busy = true;
    buf_be64(&s->out, p->offset);
    if (bytes)
        sftp_add_bytes(s, bytes + p->at, p->len);
    else
        buf_be32(&s->out, (uint32_t)p->len);
    sftp_packet_end(s, at);
}

/* As many more as may be under way.  `bytes` NULL: reads. */
static int
send_more(struct sftp *s, struct window *w, const struct sftp_handle *h,
          uint64_t offset, const uint8_t *bytes, size_t len, struct err *e)
{
    while (w->busy < SFTP_WINDOW && w->next < len) {
        struct part *p = free_part(w);
        p->at = w->next;
        p->offset = offset + w->next;
        p->len = (size_t)u64_min(SFTP_CHUNK, len - w->next);
        w->next += p->len;
        send_part(s, w, h, p, bytes);
        if (bytes && sftp_flush(s, e) == -1)
            return -1;
    }
    return sftp_flush(s, e);
}

/* Behind the last byte, without waiting for the answers to those before. */
static int
send_end(struct sftp *s, struct window *w, const struct sftp_handle *h,
         const uint8_t *p, size_t len, struct err *e)
{
    (void)put_question(s, &w->end, begin_stamp(s, h, p, len));
    if (s->has_fsync)
        (void)put_question(s, &w->end, begin_sync(s, h));
    w->end_left = w->end.n;
    return sftp_flush(s, e);
}

/* The status of a reply to one of them. */
static int
take_written(struct sftp *s, struct window *w, struct reply *r, struct err *e)
{
    struct part *part = find_part(w, r->id);

    if (part) {
        part->busy = false;
        w->busy--;
        return sftp_status_of(s, r, e);
    }
    for (size_t i = 0; i < w->end.n; i++) {
        struct question *q = &w->end.q[i];
        if (q->answered || q->id != r->id)
            continue;
        q->answered = true;
        w->end_left--;
        return sftp_status_of(s, r, e);
    }
    return sftp_nonsense(s, e);
}

int
sftp_write(struct sftp *s, const struct sftp_handle *h, const void *p,
           size_t len, struct err *e)
{
    CLEANUP(freep) char *why = NULL;
    struct window w = {0};
    int result = SFTP_OK;
    struct reply r;

    for (;;) {
        if (result == SFTP_OK && send_more(s, &w, h, 0, p, len, e) == -1)
            return -1;
        if (result == SFTP_OK && w.next == len && w.end.n == 0 &&
            send_end(s, &w, h, p, len, e) == -1)
            return -1;
        if (w.busy == 0 && w.end_left == 0)
            break;
        if (sftp_next(s, &r, e) == -1)
            return -1;
        int rc = take_written(s, &w, &r, e);
        if (rc == -1)
            return -1;
        if (rc != SFTP_OK && result == SFTP_OK) {
            result = rc;
            why = STEAL(s->message); /* not what came of going on */
        }
    }
    if (why) {
        free(s->message);
        s->message = STEAL(why);
    }
    return result;
}

/* A reply to a READ: its bytes, of which there may be fewer than asked for;
 * then the rest is asked for again. */
static int
take_data(struct sftp *s, struct window *w, const struct sftp_handle *h,
          struct part *part, struct reply *r, uint8_t *out, struct err *e)
{
    uint32_t len = 0;

    if (r->type != DATA) {
        int rc = sftp_status_of(s, r, e);
        part->busy = false;
        w->busy--;
        return rc == SFTP_OK ? sftp_nonsense(s, e) : rc;
    }
    const uint8_t *p = sftp_take_bytes(&r->body, &len);
    if (!p || len == 0 || len > part->len)
        return sftp_nonsense(s, e);
    memcpy(out + part->at, p, len);
    part->at += len;
    part->offset += len;
    part->len -= len;
    if (part->len > 0) {
        send_part(s, w, h, part, NULL);
        return sftp_flush(s, e) == -1 ? -1 : SFTP_OK;
    }
    part->busy = false;
    w->busy--;
    return SFTP_OK;
}

int
sftp_read(struct sftp *s, const struct sftp_handle *h, uint64_t offset,
          void *out, size_t len, struct sftp_attrs *attrs, int *out_attrs,
          struct err *e)
{
    struct window w = {0};
    int result = SFTP_OK;
    struct reply r;

    if (attrs) {
        put_question(s, &w.end, sftp_packet_handle(s, FSTAT, h))->attrs = attrs;
        w.end_left = 1;
    }
    for (;;) {
        if (result == SFTP_OK &&
            send_more(s, &w, h, offset, NULL, len, e) == -1)
            return -1;
        if (w.busy == 0 && w.end_left == 0)
            return result;
        if (sftp_next(s, &r, e) == -1)
            return -1;
        if (w.end_left > 0 && r.id == w.end.q[0].id) {
            w.end_left = 0;
            *out_attrs = sftp_attrs_of(s, &r, attrs, e);
            if (*out_attrs == -1)
                return -1;
            continue;
        }
        struct part *part = find_part(&w, r.id);
        int rc =
            part ? take_data(s, &w, h, part, &r, out, e) : sftp_nonsense(s, e);
        if (rc == -1)
            return -1;
        if (rc != SFTP_OK && result == SFTP_OK)
            result = rc;
    }
}

/* ---- folders ----------------------------------------------------------- */

static int
take_names(struct sftp *s, struct reply *r, sftp_entry_fn *fn, void *cookie,
           uint32_t *out_n, struct err *e)
{
    uint32_t n = cursor_be32(&r->body);

    if (n > NAMES_MAX)
        return sftp_nonsense(s, e);
    for (uint32_t i = 0; i < n; i++) {
        struct sftp_attrs attrs = {0};
        uint32_t len = 0, ignored = 0;
        const uint8_t *p = sftp_take_bytes(&r->body, &len);
        (void)sftp_take_bytes(&r->body, &ignored); /* as `ls -l` has it */
        if (sftp_take_attrs(&r->body, &attrs) == -1 || !p)
            return sftp_nonsense(s, e);
        CLEANUP(freep) char *name = xstrndup((const char *)p, len);
        /* A name with a NUL in it must not be taken for a shorter one. */
        if (strlen(name) == len && fn(cookie, name, &attrs, e) != 0)
            return -1;
    }
    *out_n = n;
    return 0;
}

/* Some requests for the names of each folder are under way: the last of them
 * tells the end while the first may tell all there is. */
struct round {
    struct asked {
        uint32_t id;
        struct sftp_folder *folder;
    } asked[SFTP_FOLDERS_MAX * FOLDER_MAX];
    size_t n;
};

static int
open_folders(struct sftp *s, struct sftp_folder *folders, size_t n,
             const char *place, int *out_place, struct err *e)
{
    struct sftp_attrs ignored;
    struct trip t = {0};

    for (size_t i = 0; i < n; i++)
        put_question(s, &t, sftp_packet_path(s, OPENDIR, folders[i].path))
            ->handle = &folders[i].handle;
    put_question(s, &t, sftp_packet_path(s, LSTAT, place))->attrs = &ignored;
    if (make_trip(s, &t, e) == -1)
        return -1;
    for (size_t i = 0; i < n; i++) {
        folders[i].status = t.q[i].status;
        folders[i].ended = t.q[i].status != SFTP_OK;
        folders[i].empty = 0;
    }
    *out_place = t.q[n].status;
    return 0;
}

static struct sftp_folder *
asked_about(struct round *r, uint32_t id)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->asked[i].id == id) {
            struct sftp_folder *f = r->asked[i].folder;
            r->asked[i] = r->asked[--r->n];
            return f;
        }
    return NULL;
}

/* Answers may come in another order than the questions; but what was asked
 * behind the end cannot have names. */
static int
take_part(struct sftp *s, struct sftp_folder *f, struct reply *r,
          sftp_entry_fn *fn, struct err *e)
{
    uint32_t n = 0;

    if (r->type == NAME) {
        if (f->ended && (int32_t)(r->id - f->end_id) > 0)
            return sftp_nonsense(s, e);
        if (take_names(s, r, fn, f->cookie, &n, e) == -1)
            return -1;
        f->empty = n == 0 ? f->empty + 1 : 0;
        return f->empty == EMPTY_REPLIES_MAX ? sftp_nonsense(s, e) : 0;
    }
    int rc = sftp_status_of(s, r, e);
    if (rc == SFTP_OK)
        return sftp_nonsense(s, e);
    if (rc == -1)
        return -1;
    if (rc != SFTP_EOF && f->status == SFTP_OK)
        f->status = rc;
    if (!f->ended || (int32_t)(r->id - f->end_id) < 0)
        f->end_id = r->id;
    f->ended = true;
    return 0;
}

/* 1 if there may be more. */
static int
read_round(struct sftp *s, struct sftp_folder *folders, size_t n,
           unsigned at_a_time, sftp_entry_fn *fn, struct err *e)
{
    struct round round = {.n = 0};
    struct reply r;

    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < at_a_time && !folders[i].ended; k++) {
            sftp_packet_end(s,
                            sftp_packet_handle(s, READDIR, &folders[i].handle));
            round.asked[round.n++] = (struct asked){s->last_id, &folders[i]};
        }
    int more = round.n > 0;
    if (sftp_flush(s, e) == -1)
        return -1;
    while (round.n > 0) {
        if (sftp_next(s, &r, e) == -1)
            return -1;
        struct sftp_folder *f = asked_about(&round, r.id);
        if ((f ? take_part(s, f, &r, fn, e) : sftp_nonsense(s, e)) == -1)
            return -1;
    }
    return more;
}

int
sftp_read_folders(struct sftp *s, struct sftp_folder *folders, size_t n,
                  sftp_entry_fn *fn, const char *place, int *out_place,
                  struct err *e)
{
    unsigned at_a_time = FOLDER_FIRST;
    int more = 1;

    if (open_folders(s, folders, n, place, out_place, e) == -1)
        return -1;
    uint32_t opened = 0;
    for (size_t i = 0; i < n; i++)
        opened |= (uint32_t)(folders[i].status == SFTP_OK) << i;
    while (more == 1) {
        more = read_round(s, folders, n, at_a_time, fn, e);
        at_a_time = at_a_time < FOLDER_MAX ? 2 * at_a_time : FOLDER_MAX;
    }
    for (size_t i = 0; more == 0 && i < n; i++)
        if ((opened >> i & 1) &&
            sftp_close_later(s, &folders[i].handle, e) == -1)
            more = -1;
    return more;
}
