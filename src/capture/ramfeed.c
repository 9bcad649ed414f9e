/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/ramfeed.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/ramspool.h"
#include "vmstate/decoder.h"
#include "vmstate/encoder.h"

struct ramfeed {
    struct ramspool *spool; /* borrowed */
    struct vmstate_decoder *decoder;
    struct vmstate_encoder *skeleton; /* the stream without its pages */
    void (*first_page)(void);         /* NULL: not to be called (any more) */
};

static int
take_head(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct ramfeed *f = cookie;

    return vmstate_encode_head(f->skeleton, p, len, e);
}

static int
take_tail(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct ramfeed *f = cookie;

    return vmstate_encode_tail(f->skeleton, p, len, e);
}

static int
take_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    struct ramfeed *f = cookie;

    if (ramspool_set_blocks(f->spool, ram, e) == -1)
        return -1;
    return vmstate_encode_ram(f->skeleton, ram, e);
}

static int
take_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
          struct err *e)
{
    struct ramfeed *f = cookie;

    if (f->first_page)
        f->first_page();
    f->first_page = NULL;
    return ramspool_put_page(f->spool, block, offset, data, e);
}

static const struct vmstate_sink sink = {
    .head = take_head,
    .tail = take_tail,
    .blocks = take_blocks,
    .page = take_page,
};

static int
write_state(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    struct ramfeed *f = cookie;

    return ramspool_put_state(f->spool, p, len, e);
}

struct ramfeed *
ramfeed_new(struct ramspool *spool, void (*first_page)(void))
{
    struct ramfeed *f = xcalloc(1, sizeof(*f));

    f->spool = spool;
    f->first_page = first_page;
    f->decoder = vmstate_decoder_new(&sink, f, RAMSPOOL_UNIT_BYTES);
    f->skeleton = vmstate_encoder_new(write_state, f);
    return f;
}

void
ramfeed_free(struct ramfeed *f)
{
    if (!f)
        return;
    vmstate_decoder_free(f->decoder);
    vmstate_encoder_free(f->skeleton);
    free(f);
}

void
ramfeed_freep(struct ramfeed **f)
{
    ramfeed_free(*f);
    *f = NULL;
}

int
ramfeed_push(struct ramfeed *f, const uint8_t *p, size_t len, struct err *e)
{
    return vmstate_decoder_push(f->decoder, p, len, e);
}

int
ramfeed_end(struct ramfeed *f, struct err *e)
{
    if (vmstate_decoder_end(f->decoder, e) == -1 ||
        vmstate_encode_end(f->skeleton, e) == -1)
        return -1;
    return ramspool_finish(f->spool, e);
}
