/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/codec.h"

#include "base/bytes.h"
#include "check.h"

enum { LEN = 65536 };

static uint8_t plain[LEN], out[LEN + 1];

static int
unpack(struct codec *c, const uint8_t *p, size_t len, size_t room,
       struct err *e)
{
    size_t n = 0;

    return codec_unpack(c, p, len, out, room, &n, e);
}

static void
assert_round_trip(struct codec *c, size_t len, uint8_t encoding)
{
    CLEANUP(freep) uint8_t *packed = xmalloc(codec_room(len));
    size_t n = codec_pack(c, plain, len, packed), back = 0;

    assert_int_equal(packed[0], encoding);
    assert_true(n <= len + CODEC_HEAD_BYTES);
    assert_ok(codec_unpack(c, packed, n, out, len, &back, e));
    assert_int_equal(back, len);
    assert_memory_equal(out, plain, len);
}

static void
what_shrinks_is_compressed_and_what_does_not_is_raw(void **state)
{
    CLEANUP(codec_freep) struct codec *c = codec_new(1);
    uint64_t s = 1;

    (void)state;
    memset(plain, 'x', sizeof(plain));
    assert_round_trip(c, LEN, CODEC_ZSTD);
    assert_round_trip(c, 1000, CODEC_ZSTD);
    assert_round_trip(c, 1, CODEC_RAW);
    assert_round_trip(c, 0, CODEC_RAW);
    for (size_t i = 0; i < LEN; i++) {
        s ^= s << 13, s ^= s >> 7, s ^= s << 17;
        plain[i] = (uint8_t)(s >> 20);
    }
    assert_round_trip(c, LEN, CODEC_RAW);
}

static void
all_levels_work(void **state)
{
    (void)state;
    fill_random(plain, LEN, 1);
    for (int level = 1; level <= CODEC_LEVEL_MAX; level++) {
        CLEANUP(codec_freep) struct codec *c = codec_new(level);
        assert_round_trip(c, LEN, CODEC_ZSTD);
    }
}

/* Words of three to nine letters, out of a few hundred. */
static void
write_words(void)
{
    uint64_t s = 1;

    for (size_t at = 0; at < LEN;) {
        s = s * UINT64_C(6364136223846793005) + 1442695040888963407U;
        uint64_t word = (s >> 33) % 300;
        for (size_t i = 0; i < 3 + word % 7 && at < LEN; i++)
            plain[at++] = (uint8_t)('a' + (word * 7919 + i * i * word) % 26);
        if (at < LEN)
            plain[at++] = ' ';
    }
}

static void
dense_frames_are_smaller(void **state)
{
    CLEANUP(codec_freep) struct codec *c = codec_new(1);
    CLEANUP(freep) uint8_t *packed = xmalloc(codec_room(LEN));

    (void)state;
    write_words();
    size_t at_first = codec_pack(c, plain, LEN, packed);
    codec_set_dense(c, false);
    size_t fast = codec_pack(c, plain, LEN, packed);
    assert_round_trip(c, LEN, CODEC_ZSTD);
    codec_set_dense(c, true);
    assert_int_equal(codec_pack(c, plain, LEN, packed), at_first);
    assert_round_trip(c, LEN, CODEC_ZSTD);
    assert_true(at_first < fast);
}

/* Each of so many letters as often as the others: nothing but Huffman's code
 * makes them smaller. */
static size_t
pack_letters(struct codec *c, unsigned letters, uint8_t *packed)
{
    uint64_t s = letters;

    for (size_t i = 0; i < LEN; i++) {
        s = s * UINT64_C(6364136223846793005) + 1442695040888963407U;
        plain[i] = (uint8_t)('0' + (s >> 40) % letters);
    }
    return codec_pack(c, plain, LEN, packed);
}

