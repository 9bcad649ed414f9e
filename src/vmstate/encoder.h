/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder: a migration stream that QEMU loads, from head, RAM and tail.
 *
 * Call in this order: vmstate_encode_head (any number of times), _ram, _page
 * (any number, any order), _tail (any number), _end.
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
/* `ram` is borrowed until the encoder is freed. */
int vmstate_encode_ram(struct vmstate_encoder *w, const struct vmstate_ram *ram,
                       struct err *e);
/* One page of ram->page_bytes; `data` NULL: a page of zeros. */
int vmstate_encode_page(struct vmstate_encoder *w, size_t block,
                        uint64_t offset, const uint8_t *data, struct err *e);
int vmstate_encode_tail(struct vmstate_encoder *w, const uint8_t *p, size_t len,
                        struct err *e);
/* Hands on what is still buffered. */
int vmstate_encode_end(struct vmstate_encoder *w, struct err *e);

#endif
