/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/encoder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "vmstate/format.h"
#include "vmstate/vmstate.h"

enum {
    BUFFER_BYTES = 128 << 10,
    /* A PART is closed once it has as many bytes: some thousand pages, like
     * the 50 ms of work that QEMU puts into one. */
    PART_BYTES = 8 << 20,
    RECORD_MAX_BYTES =
        RAM_RECORD_BYTES + 1 + VMSTATE_NAME_MAX + VMSTATE_PAGE_MAX_BYTES
};

enum phase { IN_HEAD, IN_RAM, IN_TAIL };

struct vmstate_encoder {
    vmstate_write_fn *fn;
    void *cookie;
    enum phase phase;
    const struct vmstate_ram *ram; /* borrowed */
    bool part_open;
    bool part_seen;
    size_t part_bytes;
    size_t block; /* of the last page in this PART; n_blocks: none */
    size_t len;
    uint8_t buffer[BUFFER_BYTES];
};

static int
flush(struct vmstate_encoder *w, struct err *e)
{
    size_t n = w->len;

    w->len = 0;
    return n == 0 ? 0 : w->fn(w->cookie, w->buffer, n, e);
}

/* Makes sure that `n` more bytes fit into the buffer. */
static int
make_room(struct vmstate_encoder *w, size_t n, struct err *e)
{
    return n <= sizeof(w->buffer) - w->len ? 0 : flush(w, e);
}

static int
put_bytes(struct vmstate_encoder *w, const uint8_t *p, size_t n, struct err *e)
{
    if (make_room(w, n, e) == -1)
        return -1;
    if (n > sizeof(w->buffer))
        return w->fn(w->cookie, p, n, e);
    if (n > 0)
        memcpy(w->buffer + w->len, p, n);
    w->len += n;
    return 0;
}

/* The four below need room for what they add. */
static void
add_u8(struct vmstate_encoder *w, unsigned v)
{
    w->buffer[w->len++] = (uint8_t)v;
}

static void
add_be32(struct vmstate_encoder *w, uint32_t v)
{
    put_be32(w->buffer + w->len, v);
    w->len += 4;
}

static void
add_be64(struct vmstate_encoder *w, uint64_t v)
{
    put_be64(w->buffer + w->len, v);
    w->len += 8;
}

static void
add_name(struct vmstate_encoder *w, const char *name)
{
    size_t len = strlen(name);

    add_u8(w, (unsigned)len);
    memcpy(w->buffer + w->len, name, len);
    w->len += len;
}

/* END of a RAM section: its last record and the footer. */
static int
close_section(struct vmstate_encoder *w, struct err *e)
{
    if (make_room(w, RAM_RECORD_BYTES + SECTION_ID_BYTES, e) == -1)
        return -1;
    add_be64(w, RAM_EOS);
    if (w->ram->has_footers) {
        add_u8(w, SECTION_FOOTER);
        add_be32(w, w->ram->section_id);
    }
    return 0;
}

static int
open_section(struct vmstate_encoder *w, enum section_type type, struct err *e)
{
    if (make_room(w, SECTION_ID_BYTES, e) == -1)
        return -1;
    add_u8(w, type);
    add_be32(w, w->ram->section_id);
    w->part_seen = true;
    w->part_bytes = 0;
    /* QEMU would still know the block, but each PART stands for itself. */
    w->block = w->ram->n_blocks;
    return 0;
}

static int
close_part(struct vmstate_encoder *w, struct err *e)
{
    if (!w->part_open)
        return 0;
    w->part_open = false;
    return close_section(w, e);
}

int
vmstate_encode_head(struct vmstate_encoder *w, const uint8_t *p, size_t len,
                    struct err *e)
{
    assert(w->phase == IN_HEAD);
    return put_bytes(w, p, len, e);
}

static int
put_list(struct vmstate_encoder *w, struct err *e)
{
    const struct vmstate_ram *ram = w->ram;
    uint64_t total = 0;

    for (size_t i = 0; i < ram->n_blocks; i++)
        total += ram->blocks[i].used_bytes; /* checked against overflow */
    add_be64(w, total | RAM_MEM_SIZE);
    for (size_t i = 0; i < ram->n_blocks; i++) {
        if (make_room(w, 1 + VMSTATE_NAME_MAX + 8, e) == -1)
            return -1;
        add_name(w, ram->blocks[i].name);
        add_be64(w, ram->blocks[i].used_bytes);
    }
    return 0;
}

int
vmstate_encode_ram(struct vmstate_encoder *w, const struct vmstate_ram *ram,
                   struct err *e)
{
    enum { HEADER_MAX = 64 };

