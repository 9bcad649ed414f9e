/* SPDX-License-Identifier: Apache-2.0 */
#include "damaged.h"
#include "repo/config.h"
#include "repo/index.h"
#include "repo/lost.h"
#include "repo/ref.h"
#include "repo/repo_internal.h"
#include "repo/segment.h"

/* Two slots; the first is different in both, the second the same but for 64
 * KiB. */
static void
fill(uint8_t *p, int i)
{
    fill_random(p, 300 * KIB, (uint64_t)i + 10);
    fill_random(p + 8 * MIB, 128 * KIB, 3);
    fill_random(p + 8 * MIB + 128 * KIB, 64 * KIB, (uint64_t)i + 20);
}

static int
setup(void **state)
{
    *state = damaged_new(8 * MIB + 256 * KIB, fill);
    return 0;
}

static int
teardown(void **state)
{
    damaged_free(*state);
    return 0;
}

static void
the_undamaged_is_clean(void **state)
{
    struct damaged *d = *state;

    assert_clean(d, false);
    assert_int_equal(d->result.backups, 2);
    assert_int_equal(d->result.packs, 4);
    assert_int_equal(d->result.segments, 2);
    assert_int_equal(d->result.read_packs, 0);
    assert_int_equal(d->result.nodes,
                     6); /* two slots and a node above, twice */
    assert_clean(d, true);
    assert_int_equal(d->result.read_packs, 4);
    assert_int_equal(d->result.read_bytes, d->result.pack_bytes);
    /* Each object is needed, so each has been opened. */
    assert_int_equal(d->result.opened_objects, d->result.objects);
    /* Leaves that are cut by content are 16 to 256 KiB. */
    assert_true(d->result.objects > 6 + 8 && d->result.objects < 6 + 60);
}

static void
damaged_leaf_is_named(void **state)
{
    struct damaged *d = *state;
    size_t i = damaged_find(d, "packs/d/", 0);

    damaged_flip(d, i, -1); /* of its last object */
    assert_clean(d, false);
    assert_ok(damaged_check(d, true, e));
    assert_non_null(damaged_has(d, CHECK_PACK, d->names[i]));
    const struct found *object = damaged_has(d, CHECK_OBJECT, d->names[i]);
    assert_non_null(object);
    assert_int_equal(strlen(object->object), 32);
    const struct found *extent = damaged_has(d, CHECK_EXTENT, "refs/");
    assert_non_null(extent);
    assert_string_equal(extent->volume, "disk/vda");
    assert_non_null(strstr(extent->why, object->object));
    assert_true(extent->len > 0 && extent->len <= 256 * KIB);
    assert_int_equal(extent->offset % (4 * KIB), 0);
    assert_int_equal(d->result.faults, 3);
    assert_int_equal(d->result.backups_damaged, 1);
    assert_int_equal(d->result.lost_bytes, extent->len);
    assert_true(strcmp(extent->backup, d->ids[0]) == 0 ||
                strcmp(extent->backup, d->ids[1]) == 0);
}

/* What the extents say is what can't be read, and nothing else. */
static void
extents_are_exact(void **state)
{
    struct damaged *d = *state;

    for (unsigned k = 0; k < 2; k++) {
        size_t i = damaged_find(d, "packs/d/", k);
        assert_ok(store_remove(d->f.st, d->names[i], e));
        assert_ok(damaged_check(d, false, e));
        assert_non_null(damaged_has(d, CHECK_PACK, d->names[i]));
        unsigned extents = 0;
        for (size_t n = 0; n < d->n_found; n++) {
            const struct found *x = &d->found[n];
            CLEANUP(manifest_freep) struct manifest *m = NULL;
            CLEANUP(volume_closep) struct volume_reader *v = NULL;
            CLEANUP(freep) uint8_t *out = xmalloc(VOLUME_SLOT_BYTES);
            uint64_t marked[VOLUME_SLOT_BLOCKS / 64];
            struct err why = {0};
            char first[60];
            if (x->what != CHECK_EXTENT)
                continue;
            extents++;
            CLEANUP(repo_closep) struct repo *r = NULL;
            assert_ok(repo_open(d->f.st, PASSWORD, &r, e));
            assert_ok(backup_find(r, x->backup, &m, e));
            assert_ok(volume_open(r, &m->volumes[0].root, &v, e));
            assert_int_equal(volume_read_slot(v, x->offset / VOLUME_SLOT_BYTES,
                                              out, marked, &why),
                             -1);
            (void)snprintf(first, sizeof(first), "bytes %llu to ",
                           (unsigned long long)x->offset);
            assert_non_null(strstr(why.msg, first));
        }
        assert_true(extents == 2 || extents == 3);
        assert_ok(
            store_put(d->f.st, d->names[i], d->bytes[i].p, d->bytes[i].len, e));
    }
    assert_clean(d, true);
}

