/* SPDX-License-Identifier: Apache-2.0 */
#include "restore/statecheck.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "vmstate/decoder.h"

/* What to assume where the stream does not say; it does but for x86. */
enum { DEFAULT_PAGE_BYTES = 4096 };

struct statecheck {
    struct vmstate_decoder *decoder;
    struct err unknown; /* ERR_OK: we know it, so far */
    bool has_page;      /* one as it is, not a zero one */
};

static int
ignore_bytes(void *cookie, const uint8_t *p, size_t len, struct err *e)
{
    (void)cookie, (void)p, (void)len, (void)e;
    return 0;
}

static int
ignore_blocks(void *cookie, const struct vmstate_ram *ram, struct err *e)
{
    (void)cookie, (void)ram, (void)e;
    return 0;
}

static int
ignore_page(void *cookie, size_t block, uint64_t offset, const uint8_t *data,
            struct err *e)
{
    struct statecheck *s = cookie;

    (void)block, (void)offset, (void)e;
    if (data)
        s->has_page = true;
    return 0;
}

static const struct vmstate_sink sink = {
    .head = ignore_bytes,
    .tail = ignore_bytes,
    .blocks = ignore_blocks,
    .page = ignore_page,
};

struct statecheck *
statecheck_new(void)
{
    struct statecheck *s = xcalloc(1, sizeof(*s));

    s->decoder = vmstate_decoder_new(&sink, s, DEFAULT_PAGE_BYTES);
    return s;
}

void
statecheck_free(struct statecheck *s)
{
    if (!s)
        return;
    vmstate_decoder_free(s->decoder);
    free(s);
}

void
statecheck_freep(struct statecheck **s)
{
    statecheck_free(*s);
    *s = NULL;
}

int
statecheck_push(struct statecheck *s, const uint8_t *p, size_t len,
                struct err *e)
{
    struct err why = {0};

    if (s->unknown.code != ERR_OK ||
        vmstate_decoder_push(s->decoder, p, len, &why) == 0)
        return 0;
    /* A stream of another kind shows early that it is one.  What cannot be
     * understood in the midst of plain pages is most likely not of QEMU's. */
    if (why.code != ERR_CORRUPT && !s->has_page) {
        s->unknown = why;
        return 0;
    }
    return err_set(e, ERR_CORRUPT, "the machine state is damaged: %s", why.msg);
}

int
statecheck_end(struct statecheck *s, struct err *e)
{
    struct err why = {0}, again = {0};

    if (s->unknown.code != ERR_OK || vmstate_decoder_end(s->decoder, &why) == 0)
        return 0;
    /* A machine can be told to leave the description away. */
    vmstate_decoder_without_vmdesc(s->decoder);
    if (vmstate_decoder_end(s->decoder, &again) == 0)
        return 0;
    *e = why;
    return err_wrap(e, "the machine state is damaged");
}

const char *
statecheck_unknown(const struct statecheck *s)
{
    return s->unknown.code != ERR_OK ? s->unknown.msg : NULL;
}