static void
what_the_code_of_letters_shrinks_gets_it(void **state)
{
    static const unsigned letters[] = {256, 16, 200, 64, 32, 256, 8, 128, 16};
    CLEANUP(codec_freep) struct codec *c = codec_new(1);
    CLEANUP(freep) uint8_t *packed = xmalloc(codec_room(LEN));
    CLEANUP(freep) uint8_t *alone = xmalloc(codec_room(LEN));

    (void)state;
    codec_set_dense(c, false);
    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        CLEANUP(codec_freep) struct codec *fresh = codec_new(1);
        size_t n = pack_letters(c, letters[i], packed);
        if (letters[i] <= 64)
            assert_true(n < LEN * 8 / 10);
        else
            assert_int_equal(packed[0], CODEC_RAW);
        /* What came before makes no difference. */
        codec_set_dense(fresh, false);
        assert_int_equal(pack_letters(fresh, letters[i], alone), n);
        assert_memory_equal(alone, packed, n);
        assert_round_trip(c, LEN, packed[0]);
    }
}

static void
nothing_is_written_past_the_room(void **state)
{
    CLEANUP(codec_freep) struct codec *c = codec_new(1);
    CLEANUP(freep) uint8_t *packed = xmalloc(codec_room(LEN));

    (void)state;
    fill_random(plain, LEN, 1);
    size_t n = codec_pack(c, plain, LEN, packed);
    out[1000] = 0xaa;
    assert_fails(unpack(c, packed, n, 1000, e), ERR_CORRUPT, "at most 1000");
    assert_int_equal(out[1000], 0xaa);

    /* A head that says less than the frame holds, or more. */
    put_le32(packed + 4, 1000);
    assert_fails(unpack(c, packed, n, 1000, e), ERR_CORRUPT, "decompress");
    assert_int_equal(out[1000], 0xaa);
    put_le32(packed + 4, LEN + 1);
    assert_fails(unpack(c, packed, n, LEN + 1, e), ERR_CORRUPT, "decompress");
}

static void
the_head_is_checked(void **state)
{
    CLEANUP(codec_freep) struct codec *c = codec_new(1);
    uint8_t packed[CODEC_HEAD_BYTES + 4] = {CODEC_RAW, 0, 0, 0, 4, 0, 0, 0};

    (void)state;
    assert_ok(unpack(c, packed, sizeof(packed), 4, e));
    for (size_t n = 0; n < sizeof(packed); n++)
        assert_fails(unpack(c, packed, n, 4, e), ERR_CORRUPT, "it ");
    for (int i = 1; i < 4; i++) {
        packed[i] = 1;
        assert_fails(unpack(c, packed, sizeof(packed), 4, e), ERR_CORRUPT,
                     "not zero");
        packed[i] = 0;
    }
    for (int encoding = CODEC_ZSTD + 1; encoding < 256; encoding++) {
        packed[0] = (uint8_t)encoding;
        assert_fails(unpack(c, packed, sizeof(packed), 4, e), ERR_UNSUP,
                     "newer");
    }
}

static void
a_damaged_frame_never_overflows(void **state)
{
    CLEANUP(codec_freep) struct codec *c = codec_new(1);
    CLEANUP(freep) uint8_t *packed = xmalloc(codec_room(4096));
    struct err e = {0};

    (void)state;
    fill_random(plain, 4096, 1);
    size_t n = codec_pack(c, plain, 4096, packed);
    out[4096] = 0xaa;
    for (size_t i = CODEC_HEAD_BYTES * 8; i < n * 8; i++) {
        packed[i / 8] ^= (uint8_t)(1 << i % 8);
        if (unpack(c, packed, n, 4096, &e) == -1)
            err_clear(&e);
        assert_int_equal(out[4096], 0xaa);
        packed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_shrinks_is_compressed_and_what_does_not_is_raw),
        cmocka_unit_test(all_levels_work),
        cmocka_unit_test(dense_frames_are_smaller),
        cmocka_unit_test(what_the_code_of_letters_shrinks_gets_it),
        cmocka_unit_test(nothing_is_written_past_the_room),
        cmocka_unit_test(the_head_is_checked),
        cmocka_unit_test(a_damaged_frame_never_overflows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
