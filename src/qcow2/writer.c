/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/writer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "qcow2/alloc.h"
#include "qcow2/format.h"
#include "qcow2/l2cache.h"
#include "qcow2/snapshot.h"
#include "qcow2/vmarea.h"

enum {
    DEFAULT_CLUSTER_BITS = 16,
    L1_ENTRIES_MAX = QCOW2_L1_BYTES_MAX / QCOW2_ENTRY_BYTES,
    SNAPSHOT_REFCOUNT = 2 /* one for the active state, one for the snapshot */
};

struct qcow2_writer {
    int fd; /* borrowed */
    uint32_t cluster_bits;
    uint64_t cluster_bytes;
    uint64_t l2_entries; /* a table */
    uint64_t size_bytes;
    bool failed, unsynced;
    char *snapshot; /* NULL: none */
    char *snapshot_id;
    int64_t time_ns;
    uint64_t vm_clock_ns, icount;
    char *backing, *backing_format; /* NULL: none */
    struct qcow2_alloc alloc;
    struct qcow2_l2cache l2;
    uint64_t *l1;    /* of the disk: host offsets, no flags */
    uint64_t l1_len; /* at least 1 */
    struct qcow2_vmarea vm;
};

static uint16_t
disk_refcount(const struct qcow2_writer *w)
{
    return w->snapshot ? SNAPSHOT_REFCOUNT : 1;
}

static uint64_t
disk_flags(const struct qcow2_writer *w)
{
    return w->snapshot ? 0 : QCOW2_COPIED;
}

/* The first L1 entry behind the disk. */
static uint64_t
vm_l1_index(const struct qcow2_writer *w)
{
    return div_up(w->size_bytes, w->cluster_bytes * w->l2_entries);
}

/* After a failed write nobody knows what is in the file, and a caller that
 * passed nonsense may have more of it. */
static int
fail(struct qcow2_writer *w)
{
    w->failed = true;
    return -1;
}

static int
check_alive(const struct qcow2_writer *w, struct err *e)
{
    if (w->failed)
        return err_set(e, ERR_IO, "the image is void: writing it failed");
    return 0;
}

static int
check_names(const struct qcow2_write_options *o, struct err *e)
{
    if (o->snapshot && (o->snapshot[0] == '\0' ||
                        strlen(o->snapshot) > QCOW2_SNAPSHOT_NAME_MAX))
        return err_set(e, ERR_USAGE, "the name of a snapshot has 1 to %d bytes",
                       QCOW2_SNAPSHOT_NAME_MAX);
    if (o->snapshot_id && (o->snapshot_id[0] == '\0' ||
                           strlen(o->snapshot_id) > QCOW2_SNAPSHOT_ID_MAX))
        return err_set(e, ERR_USAGE, "the id of a snapshot has 1 to %d bytes",
                       QCOW2_SNAPSHOT_ID_MAX);
    if (!o->backing != !o->backing_format)
        return err_set(e, ERR_USAGE,
                       "a backing file and its format come together");
    if (o->backing &&
        (o->backing[0] == '\0' || strlen(o->backing) > QCOW2_BACKING_NAME_MAX))
        return err_set(e, ERR_USAGE,
                       "the name of a backing file has 1 to %d bytes",
                       QCOW2_BACKING_NAME_MAX);
    return 0;
}

static int
check_options(int fd, const struct qcow2_write_options *o, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) == -1)
        return err_set_errno(e, ERR_IO, "cannot look at the image file");
    if (!S_ISREG(st.st_mode) || st.st_size != 0)
        return err_set(e, ERR_USAGE,
                       "an image can only be written to an empty file");
    if (o->size_bytes % QCOW2_SECTOR_BYTES != 0)
        return err_set(e, ERR_USAGE,
                       "the size of a disk must be a multiple of %d bytes; "
                       "%llu is not",
                       QCOW2_SECTOR_BYTES, (unsigned long long)o->size_bytes);
    if (o->cluster_bits != 0 && (o->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
                                 o->cluster_bits > QCOW2_CLUSTER_BITS_MAX))
        return err_set(e, ERR_USAGE, "clusters have 2^%d to 2^%d bytes",
                       QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
    return check_names(o, e);
}

