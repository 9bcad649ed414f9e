/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/seen.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"
#include "repo/cachedir.h"
#include "repo/lost.h"
#include "repo/notice.h"
#include "repo/repo_internal.h"
#include "store/store.h"

enum {
    HEAD_BYTES = 16,
    ENTRY_BYTES = 44,
    PROOF_BYTES = 32,
    FILE_MAX_BYTES = HEAD_BYTES + SEEN_MAX_REFS * ENTRY_BYTES + PROOF_BYTES,
    FILE_NAME_LEN = 32,
    ADDRESS_BYTES = 8,
    LOCK_TRIES = 50,
    LOCK_WAIT_NS = 10000000
};

#define NS_PER_S INT64_C(1000000000)
#define KEEP_MAX_S (INT64_C(3650) * 24 * 3600)

static const uint8_t MAGIC[8] = {'V', 'M', 'K', 'S', 'E', 'E', 'N', '1'};
static const char PROOF_LABEL[] = "seen refs";
static const char ADDRESS_LABEL[] = "seen address";

struct seen {
    const struct keyring *keys; /* borrowed */
    char *dir;                  /* or NULL */
    char file[FILE_NAME_LEN];
    pthread_mutex_t lock;          /* guards the one below */
    struct vanished_list vanished; /* by the listings so far */
};

/* One that was seen, and when. */
struct known {
    struct ref_name ref;
    int64_t last_ns;
};

struct memory {
    struct known *refs; /* owned; sorted */
    size_t n, room;
};

struct seen *
seen_new(const char *dir, const char *address, const struct keyring *k)
{
    uint8_t sum[HASH_BYTES], derived[HASH_DERIVED_BYTES];
    char hex[2 * ADDRESS_BYTES + 1];
    struct seen *s = xcalloc(1, sizeof(*s));

    (void)pthread_mutex_init(&s->lock, NULL);
    s->keys = k;
    if (!dir || !(k->has & KEY_META))
        return s;
    s->dir = xstrdup(dir);
    hash_sha256(address, strlen(address), sum);
    keyring_derive(k, ADDRESS_LABEL, sum, sizeof(sum), derived);
    hex_encode(derived, ADDRESS_BYTES, hex);
    (void)snprintf(s->file, sizeof(s->file), "seen-%s", hex);
    return s;
}

