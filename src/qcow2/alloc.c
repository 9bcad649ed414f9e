/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/alloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "qcow2/format.h"

enum { REFCOUNT_BYTES = 2 };

static uint64_t
refcounts_a_block(const struct qcow2_alloc *a)
{
    return a->cluster_bytes / REFCOUNT_BYTES;
}

static void
add_block(struct qcow2_alloc *a, uint64_t host_offset)
{
    if (a->n_blocks == a->room) {
        a->room = a->room ? a->room * 2 : 64;
        a->table = xrealloc(a->table, a->room * sizeof(a->table[0]));
    }
    a->table[a->n_blocks++] = host_offset;
}

static int
write_block(struct qcow2_alloc *a, uint64_t index, struct err *e)
{
    assert(index < a->n_blocks);
    if (fd_pwrite(a->fd, a->block, a->cluster_bytes, a->table[index],
                  "refcounts", e) == -1)
        return -1;
    memset(a->block, 0, a->cluster_bytes);
    return 0;
}

/* Take the next n clusters; their refcount blocks have a place already. */
static int
take(struct qcow2_alloc *a, uint64_t n, uint16_t refcount, struct err *e)
{
    uint64_t per = refcounts_a_block(a);

    for (; n > 0; n--) {
        put_be16(a->block + a->next % per * REFCOUNT_BYTES, refcount);
        a->next++;
        if (a->next % per == 0 && write_block(a, a->next / per - 1, e) == -1)
            return -1;
    }
    return 0;
}

/* How many refcount blocks must be added so that n more clusters, and these
 * blocks themselves, have a refcount. */
static uint64_t
blocks_missing(const struct qcow2_alloc *a, uint64_t n)
{
    uint64_t per = refcounts_a_block(a), missing = 0;

    for (;;) {
        uint64_t all = div_up(a->next + missing + n, per);
        uint64_t more = all > a->n_blocks ? all - a->n_blocks : 0;
        if (more == missing)
            return missing;
        missing = more;
    }
}

void
qcow2_alloc_init(struct qcow2_alloc *a, int fd, uint32_t cluster_bits)
{
    *a = (struct qcow2_alloc){
        .fd = fd,
        .cluster_bytes = UINT64_C(1) << cluster_bits,
        .next = 2, /* the header and the first refcount block */
    };
    a->block = xcalloc(1, a->cluster_bytes);
    add_block(a, a->cluster_bytes);
    put_be16(a->block, 1);
    put_be16(a->block + REFCOUNT_BYTES, 1);
}

void
qcow2_alloc_done(struct qcow2_alloc *a)
{
    free(a->table);
    free(a->block);
    *a = (struct qcow2_alloc){.fd = -1};
}

uint64_t
qcow2_alloc_bytes(const struct qcow2_alloc *a)
{
    return a->next * a->cluster_bytes;
}

int
qcow2_alloc_run(struct qcow2_alloc *a, uint64_t n, uint16_t refcount,
                uint64_t *out_offset, struct err *e)
{
    uint64_t per = refcounts_a_block(a);
    uint64_t max = per * (QCOW2_REFTABLE_BYTES_MAX / QCOW2_ENTRY_BYTES);

    max = u64_min(max, (QCOW2_OFFSET_MASK + 512) / a->cluster_bytes);
    assert(n > 0);
    /* Blocks are less than half of all clusters, whatever their size, so the
     * sums below stay far from overflow. */
    if (n > max || a->next + n + blocks_missing(a, n) > max)
        return err_set(e, ERR_LIMIT,
                       "the image gets too large for clusters of %llu bytes; "
                       "use larger clusters",
                       (unsigned long long)a->cluster_bytes);

    uint64_t missing = blocks_missing(a, n);
    for (uint64_t i = 0; i < missing; i++)
        add_block(a, (a->next + i) * a->cluster_bytes);
    if (take(a, missing, 1, e) == -1)
        return -1;

    uint64_t offset = qcow2_alloc_bytes(a);
    if (take(a, n, refcount, e) == -1)
        return -1;
    *out_offset = offset;
    return 0;
}

/* The clusters of a refcount table that describes all blocks, its own too. */
static uint64_t
table_clusters(const struct qcow2_alloc *a)
{
    uint64_t clusters = 1;

    for (;;) {
        uint64_t blocks = a->n_blocks + blocks_missing(a, clusters);
        uint64_t need = div_up(blocks * QCOW2_ENTRY_BYTES, a->cluster_bytes);
        if (need <= clusters)
            return clusters;
        clusters = need;
    }
}

int
qcow2_alloc_finish(struct qcow2_alloc *a, uint64_t *out_table_offset,
                   uint32_t *out_table_clusters, struct err *e)
{
    uint64_t clusters = table_clusters(a), per = refcounts_a_block(a);
    uint64_t offset = 0;

    if (qcow2_alloc_run(a, clusters, 1, &offset, e) == -1)
        return -1;
    if (a->next % per != 0 && write_block(a, a->next / per, e) == -1)
        return -1;

    CLEANUP(freep) uint8_t *p = xcalloc(clusters, a->cluster_bytes);
    assert(a->n_blocks * QCOW2_ENTRY_BYTES <= clusters * a->cluster_bytes);
    for (size_t i = 0; i < a->n_blocks; i++)
        put_be64(p + i * QCOW2_ENTRY_BYTES, a->table[i]);
    if (fd_pwrite(a->fd, p, clusters * a->cluster_bytes, offset,
                  "refcount table", e) == -1)
        return -1;
    *out_table_offset = offset;
    *out_table_clusters = (uint32_t)clusters;
    return 0;
}
