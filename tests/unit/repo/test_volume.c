/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/volume.h"

#include <pthread.h>
#include <stdio.h>

#include "fixture.h"
#include "repo/chunker.h"

enum { BLOCK = VOLUME_BLOCK_BYTES };

static int
setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    fixture_start(f);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

/* A backup that is given up at the end: its volumes can be read all the same
 * once their objects are stored, so commit is what is tested elsewhere. */
static struct backup_writer *
begin(struct fixture *f, const struct backup_options *o)
{
    struct backup_writer *b = NULL;

    assert_ok(backup_begin(f->r, o, f->cancel, &b, e));
    return b;
}

static void
commit(struct backup_writer *b, const char *name,
       const struct volume_root *root, struct manifest **out)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();

    manifest_add_volume(m, name, root);
    assert_ok(backup_commit(&b, m, e));
    assert_null(b);
    if (out)
        *out = STEAL(m);
}

static void
any_size_comes_back(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {
        0,           1,
        4095,        4096,
        4097,        64 * KIB - 1,
        64 * KIB,    64 * KIB + 1,
        8 * MIB - 1, 8 * MIB,
        8 * MIB + 1, 20 * MIB + 5000,
    };
    CLEANUP(freep) uint8_t *p = xmalloc(21 * MIB);

    fill_random(p, 21 * MIB, 7);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        assert_ok(
            write_backup(f->r, f->cancel, "m", (int64_t)i, p, sizes[i], &m, e));
        assert_int_equal(m->volumes[0].root.size_bytes, sizes[i]);
        assert_volume(f->r, &m->volumes[0].root, p);
        assert_int_equal(m->read_bytes, sizes[i]);
    }
}

/* ---- sparse ---------------------------------------------------------- */

/* Where the data is in a volume of 16 TiB, in order. */
static const uint64_t sparse_at[] = {
    0,
    8 * MIB - BLOCK,
    1024 * MIB,
    128 * 1024 * MIB - BLOCK,
    128 * 1024 * MIB,
    9 * TIB + 123 * BLOCK,
    16 * TIB - 2 * BLOCK,
};

static void
write_sparse(struct fixture *f, struct volume_root *out)
{
    struct backup_writer *b = begin(f, NULL);
    struct volume_writer *v = NULL;
    struct slot *s = NULL;

    assert_ok(volume_begin(b, "disk", 16 * TIB, &v, e));
    for (size_t i = 0; i < ARRAY_LEN(sparse_at); i++) {
        uint64_t index = sparse_at[i] / VOLUME_SLOT_BYTES;
        uint32_t at = (uint32_t)(sparse_at[i] % VOLUME_SLOT_BYTES);
        bool same = i > 0 && index == sparse_at[i - 1] / VOLUME_SLOT_BYTES;
        if (!same && s)
            volume_submit(v, s);
        if (!same)
            assert_ok(volume_slot(v, index, &s, e));
        fill_random(s->data + at, BLOCK, i + 1);
        slot_mark(s, at, BLOCK);
    }
    volume_submit(v, s);
    assert_ok(volume_end(&v, out, e));
    assert_null(v);
    commit(b, "disk", out, NULL);
}

static void
sixteen_tib_with_a_few_blocks(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *out = xmalloc(VOLUME_SLOT_BYTES);
    CLEANUP(freep) uint8_t *want = xmalloc(VOLUME_SLOT_BYTES);
    CLEANUP(volume_closep) struct volume_reader *v = NULL;
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64], index = 0;
    struct volume_root root;
    struct err why = {0};
    size_t seen = 0;
    int more = 0;

    write_sparse(f, &root);
    assert_int_equal(root.levels, 3);
    fixture_reopen(f);
    assert_ok(volume_open(f->r, &root, &v, e));
    for (; (more = volume_next_slot(v, &index, &why)) == 1; index++) {
        unsigned bits = 0;
        memset(want, 0, VOLUME_SLOT_BYTES);
        for (; seen < ARRAY_LEN(sparse_at) &&
               sparse_at[seen] / VOLUME_SLOT_BYTES == index;
             seen++) {
            uint32_t at = (uint32_t)(sparse_at[seen] % VOLUME_SLOT_BYTES);
            fill_random(want + at, BLOCK, seen + 1);
            bits++;
        }
        assert_ok(volume_read_slot(v, index, out, marked, e));
        assert_memory_equal(out, want, VOLUME_SLOT_BYTES);
        for (uint32_t i = 0; i < VOLUME_SLOT_BLOCKS; i++) {
            bool data = want[(size_t)i * BLOCK] != 0;
            assert_int_equal(marked[i / 64] >> (i % 64) & 1, data);
            bits -= data;
        }
        assert_int_equal(bits, 0);
    }
    assert_int_equal(more, 0);
    assert_int_equal(seen, ARRAY_LEN(sparse_at));

    /* A slot between is zero, and asking is no error. */
    assert_ok(volume_read_slot(v, 77, out, marked, e));
    for (size_t i = 0; i < VOLUME_SLOT_BYTES; i++)
        assert_int_equal(out[i], 0);
    assert_int_equal(marked[0], 0);
}

