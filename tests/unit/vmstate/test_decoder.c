/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/decoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "decode.h"
#include "record.h"
#include "stream.h"

static void
a_whole_stream_comes_out_in_its_parts(void **state)
{
    CLEANUP(buf_done) struct buf b = stream(), tail = stream(), head = stream();
    CLEANUP(record_done) struct record r = record_new();
    struct err e = {0};

    (void)state;
    put_whole(&b);
    put_tail(&tail);
    put_header(&head);
    put_config(&head, "pc-q35-7.2");
    put_page_bits(&head, 10);
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, &r, PAGE_4K);
    assert_null(vmstate_decoder_ram(d));
    assert_int_equal(vmstate_decoder_push(d, b.p, b.len, &e), 0);
    assert_int_equal(vmstate_decoder_end(d, &e), 0);

    assert_true(record_same_bytes(&r.head, &head));
    assert_true(record_same_bytes(&r.tail, &tail));
    const struct vmstate_ram *ram = vmstate_decoder_ram(d);
    assert_ptr_equal(ram, r.ram);
    assert_int_equal(r.n_blocks_calls, 1);
    assert_int_equal(ram->section_id, STREAM_RAM_ID);
    assert_int_equal(ram->instance_id, 0);
    assert_int_equal(ram->version_id, 4);
    assert_int_equal(ram->page_bytes, PAGE);
    assert_false(ram->has_end);
    assert_false(ram->has_switchover);
    assert_true(ram->has_footers);
    assert_int_equal(ram->n_blocks, 2);
    assert_string_equal(ram->blocks[0].name, "a");
    assert_string_equal(ram->blocks[1].name, "bb");
    assert_int_equal(ram->blocks[0].used_bytes, 8 * PAGE);
    assert_int_equal(ram->blocks[1].used_bytes, 4 * PAGE);
}

static void
pages_come_in_order_with_their_data(void **state)
{
    static const struct {
        uint32_t block, offset;
        uint8_t seed; /* 0: a page of zeros */
    } want[] = {{0, 0, 1},        {0, 3 * PAGE, 2}, {1, PAGE, 0},
                {1, 3 * PAGE, 0}, {0, 7 * PAGE, 3}, {0, 0, 4}};
    CLEANUP(buf_done) struct buf b = stream(), pages = stream();
    CLEANUP(record_done) struct record r = record_new();

    (void)state;
    put_whole(&b);
    must_decode(&b, &r);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        buf_be32(&pages, want[i].block);
        buf_be64(&pages, want[i].offset);
        buf_u8(&pages, want[i].seed != 0);
        CLEANUP(buf_done) struct buf one = stream();
        put_page(&one, 0, NULL, PAGE, want[i].seed);
        if (want[i].seed)
            buf_add(&pages, one.p + 8, PAGE);
    }
    assert_int_equal(r.n_pages, ARRAY_LEN(want));
    assert_int_equal(r.n_zero, 2);
    assert_true(record_same_bytes(&r.pages, &pages));
}

static size_t
one_byte(size_t last)
{
    (void)last;
    return 1;
}

static void
where_it_is_cut_makes_no_difference(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record whole = record_new();
    struct err e = {0};

    (void)state;
    put_whole(&b);
    must_decode(&b, &whole);
    for (size_t cut = 0; cut <= b.len; cut++) {
        CLEANUP(record_done) struct record r = record_new();
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d =
            vmstate_decoder_new(&record_sink, &r, PAGE_4K);
        /* cut 0: byte by byte. */
        assert_int_equal(
            record_run(d, b.p, b.len, cut ? cut : 1, cut ? NULL : one_byte, &e),
            0);
        assert_true(record_same(&whole, &r));
    }
}

static uint64_t seed;

static size_t
random_size(size_t last)
{
    (void)last;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    /* Mostly small, sometimes dozens of pages. */
    return 1 + (size_t)(seed >> 20) % (seed % 8 == 0 ? 200000 : 5000);
}

