/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that mostly equal one of another backup (volume_begin_on). */
#include <stdio.h>

#include "base/buf.h"
#include "fixture.h"
#include "repo/checker.h"
#include "repo/chunker.h"
#include "repo/descend.h"
#include "repo/fetch.h"
#include "repo/forget.h"
#include "repo/lost.h"
#include "repo/repo_internal.h"
#include "repo/splice.h"
#include "repo/volume.h"

enum { BLOCK = VOLUME_BLOCK_BYTES, SLOT = VOLUME_SLOT_BYTES };

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

/* ---- a volume, and what changed in it ---------------------------------- */

/* Content that is compared with, and which of its blocks may have changed. */
struct disk {
    uint8_t *p; /* of whole blocks */
    uint64_t size, blocks;
    uint8_t *changed; /* a byte a block */
    uint64_t seed;
    uint8_t chunker;
    struct volume_root root; /* of the last backup */
    char id[BACKUP_ID_LEN + 1];
};

static uint64_t
pick(struct disk *d, uint64_t below)
{
    d->seed = d->seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (d->seed >> 33) % below;
}

static void
disk_start(struct disk *d, uint64_t size, uint8_t chunker, uint64_t seed)
{
    *d = (struct disk){.size = size,
                       .blocks = div_up(size, BLOCK),
                       .seed = seed,
                       .chunker = chunker};
    d->p = xcalloc(d->blocks, BLOCK);
    d->changed = xcalloc(d->blocks, 1);
}

static void
disk_done(struct disk *d)
{
    free(d->p);
    free(d->changed);
}

/* Anything in these blocks: all different, all the same, zeros, or what was
 * there before.  What is behind the end stays zero. */
static void
change(struct disk *d, uint64_t first, uint64_t n)
{
    uint64_t kind = pick(d, 8), content = pick(d, 1 << 20);

    n = u64_min(n, d->blocks - first);
    for (uint64_t i = first; i < first + n; i++) {
        uint8_t *p = d->p + i * BLOCK;
        uint64_t last = i * BLOCK + BLOCK > d->size ? d->size % BLOCK : BLOCK;
        d->changed[i] = 1;
        if (kind < 2)
            memset(p, 0, BLOCK);
        else if (kind < 7)
            fill_random(p, last, content + (kind == 6 ? i % 4 : i));
    }
}

static void
change_much(struct disk *d, unsigned times, uint64_t longest)
{
    memset(d->changed, 0, d->blocks);
    for (unsigned i = 0; i < times; i++)
        change(d, pick(d, d->blocks), 1 + pick(d, longest));
}

/* The slot's blocks for which `changed` says so (NULL: all), data and zeros,
 * as few marks as can be or one a block. */
static void
fill_slot(struct disk *d, struct slot *s, const uint8_t *changed)
{
    uint64_t first = s->index * VOLUME_SLOT_BLOCKS;
    bool mark_zeros = pick(d, 2);

    memset(s->data, 0xee, SLOT);
    for (uint32_t at = 0; at < s->len; at += BLOCK) {
        const uint8_t *from = d->p + s->index * SLOT + at;
        uint32_t len = (uint32_t)u64_min(BLOCK, s->len - at);
        if (changed && !changed[first + at / BLOCK])
            continue;
        memcpy(s->data + at, from, len);
        if (mark_zeros || !bytes_are_zero(from, len))
            slot_mark(s, at, len);
        else
            slot_change(s, at, len);
    }
}

static bool
any(const uint8_t *p, const struct disk *d, uint64_t slot)
{
    uint64_t at = slot * VOLUME_SLOT_BLOCKS;

    return !bytes_are_zero(p + at, u64_min(VOLUME_SLOT_BLOCKS, d->blocks - at));
}

/* On the last backup if `based`, else all of it. */
static void
write_disk(struct disk *d, struct backup_writer *b, bool based,
           struct volume_root *out)
{
    struct volume_writer *v = NULL;

