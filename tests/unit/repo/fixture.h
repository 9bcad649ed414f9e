/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture: a repository in memory, and volumes to put into it.  Functions
 * assert that what they do succeeds unless they say otherwise.
 */
#ifndef TEST_REPO_FIXTURE_H
#define TEST_REPO_FIXTURE_H

#include "base/bytes.h"
#include "check.h"
#include "crypto/password.h"
#include "repo/keys.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/repo_internal.h"
#include "repo/volume.h"
#include "store/store.h"
#include "store/store_mem.h"
#include "work/cancel.h"

#define PASSWORD "correct horse"
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)

struct fixture {
    struct store *st;
    struct cancel *cancel;
    struct repo *r;
};

/* A repository whose password costs next to nothing to try: what is tested
 * here opens it often. */
static inline int
cheap_init(struct store *st, struct err *e)
{
    const struct password_cost cost = {.passes = 1,
                                       .memory_kib = PASSWORD_MIN_KIB};

    return repo_init(st, PASSWORD, &cost, e);
}

static inline void
fixture_open(struct fixture *f)
{
    assert_ok(repo_open(f->st, PASSWORD, &f->r, e));
}

static inline void
fixture_reopen(struct fixture *f)
{
    repo_close(f->r);
    fixture_open(f);
}

static inline void
fixture_start(struct fixture *f)
{
    *f = (struct fixture){.st = store_mem_new(NULL), .cancel = cancel_new()};
    assert_ok(cheap_init(f->st, e));
    fixture_open(f);
}

static inline void
fixture_end(struct fixture *f)
{
    repo_close(f->r);
    store_close(f->st);
    cancel_free(f->cancel);
}

/* One on the heap, for a test that needs nothing else. */
static inline int
fixture_setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    fixture_start(f);
    *state = f;
    return 0;
}

static inline int
fixture_teardown(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

#define FIXTURE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static inline int
note_recovery_key(void *cookie, const struct key_info *info, struct err *e)
{
    (void)e;
    if (info->role == ROLE_OF_RECOVERY)
        memcpy(cookie, info->id, sizeof(info->id));
    return 0;
}

/* Leaves the key that has a password: nothing needs the other one. */
static inline void
fixture_drop_recovery(struct fixture *f)
{
    char id[KEY_ID_LEN + 1] = "", out[KEY_ID_LEN + 1];

    assert_ok(repo_key_list(f->r, note_recovery_key, id, e));
    assert_ok(repo_key_remove(f->r, id, out, e));
}

/* All of [p, p + size) as a volume, every byte marked as data. */
static inline int
write_volume(struct backup_writer *b, const char *name, const uint8_t *p,
             uint64_t size, struct volume_root *out, struct err *e)
{
    struct volume_writer *v = NULL;

    if (volume_begin(b, name, size, &v, e) == -1)
        return -1;
    for (uint64_t at = 0; at < size; at += VOLUME_SLOT_BYTES) {
        struct slot *s = NULL;
        if (volume_slot(v, at / VOLUME_SLOT_BYTES, &s, e) == -1) {
            volume_abandonp(&v);
            return -1;
        }
        memcpy(s->data, p + at, s->len);
        slot_mark(s, 0, s->len);
        volume_submit(v, s);
    }
    return volume_end(&v, out, e);
}

/* The volume on `base`, of which these blocks, in order, are now as in p; in a
 * backup that was begun on that one's. */
static inline int
change_volume(struct backup_writer *b, const char *name,
              const struct volume_root *base, const uint8_t *p,
              const uint32_t *blocks, size_t n, struct volume_root *out,
              struct err *e)
{
    struct volume_writer *v = NULL;
    struct slot *s = NULL;

    if (volume_begin_on(b, name, base, &v, e) == -1)
        return -1;
    for (size_t i = 0; i < n; i++) {
        uint64_t index = blocks[i] / VOLUME_SLOT_BLOCKS;
        uint32_t at = blocks[i] % VOLUME_SLOT_BLOCKS * VOLUME_BLOCK_BYTES;
        if (s && s->index != index)
            volume_submit(v, STEAL(s));
        if (!s && volume_slot(v, index, &s, e) == -1) {
            volume_abandonp(&v);
            return -1;
        }
        uint32_t len = (uint32_t)u64_min(VOLUME_BLOCK_BYTES, s->len - at);
        memcpy(s->data + at, p + index * VOLUME_SLOT_BYTES + at, len);
        slot_mark(s, at, len);
    }
    if (s)
        volume_submit(v, s);
    return volume_end(&v, out, e);
}

/* A backup of machine `machine` with one volume "disk/vda". */
static inline int
write_backup(struct repo *r, struct cancel *c, const char *machine,
             int64_t time_ns, const uint8_t *p, uint64_t size,
             struct manifest **out, struct err *e)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;
    struct volume_root root = {0};

    if (backup_begin(r, NULL, c, &b, e) == -1)
        return -1;
    free(m->machine);
    m->machine = xstrdup(machine);
    m->time_ns = time_ns;
    if (write_volume(b, "disk/vda", p, size, &root, e) == -1) {
        backup_abandonp(&b);
        return -1;
    }
    manifest_add_volume(m, "disk/vda", &root);
    if (backup_commit(&b, m, e) == -1)
        return -1;
    if (out)
        *out = STEAL(m);
    return 0;
}

/* Reads all of a volume and compares; 0, 1 if it differs, -1. */
static inline int
compare_volume(struct repo *r, const struct volume_root *root,
               const uint8_t *want, struct err *e)
{
    CLEANUP(volume_closep) struct volume_reader *v = NULL;
    CLEANUP(freep) uint8_t *got = xmalloc(VOLUME_SLOT_BYTES);
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];
    uint64_t size = root->size_bytes;
    int differs = 0;

    if (volume_open(r, root, &v, e) == -1)
        return -1;
    for (uint64_t at = 0; at < size; at += VOLUME_SLOT_BYTES) {
        size_t len = size - at < VOLUME_SLOT_BYTES ? (size_t)(size - at)
                                                   : (size_t)VOLUME_SLOT_BYTES;
        memset(got, 0xaa, VOLUME_SLOT_BYTES);
        if (volume_read_slot(v, at / VOLUME_SLOT_BYTES, got, marked, e) == -1)
            return -1;
        if (memcmp(got, want + at, len) != 0 ||
            !bytes_are_zero(got + len, VOLUME_SLOT_BYTES - len))
            differs = 1;
    }
    return differs;
}

static inline void
assert_volume(struct repo *r, const struct volume_root *root,
              const uint8_t *want)
{
    struct err e = {0};
    int rc = compare_volume(r, root, want, &e);

    if (rc == -1)
        fail_msg("%s: %s", err_code_name(e.code), e.msg);
    assert_int_equal(rc, 0);
}

struct usage {
    uint64_t objects, bytes;
};

static inline int
usage_add(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct usage *u = cookie;

    (void)name;
    (void)e;
    u->objects++;
    u->bytes += stat->size_bytes;
    return 0;
}

static inline struct usage
usage_of(struct store *st, const char *prefix)
{
    struct usage u = {0};

    assert_ok(store_list(st, prefix, usage_add, &u, e));
    return u;
}

#endif
