/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidmap.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

enum { ROOM_MIN = 64 };

struct gidmap
gidmap_of(size_t value_bytes)
{
    return (struct gidmap){.value_bytes = value_bytes};
}

void
gidmap_done(struct gidmap *m)
{
    free(m->slots);
    *m = gidmap_of(m->value_bytes);
}

static uint8_t *
slot_at(const struct gidmap *m, size_t i)
{
    return m->slots + i * (GID_BYTES + m->value_bytes);
}

static bool
is_free(const uint8_t *slot)
{
    return get_le64(slot) == 0 && get_le64(slot + 8) == 0;
}

/* Where it is, or the free slot where it would be. */
static uint8_t *
find(const struct gidmap *m, const uint8_t gid[GID_BYTES])
{
    size_t i = get_le64(gid) & (m->room - 1);

    while (!is_free(slot_at(m, i)) && memcmp(slot_at(m, i), gid, GID_BYTES))
        i = (i + 1) & (m->room - 1);
    return slot_at(m, i);
}

static void
grow(struct gidmap *m)
{
    struct gidmap bigger = gidmap_of(m->value_bytes);
    size_t slot_bytes = GID_BYTES + m->value_bytes;

    bigger.room = m->room ? 2 * m->room : ROOM_MIN;
    bigger.n = m->n;
    bigger.slots = xcalloc(bigger.room, slot_bytes);
    for (size_t i = 0; i < m->room; i++)
        if (!is_free(slot_at(m, i)))
            memcpy(find(&bigger, slot_at(m, i)), slot_at(m, i), slot_bytes);
    free(m->slots);
    *m = bigger;
}

void *
gidmap_get(const struct gidmap *m, const uint8_t gid[GID_BYTES])
{
    if (m->n == 0)
        return NULL;
    uint8_t *slot = find(m, gid);
    return is_free(slot) ? NULL : slot + GID_BYTES;
}

void *
gidmap_put(struct gidmap *m, const uint8_t gid[GID_BYTES])
{
    assert(!is_free(gid));
    if (m->n + m->n / 2 >= m->room) /* at most two thirds full */
        grow(m);
    uint8_t *slot = find(m, gid);
    if (is_free(slot)) {
        memcpy(slot, gid, GID_BYTES);
        m->n++;
    }
    return slot + GID_BYTES;
}

const uint8_t *
gidmap_at(const struct gidmap *m, size_t i, void **out_value)
{
    uint8_t *slot = slot_at(m, i);

    if (is_free(slot))
        return NULL;
    *out_value = slot + GID_BYTES;
    return slot;
}