    if (based)
        assert_ok(volume_begin_on(b, "disk", &d->root, &v, e));
    else
        assert_ok(volume_begin(b, "disk", d->size, &v, e));
    for (uint64_t i = 0; i < div_up(d->size, SLOT); i++) {
        struct slot *s = NULL;
        uint64_t at = i * SLOT, len = u64_min(SLOT, d->size - at);
        if (based ? !any(d->changed, d, i) : bytes_are_zero(d->p + at, len))
            continue;
        assert_ok(volume_slot(v, i, &s, e));
        fill_slot(d, s, based ? d->changed : NULL);
        volume_submit(v, s);
    }
    assert_ok(volume_end(&v, out, e));
}

static void
commit(struct disk *d, struct backup_writer *b, const struct volume_root *root,
       struct backup_stats *out)
{
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();

    manifest_add_volume(m, "disk", root);
    assert_ok(backup_commit(&b, m, e));
    d->root = *root;
    memcpy(d->id, m->id, sizeof(d->id));
    if (out)
        *out = (struct backup_stats){.read_bytes = m->read_bytes,
                                     .new_bytes = m->new_bytes,
                                     .stored_bytes = m->stored_bytes};
}

static struct backup_writer *
begin(struct fixture *f, const struct disk *d, bool based)
{
    const struct backup_options o = {.chunker = d->chunker,
                                     .base = based ? d->id : NULL};
    struct backup_writer *b = NULL;

    assert_ok(backup_begin(f->r, &o, f->cancel, &b, e));
    return b;
}

static void
backup(struct fixture *f, struct disk *d, bool based, struct backup_stats *out)
{
    struct backup_writer *b = begin(f, d, based);
    struct volume_root root = {0};

    write_disk(d, b, based, &root);
    commit(d, b, &root, out);
}

/* What a backup of all of it would have as root. */
static void
assert_root_is_that_of_all(struct fixture *f, struct disk *d)
{
    struct backup_writer *b = begin(f, d, false);
    struct volume_root all = {0};

    write_disk(d, b, false, &all);
    backup_abandonp(&b);
    assert_int_equal(d->root.size_bytes, all.size_bytes);
    assert_int_equal(d->root.levels, all.levels);
    assert_int_equal(d->root.chunker, all.chunker);
    assert_memory_equal(d->root.h, all.h, sizeof(all.h));
}

/* ---- the same content -------------------------------------------------- */

static void
any_changes(struct fixture *f, uint64_t size, uint8_t chunker, uint64_t seed)
{
    static const struct {
        unsigned times;
        uint64_t longest;
    } rounds[] = {{1, 1}, {3, 5}, {40, 3}, {5, 300}, {2, 2500}, {200, 20}};
    struct disk d;

    disk_start(&d, size, chunker, seed);
    change_much(&d, 1 + (unsigned)pick(&d, 30), 1 + pick(&d, 500));
    backup(f, &d, false, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rounds); i++) {
        struct backup_stats stats = {0};
        change_much(&d, rounds[i].times, rounds[i].longest);
        backup(f, &d, true, &stats);
        assert_true(stats.read_bytes <=
                    rounds[i].times * rounds[i].longest * BLOCK);
        assert_volume(f->r, &d.root, d.p);
    }
    /* And back to nothing. */
    memset(d.p, 0, d.blocks * BLOCK);
    memset(d.changed, 1, d.blocks);
    backup(f, &d, true, NULL);
    assert_true(bytes_are_zero(d.root.h, sizeof(d.root.h)));
    disk_done(&d);
}

