/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder: bytes of a migration stream in, RAM pages and opaque parts out.
 *
 * Push the bytes as they come, cut anywhere; the sink is called as soon as a
 * record is whole.
 */
#ifndef VMSTATE_DECODER_H
#define VMSTATE_DECODER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct vmstate_decoder;
struct vmstate_ram;

/* Each returns 0, or -1 with e set, which ends the push with that error. */
struct vmstate_sink {
    /* More of the head, then (after the RAM) more of the tail; borrowed. */
    int (*head)(void *cookie, const uint8_t *p, size_t len, struct err *e);
    int (*tail)(void *cookie, const uint8_t *p, size_t len, struct err *e);
    /* Once, after the head.  `ram` is borrowed and lives as the decoder. */
    int (*blocks)(void *cookie, const struct vmstate_ram *ram, struct err *e);
    /* One page of ram->page_bytes at `offset` of block number `block`; `data`
     * is NULL for a page of zeros.  A page may come twice: the last counts. */
    int (*page)(void *cookie, size_t block, uint64_t offset,
                const uint8_t *data, struct err *e);
};

/* `sink` and `cookie` are borrowed.  page_bytes is the target's page size to
 * assume where the stream does not say: 4096 for x86. */
struct vmstate_decoder *vmstate_decoder_new(const struct vmstate_sink *sink,
                                            void *cookie, uint32_t page_bytes);
void vmstate_decoder_free(struct vmstate_decoder *d); /* NULL is allowed */
void vmstate_decoder_freep(struct vmstate_decoder **d);

/* ERR_CORRUPT (malformed, with the offset in the stream), ERR_UNSUP (a record
 * or section that we do not know), ERR_LIMIT.  After an error the decoder only
 * wants to be freed. */
int vmstate_decoder_push(struct vmstate_decoder *d, const uint8_t *p,
                         size_t len, struct err *e);

/* The stream has ended: ERR_CORRUPT if not at a place where it may. */
int vmstate_decoder_end(struct vmstate_decoder *d, struct err *e);

/* What the RAM sections said; NULL before the list of blocks.  Borrowed.
 * has_end is final only after vmstate_decoder_end. */
const struct vmstate_ram *vmstate_decoder_ram(const struct vmstate_decoder *d);

#endif
