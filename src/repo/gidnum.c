/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidnum.h"

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

/* Where it is, or the free slot where it would be. */
static size_t
find(const struct gidnum *m, const uint8_t gid[GID_BYTES])
{
    size_t i = get_le64(gid) & (m->room - 1);

    while (!is_free(m->slots[i]) && memcmp(m->slots[i], gid, GID_BYTES) != 0)
        i = (i + 1) & (m->room - 1);
    return i;
}

void
gidnum_done(struct gidnum *m)
{
    free(m->slots);
    free(m->values);
    *m = (struct gidnum){0};
}

static void
grow(struct gidnum *m)
{
    struct gidnum bigger = {.room = m->room ? 2 * m->room : ROOM_MIN,
                            .n = m->n};

    bigger.slots = xcalloc(bigger.room, GID_BYTES);
    bigger.values = xcalloc(bigger.room, sizeof(bigger.values[0]));
    for (size_t i = 0; i < m->room; i++) {
        if (is_free(m->slots[i]))
            continue;
        size_t to = find(&bigger, m->slots[i]);
        memcpy(bigger.slots[to], m->slots[i], GID_BYTES);
        bigger.values[to] = m->values[i];
    }
    gidnum_done(m);
    *m = bigger;
}

bool
gidnum_add(struct gidnum *m, const uint8_t gid[GID_BYTES], uint32_t value)
{
    assert(!is_free(gid));
    if (m->n + m->n / 4 >= m->room) /* at most four fifths full */
        grow(m);
    size_t i = find(m, gid);
    if (!is_free(m->slots[i]))
        return false;
    memcpy(m->slots[i], gid, GID_BYTES);
    m->values[i] = value;
    m->n++;
    return true;
}

uint32_t *
gidnum_find(const struct gidnum *m, const uint8_t gid[GID_BYTES])
{
    if (m->n == 0)
        return NULL;
    size_t i = find(m, gid);
    return is_free(m->slots[i]) ? NULL : &m->values[i];
}
