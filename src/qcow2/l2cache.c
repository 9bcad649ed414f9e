/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/l2cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/mem.h"
#include "qcow2/alloc.h"

enum { CACHE_BYTES = 8 << 20 };

void
qcow2_l2cache_init(struct qcow2_l2cache *c, int fd, struct qcow2_alloc *alloc,
                   uint16_t refcount)
{
    uint64_t fit = CACHE_BYTES / alloc->cluster_bytes;

    *c = (struct qcow2_l2cache){
        .fd = fd,
        .alloc = alloc,
        .refcount = refcount,
        .max_slots = u64_min(fit, QCOW2_L2CACHE_SLOTS),
    };
}

void
qcow2_l2cache_done(struct qcow2_l2cache *c)
{
    for (size_t i = 0; i < c->n_slots; i++)
        free(c->slots[i].table);
    c->n_slots = 0;
}

static int
write_slot(struct qcow2_l2cache *c, const struct qcow2_l2_slot *s,
           struct err *e)
{
    return fd_pwrite(c->fd, s->table, c->alloc->cluster_bytes, s->host_offset,
                     "L2 table", e);
}

/* A slot whose table may be overwritten, or NULL. */
static struct qcow2_l2_slot *
free_slot(struct qcow2_l2cache *c, struct err *e)
{
    if (c->n_slots < c->max_slots) {
        struct qcow2_l2_slot *s = &c->slots[c->n_slots++];
        *s = (struct qcow2_l2_slot){
            .table = xmalloc(c->alloc->cluster_bytes),
        };
        return s;
    }

    struct qcow2_l2_slot *oldest = &c->slots[0];
    for (size_t i = 1; i < c->n_slots; i++)
        if (c->slots[i].used < oldest->used)
            oldest = &c->slots[i];
    return write_slot(c, oldest, e) == -1 ? NULL : oldest;
}

static int
fill_slot(struct qcow2_l2cache *c, struct qcow2_l2_slot *s,
          uint64_t *host_offset, struct err *e)
{
    uint64_t bytes = c->alloc->cluster_bytes;

    s->host_offset = 0; /* holds nothing, should one of these fail */
    if (*host_offset != 0) {
        if (fd_pread(c->fd, s->table, bytes, *host_offset, "L2 table", e) == -1)
            return -1;
    } else {
        if (qcow2_alloc_run(c->alloc, 1, c->refcount, host_offset, e) == -1)
            return -1;
        memset(s->table, 0, bytes);
    }
    s->host_offset = *host_offset;
    return 0;
}

static struct qcow2_l2_slot *
find(struct qcow2_l2cache *c, uint64_t host_offset)
{
    if (host_offset == 0)
        return NULL;
    if (c->n_slots && c->slots[c->last].host_offset == host_offset)
        return &c->slots[c->last];
    for (size_t i = 0; i < c->n_slots; i++)
        if (c->slots[i].host_offset == host_offset)
            return &c->slots[i];
    return NULL;
}

int
qcow2_l2cache_get(struct qcow2_l2cache *c, uint64_t *host_offset, uint8_t **out,
                  struct err *e)
{
    struct qcow2_l2_slot *s = find(c, *host_offset);

    if (!s) {
        s = free_slot(c, e);
        if (!s || fill_slot(c, s, host_offset, e) == -1)
            return -1;
    }
    s->used = ++c->tick;
    c->last = (size_t)(s - c->slots);
    *out = s->table;
    return 0;
}

int
qcow2_l2cache_flush(struct qcow2_l2cache *c, struct err *e)
{
    for (size_t i = 0; i < c->n_slots; i++)
        if (c->slots[i].host_offset != 0 &&
            write_slot(c, &c->slots[i], e) == -1)
            return -1;
    return 0;
}
