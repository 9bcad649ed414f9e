/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder: bytes of a migration stream in, RAM pages and opaque parts out.
 *
 * Push the bytes as they come, cut anywhere; the sink is called as soon as a
 * record is whole.  A page that lies whole in the pushed bytes is handed on
 * without being copied.  Of the stream the decoder holds one record at most.
 *
 * It reads what background-snapshot and savevm write; streams of capabilities
 * that keep RAM elsewhere or in another form (multifd, mapped-ram, xbzrle,
 * compress, x-ignore-shared, postcopy...) are ERR_UNSUP.  It does not ask that
 * every page comes: nor does QEMU.
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
    /* Once, after the head, when the byte after the list of blocks has come.
     * `ram` is borrowed and lives as the decoder; only has_end and
     * has_switchover are not yet final. */
    int (*blocks)(void *cookie, const struct vmstate_ram *ram, struct err *e);
    /* One page of ram->page_bytes at `offset` of block number `block`; `data`
     * is NULL for a page of zeros.  A page may come twice: the last counts. */
    int (*page)(void *cookie, size_t block, uint64_t offset,
                const uint8_t *data, struct err *e);
};

/* `sink` and `cookie` are borrowed.  page_bytes is the target's page size to
 * assume where the stream does not say (a power of 2, VMSTATE_PAGE_MIN_BYTES to
 * _MAX_BYTES): 4096 for x86. */
struct vmstate_decoder *vmstate_decoder_new(const struct vmstate_sink *sink,
                                            void *cookie, uint32_t page_bytes);
void vmstate_decoder_free(struct vmstate_decoder *d); /* NULL is allowed */
void vmstate_decoder_freep(struct vmstate_decoder **d);

/* ERR_CORRUPT (malformed, with the offset in the stream), ERR_UNSUP (a record
 * or section that we do not know), ERR_LIMIT.  After an error the decoder only
 * wants to be freed. */
int vmstate_decoder_push(struct vmstate_decoder *d, const uint8_t *p,
                         size_t len, struct err *e);

/* The stream comes from a machine with suppress-vmdesc=on: it may end without
 * the description that QEMU else puts behind the device state. */
void vmstate_decoder_without_vmdesc(struct vmstate_decoder *d);

/*
 * The stream has ended: ERR_CORRUPT if not at a place where it may.  Asking
 * changes nothing.
 *
 * Any cut before the end of the RAM is seen.  In the tail, device state does
 * not say where it ends; what is checked is that the stream's last bytes are
 * EOF and a description as long as it says, which is so for no cut (unless the
 * device state holds a whole copy of such an end).  Without a description
 * (vmstate_decoder_without_vmdesc, and machine types of before QEMU 2.4, which
 * send neither configuration nor footers) only the EOF is looked for, so a cut
 * just behind a byte that looks like it passes.  Damage inside of pages and
 * device state is not seen: the stream has no checksums.
 */
int vmstate_decoder_end(struct vmstate_decoder *d, struct err *e);

/* What the RAM sections said; NULL before the sink's `blocks`.  Borrowed.
 * has_end and has_switchover are final from the first byte of the tail on. */
const struct vmstate_ram *vmstate_decoder_ram(const struct vmstate_decoder *d);

#endif
