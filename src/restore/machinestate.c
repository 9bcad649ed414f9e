/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/machinestate.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/ahead.h"
#include "repo/manifest.h"
#include "repo/repo.h"
#include "repo/volume.h"
#include "vmstate/decoder.h"
#include "vmstate/encoder.h"
#include "vmstate/vmstate.h"
#include "work/cancel.h"

/* What to assume where the stream does not say; it does but for x86. */
enum { DEFAULT_PAGE_BYTES = 4096 };

struct assembly {
    struct repo *repo;
    const struct manifest *manifest;
    struct cancel *cancel;
    machinestate_progress_fn *progress;
    void *cookie;
    const struct vmstate_ram *ram; /* the decoder's */
    struct vmstate_encoder *encoder;
    bool pages_done;
};

bool
machinestate_exists(const struct manifest *m)
{
    return manifest_volume(m, "state") != NULL;
}

uint64_t
machinestate_ram_bytes(const struct manifest *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->n_volumes; i++)
        if (text_starts(m->volumes[i].name, "ram/"))
            sum += m->volumes[i].root.size_bytes;
    return sum;
}

/* ---- pages -----------------------------------------------------------------
 */

/* Zero pages are said too: what loads the stream may find other bytes there,
 * such as a BIOS that a reset has put into RAM. */
static int
put_pages(struct assembly *a, size_t block, uint64_t base, uint64_t len,
          const uint8_t *data, struct err *e)
{
    uint32_t page = a->ram->page_bytes;

    for (uint64_t at = 0; at < len; at += page) {
        const uint8_t *p = data ? data + at : NULL;
        if (p && bytes_are_zero(p, page))
            p = NULL;
        if (vmstate_encode_page(a->encoder, block, base + at, p, e) == -1)
            return -1;
    }
    a->progress(a->cookie, len);
    return cancel_check(a->cancel, e);
}

static int
put_block(struct assembly *a, size_t block, struct err *e)
{
    const struct vmstate_block *b = &a->ram->blocks[block];
    CLEANUP(freep) char *name = xasprintf("ram/%s", b->name);
    const struct manifest_volume *v = manifest_volume(a->manifest, name);
    CLEANUP(volume_closep) struct volume_reader *reader = NULL;
    struct ahead_slot slot = {0};
    uint64_t slots = div_up(b->used_bytes, VOLUME_SLOT_BYTES);

    if (!v || v->root.size_bytes != b->used_bytes)
        return err_set(e, ERR_CORRUPT, "the backup lacks RAM block %s",
                       b->name);
    if (volume_open(a->repo, &v->root, &reader, e) == -1)
        return -1;
    CLEANUP(ahead_freep) struct ahead *ahead = ahead_new(reader);
    int has_data = ahead_next(ahead, &slot, e);
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t base = i * VOLUME_SLOT_BYTES;
        uint64_t len = u64_min(VOLUME_SLOT_BYTES, b->used_bytes - base);
        if (has_data == -1)
            return -1;
        bool zero = has_data == 0 || slot.index > i;
        if (put_pages(a, block, base, len, zero ? NULL : slot.data, e) == -1)
            return -1;
        if (!zero)
            has_data = ahead_next(ahead, &slot, e);
    }
    return has_data == -1 ? -1 : 0;
}

/* The place of the pages is between the list of blocks and the tail. */
static int
put_ram(struct assembly *a, struct err *e)
{
    a->pages_done = true;
    for (size_t i = 0; i < a->ram->n_blocks; i++)
        if (put_block(a, i, e) == -1)
            return -1;
    return 0;
}

/* ---- the stream around them
 * --------------------------------------------------- */

static int
take_head(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct assembly *a = cookie;

    return vmstate_encode_head(a->encoder, p, len, e);
}

static int
take_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    struct assembly *a = cookie;

    a->ram = ram;
    return vmstate_encode_ram(a->encoder, ram, e);
}

static int
take_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
          struct err *e)
{
    (void)cookie, (void)block, (void)offset, (void)data;
    return err_set(e, ERR_CORRUPT, "the stored device state has pages in it");
}

static int
take_tail(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct assembly *a = cookie;

    if (!a->pages_done && put_ram(a, e) == -1)
        return -1;
    return vmstate_encode_tail(a->encoder, p, len, e);
}

static const struct vmstate_sink sink = {
    .head = take_head,
    .tail = take_tail,
    .blocks = take_blocks,
    .page = take_page,
};

static int
read_state(struct assembly *a, struct vmstate_decoder *d, struct err *e)
{
    const struct manifest_volume *v = manifest_volume(a->manifest, "state");
    CLEANUP(volume_closep) struct volume_reader *reader = NULL;
    CLEANUP(freep) uint8_t *bytes = xmalloc(VOLUME_SLOT_BYTES);
    uint64_t marked[VOLUME_SLOT_BLOCKS / 64];

    if (!v)
        return err_set(e, ERR_UNSUP, "the backup has no machine state");
    if (volume_open(a->repo, &v->root, &reader, e) == -1)
        return -1;
    for (uint64_t at = 0; at < v->root.size_bytes; at += VOLUME_SLOT_BYTES) {
        size_t len = u64_min(VOLUME_SLOT_BYTES, v->root.size_bytes - at);
        if (volume_read_slot(reader, at / VOLUME_SLOT_BYTES, bytes, marked,
                             e) == -1 ||
            vmstate_decoder_push(d, bytes, len, e) == -1)
            return -1;
    }
    return vmstate_decoder_end(d, e);
}

int
machinestate_write(struct repo *r, const struct manifest *m,
                   machinestate_fn *fn, machinestate_progress_fn *progress,
                   void *cookie, struct cancel *cancel, struct err *e)
{
    struct assembly a = {
        .repo = r,
        .manifest = m,
        .cancel = cancel,
        .progress = progress,
        .cookie = cookie,
        .encoder = vmstate_encoder_new(fn, cookie),
    };
    struct vmstate_decoder *d =
        vmstate_decoder_new(&sink, &a, DEFAULT_PAGE_BYTES);

    int rc = read_state(&a, d, e);
    if (rc == 0)
        rc = vmstate_encode_end(a.encoder, e);
    vmstate_encoder_free(a.encoder);
    vmstate_decoder_free(d);
    return rc == 0 ? 0 : err_wrap(e, "machine state");
}