static void
all_zeros_are_nothing(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xcalloc(1, 30 * MIB);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    CLEANUP(volume_closep) struct volume_reader *v = NULL;
    static const uint8_t zero[VOLUME_CAPABILITY_BYTES];
    uint64_t index = 0;

    assert_ok(write_backup(f->r, f->cancel, "m", 1, p, 30 * MIB, &m, e));
    assert_memory_equal(m->volumes[0].root.h, zero, sizeof(zero));
    assert_int_equal(m->read_bytes, 30 * MIB);
    assert_int_equal(m->new_bytes, 0);
    assert_int_equal(usage_of(f->st, "packs/").objects, 0);
    assert_ok(volume_open(f->r, &m->volumes[0].root, &v, e));
    assert_int_equal(volume_next_slot(v, &index, &(struct err){0}), 0);
    assert_volume(f->r, &m->volumes[0].root, p);
}

static void
what_is_not_marked_is_zero(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *want = xcalloc(1, 8 * MIB);
    struct backup_writer *b = begin(f, NULL);
    struct volume_writer *v = NULL;
    struct volume_root root;
    struct slot *s = NULL;

    assert_ok(volume_begin(b, "disk", 8 * MIB, &v, e));
    assert_ok(volume_slot(v, 0, &s, e));
    memset(s->data, 0xee, VOLUME_SLOT_BYTES);
    for (uint32_t at = 3 * BLOCK; at < 8 * MIB; at += 5 * BLOCK) {
        fill_random(s->data + at, BLOCK, at);
        fill_random(want + at, BLOCK, at);
        slot_mark(s, at, BLOCK);
    }
    volume_submit(v, s);
    assert_ok(volume_end(&v, &root, e));
    commit(b, "disk", &root, NULL);
    assert_volume(f->r, &root, want);
}

/* ---- deduplication --------------------------------------------------- */

static void
equal_content_has_equal_roots(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(30 * MIB);
    struct volume_root roots[4];

    fill_random(p, 30 * MIB, 3);
    memset(p + 5 * MIB, 0, 9 * MIB);
    for (unsigned i = 0; i < 4; i++) {
        struct backup_options o = {.threads = i + 1, .level = (int)i + 1};
        struct backup_writer *b = begin(f, &o);
        struct volume_writer *v = NULL;
        assert_ok(volume_begin(b, "disk", 30 * MIB, &v, e));
        for (uint64_t k = 0; k < 4; k++) {
            uint64_t index = i % 2 ? 3 - k : k; /* in any order */
            struct slot *s = NULL;
            assert_ok(volume_slot(v, index, &s, e));
            memcpy(s->data, p + index * 8 * MIB, s->len);
            slot_mark(s, 0, s->len);
            volume_submit(v, s);
        }
        assert_ok(volume_end(&v, &roots[i], e));
        commit(b, "disk", &roots[i], NULL);
        assert_memory_equal(roots[i].h, roots[0].h, sizeof(roots[0].h));
    }
    p[29 * MIB] ^= 1;
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    assert_ok(write_backup(f->r, f->cancel, "m", 1, p, 30 * MIB, &m, e));
    assert_memory_not_equal(m->volumes[0].root.h, roots[0].h,
                            sizeof(roots[0].h));
}