/* VMKEEP_TEST_SEED=N VMKEEP_TEST_ROUNDS=N: longer, or one again. */
static uint64_t
setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void
any_changes_come_back(void **state)
{
    static const uint64_t sizes[] = {
        BLOCK,        3 * MIB + 1,        8 * MIB,
        8 * MIB + 10, 20 * MIB + 5 * KIB, 33 * MIB - BLOCK,
    };
    uint64_t first = setting("VMKEEP_TEST_SEED", 1);
    uint64_t rounds = setting("VMKEEP_TEST_ROUNDS", 1);

    (void)state;
    for (uint64_t seed = first; seed < first + rounds; seed++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            for (uint8_t c = CHUNKER_FIXED64K; c <= CHUNKER_BA8; c++) {
                struct fixture *f = xcalloc(1, sizeof(*f));
                if (rounds > 1)
                    (void)printf("# seed %u, size %u, chunker %u\n",
                                 (unsigned)seed, (unsigned)sizes[i], c);
                fixture_start(f);
                any_changes(f, sizes[i], c, seed);
                fixture_end(f);
                free(f);
            }
}

static void
with_nodes_between(void **state)
{
    any_changes(*state, 2100 * MIB + 5, CHUNKER_BA8, 7);
    any_changes(*state, 1032 * MIB, CHUNKER_FIXED64K, 8);
}

static void
nothing_changed_is_the_same_volume(void **state)
{
    struct fixture *f = *state;
    struct backup_stats stats = {0};
    struct disk d;

    disk_start(&d, 20 * MIB, CHUNKER_BA8, 3);
    change_much(&d, 30, 100);
    backup(f, &d, false, NULL);
    struct volume_root before = d.root;
    memset(d.changed, 0, d.blocks);
    fixture_reopen(f);
    backup(f, &d, true, &stats);
    assert_memory_equal(&d.root, &before, sizeof(before));
    assert_int_equal(stats.stored_bytes, 0);

    /* Nor is what was written again as it was. */
    memset(d.changed, 1, d.blocks);
    backup(f, &d, true, &stats);
    assert_memory_equal(&d.root, &before, sizeof(before));
    assert_int_equal(stats.stored_bytes, 0);
    assert_root_is_that_of_all(f, &d);
    disk_done(&d);
}

/* The cuts of a volume are its own, not those that new ones get. */
static void
the_base_says_how_it_is_cut(void **state)
{
    struct fixture *f = *state;
    struct disk d;

    disk_start(&d, 20 * MIB, CHUNKER_FIXED64K, 3);
    change_much(&d, 30, 100);
    backup(f, &d, false, NULL);
    change_much(&d, 5, 10);
    d.chunker = CHUNKER_BA8;
    backup(f, &d, true, NULL);
    assert_int_equal(d.root.chunker, CHUNKER_FIXED64K);
    d.chunker = CHUNKER_FIXED64K;
    assert_volume(f->r, &d.root, d.p);
    memset(d.changed, 1, d.blocks);
    backup(f, &d, true, NULL);
    assert_root_is_that_of_all(f, &d);
    disk_done(&d);
}

/* One that is cut in another way than it says comes out right all the same. */
static void
a_base_may_be_cut_oddly(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seed = 0; seed < 12; seed++) {
        struct disk d;
        disk_start(&d, 20 * MIB + 9, seed % 2 ? CHUNKER_FIXED64K : CHUNKER_BA8,
                   seed);
        change_much(&d, 60, 100);
        backup(f, &d, false, NULL);
        for (int i = 0; i < 3; i++) {
            d.root.chunker =
                d.root.chunker == CHUNKER_BA8 ? CHUNKER_FIXED64K : CHUNKER_BA8;
            change_much(&d, 30, 10);
            backup(f, &d, true, NULL);
            assert_volume(f->r, &d.root, d.p);
        }
        disk_done(&d);
    }
}

static void
a_block_of_a_large_volume_costs_little(void **state)
{
    struct fixture *f = *state;
    const struct backup_options none = {0};
    struct volume_root root = {0};
    struct backup_writer *b = NULL;
    struct volume_writer *v = NULL;
    struct backup_stats stats = {0};
    struct slot *s = NULL;
    struct disk d = {0};

    assert_ok(backup_begin(f->r, &none, f->cancel, &b, e));
    assert_ok(volume_begin(b, "disk", 16 * TIB, &v, e));
    for (uint64_t i = 0; i < 300; i++) {
        assert_ok(volume_slot(v, i * i * 20, &s, e));
        fill_random(s->data, BLOCK, i);
        slot_mark(s, 0, BLOCK);
        volume_submit(v, s);
    }
    assert_ok(volume_end(&v, &root, e));
    commit(&d, b, &root, NULL);

    b = begin(f, &d, true);
    assert_ok(volume_begin_on(b, "disk", &d.root, &v, e));
    assert_ok(volume_slot(v, 16 * TIB / SLOT - 1, &s, e));
    fill_random(s->data, BLOCK, 1000);
    slot_mark(s, 0, BLOCK);
    volume_submit(v, s);
    assert_ok(volume_end(&v, &root, e));
    commit(&d, b, &root, &stats);
    assert_int_equal(stats.new_bytes, BLOCK);
    /* Five objects of little, two packs and a segment. */
    assert_true(stats.stored_bytes < 3 * BLOCK + 10 * KIB);
}

