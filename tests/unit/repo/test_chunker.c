/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/chunker.h"

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

static void
only_what_is_built_is_known(void **state)
{
    (void)state;
    assert_true(chunker_is_known(CHUNKER_FIXED64K));
    assert_false(chunker_is_known(CHUNKER_BA8));
    assert_false(chunker_is_known(0));
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
        TEST(only_what_is_built_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