static void
the_same_again_stores_nothing(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(40 * MIB);
    CLEANUP(manifest_freep) struct manifest *first = NULL, *second = NULL;

    fill_random(p, 40 * MIB, 3);
    assert_ok(write_backup(f->r, f->cancel, "m", 1, p, 40 * MIB, &first, e));
    assert_int_equal(first->new_bytes, 40 * MIB);
    assert_true(first->stored_bytes > 10 * MIB);
    fixture_reopen(f);
    struct usage before = usage_of(f->st, "");
    assert_ok(write_backup(f->r, f->cancel, "m", 2, p, 40 * MIB, &second, e));
    struct usage after = usage_of(f->st, "");
    assert_int_equal(second->new_bytes, 0);
    assert_int_equal(second->stored_bytes, 0);
    /* The ref and a sync marker. */
    assert_int_equal(after.objects - before.objects, 2);
    assert_true(after.bytes - before.bytes < 2000);
    assert_volume(f->r, &second->volumes[0].root, p);
}

/* A backup of [p, p + size), cut by this chunker. */
static struct manifest *
write_cut(struct fixture *f, uint8_t chunker, const uint8_t *p, uint64_t size)
{
    const struct backup_options o = {.chunker = chunker};
    struct backup_writer *b = begin(f, &o);
    struct volume_root root = {0};
    struct manifest *m = NULL;

    assert_ok(write_volume(b, "disk/vda", p, size, &root, e));
    if (chunker != 0)
        assert_int_equal(root.chunker, chunker);
    commit(b, "disk/vda", &root, &m);
    return m;
}

static void
a_small_change_stores_little(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(40 * MIB);

    fill_random(p, 40 * MIB, 3);
    manifest_free(write_cut(f, CHUNKER_FIXED64K, p, 40 * MIB));
    p[17 * MIB + 5] ^= 1;
    p[33 * MIB] ^= 1;
    CLEANUP(manifest_freep)
    struct manifest *m = write_cut(f, CHUNKER_FIXED64K, p, 40 * MIB);
    assert_int_equal(m->new_bytes, 2 * 64 * KIB);
    /* Two leaves, two slots, the root, a table each, the index: the nodes of
     * 40 MiB are some 7 KiB each. */
    assert_true(m->stored_bytes < 2 * 64 * KIB + 3 * 8 * KIB + 4 * KIB);
    assert_volume(f->r, &m->volumes[0].root, p);
}

/* By default what was inserted before it does not matter, if it is whole
 * blocks; that is more than a small change in place costs. */
static void
what_moved_is_found(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(40 * MIB);

    fill_random(p, 40 * MIB, 3);
    manifest_free(write_cut(f, 0, p, 40 * MIB));
    memmove(p + 5 * 4 * KIB, p, 40 * MIB - 5 * 4 * KIB);
    fill_random(p, 5 * 4 * KIB, 4);
    CLEANUP(manifest_freep) struct manifest *m = write_cut(f, 0, p, 40 * MIB);
    assert_int_equal(m->volumes[0].root.chunker, CHUNKER_BA8);
    /* At the ends of the five slots, where they cut otherwise. */
    assert_true(m->new_bytes < 5 * 2 * 256 * KIB);
    assert_volume(f->r, &m->volumes[0].root, p);

    p[17 * MIB + 5] ^= 1;
    CLEANUP(manifest_freep) struct manifest *n = write_cut(f, 0, p, 40 * MIB);
    assert_in_range(n->new_bytes, 4 * KIB, 2 * 256 * KIB);
    assert_volume(f->r, &n->volumes[0].root, p);
}

static void
there_are_no_other_chunkers(void **state)
{
    struct fixture *f = *state;
    const struct backup_options o = {.chunker = 3};
    struct backup_writer *b = NULL;

    assert_fails(backup_begin(f->r, &o, f->cancel, &b, e), ERR_USAGE,
                 "chunker");
}

static void
within_one_backup_too(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(32 * MIB);
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    for (int i = 0; i < 4; i++)
        fill_random(p + i * 8 * MIB, 8 * MIB, 1);
    assert_ok(write_backup(f->r, f->cancel, "m", 1, p, 32 * MIB, &m, e));
    assert_int_equal(m->new_bytes, 8 * MIB);
    assert_volume(f->r, &m->volumes[0].root, p);
}

