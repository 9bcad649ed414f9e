/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What decodes must encode to a stream that decodes to the same; and what the
 * encoder wrote must encode to itself, byte for byte.
 */
#include <stdlib.h>

#include "../unit/vmstate/record.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
must(int yes)
{
    if (!yes)
        abort();
}

static size_t
some_more(size_t last)
{
    return 1 + (last * 2654435761U >> 7) % 5000;
}

static struct vmstate_ram
decode(const uint8_t *p, size_t n, struct record *r)
{
    struct err e = {0};
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&record_sink, r, 4096);

    must(record_run(d, p, n, 1 + n / 3, some_more, &e) == 0);
    return *vmstate_decoder_ram(d);
}

/* False if p is no stream. */
static bool
reencode(const uint8_t *p, size_t n, struct buf *out)
{
    struct err e = {0};
    CLEANUP(vmstate_encoder_freep)
    struct vmstate_encoder *w = vmstate_encoder_new(record_write, out);
    CLEANUP(vmstate_decoder_freep)
    struct vmstate_decoder *d = vmstate_decoder_new(&reencode_sink, w, 4096);

    if (record_run(d, p, n, n, NULL, &e) == -1)
        return false;
    must(vmstate_encode_end(w, &e) == 0);
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    CLEANUP(buf_done) struct buf once = buf_of(SIZE_MAX / 8);
    CLEANUP(buf_done) struct buf twice = buf_of(SIZE_MAX / 8);
    CLEANUP(record_done) struct record a = record_new();
    CLEANUP(record_done) struct record b = record_new();

    if (!reencode(p, n, &once))
        return 0;
    struct vmstate_ram x = decode(p, n, &a), y = decode(once.p, once.len, &b);
    must(record_same(&a, &b));
    must(x.has_end == y.has_end && x.has_footers == y.has_footers &&
         x.has_switchover == y.has_switchover);
    must(reencode(once.p, once.len, &twice));
    must(record_same_bytes(&once, &twice));
    return 0;
}