static void
writer_free(struct qcow2_writer *w)
{
    if (!w)
        return;
    qcow2_l2cache_done(&w->l2);
    qcow2_vmarea_done(&w->vm);
    qcow2_alloc_done(&w->alloc);
    free(w->l1);
    free(w->snapshot);
    free(w->snapshot_id);
    free(w->backing);
    free(w->backing_format);
    free(w);
}

void
qcow2_writer_abandonp(struct qcow2_writer **w)
{
    writer_free(*w);
    *w = NULL;
}

/* Does the header cluster hold the header, its extension and the name? */
static int
check_header_fits(const struct qcow2_writer *w, struct err *e)
{
    uint64_t need = QCOW2_HEADER_BYTES + 8; /* and the end of extensions */

    if (w->backing)
        need += 8 + round_up(strlen(w->backing_format), 8) + strlen(w->backing);
    if (need > w->cluster_bytes)
        return err_set(e, ERR_LIMIT,
                       "the name of the backing file does not fit into a "
                       "cluster of %llu bytes; use larger clusters",
                       (unsigned long long)w->cluster_bytes);
    return 0;
}

int
qcow2_writer_open(int fd, const struct qcow2_write_options *o,
                  struct qcow2_writer **out, struct err *e)
{
    if (check_options(fd, o, e) == -1)
        return -1;

    CLEANUP(qcow2_writer_abandonp)
    struct qcow2_writer *w = xcalloc(1, sizeof(*w));
    w->fd = fd;
    w->cluster_bits = o->cluster_bits ? o->cluster_bits : DEFAULT_CLUSTER_BITS;
    w->cluster_bytes = UINT64_C(1) << w->cluster_bits;
    w->l2_entries = w->cluster_bytes / QCOW2_ENTRY_BYTES;
    w->size_bytes = o->size_bytes;
    w->time_ns = o->time_ns;
    w->vm_clock_ns = o->vm_clock_ns;
    w->snapshot = o->snapshot ? xstrdup(o->snapshot) : NULL;
    w->unsynced = o->unsynced;
    w->snapshot_id = xstrdup(o->snapshot_id ? o->snapshot_id : "1");
    w->icount = o->icount ? *o->icount : QCOW2_NO_ICOUNT;
    w->backing = o->backing ? xstrdup(o->backing) : NULL;
    w->backing_format = o->backing ? xstrdup(o->backing_format) : NULL;
    if (check_header_fits(w, e) == -1)
        return -1;
    if (vm_l1_index(w) > L1_ENTRIES_MAX)
        return err_set(e, ERR_LIMIT,
                       "a disk of %llu bytes is too large for clusters of "
                       "%llu bytes; use larger clusters",
                       (unsigned long long)w->size_bytes,
                       (unsigned long long)w->cluster_bytes);

    /* A table of no entries would have no place, and not all programs can
     * stand that. */
    w->l1_len = u64_max(vm_l1_index(w), 1);
    w->l1 = xcalloc(w->l1_len, sizeof(w->l1[0]));
    qcow2_alloc_init(&w->alloc, fd, w->cluster_bits);
    qcow2_l2cache_init(&w->l2, fd, &w->alloc, disk_refcount(w));
    qcow2_vmarea_init(&w->vm, fd, &w->alloc, L1_ENTRIES_MAX - vm_l1_index(w));
    *out = STEAL(w);
    return 0;
}

/* Clusters from the start of p that are all zeros, or that are all not. */
static uint64_t
run_length(const struct qcow2_writer *w, const uint8_t *p, size_t len,
           bool *out_zero)
{
    uint64_t n = 0;

    for (size_t at = 0; at < len; at += w->cluster_bytes, n++) {
        bool zero = bytes_are_zero(p + at, u64_min(w->cluster_bytes, len - at));
        if (n == 0)
            *out_zero = zero;
        else if (zero != *out_zero)
            break;
    }
    return n;
}

