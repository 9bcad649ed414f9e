/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder: a migration stream that QEMU loads, from head, RAM and tail.
 *
 * Call in this order: vmstate_encode_head (any number of times), _ram, _page
 * (any number, any order), _tail (any number), _end.
 *
 * What a decoder gave comes out as a stream that decodes to the same; it is
 * not the same to the byte, as PARTs begin elsewhere.  Pages that were never
 * given are not in the stream: QEMU keeps there what the machine has when it
 * loads (zeros, or a file behind its RAM).  Bytes come in chunks of about
 * 128 KiB; a failure of `fn` is passed on, and the encoder then only wants to
 * be freed.
 */
#ifndef VMSTATE_ENCODER_H
#define VMSTATE_ENCODER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct vmstate_encoder;
struct vmstate_ram;

/* Takes the bytes of the stream in order; borrowed. */
typedef int vmstate_write_fn(void *cookie, const uint8_t *p, size_t len,
                             struct err *e);

struct vmstate_encoder *vmstate_encoder_new(vmstate_write_fn *fn, void *cookie);
void vmstate_encoder_free(struct vmstate_encoder *w); /* NULL is allowed */
void vmstate_encoder_freep(struct vmstate_encoder **w);

int vmstate_encode_head(struct vmstate_encoder *w, const uint8_t *p, size_t len,
                        struct err *e);
/* `ram` is borrowed until the encoder is freed; its has_end and
 * has_switchover may still change until the first call of _tail.  Errors as
 * vmstate_ram_check. */
int vmstate_encode_ram(struct vmstate_encoder *w, const struct vmstate_ram *ram,
                       struct err *e);
/* One page of ram->page_bytes; `data` NULL: a page of zeros.  ERR_USAGE if
 * the block has no such page. */
int vmstate_encode_page(struct vmstate_encoder *w, size_t block,
                        uint64_t offset, const uint8_t *data, struct err *e);
int vmstate_encode_tail(struct vmstate_encoder *w, const uint8_t *p, size_t len,
                        struct err *e);
/* Hands on what is still buffered. */
int vmstate_encode_end(struct vmstate_encoder *w, struct err *e);

#endif