void
seen_free(struct seen *s)
{
    if (!s)
        return;
    vanished_list_done(&s->vanished);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

size_t
seen_vanished(struct seen *s)
{
    if (!s)
        return 0;
    (void)pthread_mutex_lock(&s->lock);
    size_t n = s->vanished.n;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

void
vanished_list_done(struct vanished_list *l)
{
    free(l->items);
    *l = (struct vanished_list){0};
}

/* ---- listings ---------------------------------------------------------- */

static int
compare_refs(const struct ref_name *a, const struct ref_name *b)
{
    int order = memcmp(a->id, b->id, NAME_ID_BYTES);

    if (order == 0)
        order = memcmp(a->machine, b->machine, NAME_TAG_BYTES);
    if (order == 0)
        order = (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
    return order ? order : (a->ns > b->ns) - (a->ns < b->ns);
}

/* The ref is what all the structs that are sorted begin with. */
static int
by_ref(const void *a, const void *b)
{
    return compare_refs(a, b);
}

void
seen_look_begin(struct seen_look *l, const char *prefix)
{
    *l = (struct seen_look){.begun_ns = clock_wall_ns()};
    (void)snprintf(l->prefix, sizeof(l->prefix), "%s", prefix);
}

void
seen_look_add(struct seen_look *l, const struct ref_name *ref,
              enum seen_how how)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->refs = xrealloc(l->refs, l->room * sizeof(l->refs[0]));
    }
    l->refs[l->n++] = (struct seen_ref){*ref, how};
}

void
seen_look_done(struct seen_look *l)
{
    free(l->refs);
    *l = (struct seen_look){0};
}

static const struct seen_ref *
find_listed(const struct seen_look *l, const struct ref_name *ref)
{
    return l->n == 0 ? NULL
                     : bsearch(ref, l->refs, l->n, sizeof(l->refs[0]), by_ref);
}

static bool
was_listed_for(const struct seen_look *l, const struct ref_name *ref)
{
    char name[NAME_MAX_LEN];

    name_ref(ref, name);
    return text_starts(name, l->prefix);
}

/* ---- how long what was seen counts -------------------------------------- */

/*
 * No ref goes, with its mark, sooner after it was seen.  The mark that was not
 * seen then may have been put V before.  0: not even that is sure.
 */
static int64_t
keep_ns(const struct config *c)
{
    int64_t s = config_ref_s(c) + c->grace_s - c->visibility_s -
                (int64_t)SEEN_CLOCK_DOUBT_S;

    return s <= 0 ? 0 : (s < KEEP_MAX_S ? s : KEEP_MAX_S) * NS_PER_S;
}

/* Does it still say something?  Not if it was seen in the future, as then one
 * of the times is wrong. */
static bool
counts(const struct repo *r, const struct known *k, int64_t now_ns)
{
    return k->last_ns - now_ns <= SEEN_CLOCK_DOUBT_S * NS_PER_S &&
           now_ns - k->last_ns < keep_ns(&r->config);
}

/* ---- the file ------------------------------------------------------------ */

static void
memory_done(struct memory *m)
{
    free(m->refs);
    *m = (struct memory){0};
}

static void
memory_add(struct memory *m, const struct ref_name *ref, int64_t last_ns)
{
    if (m->n == m->room) {
        m->room = m->room ? 2 * m->room : 64;
        m->refs = xrealloc(m->refs, m->room * sizeof(m->refs[0]));
    }
    m->refs[m->n++] = (struct known){*ref, last_ns};
}

static void
memory_sort(struct memory *m)
{
    if (m->n > 0)
        qsort(m->refs, m->n, sizeof(m->refs[0]), by_ref);
}

static void
proof_of(const struct seen *s, const uint8_t *p, size_t len,
         uint8_t out[PROOF_BYTES])
{
    uint8_t sum[HASH_BYTES], derived[HASH_DERIVED_BYTES];

    hash_sha256(p, len, sum);
    keyring_derive(s->keys, PROOF_LABEL, sum, sizeof(sum), derived);
    memcpy(out, derived, PROOF_BYTES);
}

/* False, and nothing is known, if these are not the bytes that were put. */
static bool
parse(const struct seen *s, const uint8_t *p, size_t len, struct memory *out)
{
    struct cursor c = cursor_of(p, len);
    uint8_t proof[PROOF_BYTES];

    if (len < HEAD_BYTES + PROOF_BYTES)
        return false;
    proof_of(s, p, len - PROOF_BYTES, proof);
    const uint8_t *magic = cursor_bytes(&c, sizeof(MAGIC));
    uint32_t n = cursor_le32(&c);
    if (!wipe_equal(proof, p + len - PROOF_BYTES, PROOF_BYTES) ||
        memcmp(magic, MAGIC, sizeof(MAGIC)) != 0 || cursor_le32(&c) != 0 ||
        n > SEEN_MAX_REFS ||
        cursor_left(&c) != (size_t)n * ENTRY_BYTES + PROOF_BYTES)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct ref_name ref = {.ns = cursor_le32(&c)};
        cursor_copy(&c, ref.machine, sizeof(ref.machine));
        ref.time_ns = (int64_t)cursor_le64(&c);
        cursor_copy(&c, ref.id, sizeof(ref.id));
        int64_t last_ns = (int64_t)cursor_le64(&c);
        if (last_ns > 0)
            memory_add(out, &ref, last_ns);
    }
    memory_sort(out);
    return true;
}

static void
load(const struct seen *s, int dir, struct memory *out)
{
    struct err ignored = {0};
    struct stat st;

    *out = (struct memory){0};
    CLEANUP(fd_closep)
    int fd =
        openat(dir, s->file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1 || !cachedir_is_private(&st) ||
        st.st_size <= 0 || st.st_size > FILE_MAX_BYTES)
        return;
    size_t len = (size_t)st.st_size;
    CLEANUP(freep) uint8_t *p = xmalloc(len);
    if (fd_pread(fd, p, len, 0, s->file, &ignored) == 0)
        (void)parse(s, p, len, out);
}

static void
pack(const struct seen *s, const struct memory *m, struct buf *out)
{
    uint8_t proof[PROOF_BYTES];

    buf_add(out, MAGIC, sizeof(MAGIC));
    buf_le32(out, (uint32_t)m->n);
    buf_le32(out, 0);
    for (size_t i = 0; i < m->n; i++) {
        const struct known *k = &m->refs[i];
        buf_le32(out, k->ref.ns);
        buf_add(out, k->ref.machine, sizeof(k->ref.machine));
        buf_le64(out, (uint64_t)k->ref.time_ns);
        buf_add(out, k->ref.id, sizeof(k->ref.id));
        buf_le64(out, (uint64_t)k->last_ns);
    }
    proof_of(s, out->p, out->len, proof);
    buf_add(out, proof, sizeof(proof));
}