static void
damaged_node_is_named(void **state)
{
    struct damaged *d = *state;
    size_t i = damaged_find(d, "packs/m/", 1);

    damaged_flip(d, i, -1);
    assert_ok(damaged_check(d, false, e));
    assert_non_null(damaged_has(d, CHECK_EXTENT, "refs/"));
    assert_int_equal(d->result.backups_damaged, 1);
    assert_ok(damaged_check(d, true, e));
    assert_non_null(damaged_has(d, CHECK_OBJECT, d->names[i]));
    assert_int_equal(d->result.backups_damaged, 1);
}

static void
damaged_table_is_no_loss(void **state)
{
    struct damaged *d = *state;

    /* The index says where everything is. */
    for (unsigned k = 0; k < 4; k++) {
        size_t i = damaged_find(d, k < 2 ? "packs/d/" : "packs/m/", k % 2);
        damaged_flip(d, i, 60);
        for (int data = 0; data < 2; data++) {
            assert_ok(damaged_check(d, data, e));
            const struct found *x = damaged_has(d, CHECK_PACK, d->names[i]);
            assert_non_null(x);
            assert_non_null(data ? x->why : strstr(x->why, "not authentic"));
            assert_null(damaged_has(d, CHECK_EXTENT, ""));
            assert_int_equal(d->result.backups_damaged, 0);
            assert_int_equal(d->result.lost_bytes, 0);
        }
        damaged_read(d);
        assert_int_equal(d->readable, 2);
        damaged_undo(d, i);
    }
}

/* But what is behind it may be lost as well. */
static void
damaged_table_and_leaf_are_a_loss(void **state)
{
    struct damaged *d = *state;
    size_t i = damaged_find(d, "packs/d/", 0);
    CLEANUP(freep) uint8_t *copy = xmemdup(d->bytes[i].p, d->bytes[i].len);

    copy[60] ^= 1;
    copy[d->bytes[i].len - 1] ^= 1;
    damaged_put(d, i, copy, d->bytes[i].len);
    assert_ok(damaged_check(d, false, e));
    assert_non_null(damaged_has(d, CHECK_PACK, d->names[i]));
    assert_non_null(damaged_has(d, CHECK_EXTENT, ""));
    assert_true(d->result.backups_damaged >= 1);
}

static void
damaged_segment_is_named(void **state)
{
    struct damaged *d = *state;
    size_t i = damaged_find(d, "index/d/", 0);

    damaged_flip(d, i, 100);
    assert_ok(damaged_check(d, false, e));
    assert_non_null(damaged_has(d, CHECK_SEGMENT, d->names[i]));
    const struct found *x = damaged_has(d, CHECK_EXTENT, "refs/");
    assert_non_null(x);
    assert_non_null(strstr(x->why, "vmkeep repair"));
    assert_int_equal(d->result.leftover_packs, 2);
}

