/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: a sink that writes down all that a decoder says, so that two
 * decodings can be compared; the fuzz targets use it too.
 */
#ifndef TEST_VMSTATE_RECORD_H
#define TEST_VMSTATE_RECORD_H

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "vmstate/decoder.h"
#include "vmstate/encoder.h"
#include "vmstate/vmstate.h"

struct record {
    struct buf head, blocks, pages, tail;
    const struct vmstate_ram *ram; /* the decoder's */
    size_t n_pages, n_zero, n_tail_calls, n_blocks_calls;
    const uint8_t *last_data; /* where the last page was, for looking only */
};

static inline struct record
record_new(void)
{
    return (struct record){.head = buf_of(SIZE_MAX / 8),
                           .blocks = buf_of(SIZE_MAX / 8),
                           .pages = buf_of(SIZE_MAX / 8),
                           .tail = buf_of(SIZE_MAX / 8)};
}

static inline void
record_done(struct record *r)
{
    buf_done(&r->head);
    buf_done(&r->blocks);
    buf_done(&r->pages);
    buf_done(&r->tail);
}

static inline int
record_head(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct record *r = cookie;

    if (r->ram)
        return err_set(e, ERR_USAGE, "head after the blocks");
    buf_add(&r->head, p, len);
    return 0;
}

static inline int
record_tail(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct record *r = cookie;

    if (!r->ram)
        return err_set(e, ERR_USAGE, "tail before the blocks");
    buf_add(&r->tail, p, len);
    r->n_tail_calls++;
    return 0;
}

static inline int
record_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    struct record *r = cookie;

    (void)e;
    r->ram = ram;
    r->n_blocks_calls++;
    buf_be32(&r->blocks, ram->section_id);
    buf_be32(&r->blocks, ram->instance_id);
    buf_be32(&r->blocks, ram->version_id);
    buf_be32(&r->blocks, ram->page_bytes);
    buf_u8(&r->blocks, ram->has_footers);
    for (size_t i = 0; i < ram->n_blocks; i++) {
        buf_add(&r->blocks, ram->blocks[i].name, sizeof(ram->blocks[i].name));
        buf_be64(&r->blocks, ram->blocks[i].used_bytes);
    }
    return 0;
}

static inline int
record_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
            struct err *e)
{
    struct record *r = cookie;

    if (!r->ram || r->n_tail_calls > 0)
        return err_set(e, ERR_USAGE, "a page in the wrong place");
    buf_be32(&r->pages, (uint32_t)block);
    buf_be64(&r->pages, offset);
    buf_u8(&r->pages, data != NULL);
    if (data)
        buf_add(&r->pages, data, r->ram->page_bytes);
    else
        r->n_zero++;
    r->last_data = data;
    r->n_pages++;
    return 0;
}

static const struct vmstate_sink record_sink = {
    .head = record_head,
    .tail = record_tail,
    .blocks = record_blocks,
    .page = record_page,
};

static inline bool
record_same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || !memcmp(a->p, b->p, a->len));
}

static inline bool
record_same(const struct record *a, const struct record *b)
{
    return record_same_bytes(&a->head, &b->head) &&
           record_same_bytes(&a->blocks, &b->blocks) &&
           record_same_bytes(&a->pages, &b->pages) &&
           record_same_bytes(&a->tail, &b->tail);
}

/* Pushes p in chunks: the next chunk's size is `first`, then what `more`
 * says of the last (NULL: all that is left).  Then ends the stream. */
static inline int
record_run(struct vmstate_decoder *d, const uint8_t *p, size_t len,
           size_t first, size_t (*more)(size_t), struct err *e)
{
    size_t n = first;

    for (size_t at = 0; at < len;) {
        if (n > len - at)
            n = len - at;
        if (vmstate_decoder_push(d, p + at, n, e) == -1)
            return -1;
        at += n;
        n = more ? more(n) : len - at;
    }
    return vmstate_decoder_end(d, e);
}

/* For the encoder: appends to a struct buf. */
static inline int
record_write(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct buf *b = cookie;

    buf_add(b, p, len);
    return buf_check(b, "the encoded stream", e);
}

/* A sink that encodes again what it is told. */
static inline int
reencode_head(void *w, const uint8_t *p, size_t len, struct err *e)
{
    return vmstate_encode_head(w, p, len, e);
}

static inline int
reencode_tail(void *w, const uint8_t *p, size_t len, struct err *e)
{
    return vmstate_encode_tail(w, p, len, e);
}

static inline int
reencode_blocks(void *w, const struct vmstate_ram *ram, struct err *e)
{
    return vmstate_encode_ram(w, ram, e);
}

static inline int
reencode_page(void *w, size_t block, uint64_t offset, const uint8_t *data,
              struct err *e)
{
    return vmstate_encode_page(w, block, offset, data, e);
}

static const struct vmstate_sink reencode_sink = {
    .head = reencode_head,
    .tail = reencode_tail,
    .blocks = reencode_blocks,
    .page = reencode_page,
};

#endif
