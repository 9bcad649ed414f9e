/* SPDX-License-Identifier: Apache-2.0 */
/* What the decoder refuses, and what it says then. */
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
more_ram_after_its_end_is_corrupt(void **state)
{
    static const uint8_t switchover[] = {0x08, 0, 11, 0, 0};
    CLEANUP(buf_done) struct buf b = stream();

    (void)state;
    put_begin(&b);
    put_end(&b);
    size_t ended = b.len;
    put_part(&b);
    must_fail(&b, ERR_CORRUPT, "more RAM after its end");
    b.len = ended;
    buf_add(&b, switchover, sizeof(switchover));
    must_fail(&b, ERR_CORRUPT, "misplaced SWITCHOVER_START");

    buf_reset(&b);
    put_begin(&b);
    buf_add(&b, switchover, sizeof(switchover));
    size_t told = b.len;
    put_part(&b);
    must_fail(&b, ERR_CORRUPT, "more RAM after its end");
    b.len = told;
    buf_add(&b, switchover, sizeof(switchover));
    must_fail(&b, ERR_CORRUPT, "misplaced SWITCHOVER_START");
}

static void
what_is_no_stream_is_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();

    (void)state;
    put_text(&b, "QFI\xfb");
    buf_be32(&b, 3);
    must_fail(&b, ERR_CORRUPT, "at byte 0: this is no migration stream");
    buf_reset(&b);
    put_text(&b, "QEVM");
    buf_be32(&b, 2);
    must_fail(&b, ERR_UNSUP, "format version 2");
    buf_reset(&b);
    put_header(&b);
    buf_u8(&b, 0x09);
    must_fail(&b, ERR_CORRUPT, "at byte 8: no section begins with 0x09");
}

static void
foreign_sections_are_refused_by_name(void **state)
{
    static const char *const names[] = {"spapr/htab", "dirty-bitmap", "block",
                                        "s390-stattrib", "evil\n\x1b[31m"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (int after = 0; after < 2; after++) {
            CLEANUP(buf_done) struct buf b = stream();
            put_header(&b);
            put_config(&b, "pc-q35-7.2");
            put_page_bits(&b, 10);
            if (after)
                put_ram_start(&b, PAGE);
            put_section(&b, 0x01, 1, names[i], 1);
            must_fail(&b, ERR_UNSUP,
                      i == 4 ? "\"evil\\x0a\\x1b[31m\"" : names[i]);
            must_fail(&b, ERR_UNSUP, "machine type is pc-q35-7.2");
        }
}

static void
device_state_before_the_pages_is_refused(void **state)
{
    static const char name[] = "0000:00:01.0/virtio-mem-device-early";

    (void)state;
    for (int after = 0; after < 2; after++) {
        CLEANUP(buf_done) struct buf b = stream();
        put_header(&b);
        put_config(&b, "pc-q35-11.1");
        put_page_bits(&b, 10);
        if (after)
            put_ram_start(&b, PAGE);
        put_section(&b, 0x04, 1, name, 1);
        must_fail(&b, ERR_UNSUP, name);
    }
    CLEANUP(buf_done) struct buf b = stream();
    put_begin(&b);
    buf_u8(&b, 0x00);
    must_fail(&b, ERR_CORRUPT, "the end comes before the RAM pages");
}

static void
commands_are_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();

    (void)state;
    put_header(&b);
    put_config(&b, "pc-q35-7.2");
    size_t start = b.len;
    buf_u8(&b, 0x08);
    buf_be16(&b, 3);
    buf_be16(&b, 16);
    must_fail(&b, ERR_UNSUP, "migration command (number 3)");
    b.len = start;
    buf_u8(&b, 0x08);
    buf_be16(&b, 11);
    buf_be16(&b, 0);
    must_fail(&b, ERR_CORRUPT, "misplaced SWITCHOVER_START");
    buf_reset(&b);
    put_begin(&b);
    put_part(&b);
    buf_u8(&b, 0x08);
    buf_be16(&b, 11);
    buf_be16(&b, 1);
    must_fail(&b, ERR_CORRUPT, "misplaced SWITCHOVER_START");
}

static void
sections_must_belong_together(void **state)
{
    CLEANUP(buf_done) struct buf b = stream();

    (void)state;
    put_header(&b);
    put_short(&b, 0x02, STREAM_RAM_ID);
    must_fail(&b, ERR_CORRUPT, "section 2, which never began");
    buf_reset(&b);
    put_header(&b);
    put_short(&b, 0x03, 0);
    must_fail(&b, ERR_CORRUPT, "section 0, which never began");
    buf_reset(&b);
    put_begin(&b);
    size_t begun = b.len;
    put_short(&b, 0x03, 3);
    must_fail(&b, ERR_CORRUPT, "section 3, which never began");
    b.len = begun;
    put_ram_start(&b, PAGE);
    must_fail(&b, ERR_CORRUPT, "a second RAM section");
    b.len = begun;
    put_short(&b, 0x02, STREAM_RAM_ID);
    put_eos(&b);
    size_t part = b.len;
    put_short(&b, 0x7e, 3);
    must_fail(&b, ERR_CORRUPT, "the footer of section 3, not of 2");
    b.len = part;
    put_tail(&b);
    must_fail(&b, ERR_CORRUPT, "without a footer");
    buf_reset(&b);
    size_t tail_at = 0;
    put_old(&b, &tail_at);
    b.len = tail_at;
    put_short(&b, 0x7e, STREAM_RAM_ID);
    must_fail(&b, ERR_CORRUPT, "with a footer");
}