/* A segment that is authentic and says what is not so. */
static void
lying_segment_is_named(void **state)
{
    struct damaged *d = *state;
    CLEANUP(segment_builder_freep)
    struct segment_builder *b = segment_builder_new();
    size_t i = damaged_find(d, "packs/d/", 0);
    struct pack_entry entry = {.offset = 50, .len = 10, .type = OBJECT_LEAF};
    struct pack pack = {.kind = PACK_DATA,
                        .entries = &entry,
                        .n_entries = 1,
                        .len = d->bytes[i].len};
    enum pack_kind kind = PACK_DATA;
    uint64_t bytes = 0;

    memset(entry.id, 7, sizeof(entry.id));
    assert_true(name_parse_pack(d->names[i], &kind, pack.name));
    segment_builder_add(b, &pack);
    assert_ok(index_publish(d->f.r->index, b, 5, &bytes, e));
    assert_ok(damaged_check(d, false, e));
    const struct found *x = damaged_has(d, CHECK_SEGMENT, "index/d/");
    assert_non_null(x);
    assert_string_equal(x->object, "07070707070707070707070707070707");
    assert_non_null(strstr(x->why, d->names[i]));
    assert_int_equal(d->result.faults, 1);
}

static void
damaged_ref_and_key_are_named(void **state)
{
    struct damaged *d = *state;
    size_t ref = damaged_find(d, "refs/", 0);

    damaged_flip(d, ref, 200);
    assert_ok(damaged_check(d, false, e));
    assert_non_null(damaged_has(d, CHECK_REF, d->names[ref]));
    assert_int_equal(d->result.faults, 1); /* the next one's link too? no */
    assert_int_equal(d->result.backups_damaged, 1);
    damaged_undo(d, ref);
    assert_ok(
        store_put(d->f.st, "keys/00112233445566778899aabbccddeeff", "x", 1, e));
    assert_ok(damaged_check(d, false, e));
    assert_non_null(damaged_has(d, CHECK_KEY, "keys/0011"));
    assert_int_equal(d->result.faults, 1);
}

static void
hidden_ref_is_missed(void **state)
{
    struct damaged *d = *state;
    size_t first = damaged_find(d, "refs/", 0);

    assert_ok(store_remove(d->f.st, d->names[first], e));
    assert_ok(damaged_check(d, false, e));
    const struct found *x = damaged_has(d, CHECK_HIDDEN, "refs/");
    assert_non_null(x);
    assert_string_equal(x->backup, d->ids[1]);
    assert_int_equal(d->result.faults, 1);
}

/* Maintenance and all backups stop at a list that can't be read, and a mark
 * that can't be read retires nothing. */
static void
damaged_notices_are_named(void **state)
{
    struct damaged *d = *state;

    damaged_notices(d);
    assert_clean(d, false);
    for (int i = 0; i < 2; i++) {
        const char *prefix = i ? "retired/" : "cond/";
        size_t at = damaged_find(d, prefix, 0);
        damaged_flip(d, at, -1);
        assert_ok(damaged_check(d, false, e));
        assert_non_null(damaged_has(d, CHECK_NOTICE, d->names[at]));
        assert_int_equal(d->result.faults, 1);
        damaged_put(d, at, (const uint8_t *)"", 0);
        assert_ok(damaged_check(d, false, e));
        assert_int_equal(d->result.faults, 1);
        damaged_undo(d, at);
    }
    assert_clean(d, false);
}

/* Once its grace is over, maintenance may be removing what it needs. */
static void
what_is_given_up_is_no_damage(void **state)
{
    struct damaged *d = *state;
    const struct check_options o = {
        .threads = 1, .fault = damaged_note_fault, .fault_cookie = d};

    damaged_notices(d); /* the first backup is retired */
    for (size_t i = 0; i < d->n; i++)
        if (strncmp(d->names[i], "packs/d/", 8) == 0)
            assert_ok(store_remove(d->f.st, d->names[i], e));
    for (int over = 0; over < 2; over++) {
        CLEANUP(repo_closep) struct repo *r = NULL;
        unsigned of[2] = {0};
        assert_ok(repo_open(d->f.st, PASSWORD, &r, e));
        if (over)
            r->config.grace_s = 0;
        d->n_found = 0;
        assert_ok(check_repo(r, &o, d->f.cancel, &d->result, e));
        for (size_t i = 0; i < d->n_found; i++)
            for (int k = 0; k < 2; k++)
                of[k] += strcmp(d->found[i].backup, d->ids[k]) == 0;
        assert_int_equal(of[0] > 0, !over);
        assert_true(of[1] > 0);
        assert_non_null(damaged_has(d, CHECK_PACK, "packs/d/"));
        assert_int_equal(d->result.backups_damaged, over ? 1 : 2);
    }
}

