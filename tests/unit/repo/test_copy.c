/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/copy.h"

#include "fixture.h"
#include "repo/differ.h"
#include "store/store_fault.h"

/* Two repositories. */
struct pair {
    struct fixture from, to;
};

static int
setup(void **state)
{
    struct pair *p = xcalloc(1, sizeof(*p));

    fixture_start(&p->from);
    fixture_start(&p->to);
    *state = p;
    return 0;
}

static int
teardown(void **state)
{
    struct pair *p = *state;

    fixture_end(&p->from);
    fixture_end(&p->to);
    free(p);
    return 0;
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct copy_selection everything = {0};
static const struct copy_options silent = {0};

/* Copy what is chosen and not there: how many, or -1; the last one's result. */
static int
copy_chosen(struct pair *p, struct repo *to,
            const struct copy_selection *chosen, struct copy_result *last,
            struct err *e)
{
    CLEANUP(copy_plan_done) struct copy_plan plan = {0};
    int n = 0;

    if (copy_plan_make(p->from.r, to, chosen, &plan, e) == -1)
        return -1;
    for (size_t i = 0; i < plan.n; i++) {
        if (plan.items[i].state != COPY_WANTED)
            continue;
        if (copy_backup(p->from.r, to, &plan, i, &silent, p->to.cancel, last,
                        e) == -1)
            return -1;
        n++;
    }
    return n;
}

static int
copy_all(struct pair *p, struct repo *to, struct copy_result *last,
         struct err *e)
{
    return copy_chosen(p, to, &everything, last, e);
}

static void
assert_copies(struct pair *p, int want, struct copy_result *last)
{
    struct err e = {0};
    int n = copy_all(p, p->to.r, last, &e);

    if (n == -1)
        fail_msg("%s: %s", err_code_name(e.code), e.msg);
    assert_int_equal(n, want);
}

static void
assert_same(struct pair *p, const char *id, const uint8_t *want)
{
    CLEANUP(manifest_freep) struct manifest *m = NULL;

    assert_ok(backup_find(p->to.r, id, &m, e));
    assert_volume(p->to.r, &m->volumes[0].root, want);
}

/* Random changes on a sparse volume: each copy on the one before has all of it.
 */
static void
on_a_base_it_is_all_there(void **state)
{
    enum { SIZE = 40 * 1024 * 1024 + 5000, ROUNDS = 6 };
    struct pair *p = *state;
    CLEANUP(freep) uint8_t *disk = xcalloc(1, SIZE);
    struct copy_result r = {0};
    uint64_t seed = 77;

    fill_random(disk + 3 * MIB, 2 * MIB, seed);
    fill_random(disk + 30 * MIB, 3 * MIB, seed + 1);
    for (int round = 0; round < ROUNDS; round++) {
        CLEANUP(manifest_freep) struct manifest *copy = NULL;
        CLEANUP(manifest_freep) struct manifest *original = NULL;
        for (int k = 0; round > 0 && k < 4; k++) {
            seed = seed * UINT64_C(6364136223846793005) + 1;
            uint64_t len = 1 + (seed >> 40) % (600 * KIB);
            uint64_t at = (seed >> 8) % (SIZE - len);
            if (k == 3)
                memset(disk + at, 0, len);
            else
                fill_random(disk + at, len, seed);
        }
        assert_ok(write_backup(p->from.r, p->from.cancel, "web", 1 + round,
                               disk, SIZE, &original, e));
        assert_copies(p, 1, &r);
        assert_int_equal(r.base[0] != 0, round > 0);
        assert_same(p, r.id, disk);
        assert_ok(backup_find(p->to.r, r.id, &copy, e));
        assert_memory_not_equal(copy->volumes[0].root.h,
                                original->volumes[0].root.h, CAPABILITY_BYTES);
    }
}

/* A backup on `base`, in which each 4 KiB block that has a byte in `changed` is
 * what `disk` has now. */
static void
write_increment(struct fixture *f, struct manifest **base, int64_t time_ns,
                const uint8_t *disk, const uint8_t *changed)
{
    const struct volume_root *root = &(*base)->volumes[0].root;
    const struct backup_options o = {.base = (*base)->id};
    CLEANUP(manifest_freep) struct manifest *m = manifest_new();
    struct backup_writer *b = NULL;
    struct volume_writer *v = NULL;
    struct volume_root out = {0};

    assert_ok(backup_begin(f->r, &o, f->cancel, &b, e));
    assert_ok(volume_begin_on(b, "disk/vda", root, &v, e));
    for (uint64_t i = 0; i < div_up(root->size_bytes, VOLUME_SLOT_BYTES); i++) {
        struct slot *s = NULL;
        assert_ok(volume_slot(v, i, &s, e));
        for (uint32_t at = 0; at < s->len; at += VOLUME_BLOCK_BYTES) {
            uint64_t from = i * VOLUME_SLOT_BYTES + at;
            uint32_t len = (uint32_t)u64_min(VOLUME_BLOCK_BYTES, s->len - at);
            if (!changed[from / VOLUME_BLOCK_BYTES])
                continue;
            memcpy(s->data + at, disk + from, len);
            slot_mark(s, at, len);
        }
        volume_submit(v, s);
    }
    assert_ok(volume_end(&v, &out, e));
    free(m->machine);
    m->machine = xstrdup("web");
    m->time_ns = time_ns;
    manifest_add_volume(m, "disk/vda", &out);
    assert_ok(backup_commit(&b, m, e));
    manifest_freep(base);
    *base = STEAL(m);
}

/* Slots that name parts of leaves, copied whole and on a base. */
static void
of_parts_it_is_all_there(void **state)
{
    enum { SIZE = 17 * 1024 * 1024 + 5000, BLOCKS = SIZE / 4096 + 1 };
    enum { ROUNDS = 8, CHANGES = 40 };
    struct pair *p = *state;
    CLEANUP(freep) uint8_t *disk = xcalloc(BLOCKS, VOLUME_BLOCK_BYTES);
    CLEANUP(manifest_freep) struct manifest *last = NULL;
    struct copy_result r = {0};
    uint64_t seed = 5;

    fill_random(disk, 14 * MIB, seed);
    assert_ok(write_backup(p->from.r, p->from.cancel, "web", 1, disk, SIZE,
                           &last, e));
    for (int round = 0; round < ROUNDS; round++) {
        CLEANUP(freep) uint8_t *changed = xcalloc(BLOCKS, 1);
        for (int k = 0; k < CHANGES; k++) {
            seed = seed * UINT64_C(6364136223846793005) + 1;
            uint64_t block = (seed >> 20) % (BLOCKS - 1);
            changed[block] = 1;
            fill_random(disk + block * VOLUME_BLOCK_BYTES, VOLUME_BLOCK_BYTES,
                        seed);
        }
        write_increment(&p->from, &last, 2 + round, disk, changed);
        if (round == 1)
            continue; /* two at once */
        assert_copies(p, round == 2 ? 2 : round == 0 ? 2 : 1, &r);
        assert_same(p, r.id, disk);
        if (round > 0)
            assert_true(r.read_bytes <= (uint64_t)CHANGES * VOLUME_BLOCK_BYTES);
    }
}

/* Without a base, what slots of parts hold is read whole. */
static void
parts_are_copied_whole(void **state)
{
    enum { SIZE = 9 * 1024 * 1024, BLOCKS = SIZE / 4096 };
    struct pair *p = *state;
    CLEANUP(freep) uint8_t *disk = xcalloc(BLOCKS, VOLUME_BLOCK_BYTES);
    CLEANUP(freep) uint8_t *changed = xcalloc(BLOCKS, 1);
    CLEANUP(manifest_freep) struct manifest *last = NULL;
    struct copy_result r = {0};

    fill_random(disk, SIZE, 8);
    assert_ok(write_backup(p->from.r, p->from.cancel, "web", 1, disk, SIZE,
                           &last, e));
    for (unsigned i = 0; i < BLOCKS; i += 50) {
        changed[i] = 1;
        fill_random(disk + (size_t)i * VOLUME_BLOCK_BYTES, VOLUME_BLOCK_BYTES,
                    i);
    }
    write_increment(&p->from, &last, 2, disk, changed);
    const char *names[] = {last->id};
    struct err e = {0};
    assert_int_equal(copy_chosen(p, p->to.r,
                                 &(struct copy_selection){names, 1, NULL, 0, 0},
                                 &r, &e),
                     1);
    assert_string_equal(r.base, "");
    assert_same(p, r.id, disk);
}

static void
the_second_copy_reads_what_changed(void **state)
{
    enum { SIZE = 64 * 1024 * 1024 };
    struct pair *p = *state;
    CLEANUP(freep) uint8_t *disk = xcalloc(1, SIZE);
    struct copy_result r = {0};

    fill_random(disk, SIZE, 1);
    assert_ok(
        write_backup(p->from.r, p->from.cancel, "web", 1, disk, SIZE, NULL, e));
    assert_copies(p, 1, &r);
    assert_int_equal(r.read_bytes, SIZE);
    fill_random(disk + 20 * MIB, 10, 2);
    assert_ok(
        write_backup(p->from.r, p->from.cancel, "web", 2, disk, SIZE, NULL, e));
    assert_copies(p, 1, &r);
    assert_true(r.read_bytes > 0 && r.read_bytes <= 512 * KIB);
    assert_same(p, r.id, disk);
    /* Another machine has no base. */
    assert_ok(
        write_backup(p->from.r, p->from.cancel, "db", 3, disk, SIZE, NULL, e));
    assert_copies(p, 1, &r);
    assert_string_equal(r.base, "");
    assert_true(r.new_bytes < MIB); /* a base may be cut otherwise */
    assert_copies(p, 0, &r);
}

static void
one_repository_is_no_pair(void **state)
{
    struct pair *p = *state;
    CLEANUP(copy_plan_done) struct copy_plan plan = {0};

    assert_fails(copy_plan_make(p->from.r, p->from.r, &everything, &plan, e),
                 ERR_USAGE, "the same repository");
}

/* Whatever operation of the target fails, the next run ends with one good
 * copy, and nothing is told to be there that is not. */
static void
the_target_fails_anywhere(void **state)
{
    enum { SIZE = 9 * 1024 * 1024 };
    struct pair *p = *state;
    CLEANUP(freep) uint8_t *disk = xcalloc(1, SIZE);

    fill_random(disk, SIZE, 3);
    assert_ok(
        write_backup(p->from.r, p->from.cancel, "web", 1, disk, SIZE, NULL, e));
    for (uint64_t at = 1, met = 1; met; at++) {
        struct fixture f = {0};
        struct store *faulty = NULL;
        struct repo *to = NULL;
        struct copy_result r = {0};
        struct err ignored = {0};
        fixture_start(&f);
        faulty = store_fault_new(f.st);
        assert_ok(repo_open(faulty, PASSWORD, &to, e));
        store_fault_set(faulty, &(struct store_fault){.at = at});
        int rc = copy_all(p, to, &r, &ignored);
        met = store_fault_hits(faulty);
        assert_true(rc == 1 || met);
        repo_close(to);
        assert_ok(repo_open(f.st, PASSWORD, &to, e));
        struct err e = {0};
        int n = copy_all(p, to, &r, &e);
        if (n == -1)
            fail_msg("operation %u: %s", (unsigned)at, e.msg);
        /* A ref whose reply failed is there all the same. */
        assert_true(rc == -1 || n == 0);
        assert_int_equal(usage_of(f.st, "refs/").objects, 1);
        assert_int_equal(copy_all(p, to, &r, &e), 0);
        repo_close(to);
        store_close(faulty);
        fixture_end(&f);
    }
}

/* ---- differ ---------------------------------------------------------- */

static void
set_h(uint8_t h[CAPABILITY_BYTES], uint8_t v)
{
    memset(h, v, CAPABILITY_BYTES);
}

static void
blocks_of_two_slots(void **state)
{
    CLEANUP(node_freep) struct node *a = node_new(0), *b = node_new(0);
    uint64_t changed[VOLUME_SLOT_BLOCKS / 64];
    uint8_t one[CAPABILITY_BYTES], two[CAPABILITY_BYTES];

    (void)state;
    set_h(one, 1);
    set_h(two, 2);
    node_add_leaf(a, 8, one); /* the same */
    node_add_leaf(b, 8, one);
    assert_true(node_add_part(a, 4, two, 2, 16)); /* other content */
    assert_true(node_add_part(b, 4, one, 2, 8));
    assert_true(node_add_part(a, 4, two, 10, 16)); /* another part */
    assert_true(node_add_part(b, 4, two, 11, 16));
    assert_true(node_add_part(a, 8, two, 0, 16)); /* cut elsewhere, the same */
    assert_true(node_add_part(b, 3, two, 0, 16));
    node_add_hole(b, 2); /* gone */
    assert_true(node_add_part(b, 3, two, 5, 16));
    node_add_hole(a, 4); /* new */
    assert_true(node_add_part(b, 4, two, 0, 16));
    assert_true(node_add_part(a, 8, two, 0, 16)); /* gone */
    differ_blocks(a, b, changed);
    assert_int_equal(changed[0], UINT64_C(0x0000000fff18ff00));
    differ_blocks(b, a, changed);
    assert_int_equal(changed[0], UINT64_C(0x0000000fff18ff00));
    assert_int_equal(changed[1], 0);
    differ_blocks(NULL, b, changed);
    assert_int_equal(changed[0], UINT64_C(0x0fe7ffff));
    differ_blocks(a, a, changed);
    assert_true(bytes_are_zero(changed, sizeof(changed)));
    differ_blocks(NULL, NULL, changed);
    assert_true(bytes_are_zero(changed, sizeof(changed)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(on_a_base_it_is_all_there),
        PAIR_TEST(of_parts_it_is_all_there),
        PAIR_TEST(parts_are_copied_whole),
        PAIR_TEST(the_second_copy_reads_what_changed),
        PAIR_TEST(one_repository_is_no_pair),
        PAIR_TEST(the_target_fails_anywhere),
        cmocka_unit_test(blocks_of_two_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