/* 8 MiB of RAM in pages of 4 KiB, in a jumbled order. */
static void
put_large(struct buf *b)
{
    enum { PAGES = 2048 };

    put_header(b);
    put_config(b, "pc-q35-7.2");
    put_section(b, 0x01, STREAM_RAM_ID, "ram", 4);
    buf_be64(b, (uint64_t)PAGES * PAGE_4K | 4);
    put_block(b, "pc.ram", (PAGES - 1) * PAGE_4K);
    put_block(b, "/rom@etc/acpi/tables", PAGE_4K);
    put_eos(b);
    put_short(b, 0x7e, STREAM_RAM_ID);
    for (unsigned i = 0; i < PAGES - 1; i++) {
        uint64_t offset = (uint64_t)(i * 389 % (PAGES - 1)) * PAGE_4K;
        if (i % 512 == 0)
            put_short(b, 0x02, STREAM_RAM_ID);
        if (i % 3 == 0)
            put_zero_page(b, offset, i ? NULL : "pc.ram");
        else
            put_page(b, offset, NULL, PAGE_4K, (uint8_t)i);
        if (i % 512 == 511 || i == PAGES - 2) {
            put_eos(b);
            put_short(b, 0x7e, STREAM_RAM_ID);
        }
    }
    put_tail(b);
}

static void
a_large_stream_in_random_chunks(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record whole = record_new();
    struct err e = {0};

    (void)state;
    put_large(&b);
    must_decode(&b, &whole);
    assert_int_equal(whole.n_pages, 2047);
    for (seed = 1; seed != 0 && seed < 40; seed++) {
        uint64_t keep = seed;
        CLEANUP(record_done) struct record r = record_new();
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d =
            vmstate_decoder_new(&record_sink, &r, PAGE_4K);
        assert_int_equal(
            record_run(d, b.p, b.len, random_size(0), random_size, &e), 0);
        assert_true(record_same(&whole, &r));
        seed = keep;
    }
}

static void
a_page_whole_in_the_push_is_not_copied(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record r = record_new();
    struct err e = {0};

    (void)state;
    put_begin(&b);
    put_short(&b, 0x02, STREAM_RAM_ID);
    put_page(&b, 0, "a", PAGE, 1);
    size_t end = b.len;
    put_page(&b, PAGE, NULL, PAGE, 1);
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, &r, PAGE_4K);
    assert_int_equal(vmstate_decoder_push(d, b.p, end, &e), 0);
    assert_ptr_equal(r.last_data, b.p + end - PAGE);
    assert_int_equal(vmstate_decoder_push(d, b.p + end, 100, &e), 0);
    assert_int_equal(
        vmstate_decoder_push(d, b.p + end + 100, b.len - end - 100, &e), 0);
    assert_int_equal(r.n_pages, 2);
    assert_memory_equal(r.pages.p + r.pages.len - PAGE, b.p + b.len - PAGE,
                        PAGE);
}

static void
a_stream_cut_short_anywhere_is_corrupt(void **state)
{
    CLEANUP(buf_done) struct buf b = stream(), tail = stream();

    (void)state;
    put_whole(&b);
    put_tail(&tail);
    size_t whole = b.len;
    for (b.len = 0; b.len < whole; b.len++)
        must_fail(&b, ERR_CORRUPT,
                  b.len <= whole - tail.len ? "ends before the device state"
                                            : "does not end as a whole one");
    b.len = whole;
    buf_u8(&b, 0x00);
    must_fail(&b, ERR_CORRUPT, "does not end");
}