/* Of a backup that was given up, say. */
static void
leftovers_are_no_damage(void **state)
{
    struct damaged *d = *state;
    struct backup_writer *b = NULL;
    struct volume_root root = {0};
    CLEANUP(freep) uint8_t *p = xmalloc(100 * KIB);

    fill_random(p, 100 * KIB, 77);
    assert_ok(backup_begin(d->f.r, NULL, d->f.cancel, &b, e));
    assert_ok(write_volume(b, "disk/vda", p, 100 * KIB, &root, e));
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    manifest_add_volume(m, "disk/vda", &root);
    m->time_ns = 3;
    assert_ok(backup_commit(&b, m, e));
    size_t before = d->n;
    damaged_take(d);
    assert_true(d->n > before);
    /* As it is before its index and its ref are there. */
    assert_ok(
        store_remove(d->f.st, d->names[damaged_find(d, "index/d/", 2)], e));
    for (size_t i = 0; i < d->n; i++)
        if (strncmp(d->names[i], "refs/", 5) == 0 && strstr(d->names[i], "03-"))
            assert_ok(store_remove(d->f.st, d->names[i], e));
    assert_clean(d, true);
    assert_int_equal(d->result.leftover_packs, 2);
    assert_int_equal(d->result.packs, 6);
}

/* Store sealed bytes under this name, in a pack and an index that are right. */
static void
poison(struct damaged *d, enum object_type type, const struct object_name *name,
       const uint8_t *sealed, size_t len, size_t plain_len)
{
    CLEANUP(segment_builder_freep)
    struct segment_builder *b = segment_builder_new();
    struct pack *pack = pack_new();
    uint64_t bytes = 0;
    char to[160];

    pack_reset(pack, type == OBJECT_LEAF ? PACK_DATA : PACK_META);
    pack_add(pack, type, name->id, plain_len, sealed, len);
    pack_seal(pack, &d->f.r->keys);
    name_pack(pack->kind, pack->name, to);
    assert_ok(store_put(d->f.st, to, pack->bytes, pack->len, e));
    segment_builder_add(b, pack);
    assert_ok(index_publish(d->f.r->index, b, 6, &bytes, e));
    pack_free(pack);
}

/* Somebody who has the keys stored garbage under the name of what another
 * backup then found to be there already. */
static void
poisoned_leaf_is_found(void **state)
{
    struct damaged *d = *state;
    CLEANUP(sealer_freep) struct sealer *s = sealer_new(&d->f.r->keys, 1);
    uint8_t content[4096], garbage[4096];
    struct object_name name;
    size_t len = 0;

    fill_random(content, sizeof(content), 50);
    fill_random(garbage, sizeof(garbage), 51);
    object_name(&d->f.r->keys, OBJECT_LEAF, content, sizeof(content), &name);
    const uint8_t *sealed =
        object_seal_leaf(s, &name, garbage, sizeof(garbage), &len);
    poison(d, OBJECT_LEAF, &name, sealed, len, sizeof(garbage));
    assert_ok(write_backup(d->f.r, d->f.cancel, "web", 3, content,
                           sizeof(content), NULL, e));
    assert_clean(d, false);
    assert_ok(damaged_check(d, true, e));
    const struct found *x = damaged_has(d, CHECK_OBJECT, "packs/d/");
    assert_non_null(x);
    assert_non_null(strstr(x->why, "not what its name says"));
    x = damaged_has(d, CHECK_EXTENT, "refs/");
    assert_non_null(x);
    assert_int_equal(x->len, 4096);
    assert_int_equal(d->result.faults, 2);
}

