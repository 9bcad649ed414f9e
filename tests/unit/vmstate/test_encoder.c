/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/encoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "record.h"
#include "stream.h"
#include "vmstate/decoder.h"

static struct vmstate_block two_blocks[] = {
    {.name = "a", .used_bytes = 8 * PAGE},
    {.name = "bb", .used_bytes = 4 * PAGE},
};

/* What put_ram_start says. */
static struct vmstate_ram
two_block_ram(void)
{
    return (struct vmstate_ram){
        .section_id = STREAM_RAM_ID,
        .version_id = 4,
        .page_bytes = PAGE,
        .has_footers = true,
        .n_blocks = 2,
        .blocks = two_blocks,
    };
}

static struct buf
stream(void)
{
    return buf_of(SIZE_MAX / 8);
}

static void
assert_same_stream(const struct buf *got, const struct buf *want)
{
    assert_int_equal(got->len, want->len);
    assert_memory_equal(got->p, want->p, want->len);
}

static void
the_bytes_are_those_of_the_format(void **state)
{
    CLEANUP(buf_done) struct buf want = stream(), got = stream();
    CLEANUP(buf_done) struct buf head = stream(), tail = stream();
    CLEANUP(buf_done) struct buf data = stream();
    struct vmstate_ram ram = two_block_ram();
    struct err e = {0};

    (void)state;
    put_page(&data, 0, NULL, PAGE, 1);
    put_header(&head);
    put_config(&head, "pc-q35-7.2");
    put_page_bits(&head, 10);
    put_tail(&tail);

    buf_add(&want, head.p, head.len);
    put_ram_start(&want, PAGE);
    put_short(&want, 0x02, STREAM_RAM_ID);
    put_page(&want, 0, "a", PAGE, 1);
    put_zero_page(&want, 7 * PAGE, NULL);
    put_zero_page(&want, 3 * PAGE, "bb");
    put_page(&want, 0, "a", PAGE, 1);
    put_eos(&want);
    put_short(&want, 0x7e, STREAM_RAM_ID);
    put_tail(&want);

    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, &got);
    const uint8_t *page = data.p + 8;
    assert_int_equal(vmstate_encode_head(w, head.p, 10, &e), 0);
    assert_int_equal(vmstate_encode_head(w, head.p + 10, head.len - 10, &e), 0);
    assert_int_equal(vmstate_encode_ram(w, &ram, &e), 0);
    assert_int_equal(vmstate_encode_page(w, 0, 0, page, &e), 0);
    assert_int_equal(vmstate_encode_page(w, 0, 7 * PAGE, NULL, &e), 0);
    assert_int_equal(vmstate_encode_page(w, 1, 3 * PAGE, NULL, &e), 0);
    assert_int_equal(vmstate_encode_page(w, 0, 0, page, &e), 0);
    assert_int_equal(vmstate_encode_tail(w, tail.p, 1, &e), 0);
    assert_int_equal(vmstate_encode_tail(w, tail.p + 1, tail.len - 1, &e), 0);
    assert_int_equal(vmstate_encode_end(w, &e), 0);
    assert_same_stream(&got, &want);
}

/* Decodes `from` into an encoder that appends to `to`. */
static void
reencode(const struct buf *from, struct buf *to)
{
    struct err e = {0};
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, to);
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&reencode_sink, w, PAGE_4K);

    if (record_run(d, from->p, from->len, 1000, NULL, &e) == -1 ||
        vmstate_encode_end(w, &e) == -1)
        fail_msg("%s", e.msg);
}

static void
decode(const struct buf *b, struct record *r, struct vmstate_ram *ram)
{
    struct err e = {0};
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, r, PAGE_4K);

    if (record_run(d, b->p, b->len, b->len, NULL, &e) == -1)
        fail_msg("%s", e.msg);
    *ram = *vmstate_decoder_ram(d);
    ram->blocks = NULL;
}

