/* SPDX-License-Identifier: Apache-2.0 */
/*
 * damaged: a small repository in memory whose objects can be damaged and put
 * right again, and what checker.h finds in it.
 */
#ifndef TEST_REPO_DAMAGED_H
#define TEST_REPO_DAMAGED_H

#include <stdio.h>

#include "base/buf.h"
#include "maintain.h"
#include "repo/checker.h"
#include "repo/lost.h"
#include "repo/notice.h"

enum { DAMAGED_OBJECTS = 64, DAMAGED_BACKUPS = 2, DAMAGED_FAULTS = 256 };

struct found {
    enum check_what what;
    char name[160], object[40], backup[40], volume[40], why[200];
    uint64_t offset, len;
};

struct damaged {
    struct fixture f;
    uint64_t size;
    uint8_t *p[DAMAGED_BACKUPS];
    char ids[DAMAGED_BACKUPS][BACKUP_ID_LEN + 1];
    char names[DAMAGED_OBJECTS][160];
    struct buf bytes[DAMAGED_OBJECTS];
    size_t n;
    struct check_result result;
    struct found found[DAMAGED_FAULTS];
    size_t n_found;
    unsigned readable; /* backups, by damaged_read */
};

static inline void
damaged_copy(char *out, size_t room, const char *text)
{
    (void)snprintf(out, room, "%s", text);
}

static inline void
damaged_note_fault(void *cookie, const struct check_fault *f)
{
    struct damaged *d = cookie;

    assert_true(f->why[0] != '\0');
    if (d->n_found == DAMAGED_FAULTS)
        return;
    struct found *x = &d->found[d->n_found++];
    *x = (struct found){.what = f->what, .offset = f->offset, .len = f->len};
    damaged_copy(x->name, sizeof(x->name), f->name);
    damaged_copy(x->object, sizeof(x->object), f->object);
    damaged_copy(x->backup, sizeof(x->backup), f->backup);
    damaged_copy(x->volume, sizeof(x->volume), f->volume);
    damaged_copy(x->why, sizeof(x->why), f->why);
}

static inline int
damaged_note(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct damaged *d = cookie;

    (void)stat;
    (void)e;
    /* Only the storage's time of a marker counts, and it ends with its run. */
    if (strncmp(name, "sess/", strlen("sess/")) == 0)
        return 0;
    assert_true(d->n < DAMAGED_OBJECTS);
    damaged_copy(d->names[d->n++], sizeof(d->names[0]), name);
    return 0;
}

/* What is there now is what "undamaged" means from here on. */
static inline void
damaged_take(struct damaged *d)
{
    for (size_t i = 0; i < d->n; i++)
        buf_done(&d->bytes[i]);
    d->n = 0;
    assert_ok(store_list(d->f.st, "", damaged_note, d, e));
    for (size_t i = 0; i < d->n; i++) {
        d->bytes[i] = buf_of(64 << 20);
        assert_ok(store_get_all(d->f.st, d->names[i], &d->bytes[i], e));
    }
}

/* Backups of "web" at the times 1 and 2 that have `size` bytes; `fill` makes
 * them. */
static inline struct damaged *
damaged_new(uint64_t size, void (*fill)(uint8_t *p, int i))
{
    struct damaged *d = xcalloc(1, sizeof(*d));

    fixture_start(&d->f);
    d->size = size;
    for (int i = 0; i < DAMAGED_BACKUPS; i++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        d->p[i] = xcalloc(1, size);
        fill(d->p[i], i);
        assert_ok(write_backup(d->f.r, d->f.cancel, "web", i + 1, d->p[i], size,
                               &m, e));
        memcpy(d->ids[i], m->id, sizeof(m->id));
    }
    damaged_take(d);
    return d;
}

/* What maintenance says is there too: the first backup is retired, a pack that
 * is not there is condemned, and another one lost. */
