/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/chunker.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "check.h"

enum { BLOCK = VOLUME_BLOCK_BYTES, BLOCKS = VOLUME_SLOT_BLOCKS };

static int
setup(void **state)
{
    struct slot *s = xcalloc(1, sizeof(*s));

    s->data = xmalloc(VOLUME_SLOT_BYTES);
    s->len = VOLUME_SLOT_BYTES;
    memset(s->data, 0xee, VOLUME_SLOT_BYTES); /* undefined where not marked */
    *state = s;
    return 0;
}

static int
teardown(void **state)
{
    struct slot *s = *state;

    free(s->data);
    free(s);
    return 0;
}

/* Blocks [first, first + n) are marked, with that byte in them. */
static void
put(struct slot *s, uint32_t first, uint32_t n, int byte)
{
    memset(s->data + (size_t)first * BLOCK, byte, (size_t)n * BLOCK);
    slot_mark(s, first * BLOCK, n * BLOCK);
}

static void
assert_chunks(struct slot *s, const uint32_t (*want)[2], size_t n)
{
    struct chunker_run run = {.chunker = CHUNKER_FIXED64K};
    struct chunk c;

    for (size_t i = 0; i < n; i++) {
        assert_true(chunker_next(&run, s, &c));
        assert_int_equal(c.first, want[i][0]);
        assert_int_equal(c.blocks, want[i][1]);
    }
    assert_false(chunker_next(&run, s, &c));
}

static void
nothing_marked_is_nothing(void **state)
{
    assert_chunks(*state, NULL, 0);
}

static void
marked_zeros_are_nothing(void **state)
{
    put(*state, 0, BLOCKS, 0);
    assert_chunks(*state, NULL, 0);
}

static void
cuts_are_at_64k(void **state)
{
    struct chunker_run run = {.chunker = CHUNKER_FIXED64K};
    struct chunk c;
    uint32_t at = 0;

    put(*state, 0, BLOCKS, 1);
    for (; chunker_next(&run, *state, &c); at += 16) {
        assert_int_equal(c.first, at);
        assert_int_equal(c.blocks, 16);
    }
    assert_int_equal(at, BLOCKS);
}

static void
zeros_at_the_ends_are_left_out(void **state)
{
    struct slot *s = *state;

    put(s, 0, 16, 0); /* marked zeros around data */
    put(s, 3, 2, 1);
    put(s, 7, 1, 1);
    put(s, 31, 2, 1);         /* across a cut, unmarked around it */
    put(s, BLOCKS - 1, 1, 1); /* the very last */
    s->data[40 * BLOCK] = 1;  /* not marked: not there */
    assert_chunks(
        s, (const uint32_t[][2]){{3, 5}, {31, 1}, {32, 1}, {BLOCKS - 1, 1}}, 4);
}

static void
one_byte_is_enough(void **state)
{
    struct slot *s = *state;

    put(s, 0, 64, 0);
    s->data[17 * BLOCK] = 1;
    s->data[34 * BLOCK - 1] = 1;
    assert_chunks(s, (const uint32_t[][2]){{17, 1}, {33, 1}}, 2);
}

static void
unmarked_blocks_inside_are_cleared(void **state)
{
    struct slot *s = *state;

    put(s, 2, 1, 1);
    put(s, 5, 1, 1);
    assert_chunks(s, (const uint32_t[][2]){{2, 4}}, 1);
    for (size_t i = 3 * BLOCK; i < 5 * BLOCK; i++)
        assert_int_equal(s->data[i], 0);
    assert_int_equal(s->data[2 * BLOCK], 1);
    assert_int_equal(s->data[6 * BLOCK], 0xee); /* nobody's business */
}

/* slot_mark, of volume.h: the last block of a volume may be short. */
static void
marking_clears_the_rest_of_a_short_block(void **state)
{
    struct slot *s = *state;

    s->len = 10 * BLOCK + 7;
    memset(s->data, 1, s->len);
    slot_mark(s, 8 * BLOCK, 2 * BLOCK + 7);
    assert_int_equal(s->marked[0], 7 << 8);
    assert_int_equal(s->data[s->len - 1], 1);
    for (size_t i = s->len; i < 11 * BLOCK; i++)
        assert_int_equal(s->data[i], 0);
    slot_mark(s, 0, 0);
    assert_int_equal(s->marked[0], 7 << 8);
}

/* ---- ba8 ---------------------------------------------------------------- */

/* Blocks that are all different, from a sequence that starts anywhere. */
static void
put_noise(struct slot *s, uint32_t first, uint32_t n, uint32_t content)
{
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *p = s->data + (size_t)(first + i) * BLOCK;
        uint32_t v = (content + i) * 2654435761U + 1;
        for (size_t k = 0; k < BLOCK; k += 4) {
            v = v * 1664525 + 1013904223;
            put_le32(p + k, v);
        }
    }
    slot_mark(s, first * BLOCK, n * BLOCK);
}

static size_t
cut(struct slot *s, uint64_t seed, struct chunk out[BLOCKS])
{
    struct chunker_run run = {.chunker = CHUNKER_BA8, .seed = seed};
    size_t n = 0;

    while (n < BLOCKS && chunker_next(&run, s, &out[n]))
        n++;
    return n;
}

/* In order, of 1 to 64 blocks, and they cover [first, first + blocks). */
static void
assert_covers(const struct chunk *c, size_t n, uint32_t first, uint32_t blocks)
{
    uint32_t at = first;

    for (size_t i = 0; i < n; i++) {
        assert_int_equal(c[i].first, at);
        assert_in_range(c[i].blocks, 1, 64);
        at += c[i].blocks;
    }
    assert_int_equal(at, first + blocks);
}