static void
savevm_ends_ram_and_may_say_so_before(void **state)
{
    static const uint8_t switchover[] = {0x08, 0, 11, 0, 0};

    (void)state;
    for (int with = 0; with < 2; with++) {
        CLEANUP(buf_done) struct buf b = stream();
        CLEANUP(record_done) struct record r = record_new();
        struct err e = {0};
        put_begin(&b);
        put_part(&b);
        if (with)
            buf_add(&b, switchover, sizeof(switchover));
        put_end(&b);
        put_tail(&b);
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d =
            vmstate_decoder_new(&record_sink, &r, PAGE_4K);
        assert_int_equal(record_run(d, b.p, b.len, 7, NULL, &e), 0);
        assert_true(r.ram->has_end);
        assert_int_equal(r.ram->has_switchover, with);
        assert_int_equal(r.n_zero, 3);
    }
}

static void
old_machines_have_neither_footers_nor_configuration(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    struct err e = {0};
    size_t tail_at = 0;

    (void)state;
    put_old(&b, &tail_at);
    for (size_t cut = 1; cut <= b.len; cut++) {
        CLEANUP(record_done) struct record r = record_new();
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d =
            vmstate_decoder_new(&record_sink, &r, PAGE_4K);
        assert_int_equal(record_run(d, b.p, b.len, cut, NULL, &e), 0);
        assert_false(r.ram->has_footers);
        assert_true(r.ram->has_end);
        assert_int_equal(r.n_pages, 1);
        assert_int_equal(r.head.len, 8);
        assert_int_equal(r.tail.len, b.len - tail_at);
    }
    b.len--;
    must_fail(&b, ERR_CORRUPT, "no end of the device state");
}

static void
a_description_may_be_missing_only_if_we_are_told(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    struct err e = {0};

    (void)state;
    put_begin(&b);
    put_part(&b);
    put_section(&b, 0x04, 7, "timer", 2);
    put_short(&b, 0x7e, 7);
    buf_u8(&b, 0x00);
    must_fail(&b, ERR_CORRUPT, "suppress-vmdesc=on");
    for (int cut = 0; cut < 2; cut++) {
        CLEANUP(record_done) struct record r = record_new();
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d =
            vmstate_decoder_new(&record_sink, &r, PAGE_4K);
        vmstate_decoder_without_vmdesc(d);
        assert_int_equal(record_run(d, b.p, b.len - cut, 99, NULL, &e), -cut);
    }
    assert_string_equal(err_code_name(e.code), "corrupt");
}

static void
the_tail_may_be_empty_but_for_its_end(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record r = record_new();

    (void)state;
    put_begin(&b);
    put_part(&b);
    buf_u8(&b, 0x00);
    buf_u8(&b, 0x06);
    buf_be32(&b, 2);
    put_text(&b, "{}");
    must_decode(&b, &r);
    assert_int_equal(r.tail.len, 8);
}

static void
page_sizes_are_those_of_the_stream(void **state)
{
    static const struct {
        uint32_t bits;
        enum err_code code;
    } cases[] = {{9, ERR_UNSUP},  {10, ERR_OK},    {12, ERR_OK},
                 {16, ERR_OK},    {17, ERR_UNSUP}, {31, ERR_UNSUP},
                 {32, ERR_UNSUP}, {64, ERR_UNSUP}, {0xffffffff, ERR_UNSUP},
                 {0, ERR_UNSUP}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf b = stream();
        CLEANUP(record_done) struct record r = record_new();
        put_header(&b);
        put_config(&b, "virt-7.2");
        put_page_bits(&b, cases[i].bits);
        if (cases[i].code != ERR_OK) {
            must_fail(&b, cases[i].code, "RAM pages of 2^");
            continue;
        }
        uint32_t page = 1U << cases[i].bits;
        put_ram_start(&b, page);
        put_short(&b, 0x02, STREAM_RAM_ID);
        put_page(&b, 7 * page, "a", page, 9);
        put_eos(&b);
        put_short(&b, 0x7e, STREAM_RAM_ID);
        put_tail(&b);
        must_decode(&b, &r);
        assert_int_equal(r.pages.len, 13 + page);
    }
}