static void
start_full_disk(struct fixture *f, struct disk *d, uint8_t chunker)
{
    disk_start(d, 40 * MIB, chunker, 3);
    fill_random(d->p, 40 * MIB, 3);
    backup(f, d, false, NULL);
}

static void
set_block(struct disk *d, uint64_t block, uint64_t content)
{
    fill_random(d->p + block * BLOCK, BLOCK, content);
    d->changed[block] = 1;
}

/* ---- parts of leaves --------------------------------------------------- */

/* Calls fn for each slot's node of the disk's last backup. */
typedef void node_fn(void *cookie, const struct node *n);
static void
each_slot(struct fixture *f, const struct disk *d, node_fn *fn, void *cookie)
{
    uint8_t h[CAPABILITY_BYTES];

    for (uint64_t i = 0; i < div_up(d->size, SLOT); i++) {
        struct fetched_node *n = NULL;
        struct err why = {0};
        uint64_t next = 0;
        int rc = descend(f->r->fetch, &d->root, 0, i, h, &next, &why);
        assert_int_not_equal(rc, -1);
        if (rc == 0)
            continue;
        assert_ok(fetch_node(f->r->fetch, h, 0, &n, e));
        fn(cookie, fetched_node(n));
        fetch_node_put(f->r->fetch, n);
    }
}

struct census {
    uint32_t slots, held, used, leaves, entries, most_leaves, most_entries,
        parts, tiny;
};

static void
count(void *cookie, const struct node *n)
{
    struct census *c = cookie;
    struct node_use use;

    node_use(n, &use);
    assert_true(use.held <= NODE_HELD_TIMES * use.used);
    c->slots++;
    c->held += use.held;
    c->used += use.used;
    c->leaves += n->n_leaves;
    c->entries += n->n;
    c->most_leaves = (uint32_t)u64_max(c->most_leaves, n->n_leaves);
    c->most_entries = (uint32_t)u64_max(c->most_entries, n->n);
    for (uint32_t i = 0; i < n->n; i++)
        c->parts +=
            !node_is_hole(&n->entries[i]) && !node_is_whole(&n->entries[i]);
    for (uint32_t i = 0; i < n->n_leaves; i++)
        c->tiny += node_leaf(n, i)->leaf_blocks <= SPLICE_TINY_BLOCKS;
}

static struct census
census_of(struct fixture *f, const struct disk *d)
{
    struct census c = {0};

    each_slot(f, d, count, &c);
    return c;
}

/* One block in each of five places of a slot: they go into one leaf, and what
 * is around them stays. */
static void
short_runs_share_a_leaf(void **state)
{
    struct fixture *f = *state;
    struct backup_stats stats = {0};
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    struct census before = census_of(f, &d);
    assert_int_equal(before.parts, 0);
    for (uint64_t i = 0; i < 5; i++)
        set_block(&d, 2 * VOLUME_SLOT_BLOCKS + 100 + i * 200, i);
    backup(f, &d, true, &stats);
    struct census after = census_of(f, &d);
    assert_int_equal(stats.new_bytes, 5 * BLOCK);
    assert_int_equal(stats.read_bytes, 5 * BLOCK);
    assert_int_equal(after.leaves, before.leaves + 1);
    assert_in_range(after.entries, before.entries + 5, before.entries + 10);
    assert_int_equal(after.held, before.held + 5);
    assert_int_equal(after.used, before.used);
    assert_volume(f->r, &d.root, d.p);
    disk_done(&d);
}