/* No fsync: a file that a power cut left half does not prove itself. */
static void
save(const struct seen *s, int dir, const struct memory *m)
{
    CLEANUP(buf_done) struct buf b = buf_of(FILE_MAX_BYTES);
    char temp[FILE_NAME_LEN];
    struct err ignored = {0};

    pack(s, m, &b);
    (void)snprintf(temp, sizeof(temp), "%016llx.tmp",
                   (unsigned long long)rand_u64());
    CLEANUP(fd_closep)
    int fd = openat(dir, temp,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd == -1)
        return;
    if (fd_pwrite(fd, b.p, b.len, 0, temp, &ignored) == -1 ||
        renameat(dir, temp, dir, s->file) == -1)
        (void)unlinkat(dir, temp, 0);
}

/* False if another command keeps it: what was seen now is not remembered. */
static bool
lock(int dir)
{
    const struct timespec wait = {.tv_nsec = LOCK_WAIT_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return true; /* this file system has no locks: the last wins */
        (void)nanosleep(&wait, NULL);
    }
    return false;
}

/* ---- what is missing ------------------------------------------------------
 */

struct findings {
    struct vanished_list vanished;
    size_t room;
    struct seen_look retired; /* for its list: they had gone in good order */
};

static void
findings_done(struct findings *f)
{
    vanished_list_done(&f->vanished);
    seen_look_done(&f->retired);
}

static void
note_vanished(struct findings *f, const struct known *k, bool unlisted)
{
    struct vanished_list *l = &f->vanished;

    if (l->n == f->room) {
        f->room = f->room ? 2 * f->room : 16;
        l->items = xrealloc(l->items, f->room * sizeof(l->items[0]));
    }
    l->items[l->n++] = (struct vanished){k->ref, k->last_ns, unlisted};
}

/* 1: there is a mark that maintenance has signed, 0: there is none, -1: that
 * could not be found out. */
static int
ask_for_mark(const struct repo *r, const struct ref_name *ref)
{
    CLEANUP(buf_done) struct buf b = buf_of(RETIRED_MAX_BYTES);
    struct ref_name says = {0};
    char name[NAME_MAX_LEN];
    struct err e = {0};

    name_retired(ref, name);
    if (store_get_all(r->store, name, &b, &e) == 0 &&
        retired_unpack(b.p, b.len, name, &r->config, &says, &e) == 0)
        return 1;
    return e.code == ERR_NOENT || e.code == ERR_LIMIT || e.code == ERR_CORRUPT
               ? 0
               : -1;
}

/* One that the listing lacks.  By names a storage shows at once what is there;
 * only listings may be late.  -1 if it can't be asked. */
static int
ask(const struct repo *r, const struct seen_look *l, const struct known *k,
    struct findings *f)
{
    struct store_stat stat = {0};
    char name[NAME_MAX_LEN];
    struct err e = {0};

    name_ref(&k->ref, name);
    int there = store_stat(r->store, name, &stat, &e);
    if (there == -1)
        return -1;
    int64_t late_ns =
        ((int64_t)r->config.visibility_s + SEEN_CLOCK_DOUBT_S) * NS_PER_S;
    if (there == 1) {
        if (l->begun_ns - k->last_ns > late_ns)
            note_vanished(f, k, true);
        return 0;
    }
    int marked = ask_for_mark(r, &k->ref);
    if (marked == 1)
        seen_look_add(&f->retired, &k->ref, SEEN_RETIRED);
    /* It may have taken us long to come here. */
    else if (marked == 0 && counts(r, k, clock_wall_ns()))
        note_vanished(f, k, false);
    return marked == -1 ? -1 : 0;
}

/* Another command may have seen it since this one listed. */
static bool
is_missing(const struct repo *r, const struct seen_look *l,
           const struct known *k, int64_t now_ns)
{
    return k->last_ns <= l->begun_ns && counts(r, k, now_ns) &&
           !find_listed(l, &k->ref) && was_listed_for(l, &k->ref);
}

static void
judge(const struct repo *r, const struct seen_look *l, const struct memory *m,
      size_t max_asked, struct findings *f)
{
    int64_t now_ns = clock_wall_ns();
    struct err ignored = {0};
    size_t asked = 0;

    for (size_t i = 0; i < m->n && asked < max_asked; i++) {
        const struct known *k = &m->refs[i];
        if (!is_missing(r, l, k, now_ns))
            continue;
        if (asked++ == 0 && lost_refresh(r->lost, &ignored) == -1)
            break;
        if (!lost_has(r->lost, LOST_REF, k->ref.id) && ask(r, l, k, f) == -1)
            break;
    }
    if (f->retired.n > 0)
        qsort(f->retired.refs, f->retired.n, sizeof(f->retired.refs[0]),
              by_ref);
}