static void
assert_round_trip(const struct buf *b)
{
    CLEANUP(buf_done) struct buf again = stream();
    CLEANUP(record_done) struct record first = record_new();
    CLEANUP(record_done) struct record second = record_new();
    struct vmstate_ram a, c;

    reencode(b, &again);
    decode(b, &first, &a);
    decode(&again, &second, &c);
    assert_true(record_same(&first, &second));
    assert_int_equal(a.has_end, c.has_end);
    assert_int_equal(a.has_footers, c.has_footers);
    assert_int_equal(a.has_switchover, c.has_switchover);
}

static void
what_was_decoded_encodes_to_the_same(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();

    (void)state;
    put_whole(&b);
    assert_round_trip(&b);
}

static void
the_ways_to_end_ram_are_kept(void **state)
{
    static const uint8_t switchover[] = {0x08, 0, 11, 0, 0};

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        CLEANUP(buf_done) struct buf b = stream(), again = stream();
        bool part = i & 1, told = i & 2, end = i & 4;
        put_begin(&b);
        if (part) {
            put_short(&b, 0x02, STREAM_RAM_ID);
            put_zero_page(&b, 0, "a");
            put_eos(&b);
            put_short(&b, 0x7e, STREAM_RAM_ID);
        }
        if (told && part)
            buf_add(&b, switchover, sizeof(switchover));
        if (end || !part) {
            put_short(&b, 0x03, STREAM_RAM_ID);
            put_eos(&b);
            put_short(&b, 0x7e, STREAM_RAM_ID);
        }
        put_tail(&b);
        assert_round_trip(&b);
        /* Small enough to be the same to the byte. */
        reencode(&b, &again);
        assert_same_stream(&again, &b);
    }
}

static void
sections_without_footers_stay_so(void **state)
{
    CLEANUP(buf_done) struct buf b = stream(), again = stream();

    (void)state;
    put_header(&b);
    put_section(&b, 0x01, 1, "ram", 4);
    buf_be64(&b, PAGE_4K | 4);
    put_block(&b, "pc.ram", PAGE_4K);
    put_eos(&b);
    put_short(&b, 0x02, 1);
    put_zero_page(&b, 0, "pc.ram");
    put_eos(&b);
    put_short(&b, 0x03, 1);
    put_eos(&b);
    put_section(&b, 0x04, 7, "timer", 2);
    buf_u8(&b, 0x00);
    assert_round_trip(&b);
    reencode(&b, &again);
    assert_same_stream(&again, &b);
}

static void
without_pages_there_is_an_empty_part(void **state)
{
    CLEANUP(buf_done) struct buf got = stream(), want = stream();
    struct vmstate_ram ram = two_block_ram();
    struct err e = {0};

    (void)state;
    for (int with_tail = 0; with_tail < 2; with_tail++) {
        buf_reset(&got);
        buf_reset(&want);
        put_ram_start(&want, PAGE);
        put_short(&want, 0x02, STREAM_RAM_ID);
        put_eos(&want);
        put_short(&want, 0x7e, STREAM_RAM_ID);
        CLEANUP(vmstate_encoder_freep)
        struct vmstate_encoder *w = vmstate_encoder_new(record_write, &got);
        assert_int_equal(vmstate_encode_ram(w, &ram, &e), 0);
        if (with_tail)
            assert_int_equal(vmstate_encode_tail(w, NULL, 0, &e), 0);
        assert_int_equal(vmstate_encode_end(w, &e), 0);
        assert_same_stream(&got, &want);
    }
}

static void
has_end_may_become_known_after_the_pages(void **state)
{
    CLEANUP(buf_done) struct buf got = stream();
    struct vmstate_ram ram = two_block_ram();
    struct err e = {0};
    static const uint8_t want[] = {
        0x03, 0, 0, 0,    STREAM_RAM_ID, 0, 0, 0, 0,
        0,    0, 0, 0x10, 0x7e,          0, 0, 0, STREAM_RAM_ID};

    (void)state;
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, &got);
    assert_int_equal(vmstate_encode_ram(w, &ram, &e), 0);
    assert_int_equal(vmstate_encode_page(w, 1, 0, NULL, &e), 0);
    ram.has_end = true;
    assert_int_equal(vmstate_encode_end(w, &e), 0);
    assert_memory_equal(got.p + got.len - sizeof(want), want, sizeof(want));
}