/* What is long is cut as a whole volume would be: found again where it is. */
static void
long_runs_are_cut(void **state)
{
    struct fixture *f = *state;
    struct backup_stats stats = {0};
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    memset(d.changed, 0, d.blocks);
    memcpy(d.p + 3 * SLOT + 77 * BLOCK, d.p + 300 * BLOCK, 700 * BLOCK);
    memset(d.changed + 3 * VOLUME_SLOT_BLOCKS + 77, 1, 700);
    backup(f, &d, true, &stats);
    assert_true(stats.new_bytes < 150 * BLOCK);
    assert_volume(f->r, &d.root, d.p);
    disk_done(&d);
}

/* Blocks that become zero are holes, however they are called. */
static void
zeros_cost_no_leaf(void **state)
{
    struct fixture *f = *state;
    struct backup_stats stats = {0};
    struct disk d;

    start_full_disk(f, &d, CHUNKER_FIXED64K);
    for (uint64_t i = 0; i < 300; i++) {
        memset(d.p + i * 7 * BLOCK, 0, BLOCK);
        d.changed[i * 7] = 1;
    }
    backup(f, &d, true, &stats);
    assert_int_equal(stats.new_bytes, 0);
    assert_volume(f->r, &d.root, d.p);
    disk_done(&d);
}

/* A slot that has nothing left of the base is as if there were none. */
static void
all_of_a_slot_is_cut_as_ever(void **state)
{
    struct fixture *f = *state;
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    for (uint64_t i = 0; i < 100; i++)
        set_block(&d, i * 31, i);
    backup(f, &d, true, NULL);
    assert_true(census_of(f, &d).parts > 0);
    memset(d.changed, 1, d.blocks);
    backup(f, &d, true, NULL);
    assert_int_equal(census_of(f, &d).parts, 0);
    assert_root_is_that_of_all(f, &d);
    disk_done(&d);
}

/* However long it goes on: what is kept is at most twice what is used, what is
 * stored for it no more than a few times what changed, and nodes stay small. */
static void
hundreds_of_increments_stay_bounded(void **state)
{
    static const struct {
        unsigned rounds;
        uint32_t changes, longest;
    } cases[] = {{200, 1, 1}, {150, 40, 1}, {60, 8, 12}, {20, 700, 2}};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct fixture *f = xcalloc(1, sizeof(*f));
        uint64_t changed = 0, stored = 0, entries = 0;
        struct disk d;

        fixture_start(f);
        disk_start(&d, SLOT, k % 2 ? CHUNKER_FIXED64K : CHUNKER_BA8, 9 + k);
        fill_random(d.p, SLOT, k);
        backup(f, &d, false, NULL);
        for (unsigned i = 0; i < cases[k].rounds; i++) {
            struct backup_stats stats = {0};
            memset(d.changed, 0, d.blocks);
            for (uint32_t c = 0; c < cases[k].changes; c++) {
                uint64_t first = pick(&d, VOLUME_SLOT_BLOCKS);
                uint64_t end = first + 1 + pick(&d, cases[k].longest);
                for (; first < u64_min(end, VOLUME_SLOT_BLOCKS); first++)
                    set_block(&d, first, pick(&d, UINT32_MAX));
            }
            for (uint64_t b = 0; b < d.blocks; b++)
                changed += d.changed[b];
            backup(f, &d, true, &stats);
            stored += stats.new_bytes / BLOCK;
            struct census c = census_of(f, &d);
            assert_true(c.held <= 2 * c.used);
            assert_true(c.tiny <= SPLICE_TINY_LEAVES + 1);
            assert_true(c.most_leaves <= 600);
            entries += c.entries;
            if (i % 20 == 0)
                assert_volume(f->r, &d.root, d.p);
        }
        assert_volume(f->r, &d.root, d.p);
        (void)printf("# %u changes a time: stored %.2f times what changed, %u "
                     "entries\n",
                     cases[k].changes, (double)stored / (double)changed,
                     (unsigned)(entries / cases[k].rounds));
        assert_true(stored <= 3 * changed + VOLUME_SLOT_BLOCKS);
        disk_done(&d);
        fixture_end(f);
        free(f);
    }
}

/* ---- what is read ------------------------------------------------------ */

struct names {
    char names[8][NAME_MAX_LEN];
    size_t n;
};

static int
note_name(void *cookie, const char *name, const struct store_stat *stat,
          struct err *e)
{
    struct names *n = cookie;