/* A PART is open, with the given record in it. */
static void
must_fail_record(uint64_t word, const char *name, enum err_code code,
                 const char *part)
{
    CLEANUP(buf_done) struct buf b = stream();

    put_begin(&b);
    put_short(&b, 0x02, STREAM_RAM_ID);
    buf_be64(&b, word);
    if (name)
        put_name(&b, name);
    buf_zero(&b, PAGE);
    must_fail(&b, code, part);
}

static void
unknown_records_are_refused_by_name(void **state)
{
    (void)state;
    must_fail_record(0x40, "a", ERR_UNSUP, "RAM record XBZRLE");
    must_fail_record(0x60, "a", ERR_UNSUP, "capability xbzrle");
    must_fail_record(0x80, NULL, ERR_UNSUP, "RAM record HOOK");
    must_fail_record(0x100, "a", ERR_UNSUP, "RAM record COMPRESS_PAGE");
    must_fail_record(0x200, NULL, ERR_UNSUP, "RAM record MULTIFD_FLUSH");
    must_fail_record(0x01, NULL, ERR_UNSUP, "RAM record FULL");
    must_fail_record(0x00, NULL, ERR_CORRUPT, "flags 0x0");
    must_fail_record(0x20, NULL, ERR_CORRUPT, "flags 0x20");
    must_fail_record(0x0a, "a", ERR_CORRUPT, "flags 0xa");
    must_fail_record(0x30, NULL, ERR_CORRUPT, "flags 0x30");
    must_fail_record(PAGE | 0x10, NULL, ERR_CORRUPT, "flags 0x10");
}

static void
a_page_must_be_in_a_block_of_the_list(void **state)
{
    (void)state;
    must_fail_record(0x08, "c", ERR_CORRUPT, "\"c\", which is not listed");
    must_fail_record(0x02, "", ERR_CORRUPT, "\"\", which is not listed");
    must_fail_record(0x28, NULL, ERR_CORRUPT, "names no RAM block");
    must_fail_record(0x22, NULL, ERR_CORRUPT, "names no RAM block");
    must_fail_record(8 * PAGE | 0x08, "a", ERR_CORRUPT,
                     "at 0x2000 of RAM block \"a\", behind its end");
    must_fail_record(4 * PAGE | 0x02, "bb", ERR_CORRUPT, "behind its end");
    must_fail_record(UINT64_MAX - PAGE + 1 + 0x08, "a", ERR_CORRUPT,
                     "at 0xfffffffffffffc00");
    CLEANUP(buf_done) struct buf b = stream();
    put_begin(&b);
    put_short(&b, 0x02, STREAM_RAM_ID);
    buf_be64(&b, 2);
    put_name(&b, "a");
    buf_u8(&b, 0xff);
    must_fail(&b, ERR_UNSUP, "filled with 0xff");
}

/* START with the list that fn writes. */
static void
must_fail_list(uint64_t total, void (*fn)(struct buf *), enum err_code code,
               const char *part)
{
    CLEANUP(buf_done) struct buf b = stream();

    put_header(&b);
    put_section(&b, 0x01, 2, "ram", 4);
    buf_be64(&b, total | 4);
    fn(&b);
    must_fail(&b, code, part);
}

static void
put_twice(struct buf *b)
{
    put_block(b, "x", PAGE_4K);
    put_block(b, "y", PAGE_4K);
    put_block(b, "x", PAGE_4K);
}

static void
put_nameless(struct buf *b)
{
    put_block(b, "", PAGE_4K);
}

static void
put_nul(struct buf *b)
{
    buf_u8(b, 3);
    buf_add(b, "a\0b", 3);
    buf_be64(b, PAGE_4K);
}

static void
put_too_large(struct buf *b)
{
    put_block(b, "x", PAGE_4K);
    put_block(b, "y", 2 * PAGE_4K);
}

static void
put_odd(struct buf *b)
{
    put_block(b, "x", PAGE_4K + PAGE);
    put_block(b, "y", PAGE_4K - PAGE);
}

static void
put_none_of_it(struct buf *b)
{
    put_block(b, "x", 0);
    put_block(b, "y", PAGE_4K);
}

static void
put_many(struct buf *b)
{
    for (int i = 0; i <= VMSTATE_MAX_BLOCKS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "%d", i);
        put_block(b, name, PAGE_4K);
    }
}

