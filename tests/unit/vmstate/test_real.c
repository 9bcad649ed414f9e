/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams that QEMU wrote, their page data taken out: tests/fuzz/corpus/
 * vmstate_decode/real-*, whose folder is the argument.  Pages of zeros, block
 * lists, sections and device state are as they were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "record.h"
#include "vmstate/decoder.h"
#include "vmstate/encoder.h"

static const char *folder;

static const struct real {
    const char *name, *first_block;
    size_t section_id, head, tail, n_blocks, n_pages;
    bool has_end, has_switchover, has_footers;
} reals[] = {
    {"real-bg-7.2", "microvm.ram", 2, 20, 18559, 5, 12, false, false, true},
    {"real-savevm-7.2", "microvm.ram", 2, 20, 18931, 5, 12, true, false, true},
    {"real-savevm-10.0", "microvm.ram", 1, 20, 23407, 5, 12, true, true, true},
    {"real-savevm-11.1", "microvm.ram", 1, 20, 19289, 5, 12, true, false, true},
    {"real-bg-arm-10.0", "mach-virt.ram", 1, 62, 28867, 6, 12, false, false,
     true},
    {"real-savevm-old-2.2", "pc.ram", 2, 8, 12377, 5, 12, true, false, false},
    {"real-none-7.2", NULL, 2, 17, 674, 0, 0, true, false, true},
};

static void
load(const struct real *real, struct buf *b)
{
    struct err e = {0};
    CLEANUP(freep) char *path = path_join(folder, real->name);

    if (file_read(path, b, &e) == -1)
        fail_msg("%s", e.msg);
}

static void
they_decode_to_what_was_in_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reals); i++) {
        const struct real *want = &reals[i];
        CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
        CLEANUP(record_done) struct record r = record_new();
        struct err e = {0};
        load(want, &b);
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, &r, 4096);
        if (record_run(d, b.p, b.len, 4096, NULL, &e) == -1)
            fail_msg("%s: %s", want->name, e.msg);
        const struct vmstate_ram *ram = vmstate_decoder_ram(d);
        assert_int_equal(ram->section_id, want->section_id);
        assert_int_equal(ram->page_bytes, 4096);
        assert_int_equal(ram->n_blocks, want->n_blocks);
        if (want->first_block)
            assert_string_equal(ram->blocks[0].name, want->first_block);
        assert_int_equal(ram->has_end, want->has_end);
        assert_int_equal(ram->has_switchover, want->has_switchover);
        assert_int_equal(ram->has_footers, want->has_footers);
        assert_int_equal(r.head.len, want->head);
        assert_int_equal(r.tail.len, want->tail);
        assert_int_equal(r.n_pages, want->n_pages);
        assert_memory_equal(r.tail.p, b.p + b.len - want->tail, want->tail);
    }
}

static void
any_cut_in_the_device_state_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reals); i++) {
        CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
        CLEANUP(record_done) struct record r = record_new();
        struct err e = {0};
        if (!reals[i].has_footers)
            continue; /* an EOF is all that such a stream ends with */
        load(&reals[i], &b);
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, &r, 4096);
        for (size_t at = 0; at < b.len; at++) {
            struct err cut = {0};
            assert_int_equal(vmstate_decoder_end(d, &cut), -1);
            assert_int_equal(cut.code, ERR_CORRUPT);
            assert_int_equal(vmstate_decoder_push(d, b.p + at, 1, &e), 0);
        }
        assert_int_equal(vmstate_decoder_end(d, &e), 0);
    }
}

static void
they_encode_to_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reals); i++) {
        CLEANUP(buf_done) struct buf b = buf_of(1 << 20);
        CLEANUP(buf_done) struct buf again = buf_of(1 << 20);
        CLEANUP(record_done) struct record first = record_new();
        CLEANUP(record_done) struct record second = record_new();
        struct err e = {0};
        load(&reals[i], &b);
        CLEANUP(vmstate_encoder_freep)
        struct vmstate_encoder *w = vmstate_encoder_new(record_write, &again);
        CLEANUP(vmstate_decoder_freep)
        struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, &first,
                                                        4096),
                               *d2 =
                                   vmstate_decoder_new(&reencode_sink, w, 4096),
                               *d3 = vmstate_decoder_new(&record_sink, &second,
                                                         4096);
        assert_int_equal(record_run(d, b.p, b.len, b.len, NULL, &e), 0);
        assert_int_equal(record_run(d2, b.p, b.len, 999, NULL, &e), 0);
        assert_int_equal(vmstate_encode_end(w, &e), 0);
        assert_int_equal(record_run(d3, again.p, again.len, 777, NULL, &e), 0);
        assert_true(record_same(&first, &second));
        assert_int_equal(vmstate_decoder_ram(d)->has_end,
                         vmstate_decoder_ram(d3)->has_end);
        assert_int_equal(vmstate_decoder_ram(d)->has_switchover,
                         vmstate_decoder_ram(d3)->has_switchover);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_decode_to_what_was_in_them),
        cmocka_unit_test(any_cut_in_the_device_state_is_seen),
        cmocka_unit_test(they_encode_to_the_same),
    };

    if (argc != 2) {
        (void)fputs("usage: test_vmstate_real FOLDER\n", stderr);
        return 1;
    }
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