    (void)stat;
    (void)e;
    assert_true(n->n < ARRAY_LEN(n->names));
    (void)snprintf(n->names[n->n++], NAME_MAX_LEN, "%s", name);
    return 0;
}

static void
damage_all(struct fixture *f, const char *prefix)
{
    struct names n = {0};

    assert_ok(store_list(f->st, prefix, note_name, &n, e));
    assert_true(n.n > 0);
    for (size_t i = 0; i < n.n; i++) {
        CLEANUP(buf_done) struct buf b = buf_of(64 * MIB);
        assert_ok(store_get_all(f->st, n.names[i], &b, e));
        memset(b.p + b.len / 100, 0x55, b.len - b.len / 100);
        assert_int_equal(store_mem_replace(f->st, n.names[i], b.p, b.len), 1);
    }
}

/* Neither the blocks beside those that changed, nor the rest of their leaves.
 */
static void
what_did_not_change_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    damage_all(f, "packs/d/");
    fixture_reopen(f);
    for (uint64_t i = 0; i < 16; i++)
        set_block(&d, 37 + i * i * 3, 100 + i);
    backup(f, &d, true, NULL);
    disk_done(&d);
}

static void
increment_fails(struct fixture *f, struct disk *d, const char *text)
{
    struct backup_writer *b = begin(f, d, true);
    struct volume_writer *v = NULL;
    struct volume_root root = {0};
    struct slot *s = NULL;

    assert_ok(volume_begin_on(b, "disk", &d->root, &v, e));
    assert_ok(volume_slot(v, 2, &s, e));
    fill_slot(d, s, d->changed);
    volume_submit(v, s);
    assert_fails(volume_end(&v, &root, e), ERR_CORRUPT, text);
    backup_abandonp(&b);
}

/* A slot of which only every third block is left is cut anew. */
static void
damage_where_it_is_needed_is_told(void **state)
{
    struct fixture *f = *state;
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    damage_all(f, "packs/d/");
    fixture_reopen(f);
    for (uint64_t i = 0; i < VOLUME_SLOT_BLOCKS; i++)
        if (i % 3 != 0) {
            memset(d.p + 2 * SLOT + i * BLOCK, 0, BLOCK);
            d.changed[2 * VOLUME_SLOT_BLOCKS + i] = 1;
        }
    increment_fails(f, &d, "based on");

    damage_all(f, "packs/m/");
    fixture_reopen(f);
    increment_fails(f, &d, "object");
    disk_done(&d);
}

/* Taken over unseen, it would stay lost for ever. */
static void
a_base_of_which_something_is_lost_is_refused(void **state)
{
    struct fixture *f = *state;
    struct lost_item item = {.kind = LOST_DATA_PACK};
    struct volume_writer *v = NULL;
    struct names n = {0};
    struct disk d, other;

    start_full_disk(f, &d, CHUNKER_BA8);
    assert_ok(store_list(f->st, "packs/d/", note_name, &n, e));
    disk_start(&other, MIB, CHUNKER_BA8, 4);
    fill_random(other.p, MIB, 4);
    backup(f, &other, false, NULL);

    enum pack_kind kind;
    assert_true(name_parse_pack(n.names[0], &kind, item.name));
    assert_ok(lost_publish(f->r->lost, &item, 1, &f->r->keys, e));
    struct backup_writer *b = begin(f, &d, true);
    assert_fails(volume_begin_on(b, "disk", &d.root, &v, e), ERR_CORRUPT,
                 "lost");
    backup_abandonp(&b);

    /* That is not the other one's fault. */
    memset(other.changed, 0, other.blocks);
    set_block(&other, 5, 5);
    backup(f, &other, true, NULL);
    assert_volume(f->r, &other.root, other.p);

    /* All of it brings it back. */
    backup(f, &d, false, NULL);
    set_block(&d, 500, 5);
    backup(f, &d, true, NULL);
    assert_volume(f->r, &d.root, d.p);
    disk_done(&d);
    disk_done(&other);
}

struct extents {
    const char *backup;
    uint64_t from[16], len[16];
    size_t n;
};