    assert(w->phase == IN_HEAD);
    if (vmstate_ram_check(ram, e) == -1 || make_room(w, HEADER_MAX, e) == -1)
        return -1;
    w->phase = IN_RAM;
    w->ram = ram;
    add_u8(w, SECTION_START);
    add_be32(w, ram->section_id);
    add_name(w, RAM_SECTION_NAME);
    add_be32(w, ram->instance_id);
    add_be32(w, ram->version_id);
    return put_list(w, e) == -1 ? -1 : close_section(w, e);
}

static int
check_page(const struct vmstate_ram *ram, size_t block, uint64_t offset,
           struct err *e)
{
    if (block >= ram->n_blocks)
        return err_set(e, ERR_USAGE, "there is no RAM block number %zu", block);
    if (offset % ram->page_bytes == 0 &&
        range_inside(offset, ram->page_bytes, ram->blocks[block].used_bytes))
        return 0;
    CLEANUP(freep)
    char *shown = text_quote(ram->blocks[block].name, VMSTATE_NAME_MAX);
    return err_set(e, ERR_USAGE, "RAM block \"%s\" has no page at 0x%llx",
                   shown, (unsigned long long)offset);
}

int
vmstate_encode_page(struct vmstate_encoder *w, size_t block, uint64_t offset,
                    const uint8_t *data, struct err *e)
{
    assert(w->phase == IN_RAM);
    if (check_page(w->ram, block, offset, e) == -1)
        return -1;
    if (!w->part_open) {
        if (open_section(w, SECTION_PART, e) == -1)
            return -1;
        w->part_open = true;
    }
    if (make_room(w, RECORD_MAX_BYTES, e) == -1)
        return -1;
    size_t start = w->len;
    bool same = block == w->block;
    add_be64(w,
             offset | (data ? RAM_PAGE : RAM_ZERO) | (same ? RAM_CONTINUE : 0));
    if (!same)
        add_name(w, w->ram->blocks[block].name);
    w->block = block;
    if (data) {
        memcpy(w->buffer + w->len, data, w->ram->page_bytes);
        w->len += w->ram->page_bytes;
    } else {
        add_u8(w, 0);
    }
    w->part_bytes += w->len - start;
    return w->part_bytes < PART_BYTES ? 0 : close_part(w, e);
}

static int
put_empty(struct vmstate_encoder *w, enum section_type type, struct err *e)
{
    return open_section(w, type, e) == -1 ? -1 : close_section(w, e);
}

static int
put_switchover(struct vmstate_encoder *w, struct err *e)
{
    static const uint8_t command[COMMAND_BYTES] = {SECTION_COMMAND, 0,
                                                   COMMAND_SWITCHOVER_START};

    return put_bytes(w, command, sizeof(command), e);
}

/* Behind the last page.  has_end and has_switchover may have become known only
 * now. */
static int
end_ram(struct vmstate_encoder *w, struct err *e)
{
    if (close_part(w, e) == -1)
        return -1;
    w->phase = IN_TAIL;
    /* Without any PART a reader could take what follows for device state that
     * was sent before the RAM; an empty one says that there is no more. */
    if (!w->part_seen && !w->ram->has_end &&
        put_empty(w, SECTION_PART, e) == -1)
        return -1;
    if (w->ram->has_switchover && put_switchover(w, e) == -1)
        return -1;
    return w->ram->has_end ? put_empty(w, SECTION_END, e) : 0;
}

int
vmstate_encode_tail(struct vmstate_encoder *w, const uint8_t *p, size_t len,
                    struct err *e)
{
    assert(w->phase != IN_HEAD);
    if (w->phase == IN_RAM && end_ram(w, e) == -1)
        return -1;
    return put_bytes(w, p, len, e);
}

int
vmstate_encode_end(struct vmstate_encoder *w, struct err *e)
{
    assert(w->phase != IN_HEAD);
    if (w->phase == IN_RAM && end_ram(w, e) == -1)
        return -1;
    return flush(w, e);
}

struct vmstate_encoder *
vmstate_encoder_new(vmstate_write_fn *fn, void *cookie)
{
    struct vmstate_encoder *w = xmalloc(sizeof(*w));

    /* Not the buffer: it is large and written before it is read. */
    memset(w, 0, offsetof(struct vmstate_encoder, buffer));
    w->fn = fn;
    w->cookie = cookie;
    return w;
}

void
vmstate_encoder_free(struct vmstate_encoder *w)
{
    free(w);
}

void
vmstate_encoder_freep(struct vmstate_encoder **w)
{
    vmstate_encoder_free(*w);
}
