/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gidlist.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "repo/gidsort.h"

enum {
    ROOM_MIN = 64,
    BITS_MAX = 24,
    FILL = 4 /* ids a value, at most twice */
};

void
gidlist_done(struct gidlist *l)
{
    free(l->gids);
    free(l->starts);
    *l = (struct gidlist){0};
}

void
gidlist_clear(struct gidlist *l)
{
    l->n = 0;
}

static void
make_unique(struct gidlist *l)
{
    size_t n = 0;

    gidsort(l->gids, l->n, GID_BYTES);
    for (size_t i = 0; i < l->n; i++)
        if (n == 0 || memcmp(l->gids[n - 1], l->gids[i], GID_BYTES) != 0)
            memmove(l->gids[n++], l->gids[i], GID_BYTES);
    l->n = n;
}

void
gidlist_add(struct gidlist *l, const uint8_t gid[GID_BYTES])
{
    if (l->n == l->room) {
        if (l->n > 0)
            make_unique(l);
        if (l->n > l->room / 2 || l->room == 0) {
            assert(l->room < GIDLIST_MAX);
            l->room = l->room ? 2 * l->room : ROOM_MIN;
            l->gids = xrealloc(l->gids, l->room * GID_BYTES);
        }
    }
    memcpy(l->gids[l->n++], gid, GID_BYTES);
}

static size_t
value_of(const struct gidlist *l, const uint8_t gid[GID_BYTES])
{
    return (size_t)(get_be64(gid) >> 32 >> (32 - l->bits));
}

void
gidlist_sort(struct gidlist *l)
{
    if (l->n > 0)
        make_unique(l);
    for (l->bits = 0; l->n >> l->bits > FILL && l->bits < BITS_MAX;)
        l->bits++;
    size_t values = (size_t)1 << l->bits, v = 0;
    l->starts = xrealloc(l->starts, (values + 1) * sizeof(l->starts[0]));
    for (size_t i = 0; i < l->n; i++)
        for (size_t own = value_of(l, l->gids[i]); v <= own; v++)
            l->starts[v] = (uint32_t)i;
    for (; v <= values; v++)
        l->starts[v] = (uint32_t)l->n;
}

void
gidlist_prefetch(const struct gidlist *l, const uint8_t gid[GID_BYTES])
{
    __builtin_prefetch(&l->starts[value_of(l, gid)]);
}

void
gidlist_prefetch_ids(const struct gidlist *l, const uint8_t gid[GID_BYTES])
{
    if (l->n > 0)
        __builtin_prefetch(l->gids[l->starts[value_of(l, gid)]]);
}

bool
gidlist_find(const struct gidlist *l, const uint8_t gid[GID_BYTES], size_t *out)
{
    size_t v = value_of(l, gid);

    for (size_t i = l->starts[v]; i < l->starts[v + 1]; i++)
        if (memcmp(l->gids[i], gid, GID_BYTES) == 0) {
            *out = i;
            return true;
        }
    return false;
}