/* ---- threads --------------------------------------------------------- */

struct disk {
    struct backup_writer *b;
    char name[16];
    uint8_t *p;
    uint64_t size;
    struct volume_root root;
};

static void *
write_disk(void *arg)
{
    struct disk *d = arg;

    assert_ok(write_volume(d->b, d->name, d->p, d->size, &d->root, e));
    return NULL;
}

static void
volumes_are_written_in_parallel(void **state)
{
    enum { N = 5 };
    struct fixture *f = *state;
    struct backup_options o = {.threads = 4, .memory_bytes = 40 * MIB};
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    CLEANUP(manifest_freep) struct manifest *found = NULL;
    struct disk disks[N];
    pthread_t threads[N];
    struct backup_writer *b = begin(f, &o);

    for (unsigned i = 0; i < N; i++) {
        struct disk *d = &disks[i];
        *d = (struct disk){.b = b, .size = (20 + i) * MIB + 100 * i};
        (void)snprintf(d->name, sizeof(d->name), "disk/%u", i);
        d->p = xmalloc(d->size);
        fill_random(d->p, d->size, i / 2); /* some have much in common */
        assert_int_equal(pthread_create(&threads[i], NULL, write_disk, d), 0);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        manifest_add_volume(m, disks[i].name, &disks[i].root);
    }
    assert_ok(backup_commit(&b, m, e));
    assert_true(m->new_bytes < 3 * 26 * MIB);
    fixture_reopen(f);
    assert_ok(backup_find(f->r, m->id, &found, e));
    for (int i = 0; i < N; i++) {
        assert_volume(f->r, &manifest_volume(found, disks[i].name)->root,
                      disks[i].p);
        free(disks[i].p);
    }
}

/* ---- slots that workers fill ------------------------------------------- */

struct filler {
    const uint8_t *p;
    uint64_t fail_at; /* index of a slot, or UINT64_MAX */
    _Atomic unsigned calls;
};

static int
fill(void *cookie, struct slot *s, struct err *e)
{
    struct filler *g = cookie;

    g->calls++;
    if (s->index == g->fail_at)
        return err_set(e, ERR_IO, "slot %llu has a bad block",
                       (unsigned long long)s->index);
    memcpy(s->data, g->p + s->index * VOLUME_SLOT_BYTES, s->len);
    slot_mark(s, 0, s->len);
    return 0;
}

static void
workers_fill_slots(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(101 * MIB);
    struct backup_options o = {.threads = 3};
    struct backup_writer *b = begin(f, &o);
    struct filler g = {.p = p, .fail_at = UINT64_MAX};
    struct volume_writer *v = NULL;
    struct volume_root root = {0};
    struct backup_stats stats = {0};

    fill_random(p, 101 * MIB, 3);
    memset(p + 20 * MIB, 0, 10 * MIB);
    assert_ok(volume_begin(b, "disk", 101 * MIB, &v, e));
    for (uint64_t i = 13; i-- > 0;)
        assert_ok(volume_fill(v, i, fill, &g, e));
    assert_fails(volume_fill(v, 13, fill, &g, e), ERR_USAGE, "13");
    assert_ok(volume_end(&v, &root, e));
    assert_int_equal(g.calls, 13);
    backup_get_stats(b, &stats);
    assert_int_equal(stats.read_bytes, 101 * MIB);
    commit(b, "disk", &root, NULL);
    assert_volume(f->r, &root, p);
}

static void
a_slot_that_cannot_be_filled_fails_the_volume(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xcalloc(1, 40 * MIB);
    struct backup_writer *b = begin(f, NULL);
    struct filler g = {.p = p, .fail_at = 3};
    struct volume_writer *v = NULL;
    struct volume_root root = {0};
    struct err why = {0};

    assert_ok(volume_begin(b, "disk/vda", 40 * MIB, &v, e));
    for (uint64_t i = 0; i < 5; i++)
        if (volume_fill(v, i, fill, &g, &why) == -1)
            break;
    assert_fails(volume_end(&v, &root, e), ERR_IO, "disk/vda");
    assert_null(v);
    backup_abandonp(&b);
}