static void
ba8_covers_all_in_chunks_of_4_to_64(void **state)
{
    struct chunk c[BLOCKS];

    put_noise(*state, 0, BLOCKS, 1);
    size_t n = cut(*state, 5, c);
    assert_covers(c, n, 0, BLOCKS);
    for (size_t i = 0; i + 1 < n; i++)
        assert_true(c[i].blocks >= 4);
    assert_in_range(n, BLOCKS / 16, BLOCKS / 7); /* 11 blocks on average */
}

static void
ba8_ends_a_chunk_at_64(void **state)
{
    struct chunk c[BLOCKS];
    uint64_t seed = 0;

    /* Equal blocks end their chunks all at 4 or none before 64. */
    put(*state, 0, BLOCKS, 1);
    while (++seed < 1000 && cut(*state, seed, c) != BLOCKS / 64)
        ;
    assert_int_not_equal(seed, 1000);
    for (size_t i = 0; i < BLOCKS / 64; i++)
        assert_int_equal(c[i].blocks, 64);
    while (++seed < 1000 && cut(*state, seed, c) != BLOCKS / 4)
        ;
    assert_int_not_equal(seed, 1000);
}

static void
ba8_cuts_at_zeros(void **state)
{
    struct slot *s = *state;
    struct chunk c[BLOCKS];

    put(s, 0, 64, 0);
    put_noise(s, 3, 2, 1);
    put_noise(s, 6, 1, 9);
    put_noise(s, BLOCKS - 1, 1, 3);
    s->data[100 * BLOCK] = 1; /* not marked: not there */
    assert_int_equal(cut(s, 1, c), 3);
    assert_int_equal(c[0].first, 3);
    assert_int_equal(c[0].blocks, 2);
    assert_int_equal(c[1].first, 6);
    assert_int_equal(c[1].blocks, 1);
    assert_int_equal(c[2].first, BLOCKS - 1);
    memset(s->marked, 0, sizeof(s->marked));
    assert_int_equal(cut(s, 1, c), 0);
}

/* What it is for: content that moved by any number of blocks is cut alike but
 * for a few chunks at its ends. */
static void
ba8_finds_what_moved(void **state)
{
    struct slot *s = *state;
    struct chunk before[BLOCKS], after[BLOCKS];

    for (uint32_t by = 1; by < 200; by += 37) {
        memset(s->marked, 0, sizeof(s->marked));
        put_noise(s, 0, 1500, 1);
        size_t n = cut(s, 77, before), same = 0;
        put_noise(s, 0, by, 5000);
        put_noise(s, by, 1500, 1);
        size_t m = cut(s, 77, after);
        for (size_t i = 0, k = 0; i < n; i++) {
            while (k < m && after[k].first < before[i].first + by)
                k++;
            same += k < m && after[k].first == before[i].first + by &&
                    after[k].blocks == before[i].blocks;
        }
        assert_true(same + 20 > n);
    }
}

static void
ba8_depends_on_its_secret(void **state)
{
    struct chunk one[BLOCKS], other[BLOCKS];
    uint8_t k_id[HASH_KEY_BYTES] = {1};
    uint64_t seed = chunker_seed(k_id);

    assert_int_equal(chunker_seed(k_id), seed);
    k_id[31] ^= 1;
    assert_int_not_equal(chunker_seed(k_id), seed);
    put_noise(*state, 0, BLOCKS, 1);
    size_t n = cut(*state, seed, one),
           m = cut(*state, chunker_seed(k_id), other);
    assert_true(n != m || memcmp(one, other, n * sizeof(one[0])) != 0);
    assert_int_equal(cut(*state, seed, other), n);
    assert_memory_equal(one, other, n * sizeof(one[0]));
}

/* docs/format/tree.md: hosts must agree for ever, or nothing is found again. */
static void
ba8_cuts_as_documented(void **state)
{
    struct slot *s = *state;
    struct chunk c[BLOCKS];

    put_noise(s, 0, 600, 1);
    size_t n = cut(s, 42, c);
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 3; k < c[i].blocks; k++) {
            const uint8_t *p = s->data + (size_t)(c[i].first + k) * BLOCK;
            bool ends = XXH3_64bits_withSeed(p, BLOCK, 42) % 8 == 0;
            bool last = k == c[i].blocks - 1;
            assert_true(ends == last || k == 63 || i == n - 1);
        }
    static const uint8_t k_id[HASH_KEY_BYTES] = {7};
    assert_true(chunker_seed(k_id) == UINT64_C(0x81ae88f2dafdbd2a));
}

static void
both_are_known_and_no_other(void **state)
{
    (void)state;
    assert_true(chunker_is_known(CHUNKER_FIXED64K));
    assert_true(chunker_is_known(CHUNKER_BA8));
    assert_false(chunker_is_known(0));
    assert_false(chunker_is_known(3));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(nothing_marked_is_nothing),
        TEST(marked_zeros_are_nothing),
        TEST(cuts_are_at_64k),
        TEST(zeros_at_the_ends_are_left_out),
        TEST(one_byte_is_enough),
        TEST(unmarked_blocks_inside_are_cleared),
        TEST(marking_clears_the_rest_of_a_short_block),
        TEST(ba8_covers_all_in_chunks_of_4_to_64),
        TEST(ba8_ends_a_chunk_at_64),
        TEST(ba8_cuts_at_zeros),
        TEST(ba8_finds_what_moved),
        TEST(ba8_depends_on_its_secret),
        TEST(ba8_cuts_as_documented),
        TEST(both_are_known_and_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