static void
other_configurations_are_known_or_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record r = record_new();

    (void)state;
    put_header(&b);
    put_config(&b, "pc-q35-7.2");
    size_t subs = b.len;
    put_sub(&b, "configuration/capabilities");
    buf_be32(&b, 1);
    put_name(&b, "x-ignore-shared");
    must_fail(&b, ERR_UNSUP, "capability \"x-ignore-shared\"");
    b.len = subs;
    put_sub(&b, "configuration/new");
    must_fail(&b, ERR_UNSUP, "subsection \"configuration/new\"");
    b.len = subs;
    put_sub(&b, "configuration/uuid");
    buf_zero(&b, 16);
    size_t config = b.len;
    put_config(&b, "pc-q35-7.2");
    must_fail(&b, ERR_CORRUPT, "configuration in the midst");
    b.len = config;
    put_page_bits(&b, 10);
    size_t head = b.len;
    put_ram_start(&b, PAGE);
    size_t begun = b.len;
    put_page_bits(&b, 10);
    must_fail(&b, ERR_CORRUPT, "configuration in the midst");
    b.len = begun;
    put_part(&b);
    put_tail(&b);
    must_decode(&b, &r);
    assert_int_equal(r.head.len, head);
    assert_memory_equal(r.head.p, b.p, head);
}

static void
as_many_blocks_as_the_limit_are_fine(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record r = record_new();

    (void)state;
    put_header(&b);
    put_config(&b, "many");
    put_section(&b, 0x01, STREAM_RAM_ID, "ram", 4);
    buf_be64(&b, (uint64_t)VMSTATE_MAX_BLOCKS * PAGE_4K | 4);
    for (int i = 0; i < VMSTATE_MAX_BLOCKS; i++) {
        char name[VMSTATE_NAME_MAX + 1];
        (void)snprintf(name, sizeof(name), "%0*d", i % 250 + 5, i);
        put_block(&b, name, PAGE_4K);
    }
    put_eos(&b);
    put_short(&b, 0x7e, STREAM_RAM_ID);
    put_short(&b, 0x02, STREAM_RAM_ID);
    for (int i = VMSTATE_MAX_BLOCKS - 1; i >= 0; i--) {
        char name[VMSTATE_NAME_MAX + 1];
        (void)snprintf(name, sizeof(name), "%0*d", i % 250 + 5, i);
        put_zero_page(&b, 0, name);
    }
    put_eos(&b);
    put_short(&b, 0x7e, STREAM_RAM_ID);
    put_tail(&b);
    must_decode(&b, &r);
    assert_int_equal(r.n_pages, VMSTATE_MAX_BLOCKS);
    for (uint32_t i = 0; i < VMSTATE_MAX_BLOCKS; i++)
        assert_int_equal(get_be32(r.pages.p + (size_t)i * 13),
                         VMSTATE_MAX_BLOCKS - 1 - i);
}

static void
a_machine_without_ram_is_a_stream_too(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record r = record_new();

    (void)state;
    put_header(&b);
    put_config(&b, "none");
    put_section(&b, 0x01, STREAM_RAM_ID, "ram", 4);
    buf_be64(&b, 4);
    put_eos(&b);
    put_short(&b, 0x7e, STREAM_RAM_ID);
    put_short(&b, 0x03, STREAM_RAM_ID);
    size_t part = b.len;
    put_eos(&b);
    put_short(&b, 0x7e, STREAM_RAM_ID);
    put_tail(&b);
    must_decode(&b, &r);
    assert_int_equal(r.n_blocks_calls, 1);
    assert_int_equal(r.n_pages, 0);
    b.len = part;
    put_zero_page(&b, 0, NULL);
    must_fail(&b, ERR_CORRUPT, "names no RAM block");
}

/* Which callback fails: 'h', 'b', 'p', 't'; 0 none. */
struct failing {
    char which;
    unsigned calls;
};