struct reading {
    struct repo *r;
    const struct volume_root *root;
    const uint8_t *p;
};

static void *
read_disk(void *arg)
{
    struct reading *g = arg;

    for (int i = 0; i < 3; i++)
        assert_volume(g->r, g->root, g->p);
    return NULL;
}

static void
readers_share_a_repository(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(30 * MIB);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    pthread_t threads[4];

    fill_random(p, 30 * MIB, 3);
    assert_ok(write_backup(f->r, f->cancel, "m", 1, p, 30 * MIB, &m, e));
    fixture_reopen(f);
    struct reading g = {f->r, &m->volumes[0].root, p};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_disk, &g), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* ---- limits and refusals --------------------------------------------- */

static void
dropped_slots_leave_nothing(void **state)
{
    struct fixture *f = *state;
    struct backup_options o = {.memory_bytes = 1};
    struct backup_writer *b = begin(f, &o);
    struct volume_writer *v = NULL;
    struct volume_root root;
    static const uint8_t zero[VOLUME_CAPABILITY_BYTES];

    assert_ok(volume_begin(b, "disk", 800 * MIB, &v, e));
    for (uint64_t i = 0; i < 100; i++) { /* far more than fit in memory */
        struct slot *s = NULL;
        assert_ok(volume_slot(v, i, &s, e));
        assert_int_equal(s->index, i);
        assert_int_equal(s->len, VOLUME_SLOT_BYTES);
        volume_drop(v, s);
    }
    assert_ok(volume_end(&v, &root, e));
    assert_memory_equal(root.h, zero, sizeof(zero));
    backup_abandonp(&b);
    assert_null(b);
}

static void
who_holds_slots_need_not_wait(void **state)
{
    struct fixture *f = *state;
    struct backup_options o = {.memory_bytes = 1};
    struct backup_writer *b = begin(f, &o);
    struct slot *first = NULL, *second = NULL, *third = NULL;
    struct volume_writer *v = NULL;
    struct err failed = {0};

    assert_ok(volume_begin(b, "disk", 80 * MIB, &v, e));
    assert_int_equal(volume_try_slot(v, 0, &first, &failed), 1);
    assert_int_equal(volume_try_slot(v, 1, &second, &failed), 1);
    assert_int_equal(volume_try_slot(v, 2, &third, &failed), 0);
    assert_null(third);
    volume_drop(v, first);
    assert_int_equal(volume_try_slot(v, 2, &third, &failed), 1);
    assert_int_equal(third->index, 2);
    volume_drop(v, second);
    volume_drop(v, third);
    assert_int_equal(volume_try_slot(v, 10, &third, &failed), -1);
    assert_int_equal(failed.code, ERR_USAGE);
    volume_abandonp(&v);
    backup_abandonp(&b);
}

static void
nonsense_is_refused(void **state)
{
    struct fixture *f = *state;
    struct backup_writer *b = begin(f, NULL);
    struct volume_writer *v = NULL;
    struct volume_reader *reader = NULL;
    struct volume_root root = {.size_bytes = VOLUME_SIZE_MAX + 1, .levels = 4};
    CLEANUP(freep) uint8_t *out = xmalloc(VOLUME_SLOT_BYTES);
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];
    struct slot *s = NULL;

    assert_fails(volume_begin(b, "big", VOLUME_SIZE_MAX + 1, &v, e), ERR_LIMIT,
                 "big");
    assert_ok(volume_begin(b, "small", 8 * MIB + 1, &v, e));
    assert_fails(volume_slot(v, 2, &s, e), ERR_USAGE, "no slot 2");
    assert_ok(volume_slot(v, 1, &s, e));
    assert_int_equal(s->len, 1);
    volume_drop(v, s);
    volume_abandonp(&v);
    assert_null(v);
    backup_abandonp(&b);

    assert_fails(volume_open(f->r, &root, &reader, e), ERR_CORRUPT, "levels");
    root = (struct volume_root){.size_bytes = 9 * MIB, .levels = 0};
    assert_fails(volume_open(f->r, &root, &reader, e), ERR_CORRUPT, "levels");
    root.levels = 1;
    assert_ok(volume_open(f->r, &root, &reader, e));
    assert_fails(volume_read_slot(reader, 2, out, marked, e), ERR_USAGE,
                 "no slot 2");
    volume_close(reader);
    volume_close(NULL);
}

