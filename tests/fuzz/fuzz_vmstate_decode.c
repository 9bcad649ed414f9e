/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile streams: whatever comes, the decoder stays inside of its bytes, what
 * it hands on is inside of the announced RAM, and where the stream is cut
 * changes nothing.  The cuts are derived from the input.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/vmstate/record.h"
#include "base/bytes.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(int yes)
{
    if (!yes)
        abort();
}

static int
check_head(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct record *r = cookie;

    must(!r->ram && len > 0);
    must(r->head.len + len <= VMSTATE_HEAD_MAX_BYTES);
    return record_head(r, p, len, e);
}

static int
check_tail(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct record *r = cookie;

    must(r->ram && len > 0);
    return record_tail(r, p, len, e);
}

static int
check_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    struct record *r = cookie;

    must(!r->ram && vmstate_ram_check(ram, e) == 0);
    return record_blocks(r, ram, e);
}

static int
check_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
           struct err *e)
{
    struct record *r = cookie;

    must(r->ram && r->tail.len == 0 && block < r->ram->n_blocks);
    must(offset % r->ram->page_bytes == 0);
    must(range_inside(offset, r->ram->page_bytes,
                      r->ram->blocks[block].used_bytes));
    return record_page(r, block, offset, data, e);
}

static const struct vmstate_sink sink = {
    .head = check_head,
    .tail = check_tail,
    .blocks = check_blocks,
    .page = check_page,
};

/* Pushes each chunk from memory of its own.  Returns what the end says. */
static enum err_code
run(const uint8_t *p, size_t n, uint64_t seed, struct record *record)
{
    struct err e = {0};
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&sink, record, 4096);
    int r = 0;

    for (size_t at = 0; at < n && r == 0;) {
        size_t len = n - at;
        if (seed) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            len = (size_t)u64_min(len, 1 + (seed >> 8) % (1U << seed % 14));
        }
        uint8_t *chunk = malloc(len);
        must(chunk != NULL);
        memcpy(chunk, p + at, len);
        r = vmstate_decoder_push(d, chunk, len, &e);
        free(chunk);
        at += len;
    }
    if (r == 0)
        r = vmstate_decoder_end(d, &e);
    must((r == 0) == (e.code == ERR_OK));
    must(r == 0 || e.msg[0]);
    return e.code;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    CLEANUP(record_done) struct record whole = record_new();
    CLEANUP(record_done) struct record cut = record_new();
    uint64_t seed = 0xcbf29ce484222325 ^ n;

    for (size_t i = 0; i < n; i += 1 + n / 64)
        seed = (seed ^ p[i]) * 0x100000001b3;
    enum err_code a = run(p, n, 0, &whole);
    enum err_code b = run(p, n, seed | 1, &cut);
    /* A stream that is wrong in two ways may be refused for either. */
    must((a == ERR_OK) == (b == ERR_OK));
    must(a != ERR_OK || record_same(&whole, &cut));
    return 0;
}
