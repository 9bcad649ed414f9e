/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/doctor.h"

#include <poll.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "repo/notice.h"
#include "repo/repo_internal.h"
#include "work/cancel.h"

enum { LIST_FIRST_MS = 50 };

struct probe {
    struct repo *repo;
    struct cancel *cancel;
    struct doctor_result *result;
    struct buf bytes; /* of the marker */
    char name[NAME_MAX_LEN];
    bool seen; /* in the last listing */
    uint32_t writers[256];
};

/* ---- listing --------------------------------------------------------- */

static void
note_writer(struct probe *p, uint32_t writer)
{
    struct doctor_result *d = p->result;

    for (unsigned i = 0; i < d->writers; i++)
        if (p->writers[i] == writer)
            return;
    if (d->writers < ARRAY_LEN(p->writers))
        p->writers[d->writers++] = writer;
}

static int
note_marker(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct probe *p = cookie;
    struct doctor_result *d = p->result;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;
    uint32_t writer = 0;

    (void)e;
    if (strcmp(name, p->name) == 0) {
        p->seen = true;
        return 0;
    }
    if (!name_parse_session(name, &writer, &time_ns, id))
        return 0;
    d->markers++;
    if (writer == SESSION_MAINTENANCE) {
        if (stat->mtime_ns > d->maintained_ns)
            d->maintained_ns = stat->mtime_ns;
        return 0;
    }
    note_writer(p, writer);
    if (writer != p->repo->keys.writer && stat->mtime_ns > d->last_writer_ns)
        d->last_writer_ns = stat->mtime_ns;
    return 0;
}

static int
list_markers(struct probe *p, struct err *e)
{
    struct doctor_result *d = p->result;
    uint64_t start = clock_mono_ns();

    d->writers = 0;
    d->markers = 0;
    d->last_writer_ns = d->maintained_ns = 0;
    p->seen = false;
    if (store_list(p->repo->store, "sess/", note_marker, p, e) == -1)
        return -1;
    d->list_ns = clock_mono_ns() - start;
    return 0;
}

/* Until the marker is in a listing, or for DOCTOR_LIST_WAIT_MS. */
static int
wait_for_listing(struct probe *p, uint64_t put_at_ns, struct err *e)
{
    struct deadline end = deadline_in_ms(DOCTOR_LIST_WAIT_MS);
    struct pollfd stop = {.fd = cancel_fd(p->cancel), .events = POLLIN};

    for (int ms = LIST_FIRST_MS;; ms *= 2) {
        if (cancel_check(p->cancel, e) == -1 || list_markers(p, e) == -1)
            return -1;
        if (p->seen || deadline_passed(end))
            break;
        (void)poll(&stop, 1, ms);
    }
    p->result->is_listed = p->seen;
    p->result->listed_after_ns = clock_mono_ns() - put_at_ns;
    return 0;
}

/* ---- writing --------------------------------------------------------- */

static int
make_marker(struct probe *p, struct err *e)
{
    struct session s = {.writer = p->repo->keys.writer,
                        .time_ns = clock_wall_ns()};

    rand_bytes(s.id, sizeof(s.id));
    name_session(s.writer, s.time_ns, s.id, p->name);
    return session_pack(&s, &p->repo->keys, &p->bytes, e);
}

static int
put(struct probe *p, struct err *e)
{
    struct doctor_result *d = p->result;
    struct store *st = p->repo->store;
    struct store_stat stat = {0};
    int64_t before = clock_wall_ns();
    uint64_t start = clock_mono_ns();

    if (store_put(st, p->name, p->bytes.p, p->bytes.len, e) == -1)
        return -1;
    d->put_ns = clock_mono_ns() - start;
    start += d->put_ns;
    int64_t after = clock_wall_ns();
    int there = store_stat(st, p->name, &stat, e);
    if (there == 0)
        return err_set(e, ERR_STORE, "%s, just stored, is gone", p->name);
    if (there == -1)
        return -1;
    d->stat_ns = clock_mono_ns() - start;
    /* It may have been any moment in between; some count whole seconds. */
    int64_t middle = before / 2 + after / 2;
    if (__builtin_sub_overflow(stat.mtime_ns, middle, &d->ahead_ns))
        d->ahead_ns = stat.mtime_ns < middle ? INT64_MIN : INT64_MAX;
    d->ahead_by_ns = (after - before) / 2 + 1000000000;
    return 0;
}