static inline void
damaged_notices(struct damaged *d)
{
    CLEANUP(buf_done) struct buf b = buf_of(CONDEMNED_MAX_BYTES);
    struct condemned_entry entry = {.kind = CONDEMNED_DATA};
    struct condemned list = {.time_ns = 5, .entries = &entry, .n = 1};
    struct lost_item lost = {.kind = LOST_DATA_PACK};
    char name[NAME_MAX_LEN];

    memset(entry.sum, 7, sizeof(entry.sum));
    memset(lost.name, 8, sizeof(lost.name));
    fixture_retire(&d->f, d->ids[0]);
    name_condemned(list.time_ns, list.id, name);
    assert_ok(condemned_pack(&list, &d->f.r->keys, &b, e));
    assert_ok(store_put(d->f.st, name, b.p, b.len, e));
    assert_ok(lost_publish(d->f.r->lost, &lost, 1, &d->f.r->keys, e));
    damaged_take(d);
}

static inline void
damaged_free(struct damaged *d)
{
    for (size_t i = 0; i < d->n; i++)
        buf_done(&d->bytes[i]);
    for (int i = 0; i < DAMAGED_BACKUPS; i++)
        free(d->p[i]);
    fixture_end(&d->f);
    free(d);
}

static inline void
damaged_put(struct damaged *d, size_t i, const uint8_t *p, size_t len)
{
    assert_int_equal(store_mem_replace(d->f.st, d->names[i], p, len), 1);
}

static inline void
damaged_undo(struct damaged *d, size_t i)
{
    damaged_put(d, i, d->bytes[i].p, d->bytes[i].len);
}

/* The k-th object whose name starts so. */
static inline size_t
damaged_find(const struct damaged *d, const char *prefix, unsigned k)
{
    for (size_t i = 0; i < d->n; i++)
        if (strncmp(d->names[i], prefix, strlen(prefix)) == 0 && k-- == 0)
            return i;
    fail_msg("no %s", prefix);
    return 0;
}

/* Flip a bit of one byte, counted from the end if negative. */
static inline void
damaged_flip(struct damaged *d, size_t i, long byte)
{
    CLEANUP(freep) uint8_t *copy = xmemdup(d->bytes[i].p, d->bytes[i].len);

    copy[byte < 0 ? (long)d->bytes[i].len + byte : byte] ^= 1;
    damaged_put(d, i, copy, d->bytes[i].len);
}

/* A new start of the program checks; -1 if it can't even open or go on. */
static inline int
damaged_check(struct damaged *d, bool data, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    const struct check_options o = {.data.read =
                                        data ? CHECK_READ_ALL : CHECK_READ_NONE,
                                    .threads = 1,
                                    .fault = damaged_note_fault,
                                    .fault_cookie = d};

    d->n_found = 0;
    if (repo_open(d->f.st, PASSWORD, &r, e) == -1)
        return -1;
    return check_repo(r, &o, d->f.cancel, &d->result, e);
}

static inline void
assert_clean(struct damaged *d, bool data)
{
    assert_ok(damaged_check(d, data, e));
    for (size_t i = 0; i < d->n_found; i++)
        fail_msg("%s %s: %s", check_what_name(d->found[i].what),
                 d->found[i].name, d->found[i].why);
    assert_int_equal(d->result.faults, 0);
}

static inline const struct found *
damaged_has(const struct damaged *d, enum check_what what, const char *name)
{
    for (size_t i = 0; i < d->n_found; i++)
        if (d->found[i].what == what && strstr(d->found[i].name, name))
            return &d->found[i];
    return NULL;
}

struct damaged_reading {
    struct damaged *d;
    struct repo *r;
};

static inline int
damaged_read_one(void *cookie, const struct manifest *m, struct err *e)
{
    struct damaged_reading *x = cookie;
    struct err why = {0};

    (void)e;
    assert_true(m->time_ns == 1 || m->time_ns == 2);
    int rc = compare_volume(x->r, &m->volumes[0].root, x->d->p[m->time_ns - 1],
                            &why);
    if (rc == 1)
        fail_msg("WRONG BYTES were read"); /* the one thing not to happen */
    x->d->readable += rc == 0;
    return 0;
}

/* Read all backups: whatever can be read is right. */
static inline void
damaged_read(struct damaged *d)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct err e = {0};

    d->readable = 0;
    if (repo_open(d->f.st, PASSWORD, &r, &e) == -1)
        return;
    struct damaged_reading x = {d, r};
    (void)backup_list(r, damaged_read_one, &x, &e);
}

#endif
