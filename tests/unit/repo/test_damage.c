/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile store: bits flip, objects are cut, swapped, removed, replaced by
 * older ones.  Whatever it does, what is read is right or an error.
 */
#include <stdio.h>

#include "base/buf.h"
#include "fixture.h"
#include "repo/config.h"
#include "repo/index.h"
#include "repo/pack.h"
#include "repo/repo_internal.h"

enum { MAX_OBJECTS = 64 };

/* A small repository: two backups, and what is in it. */
struct small {
    struct fixture f;
    uint8_t *p[2];
    uint64_t size;
    char names[MAX_OBJECTS][NAME_MAX_LEN];
    struct buf bytes[MAX_OBJECTS];
    size_t n;
    char ids[2][BACKUP_ID_LEN + 1];
};

static int
note(void *cookie, const char *name, const struct store_stat *stat,
     struct err *e)
{
    struct small *s = cookie;

    (void)stat;
    (void)e;
    /* Only the time of a sync marker counts, and only while its backup is
     * being made. */
    if (strncmp(name, "sess/", 5) == 0)
        return 0;
    assert_true(s->n < MAX_OBJECTS);
    (void)snprintf(s->names[s->n++], NAME_MAX_LEN, "%s", name);
    return 0;
}

static int
setup(void **state)
{
    struct small *s = xcalloc(1, sizeof(*s));

    fixture_start(&s->f);
    fixture_drop_recovery(&s->f);
    s->size = 8 * MIB + 300 * KIB; /* two slots and a node above */
    for (int i = 0; i < 2; i++) {
        s->p[i] = xcalloc(1, s->size);
        fill_random(s->p[i], 100 * KIB, (uint64_t)i + 10);
        fill_random(s->p[i] + 8 * MIB, 20 * KIB, (uint64_t)i + 2);
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        assert_ok(write_backup(s->f.r, s->f.cancel, "web", i + 1, s->p[i],
                               s->size, &m, e));
        memcpy(s->ids[i], m->id, sizeof(m->id));
    }
    assert_ok(store_list(s->f.st, "", note, s, e));
    for (size_t i = 0; i < s->n; i++) {
        s->bytes[i] = buf_of(64 << 20);
        assert_ok(store_get_all(s->f.st, s->names[i], &s->bytes[i], e));
    }
    *state = s;
    return 0;
}

static int
teardown(void **state)
{
    struct small *s = *state;

    for (size_t i = 0; i < s->n; i++)
        buf_done(&s->bytes[i]);
    free(s->p[0]);
    free(s->p[1]);
    fixture_end(&s->f);
    free(s);
    return 0;
}

static void
restore_object(struct small *s, size_t i)
{
    assert_int_equal(
        store_mem_replace(s->f.st, s->names[i], s->bytes[i].p, s->bytes[i].len),
        1);
}

struct checked {
    struct small *s;
    struct repo *r;
    unsigned backups;
    struct err err; /* the first volume that can't be read */
};

static int
check_backup(void *cookie, const struct manifest *m, struct err *e)
{
    struct checked *c = cookie;
    struct err why = {0};

    (void)e;
    assert_true(m->time_ns == 1 || m->time_ns == 2);
    assert_string_equal(m->machine, "web");
    int rc = compare_volume(c->r, &m->volumes[0].root, c->s->p[m->time_ns - 1],
                            &why);
    if (rc == 1)
        fail_msg("WRONG BYTES were read"); /* the one thing not to happen */
    if (rc == -1 && c->err.code == ERR_OK)
        c->err = why;
    c->backups += rc == 0;
    return 0;
}

/*
 * Open the repository and read all of it.  -1 if anything was found wrong;
 * *backups are those that can be read.
 */
static int
read_all(struct small *s, unsigned *backups, struct err *e)
{
    CLEANUP(repo_closep) struct repo *r = NULL;
    struct checked c = {.s = s};

    *backups = 0;
    if (repo_open(s->f.st, PASSWORD, &r, e) == -1)
        return -1;
    c.r = r;
    int rc = backup_list(r, check_backup, &c, e);
    *backups = c.backups;
    if (rc == 0 && c.err.code != ERR_OK) {
        *e = c.err;
        rc = -1;
    }
    return rc;
}

/* The parts of a pack that readers don't use are covered by its name. */
static int
check_pack(struct small *s, size_t i, const uint8_t *p, size_t len,
           struct err *e)
{
    enum pack_kind kind = PACK_DATA;
    uint8_t name[PACK_NAME_BYTES];