static void
put_nothing(struct buf *b)
{
    (void)b;
}

static void
put_list_again(struct buf *b)
{
    put_block(b, "x", PAGE_4K);
    buf_be64(b, 4 | PAGE_4K);
}

static void
put_page_at_once(struct buf *b)
{
    put_block(b, "x", PAGE_4K);
    put_page(b, 0, "x", PAGE_4K, 1);
}

static void
wrong_lists_are_refused(void **state)
{
    (void)state;
    must_fail_list(3 * PAGE_4K, put_twice, ERR_CORRUPT,
                   "\"x\" is listed twice");
    must_fail_list(PAGE_4K, put_nameless, ERR_CORRUPT, "has no name");
    must_fail_list(PAGE_4K, put_nul, ERR_CORRUPT, "NUL");
    must_fail_list(2 * PAGE_4K, put_too_large, ERR_CORRUPT, "than all RAM");
    must_fail_list(2 * PAGE_4K, put_odd, ERR_CORRUPT, "number of pages");
    must_fail_list(PAGE_4K, put_none_of_it, ERR_CORRUPT, "number of pages");
    must_fail_list(2000ULL * PAGE_4K, put_many, ERR_LIMIT, "than 1024 RAM");
    must_fail_list(VMSTATE_RAM_MAX_BYTES + PAGE_4K, put_nothing, ERR_LIMIT,
                   "over the limit");
    must_fail_list(UINT64_C(0xfffffffffffff000), put_nothing, ERR_LIMIT,
                   "over the limit");
    must_fail_list(PAGE_4K, put_list_again, ERR_CORRUPT, "a second list");
    must_fail_list(PAGE_4K, put_page_at_once, ERR_CORRUPT,
                   "where the list of blocks is");

    CLEANUP(buf_done) struct buf b = stream();
    put_header(&b);
    put_section(&b, 0x01, 2, "ram", 4);
    put_eos(&b);
    must_fail(&b, ERR_CORRUPT, "no list of RAM blocks");
    buf_reset(&b);
    put_header(&b);
    put_section(&b, 0x01, 2, "ram", 3);
    buf_be64(&b, PAGE_4K | 4);
    put_block(&b, "x", PAGE_4K);
    must_fail(&b, ERR_UNSUP, "RAM section of version 3");
}

static int
count_tail(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    (void)p;
    (void)e;
    *(uint64_t *)cookie += len;
    return 0;
}

static int
ignore_bytes(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    (void)cookie;
    (void)p;
    (void)len;
    (void)e;
    return 0;
}

static int
ignore_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    (void)cookie;
    (void)ram;
    (void)e;
    return 0;
}

static int
ignore_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
            struct err *e)
{
    (void)cookie;
    (void)block;
    (void)offset;
    (void)data;
    (void)e;
    return 0;
}

static void
head_and_tail_are_limited(void **state)
{
    enum { CHUNK = 4 << 20 };
    static const struct vmstate_sink counting = {.head = ignore_bytes,
                                                 .tail = count_tail,
                                                 .blocks = ignore_blocks,
                                                 .page = ignore_page};
    CLEANUP(buf_done) struct buf b = stream();
    struct err e = {0};
    uint64_t tail = 0;

    (void)state;
    put_header(&b);
    put_config(&b, "pc-q35-7.2");
    while (b.len <= VMSTATE_HEAD_MAX_BYTES) {
        put_sub(&b, "configuration/uuid");
        buf_zero(&b, 16);
    }
    must_fail(&b, ERR_LIMIT, "bytes before the RAM");

    buf_reset(&b);
    put_begin(&b);
    put_part(&b);
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&counting, &tail, PAGE_4K);
    assert_int_equal(vmstate_decoder_push(d, b.p, b.len, &e), 0);
    CLEANUP(freep) uint8_t *chunk = xcalloc(1, CHUNK);
    for (uint64_t at = 0; at < VMSTATE_TAIL_MAX_BYTES - CHUNK; at += CHUNK)
        assert_int_equal(vmstate_decoder_push(d, chunk, CHUNK, &e), 0);
    assert_int_equal(vmstate_decoder_push(d, chunk, CHUNK, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_int_equal(tail, VMSTATE_TAIL_MAX_BYTES - CHUNK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_ram_after_its_end_is_corrupt),
        cmocka_unit_test(what_is_no_stream_is_refused),
        cmocka_unit_test(foreign_sections_are_refused_by_name),
        cmocka_unit_test(device_state_before_the_pages_is_refused),
        cmocka_unit_test(commands_are_refused),
        cmocka_unit_test(sections_must_belong_together),
        cmocka_unit_test(unknown_records_are_refused_by_name),
        cmocka_unit_test(a_page_must_be_in_a_block_of_the_list),
        cmocka_unit_test(wrong_lists_are_refused),
        cmocka_unit_test(head_and_tail_are_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