/* Pages of 64 KiB, so that many MiB are few pages. */
static void
much_ram_is_split_into_parts(void **state)
{
    enum { BIG = 65536, PAGES = 520 };
    struct vmstate_block block = {.name = "pc.ram",
                                  .used_bytes = (uint64_t)BIG * PAGES};
    struct vmstate_ram ram = {.section_id = 9,
                              .version_id = 4,
                              .page_bytes = BIG,
                              .has_footers = true,
                              .n_blocks = 1,
                              .blocks = &block};
    CLEANUP(buf_done) struct buf b = stream(), head = stream();
    CLEANUP(buf_done) struct buf tail = stream();
    CLEANUP(record_done) struct record r = record_new();
    CLEANUP(freep) uint8_t *data = xmalloc(BIG);
    struct vmstate_ram got;
    struct err e = {0};

    (void)state;
    put_header(&head);
    put_config(&head, "virt-7.2");
    put_page_bits(&head, 16);
    put_tail(&tail);
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, &b);
    assert_int_equal(vmstate_encode_head(w, head.p, head.len, &e), 0);
    assert_int_equal(vmstate_encode_ram(w, &ram, &e), 0);
    for (unsigned i = 0; i < PAGES; i++) {
        memset(data, (int)i, BIG);
        assert_int_equal(vmstate_encode_page(w, 0, (uint64_t)i * BIG, data, &e),
                         0);
    }
    assert_int_equal(vmstate_encode_tail(w, tail.p, tail.len, &e), 0);
    assert_int_equal(vmstate_encode_end(w, &e), 0);

    decode(&b, &r, &got);
    assert_int_equal(r.n_pages, PAGES);
    for (unsigned i = 0; i < PAGES; i++) {
        const uint8_t *page = r.pages.p + (size_t)i * (13 + BIG) + 13;
        assert_int_equal(page[0], (uint8_t)i);
        assert_int_equal(page[BIG - 1], (uint8_t)i);
    }
    /* 32.5 MiB in PARTs of 8 MiB; each names its block anew. */
    size_t payload = head.len + tail.len + (size_t)PAGES * (8 + BIG);
    size_t start = 1 + 4 + 4 + 8 + 8 + 7 + 8 + 8 + 5;
    assert_int_equal(b.len, payload + start + 5 * (5 + 7 + 8 + 5));
    assert_round_trip(&b);
}

static void
large_pieces_pass_through(void **state)
{
    enum { LARGE = 3 << 20 };
    struct vmstate_ram ram = two_block_ram();
    CLEANUP(buf_done) struct buf got = stream(), ramless = stream();
    CLEANUP(freep) uint8_t *large = xmalloc(LARGE);
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (uint8_t)(i * 31 + (i >> 9));
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, &got);
    assert_int_equal(vmstate_encode_head(w, large, 100, &e), 0);
    assert_int_equal(vmstate_encode_head(w, large + 100, LARGE - 100, &e), 0);
    assert_int_equal(vmstate_encode_ram(w, &ram, &e), 0);
    assert_int_equal(vmstate_encode_tail(w, large, LARGE, &e), 0);
    assert_int_equal(vmstate_encode_tail(w, large, 200000, &e), 0);
    assert_int_equal(vmstate_encode_tail(w, large, 100000, &e), 0);
    assert_int_equal(vmstate_encode_end(w, &e), 0);
    put_ram_start(&ramless, PAGE);
    size_t ram_len = ramless.len + 5 + 8 + 5;
    assert_int_equal(got.len, 2 * LARGE + 300000 + ram_len);
    assert_memory_equal(got.p, large, LARGE);
    assert_memory_equal(got.p + LARGE + ram_len, large, LARGE);
    assert_memory_equal(got.p + 2 * LARGE + ram_len, large, 200000);
    assert_memory_equal(got.p + got.len - 100000, large, 100000);
}