    if (!name_parse_pack(s->names[i], &kind, name))
        return 0;
    return pack_check(p, len, name, &s->f.r->keys, e);
}

/* Object i has these bytes now: that is found out, and never wrong bytes. */
static void
assert_detected(struct small *s, size_t i, const uint8_t *p, size_t len,
                const char *what)
{
    struct err e = {0};
    unsigned backups = 0;

    assert_int_equal(store_mem_replace(s->f.st, s->names[i], p, len), 1);
    int rc = read_all(s, &backups, &e);
    if (rc == 0)
        rc = check_pack(s, i, p, len, &e);
    if (rc == 0)
        fail_msg("%s: %s was not detected", s->names[i], what);
    assert_true(e.msg[0] != '\0');
    restore_object(s, i);
}

static bool
is_key(const struct small *s, size_t i)
{
    return strncmp(s->names[i], "keys/", 5) == 0;
}

/* Where a key bundle says how many passes over how many KiB its password
 * takes: nearly all values are allowed, and slow. */
static bool
costs_too_much(const struct small *s, size_t i, size_t byte)
{
    return is_key(s, i) && byte >= 28 && byte < 36;
}

static void
the_undamaged_is_read(void **state)
{
    unsigned backups = 0;

    assert_ok(read_all(*state, &backups, e));
    assert_int_equal(backups, 2);
}

