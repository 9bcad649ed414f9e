/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

enum { ROOM_MIN = 64 };

static bool
is_free(const uint8_t slot[GID_BYTES])
{
    return get_le64(slot) == 0 && get_le64(slot + 8) == 0;
}

static size_t
home_of(const struct gidset *s, const uint8_t gid[GID_BYTES])
{
    return get_le64(gid) & (s->room - 1);
}

/* Where it is, or the free slot where it would be. */
static size_t
find(const struct gidset *s, const uint8_t gid[GID_BYTES])
{
    size_t i = home_of(s, gid);

    while (!is_free(s->slots[i]) && memcmp(s->slots[i], gid, GID_BYTES) != 0)
        i = (i + 1) & (s->room - 1);
    return i;
}

void
gidset_done(struct gidset *s)
{
    free(s->slots);
    *s = (struct gidset){0};
}

static void
grow(struct gidset *s)
{
    struct gidset bigger = {.room = s->room ? 2 * s->room : ROOM_MIN,
                            .n = s->n};

    bigger.slots = xcalloc(bigger.room, GID_BYTES);
    for (size_t i = 0; i < s->room; i++)
        if (!is_free(s->slots[i]))
            memcpy(bigger.slots[find(&bigger, s->slots[i])], s->slots[i],
                   GID_BYTES);
    gidset_done(s);
    *s = bigger;
}

bool
gidset_add(struct gidset *s, const uint8_t gid[GID_BYTES])
{
    assert(!is_free(gid));
    if (s->n + s->n / 4 >= s->room) /* at most four fifths full */
        grow(s);
    size_t i = find(s, gid);
    if (!is_free(s->slots[i]))
        return false;
    memcpy(s->slots[i], gid, GID_BYTES);
    s->n++;
    return true;
}

bool
gidset_has(const struct gidset *s, const uint8_t gid[GID_BYTES])
{
    return s->n > 0 && !is_free(s->slots[find(s, gid)]);
}

void
gidset_remove(struct gidset *s, const uint8_t gid[GID_BYTES])
{
    if (!gidset_has(s, gid))
        return;
    size_t mask = s->room - 1;
    size_t gap = find(s, gid);

    /* Move back whatever would not be found any more past the gap. */
    for (size_t i = (gap + 1) & mask; !is_free(s->slots[i]);
         i = (i + 1) & mask) {
        size_t home = home_of(s, s->slots[i]);
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        memcpy(s->slots[gap], s->slots[i], GID_BYTES);
        gap = i;
    }
    memset(s->slots[gap], 0, GID_BYTES);
    s->n--;
}
