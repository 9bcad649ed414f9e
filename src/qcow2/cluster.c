/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/cluster.h"

#include "base/bytes.h"
#include "base/err.h"
#include "qcow2/format.h"
#include "qcow2/header.h"

struct qcow2_geometry
qcow2_geometry_of(const struct qcow2_header *h)
{
    struct qcow2_geometry g = {
        .version = h->version,
        .cluster_bits = h->cluster_bits,
        .cluster_bytes = UINT64_C(1) << h->cluster_bits,
        .extended = h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2,
        .data_file = h->incompatible & QCOW2_INCOMPAT_DATA_FILE,
    };

    g.entry_bytes = g.extended ? 2 * QCOW2_ENTRY_BYTES : QCOW2_ENTRY_BYTES;
    g.l2_entries = g.cluster_bytes / g.entry_bytes;
    return g;
}

uint64_t
qcow2_table_span(const struct qcow2_geometry *g)
{
    return g->cluster_bytes * g->l2_entries;
}

static int
corrupt(struct err *e, uint64_t guest_offset, uint64_t descriptor,
        const char *why)
{
    return err_set(
        e, ERR_CORRUPT, "the L2 entry 0x%016llx of disk offset %llu %s",
        (unsigned long long)descriptor, (unsigned long long)guest_offset, why);
}

static int
compressed_piece(const struct qcow2_geometry *g, uint64_t descriptor,
                 uint64_t guest_offset, struct qcow2_piece *out, struct err *e)
{
    unsigned sector_bits = g->cluster_bits - 8, offset_bits = 62 - sector_bits;
    uint64_t host = descriptor & ((UINT64_C(1) << offset_bits) - 1);
    uint64_t sectors =
        descriptor >> offset_bits & ((UINT64_C(1) << sector_bits) - 1);

    if (host >> 56 != 0)
        return corrupt(e, guest_offset, descriptor, "has reserved bits set");
    if (g->data_file)
        return corrupt(e, guest_offset, descriptor,
                       "is compressed, which an external file cannot be");
    out->kind = QCOW2_COMPRESSED_DATA;
    out->len = g->cluster_bytes - guest_offset % g->cluster_bytes;
    out->host_offset = host;
    out->host_len =
        (sectors + 1) * QCOW2_SECTOR_BYTES - host % QCOW2_SECTOR_BYTES;
    return 0;
}

static enum qcow2_kind
subcluster_kind(uint64_t bitmap, unsigned i)
{
    if (bitmap >> (QCOW2_SUBCLUSTERS + i) & 1)
        return QCOW2_ZEROS;
    return bitmap >> i & 1 ? QCOW2_DATA : QCOW2_UNALLOCATED;
}

/* The kind of the subcluster at `within`, and where this kind ends. */
static enum qcow2_kind
subcluster_run(const struct qcow2_geometry *g, uint64_t bitmap, uint64_t within,
               uint64_t *out_end)
{
    uint64_t bytes = g->cluster_bytes / QCOW2_SUBCLUSTERS;
    unsigned i = (unsigned)(within / bytes);
    enum qcow2_kind kind = subcluster_kind(bitmap, i);

    do
        i++;
    while (i < QCOW2_SUBCLUSTERS && subcluster_kind(bitmap, i) == kind);
    *out_end = i * bytes;
    return kind;
}

static int
check_bitmap(uint64_t bitmap, uint64_t descriptor, bool allocated,
             uint64_t guest_offset, struct err *e)
{
    uint32_t data = (uint32_t)bitmap, zeros = (uint32_t)(bitmap >> 32);

    if (descriptor & QCOW2_COMPRESSED)
        return bitmap ? corrupt(e, guest_offset, descriptor,
                                "is compressed and has subclusters")
                      : 0;
    if (data & zeros)
        return corrupt(e, guest_offset, descriptor,
                       "has subclusters that are data and zeros at once");
    if (data && !allocated)
        return corrupt(e, guest_offset, descriptor,
                       "has subclusters of data but no place for them");
    return 0;
}

static int
standard_piece(const struct qcow2_geometry *g, uint64_t descriptor,
               uint64_t bitmap, uint64_t guest_offset, struct qcow2_piece *out,
               struct err *e)
{
    uint64_t host = descriptor & QCOW2_OFFSET_MASK;
    uint64_t within = guest_offset % g->cluster_bytes;
    uint64_t end = g->cluster_bytes;
    bool allocated = host != 0 || (g->data_file && descriptor & QCOW2_COPIED);
    bool no_zero_bit = g->extended || g->version < 3;

    if (descriptor & (QCOW2_L2_RESERVED | (no_zero_bit ? QCOW2_ZERO : 0)))
        return corrupt(e, guest_offset, descriptor, "has reserved bits set");
    if (host % g->cluster_bytes != 0)
        return corrupt(e, guest_offset, descriptor,
                       "does not point to the start of a cluster");
    if (g->data_file && allocated && host != guest_offset - within)
        return corrupt(e, guest_offset, descriptor,
                       "does not name the same place in the external file");
    if (g->extended)
        out->kind = subcluster_run(g, bitmap, within, &end);
    else if (descriptor & QCOW2_ZERO)
        out->kind = QCOW2_ZEROS;
    else
        out->kind = allocated ? QCOW2_DATA : QCOW2_UNALLOCATED;
    out->len = end - within;
    out->host_offset = out->kind == QCOW2_DATA ? host + within : 0;
    return 0;
}

int
qcow2_entry_piece(const struct qcow2_geometry *g, const uint8_t *entry,
                  uint64_t guest_offset, struct qcow2_piece *out, struct err *e)
{
    uint64_t descriptor = get_be64(entry);
    uint64_t bitmap = g->extended ? get_be64(entry + QCOW2_ENTRY_BYTES) : 0;
    bool allocated = (descriptor & QCOW2_OFFSET_MASK) != 0 ||
                     (g->data_file && descriptor & QCOW2_COPIED);
    struct qcow2_piece piece = {0};

    if (check_bitmap(bitmap, descriptor, allocated, guest_offset, e) == -1)
        return -1;
    int r =
        descriptor & QCOW2_COMPRESSED
            ? compressed_piece(g, descriptor, guest_offset, &piece, e)
            : standard_piece(g, descriptor, bitmap, guest_offset, &piece, e);
    if (r == 0)
        *out = piece;
    return r;
}

bool
qcow2_entries_equal(const struct qcow2_geometry *g, const uint8_t *a,
                    const uint8_t *b)
{
    static const uint8_t none[2 * QCOW2_ENTRY_BYTES];
    const uint8_t *pa = a ? a : none, *pb = b ? b : none;

    if ((get_be64(pa) ^ get_be64(pb)) & ~QCOW2_COPIED)
        return false;
    return !g->extended ||
           get_be64(pa + QCOW2_ENTRY_BYTES) == get_be64(pb + QCOW2_ENTRY_BYTES);
}