static int
check_unwritten(const uint8_t *entry, uint64_t n, struct err *e)
{
    for (uint64_t i = 0; i < n; i++)
        if (get_be64(entry + i * QCOW2_ENTRY_BYTES) != 0)
            return err_set(e, ERR_USAGE,
                           "a cluster of the disk was written twice");
    return 0;
}

/* The L2 entries of n clusters; data is 0 for clusters without any. */
static void
set_entries(const struct qcow2_writer *w, uint8_t *entry, uint64_t n,
            uint64_t data)
{
    for (uint64_t i = 0; i < n; i++, entry += QCOW2_ENTRY_BYTES) {
        if (data != 0)
            put_be64(entry, (data + i * w->cluster_bytes) | disk_flags(w));
        else if (w->backing)
            put_be64(entry, QCOW2_ZERO);
    }
}

/* n clusters that lie in one L2 table, either all zeros or none of them. */
static int
place_run(struct qcow2_writer *w, uint64_t first, uint64_t n, bool zero,
          uint64_t *out_host, struct err *e)
{
    uint64_t data = 0;
    uint8_t *table = NULL;

    *out_host = 0;
    if (zero && !w->backing)
        return 0;
    if (qcow2_l2cache_get(&w->l2, &w->l1[first / w->l2_entries], &table, e) ==
        -1)
        return -1;
    uint8_t *entry = table + first % w->l2_entries * QCOW2_ENTRY_BYTES;
    if (check_unwritten(entry, n, e) == -1 ||
        (!zero &&
         qcow2_alloc_run(&w->alloc, n, disk_refcount(w), &data, e) == -1))
        return -1;
    set_entries(w, entry, n, data);
    *out_host = data;
    return 0;
}

static int
check_place(const struct qcow2_writer *w, uint64_t offset, size_t len,
            struct err *e)
{
    if (!range_inside(offset, len, w->size_bytes))
        return err_set(e, ERR_USAGE, "data past the end of the disk");
    if (offset % w->cluster_bytes != 0 ||
        (len % w->cluster_bytes != 0 && offset + len != w->size_bytes))
        return err_set(e, ERR_USAGE,
                       "disk data must come in whole clusters of %llu bytes",
                       (unsigned long long)w->cluster_bytes);
    return 0;
}

size_t
qcow2_writer_run(const struct qcow2_writer *w, uint64_t offset, const void *p,
                 size_t len, bool *out_zero)
{
    uint64_t in_table =
        w->l2_entries - offset / w->cluster_bytes % w->l2_entries;
    size_t part = u64_min(len, in_table * w->cluster_bytes);

    return u64_min(part, run_length(w, p, part, out_zero) * w->cluster_bytes);
}

int
qcow2_writer_place(struct qcow2_writer *w, uint64_t offset, size_t len,
                   bool zero, uint64_t *out_host, struct err *e)
{
    if (check_alive(w, e) == -1)
        return -1;
    uint64_t first = offset / w->cluster_bytes;
    uint64_t n = div_up(len, w->cluster_bytes);
    if (check_place(w, offset, len, e) == -1)
        return fail(w);
    if (n == 0 || n > w->l2_entries - first % w->l2_entries) {
        (void)err_set(e, ERR_USAGE, "a run of disk data must lie in one table");
        return fail(w);
    }
    return place_run(w, first, n, zero, out_host, e) == -1 ? fail(w) : 0;
}

int
qcow2_write_disk(struct qcow2_writer *w, uint64_t offset, const void *p,
                 size_t len, struct err *e)
{
    const uint8_t *at = p;

    if (check_alive(w, e) == -1)
        return -1;
    if (check_place(w, offset, len, e) == -1)
        return fail(w);
    while (len > 0) {
        bool zero = false;
        uint64_t host = 0;
        size_t part = qcow2_writer_run(w, offset, at, len, &zero);
        if (qcow2_writer_place(w, offset, part, zero, &host, e) == -1)
            return -1;
        if (host && fd_pwrite(w->fd, at, part, host, "disk data", e) == -1)
            return fail(w);
        offset += part;
        at += part;
        len -= part;
    }
    return 0;
}

