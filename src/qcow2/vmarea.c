/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/vmarea.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "qcow2/alloc.h"
#include "qcow2/format.h"

enum { STAGE_BYTES = 256 << 10 };

void
qcow2_vmarea_init(struct qcow2_vmarea *v, int fd, struct qcow2_alloc *alloc,
                  size_t max_tables)
{
    *v = (struct qcow2_vmarea){
        .fd = fd,
        .alloc = alloc,
        .max_tables = max_tables,
        .stage_room = u64_max(STAGE_BYTES, alloc->cluster_bytes),
    };
}

void
qcow2_vmarea_done(struct qcow2_vmarea *v)
{
    free(v->tables);
    free(v->table);
    free(v->stage);
    *v = (struct qcow2_vmarea){.fd = -1};
}

/* The table in work is full, or the last. */
static int
write_table(struct qcow2_vmarea *v, struct err *e)
{
    uint64_t bytes = v->alloc->cluster_bytes, offset = 0;

    if (v->n_tables == v->max_tables)
        return err_set(e, ERR_LIMIT,
                       "no room for a machine state of %llu bytes behind the "
                       "disk; use larger clusters",
                       (unsigned long long)v->bytes);
    if (qcow2_alloc_run(v->alloc, 1, 1, &offset, e) == -1 ||
        fd_pwrite(v->fd, v->table, bytes, offset, "L2 table", e) == -1)
        return -1;
    if (v->n_tables == v->tables_room) {
        v->tables_room = v->tables_room ? v->tables_room * 2 : 16;
        v->tables = xrealloc(v->tables, v->tables_room * sizeof(v->tables[0]));
    }
    v->tables[v->n_tables++] = offset;
    memset(v->table, 0, bytes);
    v->n_entries = 0;
    return 0;
}

/* Room for as much of `len` bytes as one piece of the table can have; whole
 * clusters, but for the last one of all. */
static int
place_clusters(struct qcow2_vmarea *v, size_t len, uint64_t *out_host,
               size_t *out_len, struct err *e)
{
    uint64_t bytes = v->alloc->cluster_bytes, host = 0;
    uint64_t l2_entries = bytes / QCOW2_ENTRY_BYTES;
    uint64_t n = u64_min(div_up(len, bytes), l2_entries - v->n_entries);

    if (qcow2_alloc_run(v->alloc, n, 1, &host, e) == -1)
        return -1;
    for (uint64_t i = 0; i < n; i++)
        put_be64(v->table + v->n_entries++ * QCOW2_ENTRY_BYTES,
                 host + i * bytes);
    if (v->n_entries == l2_entries && write_table(v, e) == -1)
        return -1;
    *out_host = host;
    *out_len = u64_min(len, n * bytes);
    return 0;
}

static int
write_clusters(struct qcow2_vmarea *v, const uint8_t *p, size_t len,
               struct err *e)
{
    while (len > 0) {
        uint64_t host = 0;
        size_t part = 0;
        if (place_clusters(v, len, &host, &part, e) == -1 ||
            fd_pwrite(v->fd, p, part, host, "machine state", e) == -1)
            return -1;
        p += part;
        len -= part;
    }
    return 0;
}

static void
make_room(struct qcow2_vmarea *v)
{
    if (v->stage)
        return;
    v->stage = xmalloc(v->stage_room);
    v->table = xcalloc(1, v->alloc->cluster_bytes);
}

int
qcow2_vmarea_place(struct qcow2_vmarea *v, size_t len, uint64_t *out_host,
                   size_t *out_len, struct err *e)
{
    uint64_t host = 0;
    size_t part = 0;

    if (len == 0 || v->stage_len > 0 || v->bytes % v->alloc->cluster_bytes != 0)
        return err_set(e, ERR_USAGE,
                       "a machine state must come in whole clusters of %llu "
                       "bytes",
                       (unsigned long long)v->alloc->cluster_bytes);
    make_room(v);
    if (place_clusters(v, len, &host, &part, e) == -1)
        return -1;
    v->bytes += part;
    *out_host = host;
    *out_len = part;
    return 0;
}

/* Through the stage; returns how much it took, which may be less. */
static size_t
fill_stage(struct qcow2_vmarea *v, const uint8_t *p, size_t len)
{
    size_t part = u64_min(len, v->stage_room - v->stage_len);

    memcpy(v->stage + v->stage_len, p, part);
    v->stage_len += part;
    return part;
}

static int
write_stage(struct qcow2_vmarea *v, struct err *e)
{
    size_t len = v->stage_len;

    v->stage_len = 0;
    return write_clusters(v, v->stage, len, e);
}

int
qcow2_vmarea_add(struct qcow2_vmarea *v, const void *p, size_t len,
                 struct err *e)
{
    const uint8_t *at = p;

    make_room(v);
    v->bytes += len;
    while (len > 0) {
        size_t part = 0;
        if (v->stage_len == 0 && len >= v->stage_room) {
            part = len - len % v->stage_room; /* no copy needed */
            if (write_clusters(v, at, part, e) == -1)
                return -1;
        } else {
            part = fill_stage(v, at, len);
        }
        if (v->stage_len == v->stage_room && write_stage(v, e) == -1)
            return -1;
        at += part;
        len -= part;
    }
    return 0;
}

int
qcow2_vmarea_finish(struct qcow2_vmarea *v, struct err *e)
{
    if (write_stage(v, e) == -1)
        return -1;
    return v->n_entries > 0 ? write_table(v, e) : 0;
}