/* ---- what is remembered ----------------------------------------------------
 */

static int
newest_first(const void *a, const void *b)
{
    const struct known *x = a, *y = b;

    return (x->ref.time_ns < y->ref.time_ns) -
           (x->ref.time_ns > y->ref.time_ns);
}

static void
keep_newest(struct memory *m)
{
    if (m->n <= SEEN_MAX_REFS)
        return;
    qsort(m->refs, m->n, sizeof(m->refs[0]), newest_first);
    m->n = SEEN_MAX_REFS;
}

/* False: it is not to be remembered any more. */
static bool
renew(const struct repo *r, const struct seen_look *l, const struct findings *f,
      int64_t now_ns, struct known *k)
{
    const struct seen_ref *seen = find_listed(l, &k->ref);

    if (!counts(r, k, now_ns) || lost_has(r->lost, LOST_REF, k->ref.id) ||
        find_listed(&f->retired, &k->ref) ||
        (seen && seen->how == SEEN_RETIRED))
        return false;
    if (seen && seen->how != SEEN_LISTED && l->begun_ns > k->last_ns)
        k->last_ns = l->begun_ns;
    return true;
}

/* What was known, and what was seen now. */
static void
apply(const struct repo *r, const struct seen_look *l, const struct findings *f,
      struct memory *m)
{
    int64_t now_ns = clock_wall_ns();
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        if (renew(r, l, f, now_ns, &m->refs[i]))
            m->refs[n++] = m->refs[i];
    m->n = n;
    for (size_t i = 0; i < l->n; i++) {
        const struct known now = {l->refs[i].ref, l->begun_ns};
        if (l->refs[i].how == SEEN_READ && counts(r, &now, now_ns) &&
            !lost_has(r->lost, LOST_REF, now.ref.id) &&
            (i == 0 || by_ref(&l->refs[i - 1], &now) != 0) &&
            (n == 0 || !bsearch(&now, m->refs, n, sizeof(m->refs[0]), by_ref)))
            memory_add(m, &now.ref, now.last_ns);
    }
    keep_newest(m);
}

static void
remember(const struct repo *r, const struct seen_look *l,
         const struct findings *f)
{
    const struct seen *s = r->seen;
    CLEANUP(memory_done) struct memory m = {0};
    bool any = false; /* else there is no need for a folder */

    for (size_t i = 0; i < l->n && !any; i++)
        any = l->refs[i].how == SEEN_READ;
    CLEANUP(fd_closep) int dir = cachedir_open(s->dir, s->keys, any);

    if (dir == -1 || !lock(dir))
        return;
    load(s, dir, &m);
    size_t before = m.n;
    apply(r, l, f, &m);
    if (m.n > 0 || before > 0)
        save(s, dir, &m);
}

/* ---- all of it --------------------------------------------------------------
 */

/* What this listing says takes the place of what an earlier one did. */
static void
note_all(struct seen *s, const struct seen_look *l, const struct findings *f)
{
    struct vanished_list all = {0};

    (void)pthread_mutex_lock(&s->lock);
    all.items =
        xcalloc(s->vanished.n + f->vanished.n + 1, sizeof(all.items[0]));
    for (size_t i = 0; i < s->vanished.n; i++)
        if (!was_listed_for(l, &s->vanished.items[i].ref))
            all.items[all.n++] = s->vanished.items[i];
    for (size_t i = 0; i < f->vanished.n; i++)
        all.items[all.n++] = f->vanished.items[i];
    vanished_list_done(&s->vanished);
    s->vanished = all;
    (void)pthread_mutex_unlock(&s->lock);
}

void
seen_compare(struct repo *r, struct seen_look *l, size_t max_asked,
             struct vanished_list *out)
{
    CLEANUP(findings_done) struct findings f = {0};
    CLEANUP(memory_done) struct memory m = {0};
    struct seen *s = r->seen;

    if (out)
        *out = (struct vanished_list){0};
    if (!s || !s->dir || keep_ns(&r->config) == 0)
        return;
    if (l->n > 0)
        qsort(l->refs, l->n, sizeof(l->refs[0]), by_ref);
    CLEANUP(fd_closep) int dir = cachedir_open(s->dir, s->keys, false);
    if (dir != -1)
        load(s, dir, &m);
    judge(r, l, &m, max_asked, &f);
    remember(r, l, &f);
    note_all(s, l, &f);
    if (out) {
        *out = f.vanished;
        f.vanished = (struct vanished_list){0};
    }
}
