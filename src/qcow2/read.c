/* SPDX-License-Identifier: Apache-2.0 */
/* read: the bytes of a view (reader.h). */
#include <fcntl.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/qcow2_internal.h"
#include "qcow2/unpack.h"

static int
unpack_cluster(struct qcow2_view *v, const struct qcow2_piece *p, struct err *e)
{
    uint64_t cluster = v->image->g.cluster_bytes;

    if (v->unpacked_len != 0 && v->unpacked_host == p->host_offset &&
        v->unpacked_len == p->host_len)
        return 0;
    if (!v->unpacker) {
        v->unpacker = qcow2_unpacker_new(v->image->header.compression);
        v->packed = xmalloc(2 * cluster);
        v->unpacked = xmalloc(cluster);
    }
    /* The entry counts whole sectors; the last one may not be there. */
    size_t len = u64_min(p->host_len, v->file.bytes - p->host_offset);
    v->unpacked_len = 0;
    if (qcow2_file_read(&v->file, p->host_offset, v->packed, len,
                        "compressed data", e) == -1 ||
        qcow2_unpack(v->unpacker, v->packed, len, v->unpacked, cluster, e) ==
            -1)
        return -1;
    v->unpacked_host = p->host_offset;
    v->unpacked_len = p->host_len;
    return 0;
}

static int
read_unallocated(struct qcow2_view *v, uint64_t offset, uint8_t *p, size_t len,
                 struct err *e)
{
    const struct qcow2_source *b = &v->backing;
    size_t there = 0;

    if (!b->read && v->image->header.backing)
        return err_set(e, ERR_UNSUP,
                       "the image continues in a backing file, which is "
                       "needed, too");
    if (b->read && offset < b->size_bytes)
        there = u64_min(len, b->size_bytes - offset);
    if (there > 0 && b->read(b->ctx, offset, p, there, e) == -1)
        return -1;
    memset(p + there, 0, len - there);
    return 0;
}

/* len bytes at guest_offset, all of piece `piece`. */
static int
read_piece(struct qcow2_view *v, const struct qcow2_piece *piece,
           uint64_t guest_offset, uint8_t *p, size_t len, struct err *e)
{
    switch (piece->kind) {
    case QCOW2_DATA:
        return qcow2_file_read(&v->data, piece->host_offset, p, len,
                               "disk data", e);
    case QCOW2_COMPRESSED_DATA:
        if (unpack_cluster(v, piece, e) == -1)
            return err_wrap(e, "disk offset %llu",
                            (unsigned long long)guest_offset);
        memcpy(p, v->unpacked + guest_offset % v->image->g.cluster_bytes, len);
        return 0;
    case QCOW2_ZEROS:
        memset(p, 0, len);
        return 0;
    case QCOW2_UNALLOCATED:
        return read_unallocated(v, guest_offset, p, len, e);
    }
    return 0;
}

void
qcow2_view_will_read(const struct qcow2_view *v,
                     const struct qcow2_extent *extent, uint64_t len)
{
    if (extent->kind == QCOW2_DATA)
        (void)posix_fadvise(v->data.fd, (off_t)extent->host_offset,
                            (off_t)u64_min(len, extent->len),
                            POSIX_FADV_WILLNEED);
}

int
qcow2_view_read(struct qcow2_view *v, uint64_t offset, void *p, size_t len,
                struct err *e)
{
    uint8_t *at = p;

    if (!range_inside(offset, len, v->disk_bytes))
        return err_set(e, ERR_USAGE, "a read past the end of the disk");
    while (len > 0) {
        struct qcow2_piece piece = {0};
        if (qcow2_view_pieces(v, offset, offset + len, &piece, e) == -1 ||
            read_piece(v, &piece, offset, at, piece.len, e) == -1)
            return -1;
        offset += piece.len;
        at += piece.len;
        len -= piece.len;
    }
    return 0;
}

int
qcow2_view_read_vmstate(struct qcow2_view *v, uint64_t offset, void *p,
                        size_t len, struct err *e)
{
    uint8_t *at = p;

    if (!range_inside(offset, len, v->vm_bytes))
        return err_set(e, ERR_USAGE, "a read past the end of a machine state");
    while (len > 0) {
        uint64_t guest_offset = v->vm_base + offset;
        struct qcow2_piece piece = {0};
        if (qcow2_view_pieces(v, guest_offset, guest_offset + len, &piece, e) ==
            -1)
            return -1;
        if (piece.kind == QCOW2_UNALLOCATED)
            return err_set(e, ERR_CORRUPT,
                           "the machine state has a hole at offset %llu",
                           (unsigned long long)offset);
        if (read_piece(v, &piece, guest_offset, at, piece.len, e) == -1)
            return err_wrap(e, "the machine state");
        offset += piece.len;
        at += piece.len;
        len -= piece.len;
    }
    return 0;
}
