/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate/ending.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "vmstate/format.h"

/* The last `room` bytes of (old, p), where `old` has `room` bytes. */
static void
slide(uint8_t *out, const uint8_t *old, size_t room, const uint8_t *p,
      size_t len)
{
    size_t n = len < room ? len : room;
    uint8_t result[ENDING_BEFORE];

    memcpy(result, old + n, room - n);
    memcpy(result + room - n, p + len - n, n);
    memcpy(out, result, room);
}

void
vmstate_ending_add(struct vmstate_ending *g, const uint8_t *p, size_t len)
{
    if (len == 0)
        return;
    const uint8_t *nul = memrchr(p, '\0', len);
    const uint8_t *rest = nul ? nul + 1 : p;

    if (nul) {
        size_t at = (size_t)(nul - p);
        g->has_nul = true;
        g->nul_at = g->total + at;
        g->n_before = (size_t)u64_min(g->nul_at, ENDING_BEFORE);
        slide(g->before, g->latest, ENDING_BEFORE, p, at);
        g->n_after = 0;
    }
    size_t left = len - (size_t)(rest - p);
    size_t n = (size_t)u64_min(left, ENDING_AFTER - g->n_after);
    memcpy(g->after + g->n_after, rest, n);
    g->n_after += n;
    slide(g->latest, g->latest, ENDING_BEFORE, p, len);
    g->total += len;
}

/* The byte `off` places after the last NUL (before it, if negative); -1 if
 * that is outside of the window. */
static int
byte_at(const struct vmstate_ending *g, int off)
{
    if (off == 0)
        return '\0';
    if (off > 0)
        return (size_t)off <= g->n_after ? g->after[off - 1] : -1;
    return (size_t)-off <= g->n_before ? g->before[ENDING_BEFORE + off] : -1;
}

/* Does an EOF that ends the sections stand there? */
static bool
is_eof(const struct vmstate_ending *g, int off, bool has_footers)
{
    return byte_at(g, off) == SECTION_EOF &&
           (!has_footers ||
            byte_at(g, off - SECTION_ID_BYTES) == SECTION_FOOTER);
}

/* Is the four-byte length of the description there, and true? */
static bool
is_length(const struct vmstate_ending *g, int off, bool has_footers)
{
    uint64_t len = 0;

    if (!is_eof(g, off - 2, has_footers) ||
        byte_at(g, off - 1) != SECTION_VMDESC || byte_at(g, off + 4) != '{' ||
        g->latest[ENDING_BEFORE - 1] != '}')
        return false;
    for (int i = 0; i < 4; i++)
        len = len << 8 | (uint64_t)byte_at(g, off + i);
    /* nul_at + off + 4 is where the text begins. */
    return len >= 2 && len == g->total - (g->nul_at + (uint64_t)(off + 4));
}

int
vmstate_ending_check(const struct vmstate_ending *g,
                     enum vmstate_ending_kind least, bool has_footers,
                     struct err *e)
{
    if (g->has_nul) {
        /* The last NUL is one of the length's bytes, or the EOF before it. */
        for (int off = -3; off <= 2; off++)
            if (is_length(g, off, has_footers))
                return 0;
        if (least == ENDING_PLAIN && g->nul_at == g->total - 1 &&
            is_eof(g, 0, has_footers))
            return 0;
    }
    err_set(e, ERR_CORRUPT,
            "the migration stream does not end as a whole one does: %s",
            least == ENDING_PLAIN
                ? "no end of the device state"
                : "no description (VMDESCRIPTION) of the length it says");
    return err_hint(e, "it was cut short or damaged%s",
                    least == ENDING_PLAIN
                        ? ""
                        : ", or the machine runs with suppress-vmdesc=on");
}