static void
note_extent(void *cookie, const struct check_fault *x)
{
    struct extents *l = cookie;

    if (x->what != CHECK_EXTENT || strcmp(x->backup, l->backup) != 0)
        return;
    assert_true(l->n < ARRAY_LEN(l->from));
    l->from[l->n] = x->offset;
    l->len[l->n++] = x->len;
}

/* What can't be read of the last backup while the pack is not there. */
static struct extents
lost_without(struct fixture *f, const struct disk *d, const char *pack)
{
    struct extents l = {.backup = d->id};
    const struct check_options o = {
        .threads = 1, .fault = note_extent, .fault_cookie = &l};
    CLEANUP(buf_done) struct buf bytes = buf_of(64 * MIB);
    struct check_result result;

    assert_ok(store_get_all(f->st, pack, &bytes, e));
    assert_ok(store_remove(f->st, pack, e));
    fixture_reopen(f);
    assert_ok(check_repo(f->r, &o, f->cancel, &result, e));
    assert_ok(store_put(f->st, pack, bytes.p, bytes.len, e));
    fixture_reopen(f);
    return l;
}

static bool
is_in(const struct names *n, const char *name)
{
    for (size_t i = 0; i < n->n; i++)
        if (strcmp(n->names[i], name) == 0)
            return true;
    return false;
}

/* Lost are the blocks that are used of a leaf, not all that it holds. */
static void
lost_parts_are_told_exactly(void **state)
{
    enum { BLOCKS = VOLUME_SLOT_BLOCKS, TIMES = 5, STEP = 300 };
    struct fixture *f = *state;
    struct names before = {0}, after = {0};
    struct disk d;

    disk_start(&d, SLOT, CHUNKER_BA8, 3);
    fill_random(d.p, SLOT, 3);
    backup(f, &d, false, NULL);
    assert_ok(store_list(f->st, "packs/d/", note_name, &before, e));
    assert_int_equal(before.n, 1);
    for (uint64_t i = 1; i <= TIMES; i++)
        set_block(&d, i * STEP, i);
    backup(f, &d, true, NULL);
    assert_ok(store_list(f->st, "packs/d/", note_name, &after, e));
    assert_int_equal(after.n, 2);
    size_t added = is_in(&before, after.names[0]) ? 1 : 0;

    struct extents l = lost_without(f, &d, after.names[added]);
    assert_int_equal(l.n, TIMES);
    for (size_t i = 0; i < l.n; i++) {
        assert_int_equal(l.from[i], (i + 1) * STEP * BLOCK);
        assert_int_equal(l.len[i], BLOCK);
    }
    l = lost_without(f, &d, before.names[0]);
    assert_int_equal(l.n, TIMES + 1);
    for (size_t i = 0; i < l.n; i++) {
        uint64_t first = i == 0 ? 0 : i * STEP + 1;
        uint64_t end = i == TIMES ? BLOCKS : (i + 1) * STEP;
        assert_int_equal(l.from[i], first * BLOCK);
        assert_int_equal(l.len[i], (end - first) * BLOCK);
    }

    /* All of it, once the old leaves are out of use, makes the next one whole.
     */
    struct lost_item item = {.kind = LOST_DATA_PACK};
    struct volume_writer *v = NULL;
    enum pack_kind kind;
    assert_true(name_parse_pack(before.names[0], &kind, item.name));
    assert_ok(lost_publish(f->r->lost, &item, 1, &f->r->keys, e));
    struct backup_writer *b = begin(f, &d, true);
    assert_fails(volume_begin_on(b, "disk", &d.root, &v, e), ERR_CORRUPT,
                 "lost");
    backup_abandonp(&b);
    backup(f, &d, false, NULL);
    assert_volume(f->r, &d.root, d.p);
    set_block(&d, 7, 77);
    backup(f, &d, true, NULL);
    assert_volume(f->r, &d.root, d.p);
    disk_done(&d);
}

/* ---- the base ---------------------------------------------------------- */