/* Bits all over each object; the tests of each structure flip every one. */
static void
flipped_bits_are_detected(void **state)
{
    struct small *s = *state;

    for (size_t i = 0; i < s->n; i++) {
        CLEANUP(freep) uint8_t *copy = xmemdup(s->bytes[i].p, s->bytes[i].len);
        size_t bits = s->bytes[i].len * 8;
        for (size_t bit = i; bit < bits; bit += bits / 60 | 1) {
            char what[32];
            if (costs_too_much(s, i, bit / 8))
                continue;
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            (void)snprintf(what, sizeof(what), "bit %zu", bit);
            assert_detected(s, i, copy, s->bytes[i].len, what);
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static void
cut_objects_are_detected(void **state)
{
    struct small *s = *state;

    for (size_t i = 0; i < s->n; i++) {
        size_t len = s->bytes[i].len;
        const size_t cuts[] = {0, 1, 15, 16, 40, len / 2, len - 1};
        for (size_t k = 0; k < ARRAY_LEN(cuts); k++)
            assert_detected(s, i, s->bytes[i].p, cuts[k], "a cut");
    }
}

static void
longer_objects_are_detected(void **state)
{
    struct small *s = *state;

    for (size_t i = 0; i < s->n; i++) {
        CLEANUP(freep) uint8_t *more = xcalloc(1, s->bytes[i].len + 1);
        memcpy(more, s->bytes[i].p, s->bytes[i].len);
        assert_detected(s, i, more, s->bytes[i].len + 1, "a byte more");
    }
}

static void
swapped_objects_are_detected(void **state)
{
    struct small *s = *state;

    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->n; k++)
            if (i != k)
                assert_detected(s, i, s->bytes[k].p, s->bytes[k].len,
                                s->names[k]);
}

static void
missing_objects_are_detected(void **state)
{
    struct small *s = *state;

    for (size_t i = 0; i < s->n; i++) {
        struct err why = {0};
        unsigned backups = 0;
        if (strncmp(s->names[i], "refs/", 5) == 0)
            continue; /* no reader can know; the chain of refs is for check */
        assert_ok(store_remove(s->f.st, s->names[i], e));
        if (read_all(s, &backups, &why) == 0)
            fail_msg("%s was not missed", s->names[i]);
        if (is_key(s, i))
            assert_int_equal(why.code, ERR_KEY);
        assert_ok(
            store_put(s->f.st, s->names[i], s->bytes[i].p, s->bytes[i].len, e));
    }
}

/* What is damaged is named, and the rest can still be read. */
static void
damage_is_confined(void **state)
{
    struct small *s = *state;
    unsigned refs = 0, packs = 0;

    for (size_t i = 0; i < s->n; i++) {
        CLEANUP(freep) uint8_t *copy = xmemdup(s->bytes[i].p, s->bytes[i].len);
        struct err why = {0};
        unsigned backups = 0;
        bool ref = strncmp(s->names[i], "refs/", 5) == 0;
        bool pack = strncmp(s->names[i], "packs/d/", 8) == 0;
        if (!ref && !pack)
            continue;
        copy[s->bytes[i].len - 1] ^= 1; /* of a pack: its last object */
        (void)store_mem_replace(s->f.st, s->names[i], copy, s->bytes[i].len);
        assert_int_equal(read_all(s, &backups, &why), -1);
        assert_int_equal(why.code, ERR_CORRUPT);
        assert_non_null(strstr(why.msg, s->names[i]));
        assert_int_equal(backups, 1);
        if (pack)
            assert_non_null(strstr(why.msg, "bytes "));
        refs += ref;
        packs += pack;
        restore_object(s, i);
    }
    assert_int_equal(refs, 2);
    assert_int_equal(packs, 2);
}

/* The first backup again, with so much new; does it read well? */
static int
write_again(struct small *s, const struct backup_options *o, bool leaves,
            struct err *why)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;
    struct volume_root root = {0};
    struct backup_stats stats;

    assert_ok(backup_begin(s->f.r, o, s->f.cancel, &b, e));
    assert_ok(write_volume(b, "disk/vda", s->p[0], s->size, &root, e));
    backup_get_stats(b, &stats);
    assert_true(leaves == (stats.new_bytes > 0));
    manifest_add_volume(m, "disk/vda", &root);
    assert_ok(backup_commit(&b, m, e));
    return compare_volume(s->f.r, &root, s->p[0], why);
}

/* Who knows of damaged nodes has them stored again, and reads those. */
static void
nodes_are_stored_anew(void **state)
{
    const struct backup_options anew = {.nodes_anew = 1};
    struct small *s = *state;
    struct err why = {0};

    for (size_t i = 0; i < s->n; i++) {
        if (strncmp(s->names[i], "packs/m/", 8) != 0)
            continue;
        uint8_t *p = s->bytes[i].p;
        for (size_t at = 40 + get_le32(p + 20); at < s->bytes[i].len; at++)
            p[at] ^= 1;
        restore_object(s, i);
    }
    fixture_reopen(&s->f);
    assert_int_equal(write_again(s, NULL, false, &why), -1);
    assert_int_equal(why.code, ERR_CORRUPT);
    err_clear(&why);
    if (write_again(s, &anew, false, &why) != 0)
        fail_msg("%s", why.msg);
}

/* What was asked for, and found damaged, is stored again. */
static void
what_was_damaged_is_stored_anew(void **state)
{
    struct small *s = *state;
    struct err why = {0};

    for (size_t i = 0; i < s->n; i++) {
        if (strncmp(s->names[i], "packs/d/", 8) != 0)
            continue;
        s->bytes[i].p[s->bytes[i].len - 1] ^= 1;
        restore_object(s, i);
    }
    fixture_reopen(&s->f);
    assert_int_equal(write_again(s, NULL, false, &why), -1);
    assert_int_equal(why.code, ERR_CORRUPT);
    err_clear(&why);
    if (write_again(s, NULL, true, &why) != 0)
        fail_msg("%s", why.msg);
}

/* With an unreadable ref nobody can say which backup is the latest. */
static void
latest_is_never_guessed(void **state)
{
    struct small *s = *state;
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    for (size_t i = 0; i < s->n; i++) {
        if (strncmp(s->names[i], "refs/", 5) != 0 ||
            !strstr(s->names[i], "00.000000002-"))
            continue;
        CLEANUP(freep) uint8_t *copy = xmemdup(s->bytes[i].p, s->bytes[i].len);
        copy[100] ^= 1;
        (void)store_mem_replace(s->f.st, s->names[i], copy, s->bytes[i].len);
        assert_fails(backup_find(s->f.r, "latest", &m, e), ERR_CORRUPT,
                     "by its id");
        assert_fails(backup_find(s->f.r, "web@latest", &m, e), ERR_CORRUPT,
                     s->names[i]);
        assert_ok(backup_find(s->f.r, s->ids[0], &m, e));
        return;
    }
    fail();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_undamaged_is_read),
        TEST(flipped_bits_are_detected),
        TEST(cut_objects_are_detected),
        TEST(longer_objects_are_detected),
        TEST(swapped_objects_are_detected),
        TEST(missing_objects_are_detected),
        TEST(damage_is_confined),
        TEST(nodes_are_stored_anew),
        TEST(what_was_damaged_is_stored_anew),
        TEST(latest_is_never_guessed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