/* Maintenance would collect the leaf that it is not told of. */
static void
lying_node_is_found(void **state)
{
    struct damaged *d = *state;
    CLEANUP(sealer_freep) struct sealer *s = sealer_new(&d->f.r->keys, 1);
    CLEANUP(node_freep) struct node *n = node_new(0);
    CLEANUP(node_freep) struct node *lie = node_new(0);
    CLEANUP(buf_done) struct buf entries = buf_of(4096);
    CLEANUP(buf_done) struct buf children = buf_of(4096);
    uint8_t content[4096];
    struct object_name leaf, name;
    size_t len = 0;

    fill_random(content, sizeof(content), 60);
    object_name(&d->f.r->keys, OBJECT_LEAF, content, sizeof(content), &leaf);
    node_add_leaf(n, 1, leaf.h);
    node_pack(n, &entries);
    object_name(&d->f.r->keys, OBJECT_NODE, entries.p, entries.len, &name);
    node_add_leaf(lie, 1, name.h);
    node_children_pack(lie, &children);
    const uint8_t *sealed = object_seal_node(s, &name, children.p, children.len,
                                             entries.p, entries.len, &len);
    poison(d, OBJECT_NODE, &name, sealed, len, entries.len);
    assert_ok(write_backup(d->f.r, d->f.cancel, "web", 3, content,
                           sizeof(content), NULL, e));
    assert_ok(damaged_check(d, true, e));
    const struct found *x = damaged_has(d, CHECK_OBJECT, "packs/m/");
    assert_non_null(x);
    assert_non_null(strstr(x->why, "children"));
}

static void
a_part_is_read(void **state)
{
    struct damaged *d = *state;
    struct check_options o = {.threads = 1};
    uint64_t packs = 0;

    for (uint64_t part = 1; part <= 3; part++) {
        o.data = (struct check_subset){
            .read = CHECK_READ_SOME, .parts = part, .of = 3};
        assert_ok(check_repo(d->f.r, &o, d->f.cancel, &d->result, e));
        packs += d->result.read_packs;
    }
    assert_int_equal(packs, 4);
    o.data = (struct check_subset){.read = CHECK_READ_SOME, .bytes = 1};
    assert_ok(check_repo(d->f.r, &o, d->f.cancel, &d->result, e));
    assert_int_equal(d->result.read_packs, 1);
    o.data = (struct check_subset){.read = CHECK_READ_SOME, .percent = 100};
    assert_ok(check_repo(d->f.r, &o, d->f.cancel, &d->result, e));
    assert_int_equal(d->result.read_packs, 4);
}

static void
subsets_are_parsed(void **state)
{
    struct check_subset s = {0};

    (void)state;
    assert_ok(check_parse_subset("10%", &s, e));
    assert_true(s.percent > 9.9 && s.percent < 10.1 && s.of == 0);
    assert_ok(check_parse_subset("2.5%", &s, e));
    assert_ok(check_parse_subset("2/7", &s, e));
    assert_int_equal(s.parts, 2);
    assert_int_equal(s.of, 7);
    assert_ok(check_parse_subset("20G", &s, e));
    assert_int_equal(s.bytes, 20 * 1024 * MIB);
    static const char *const bad[] = {"",    "%",    "0%",  "101%", "-1%",
                                      "0/3", "4/3",  "1/0", "/",    "x",
                                      "1%%", "nan%", "0",   "1/2/3"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(check_parse_subset(bad[i], &s, e), ERR_USAGE, bad[i]);
}

static void
cancel_ends_it(void **state)
{
    struct damaged *d = *state;

    cancel_raise(d->f.cancel);
    struct err e = {0};
    assert_int_equal(damaged_check(d, true, &e), -1);
    assert_int_equal(e.code, ERR_CANCELED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_undamaged_is_clean),
        TEST(damaged_leaf_is_named),
        TEST(extents_are_exact),
        TEST(damaged_node_is_named),
        TEST(damaged_table_is_no_loss),
        TEST(damaged_table_and_leaf_are_a_loss),
        TEST(damaged_segment_is_named),
        TEST(lying_segment_is_named),
        TEST(damaged_ref_and_key_are_named),
        TEST(hidden_ref_is_missed),
        TEST(damaged_notices_are_named),
        TEST(what_is_given_up_is_no_damage),
        TEST(leftovers_are_no_damage),
        TEST(poisoned_leaf_is_found),
        TEST(lying_node_is_found),
        TEST(a_part_is_read),
        TEST(subsets_are_parsed),
        TEST(cancel_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