static void
only_a_volume_of_the_base_will_do(void **state)
{
    struct fixture *f = *state;
    struct volume_writer *v = NULL;
    struct volume_root odd;
    struct disk d, other;

    start_full_disk(f, &d, CHUNKER_BA8);
    disk_start(&other, 40 * MIB, CHUNKER_BA8, 5);
    change_much(&other, 9, 9);
    backup(f, &other, false, NULL);

    struct backup_writer *b = begin(f, &d, true);
    assert_fails(volume_begin_on(b, "vda", &other.root, &v, e), ERR_USAGE,
                 "\"vda\"");
    odd = d.root;
    odd.chunker = 77;
    assert_fails(volume_begin_on(b, "vda", &odd, &v, e), ERR_UNSUP, "77");
    odd = d.root;
    odd.levels = 3;
    assert_fails(volume_begin_on(b, "vda", &odd, &v, e), ERR_CORRUPT, "levels");
    odd.size_bytes = VOLUME_SIZE_MAX + 1;
    assert_fails(volume_begin_on(b, "vda", &odd, &v, e), ERR_LIMIT, "vda");
    backup_abandonp(&b);

    b = begin(f, &d, false);
    assert_fails(volume_begin_on(b, "vda", &d.root, &v, e), ERR_USAGE,
                 "begun on");
    backup_abandonp(&b);
    disk_done(&d);
    disk_done(&other);
}

static void
a_volume_of_zeros_is_a_base_too(void **state)
{
    struct fixture *f = *state;
    struct disk d;

    disk_start(&d, 40 * MIB, CHUNKER_BA8, 5);
    backup(f, &d, false, NULL);
    set_block(&d, 5000, 5);
    backup(f, &d, true, NULL);
    assert_root_is_that_of_all(f, &d);
    disk_done(&d);
}

/* Who retires the base meanwhile makes the backup look at all it took over. */
static void
a_base_may_be_retired_meanwhile(void **state)
{
    struct fixture *f = *state;
    CLEANUP(forget_plan_done) struct forget_plan plan = {0};
    struct volume_root root = {0};
    size_t forgotten = 0;
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    const char *names[] = {d.id};
    struct backup_writer *b = begin(f, &d, true);
    set_block(&d, 5000, 1);
    write_disk(&d, b, true, &root);
    assert_ok(forget_by_name(f->r, names, 1, &plan, e));
    assert_ok(forget_carry_out(f->r, &plan, f->cancel, &forgotten, e));
    assert_int_equal(forgotten, 1);
    commit(&d, b, &root, NULL);
    assert_volume(f->r, &d.root, d.p);
    disk_done(&d);
}

static void
a_slot_twice_is_refused(void **state)
{
    struct fixture *f = *state;
    struct volume_writer *v = NULL;
    struct volume_root root = {0};
    struct disk d;

    start_full_disk(f, &d, CHUNKER_BA8);
    set_block(&d, 5000, 1);
    struct backup_writer *b = begin(f, &d, true);
    assert_ok(volume_begin_on(b, "disk", &d.root, &v, e));
    for (int i = 0; i < 2; i++) {
        struct slot *s = NULL;
        assert_ok(volume_slot(v, 2, &s, e));
        fill_slot(&d, s, d.changed);
        volume_submit(v, s);
    }
    assert_fails(volume_end(&v, &root, e), ERR_USAGE, "twice");
    backup_abandonp(&b);
    disk_done(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(any_changes_come_back),
        TEST(with_nodes_between),
        TEST(nothing_changed_is_the_same_volume),
        TEST(the_base_says_how_it_is_cut),
        TEST(a_base_may_be_cut_oddly),
        TEST(a_block_of_a_large_volume_costs_little),
        TEST(short_runs_share_a_leaf),
        TEST(long_runs_are_cut),
        TEST(zeros_cost_no_leaf),
        TEST(all_of_a_slot_is_cut_as_ever),
        TEST(hundreds_of_increments_stay_bounded),
        TEST(what_did_not_change_is_not_read),
        TEST(damage_where_it_is_needed_is_told),
        TEST(a_base_of_which_something_is_lost_is_refused),
        TEST(lost_parts_are_told_exactly),
        TEST(only_a_volume_of_the_base_will_do),
        TEST(a_volume_of_zeros_is_a_base_too),
        TEST(a_base_may_be_retired_meanwhile),
        TEST(a_slot_twice_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