static int
read_back(struct probe *p, struct err *e)
{
    CLEANUP(buf_done) struct buf back = buf_of(SESSION_MAX_BYTES);
    struct doctor_result *d = p->result;
    uint64_t start = clock_mono_ns();

    if (store_get_all(p->repo->store, p->name, &back, e) == -1)
        return -1;
    d->get_ns = clock_mono_ns() - start;
    d->keeps =
        back.len == p->bytes.len && memcmp(back.p, p->bytes.p, back.len) == 0;
    return 0;
}

/* Everything that many writers without locks rest upon. */
static int
put_again(struct probe *p, struct err *e)
{
    uint8_t other = 0;

    if (store_put(p->repo->store, p->name, &other, 1, e) == 0) {
        p->result->is_exclusive = false;
        return 0;
    }
    if (e->code != ERR_EXISTS)
        return -1;
    err_clear(e);
    p->result->is_exclusive = true;
    return 0;
}

/* The oldest of the refs, which is history; or the config. */
struct oldest {
    char name[STORE_NAME_MAX + 1];
    int64_t time_ns;
};

static int
note_oldest(void *cookie, const char *name, const struct store_stat *stat,
            struct err *e)
{
    struct oldest *o = cookie;

    (void)e;
    if (stat->mtime_ns >= o->time_ns)
        return 0;
    o->time_ns = stat->mtime_ns;
    memcpy(o->name, name, strlen(name) + 1);
    return 0;
}

static int
try_overwrite(struct probe *p, struct err *e)
{
    struct oldest o = {.time_ns = INT64_MAX};

    memcpy(o.name, NAME_CONFIG, strlen(NAME_CONFIG) + 1);
    if (store_list(p->repo->store, "refs/", note_oldest, &o, e) == -1)
        return -1;
    p->result->overwrites = store_try_overwrite(
        p->repo->store, p->name, p->bytes.p, p->bytes.len, o.name);
    return 0;
}

static int
try_writing(struct probe *p, struct err *e)
{
    if (put(p, e) == -1)
        return -1;
    uint64_t put_at = clock_mono_ns();
    if (read_back(p, e) == -1 || put_again(p, e) == -1 ||
        wait_for_listing(p, put_at, e) == -1 || try_overwrite(p, e) == -1)
        return -1;
    return 0;
}

/* Also after a failure. */
static void
take_away(struct probe *p)
{
    struct doctor_result *d = p->result;

    d->removed = store_remove(p->repo->store, p->name, &d->refused) == 0;
}

int
doctor_look(struct repo *r, struct cancel *cancel, struct doctor_result *out,
            struct err *e)
{
    const unsigned writes = KEY_DOMAIN | KEY_WRITER;
    struct doctor_result d = {.may_write = (r->keys.has & writes) == writes};
    CLEANUP(buf_done) struct buf bytes = buf_of(SESSION_MAX_BYTES);
    struct probe p = {
        .repo = r, .cancel = cancel, .result = &d, .bytes = bytes};
    int rc = 0;

    store_get_traits(r->store, &d.traits);
    if (d.may_write) {
        rc = make_marker(&p, e);
        bytes = p.bytes; /* for its cleanup */
        if (rc == 0) {
            rc = try_writing(&p, e);
            take_away(&p);
        }
    } else {
        rc = list_markers(&p, e);
    }
    if (rc == -1)
        return -1;
    *out = d;
    return 0;
}