static int
maybe_fail(struct failing *f, char which, struct err *e)
{
    f->calls++;
    return f->which == which ? err_set(e, ERR_STORE, "no, said %c", which) : 0;
}

static int
fail_head(void *f, const uint8_t *p, size_t len, struct err *e)
{
    (void)p;
    (void)len;
    return maybe_fail(f, 'h', e);
}

static int
fail_tail(void *f, const uint8_t *p, size_t len, struct err *e)
{
    (void)p;
    (void)len;
    return maybe_fail(f, 't', e);
}

static int
fail_blocks(void *f, const struct vmstate_ram *ram, struct err *e)
{
    (void)ram;
    return maybe_fail(f, 'b', e);
}

static int
fail_page(void *f, size_t block, uint64_t offset, const uint8_t *data,
          struct err *e)
{
    (void)block;
    (void)offset;
    (void)data;
    return maybe_fail(f, 'p', e);
}

static void
an_error_of_the_sink_ends_the_push(void **state)
{
    static const struct vmstate_sink sink = {.head = fail_head,
                                             .tail = fail_tail,
                                             .blocks = fail_blocks,
                                             .page = fail_page};
    static const struct {
        char which;
        unsigned calls;
    } cases[] = {{'h', 1}, {'b', 4}, {'p', 5}, {'t', 11}};
    CLEANUP(buf_done) struct buf b = stream();

    (void)state;
    put_whole(&b);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            struct failing f = {.which = cases[i].which};
            struct err e = {0};
            CLEANUP(vmstate_decoder_freep)
            struct vmstate_decoder *d = vmstate_decoder_new(&sink, &f, PAGE_4K);
            assert_int_equal(
                record_run(d, b.p, b.len, bytewise ? 1 : b.len, one_byte, &e),
                -1);
            assert_int_equal(e.code, ERR_STORE);
            assert_int_equal(f.calls, cases[i].calls);
        }
}

static void
blocks_are_known_with_the_byte_after_the_list(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();
    CLEANUP(record_done) struct record r = record_new();
    struct err e = {0};

    (void)state;
    put_begin(&b);
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, &r, PAGE_4K);
    assert_int_equal(vmstate_decoder_push(d, b.p, b.len - 1, &e), 0);
    assert_null(vmstate_decoder_ram(d));
    assert_int_equal(vmstate_decoder_push(d, b.p + b.len - 1, 1, &e), 0);
    assert_non_null(vmstate_decoder_ram(d));
    assert_int_equal(r.n_blocks_calls, 1);
    assert_int_equal(vmstate_decoder_push(d, NULL, 0, &e), 0);
    vmstate_decoder_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_stream_comes_out_in_its_parts),
        cmocka_unit_test(pages_come_in_order_with_their_data),
        cmocka_unit_test(where_it_is_cut_makes_no_difference),
        cmocka_unit_test(a_large_stream_in_random_chunks),
        cmocka_unit_test(a_page_whole_in_the_push_is_not_copied),
        cmocka_unit_test(a_stream_cut_short_anywhere_is_corrupt),
        cmocka_unit_test(savevm_ends_ram_and_may_say_so_before),
        cmocka_unit_test(old_machines_have_neither_footers_nor_configuration),
        cmocka_unit_test(a_description_may_be_missing_only_if_we_are_told),
        cmocka_unit_test(the_tail_may_be_empty_but_for_its_end),
        cmocka_unit_test(page_sizes_are_those_of_the_stream),
        cmocka_unit_test(other_configurations_are_known_or_refused),
        cmocka_unit_test(as_many_blocks_as_the_limit_are_fine),
        cmocka_unit_test(a_machine_without_ram_is_a_stream_too),
        cmocka_unit_test(an_error_of_the_sink_ends_the_push),
        cmocka_unit_test(blocks_are_known_with_the_byte_after_the_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