static void
pages_outside_of_ram_are_refused(void **state)
{
    struct vmstate_ram ram = two_block_ram();
    CLEANUP(buf_done) struct buf got = stream();
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, &got);
    static const struct {
        size_t block;
        uint64_t offset;
        const char *part;
    } cases[] = {
        {2, 0, "no RAM block number 2"},
        {SIZE_MAX, 0, "no RAM block number"},
        {0, 8 * PAGE, "\"a\" has no page at 0x2000"},
        {1, 4 * PAGE, "\"bb\" has no page at 0x1000"},
        {0, 1, "no page at 0x1"},
        {0, UINT64_MAX - PAGE + 1, "no page at 0xfffffffffffffc00"},
    };

    struct err first = {0};
    (void)state;
    assert_int_equal(vmstate_encode_ram(w, &ram, &first), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        assert_int_equal(
            vmstate_encode_page(w, cases[i].block, cases[i].offset, NULL, &e),
            -1);
        assert_int_equal(e.code, ERR_USAGE);
        assert_non_null(strstr(e.msg, cases[i].part));
    }
}

static void
ram_that_no_stream_can_hold_is_refused(void **state)
{
    struct vmstate_ram ram = two_block_ram();
    CLEANUP(buf_done) struct buf got = stream();
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, &got);
    struct err e = {0};

    (void)state;
    ram.page_bytes = 512;
    assert_int_equal(vmstate_encode_ram(w, &ram, &e), -1);
    assert_int_equal(e.code, ERR_UNSUP);
    assert_int_equal(got.len, 0);
}

/* A writer that takes `left` bytes, then fails. */
static int
fail_later(void *left, const uint8_t *p, size_t len, struct err *e)
{
    size_t *n = left;

    (void)p;
    if (len > *n)
        return err_set(e, ERR_NOSPACE, "full");
    *n -= len;
    return 0;
}

static void
a_failed_write_is_passed_on(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(freep) uint8_t *tail = xcalloc(1, 1 << 20);

    (void)state;
    put_whole(&b);
    for (size_t room = 0; room < 3 << 20; room += 100000) {
        size_t left = room;
        struct err e = {0};
        struct vmstate_ram ram = two_block_ram();
        CLEANUP(vmstate_encoder_freep)
        struct vmstate_encoder *w = vmstate_encoder_new(fail_later, &left);
        int r = vmstate_encode_head(w, tail, 1 << 20, &e);
        r = r == -1 ? -1 : vmstate_encode_ram(w, &ram, &e);
        for (unsigned i = 0; i < 1024 && r == 0; i++)
            r = vmstate_encode_page(w, 0, i % 8 * PAGE, tail, &e);
        r = r == -1 ? -1 : vmstate_encode_tail(w, tail, 1 << 20, &e);
        r = r == -1 ? -1 : vmstate_encode_end(w, &e);
        assert_int_equal(r, -1);
        assert_int_equal(e.code, ERR_NOSPACE);
    }
    vmstate_encoder_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_the_format),
        cmocka_unit_test(what_was_decoded_encodes_to_the_same),
        cmocka_unit_test(the_ways_to_end_ram_are_kept),
        cmocka_unit_test(sections_without_footers_stay_so),
        cmocka_unit_test(without_pages_there_is_an_empty_part),
        cmocka_unit_test(has_end_may_become_known_after_the_pages),
        cmocka_unit_test(much_ram_is_split_into_parts),
        cmocka_unit_test(large_pieces_pass_through),
        cmocka_unit_test(pages_outside_of_ram_are_refused),
        cmocka_unit_test(ram_that_no_stream_can_hold_is_refused),
        cmocka_unit_test(a_failed_write_is_passed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