static void
a_slot_twice_fails_the_volume(void **state)
{
    struct fixture *f = *state;
    struct backup_writer *b = begin(f, NULL);
    struct volume_writer *v = NULL;
    struct volume_root root;

    assert_ok(volume_begin(b, "disk", 20 * MIB, &v, e));
    for (int i = 0; i < 2; i++) {
        struct slot *s = NULL;
        assert_ok(volume_slot(v, 1, &s, e));
        memset(s->data, 1, BLOCK);
        slot_mark(s, 0, BLOCK);
        volume_submit(v, s);
    }
    assert_fails(volume_end(&v, &root, e), ERR_USAGE, "twice");
    assert_null(v);
    backup_abandonp(&b);
}

/* A root whose tree is of another volume. */
static void
a_tree_must_fit_its_volume(void **state)
{
    struct fixture *f = *state;
    CLEANUP(freep) uint8_t *p = xmalloc(8 * MIB);
    CLEANUP(freep) uint8_t *out = xmalloc(VOLUME_SLOT_BYTES);
    CLEANUP(manifest_freep) struct manifest *m = NULL;
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64], index = 0;
    struct volume_reader *v = NULL;

    fill_random(p, 8 * MIB, 3);
    assert_ok(write_backup(f->r, f->cancel, "m", 1, p, 8 * MIB, &m, e));
    struct volume_root root = m->volumes[0].root;
    root.size_bytes = 8 * MIB - BLOCK;
    assert_ok(volume_open(f->r, &root, &v, e));
    assert_fails(volume_read_slot(v, 0, out, marked, e), ERR_CORRUPT,
                 "volume's end");
    volume_close(v);
    root.size_bytes = 9 * MIB;
    root.levels = 1;
    assert_ok(volume_open(f->r, &root, &v, e));
    assert_fails(volume_next_slot(v, &index, e), ERR_CORRUPT, "level");
    volume_close(v);
}

static void
a_cancel_ends_it(void **state)
{
    struct fixture *f = *state;
    struct backup_options o = {.memory_bytes = 1};
    struct backup_writer *b = begin(f, &o);
    struct volume_writer *v = NULL;
    struct volume_root root;
    struct slot *held[2], *s = NULL;

    assert_ok(volume_begin(b, "disk", 80 * MIB, &v, e));
    assert_ok(volume_slot(v, 0, &held[0], e));
    assert_ok(volume_slot(v, 1, &held[1], e));
    cancel_raise(f->cancel); /* there is no slot left: it would wait */
    assert_fails(volume_slot(v, 2, &s, e), ERR_CANCELED, "");
    volume_submit(v, held[0]);
    volume_drop(v, held[1]);
    assert_fails(volume_end(&v, &root, e), ERR_CANCELED, "");
    assert_fails(volume_begin(b, "other", 1, &v, e), ERR_CANCELED, "");
    backup_abandonp(&b);
    assert_int_equal(usage_of(f->st, "packs/").objects, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(any_size_comes_back),
        TEST(sixteen_tib_with_a_few_blocks),
        TEST(all_zeros_are_nothing),
        TEST(what_is_not_marked_is_zero),
        TEST(equal_content_has_equal_roots),
        TEST(the_same_again_stores_nothing),
        TEST(a_small_change_stores_little),
        TEST(what_moved_is_found),
        TEST(there_are_no_other_chunkers),
        TEST(within_one_backup_too),
        TEST(volumes_are_written_in_parallel),
        TEST(workers_fill_slots),
        TEST(a_slot_that_cannot_be_filled_fails_the_volume),
        TEST(readers_share_a_repository),
        TEST(dropped_slots_leave_nothing),
        TEST(who_holds_slots_need_not_wait),
        TEST(nonsense_is_refused),
        TEST(a_slot_twice_fails_the_volume),
        TEST(a_tree_must_fit_its_volume),
        TEST(a_cancel_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