static int
check_vmstate(struct qcow2_writer *w, struct err *e)
{
    if (check_alive(w, e) == -1)
        return -1;
    if (w->snapshot)
        return 0;
    (void)err_set(e, ERR_USAGE,
                  "a machine state needs a snapshot to be stored in");
    return fail(w);
}

int
qcow2_write_vmstate(struct qcow2_writer *w, const void *p, size_t len,
                    struct err *e)
{
    if (check_vmstate(w, e) == -1)
        return -1;
    return qcow2_vmarea_add(&w->vm, p, len, e) == -1 ? fail(w) : 0;
}

int
qcow2_writer_place_vmstate(struct qcow2_writer *w, size_t len,
                           uint64_t *out_host, size_t *out_len, struct err *e)
{
    if (check_vmstate(w, e) == -1)
        return -1;
    if (qcow2_vmarea_place(&w->vm, len, out_host, out_len, e) == -1)
        return fail(w);
    return 0;
}

/* Allocates and writes an L1 table: the disk's part, then the machine's. */
static int
write_l1(struct qcow2_writer *w, const struct qcow2_vmarea *vm,
         uint64_t *out_offset, uint32_t *out_len, struct err *e)
{
    uint64_t vm_at = vm_l1_index(w);
    uint64_t len = u64_max(w->l1_len, vm ? vm_at + vm->n_tables : 0);
    CLEANUP(freep) uint8_t *p = xcalloc(len, QCOW2_ENTRY_BYTES);
    uint64_t offset = 0;

    for (uint64_t i = 0; i < w->l1_len; i++)
        if (w->l1[i])
            put_be64(p + i * QCOW2_ENTRY_BYTES, w->l1[i] | disk_flags(w));
    for (size_t i = 0; vm && i < vm->n_tables; i++)
        put_be64(p + (vm_at + i) * QCOW2_ENTRY_BYTES, vm->tables[i]);
    if (qcow2_alloc_run(&w->alloc,
                        div_up(len * QCOW2_ENTRY_BYTES, w->cluster_bytes), 1,
                        &offset, e) == -1 ||
        fd_pwrite(w->fd, p, len * QCOW2_ENTRY_BYTES, offset, "L1 table", e) ==
            -1)
        return -1;
    *out_offset = offset;
    *out_len = (uint32_t)len;
    return 0;
}

static int
write_snapshot(struct qcow2_writer *w, uint64_t *out_offset, struct err *e)
{
    int64_t sec = w->time_ns / 1000000000;
    bool dated = w->time_ns >= 0 && sec <= UINT32_MAX;
    uint64_t l1_offset = 0, offset = 0;
    uint32_t l1_len = 0;
    CLEANUP(buf_done) struct buf b = buf_of(4096);

    if (write_l1(w, &w->vm, &l1_offset, &l1_len, e) == -1)
        return -1;
    buf_be64(&b, l1_offset);
    buf_be32(&b, l1_len);
    buf_be16(&b, (uint16_t)strlen(w->snapshot_id));
    buf_be16(&b, (uint16_t)strlen(w->snapshot));
    buf_be32(&b, dated ? (uint32_t)sec : 0);
    buf_be32(&b, dated ? (uint32_t)(w->time_ns % 1000000000) : 0);
    buf_be64(&b, w->vm_clock_ns);
    /* Readers that know 32 bits only must not take a part for the whole. */
    buf_be32(&b, w->vm.bytes <= UINT32_MAX ? (uint32_t)w->vm.bytes : 0);
    buf_be32(&b, QCOW2_SNAPSHOT_EXTRA_BYTES);
    buf_be64(&b, w->vm.bytes);
    buf_be64(&b, w->size_bytes);
    buf_be64(&b, w->icount);
    buf_add(&b, w->snapshot_id, strlen(w->snapshot_id));
    buf_add(&b, w->snapshot, strlen(w->snapshot));
    buf_zero(&b, round_up(b.len, 8) - b.len);
    if (buf_check(&b, "the snapshot table", e) == -1 ||
        qcow2_alloc_run(&w->alloc, div_up(b.len, w->cluster_bytes), 1, &offset,
                        e) == -1 ||
        fd_pwrite(w->fd, b.p, b.len, offset, "snapshot table", e) == -1)
        return -1;
    *out_offset = offset;
    return 0;
}

/* Where things are that the header points to. */
struct layout {
    uint64_t l1_offset, reftable_offset, snapshots_offset;
    uint32_t l1_len, reftable_clusters;
};

static int
write_header(const struct qcow2_writer *w, const struct layout *at,
             struct err *e)
{
    CLEANUP(freep) uint8_t *h = xcalloc(1, w->cluster_bytes);
    uint8_t *ext = h + QCOW2_HEADER_BYTES;

    put_be32(h, QCOW2_MAGIC);
    put_be32(h + QCOW2_AT_VERSION, 3);
    put_be32(h + QCOW2_AT_CLUSTER_BITS, w->cluster_bits);
    put_be64(h + QCOW2_AT_SIZE, w->size_bytes);
    put_be32(h + QCOW2_AT_L1_SIZE, at->l1_len);
    put_be64(h + QCOW2_AT_L1_OFFSET, at->l1_offset);
    put_be64(h + QCOW2_AT_REFTABLE_OFFSET, at->reftable_offset);
    put_be32(h + QCOW2_AT_REFTABLE_CLUSTERS, at->reftable_clusters);
    put_be32(h + QCOW2_AT_SNAPSHOTS, w->snapshot ? 1 : 0);
    put_be64(h + QCOW2_AT_SNAPSHOTS_OFFSET, at->snapshots_offset);
    put_be32(h + QCOW2_AT_REFCOUNT_ORDER, 4); /* 16 bits: see alloc */
    put_be32(h + QCOW2_AT_HEADER_LEN, QCOW2_HEADER_BYTES);
    if (w->backing) {
        size_t format_len = strlen(w->backing_format);
        put_be32(ext, QCOW2_EXT_BACKING_FORMAT);
        put_be32(ext + 4, (uint32_t)format_len);
        memcpy(ext + 8, w->backing_format, format_len);
        ext += 8 + round_up(format_len, 8);
    }
    ext += 8; /* QCOW2_EXT_END and its length: zeros */
    if (w->backing) {
        put_be64(h + QCOW2_AT_BACKING_OFFSET, (uint64_t)(ext - h));
        put_be32(h + QCOW2_AT_BACKING_LEN, (uint32_t)strlen(w->backing));
        memcpy(ext, w->backing, strlen(w->backing));
    }
    return fd_pwrite(w->fd, h, w->cluster_bytes, 0, "image header", e);
}

static int
sync_image(const struct qcow2_writer *w, struct err *e)
{
    if (!w->unsynced && fsync(w->fd) == -1)
        return err_set_errno(e, ERR_IO, "cannot make the image durable");
    return 0;
}

static int
write_tables(struct qcow2_writer *w, struct layout *out, struct err *e)
{
    if (w->snapshot && qcow2_vmarea_finish(&w->vm, e) == -1)
        return -1;
    if (qcow2_l2cache_flush(&w->l2, e) == -1)
        return -1;
    if (write_l1(w, NULL, &out->l1_offset, &out->l1_len, e) == -1)
        return -1;
    if (w->snapshot && write_snapshot(w, &out->snapshots_offset, e) == -1)
        return -1;
    if (qcow2_alloc_finish(&w->alloc, &out->reftable_offset,
                           &out->reftable_clusters, e) == -1)
        return -1;
    return sync_image(w, e);
}

int
qcow2_writer_commit(struct qcow2_writer **wp, struct err *e)
{
    CLEANUP(qcow2_writer_abandonp) struct qcow2_writer *w = STEAL(*wp);
    struct layout at = {0};

    if (check_alive(w, e) == -1 || write_tables(w, &at, e) == -1)
        return -1;
    if (write_header(w, &at, e) == -1 || sync_image(w, e) == -1) {
        /* The header may be there, but what it promises may not. */
        (void)!ftruncate(w->fd, 0);
        return -1;
    }
    return 0;
}
