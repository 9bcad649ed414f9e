/* SPDX-License-Identifier: Apache-2.0 */
/* map: where the data of a view is, and where two views differ (reader.h). */
#include "base/bytes.h"
#include "base/err.h"
#include "qcow2/qcow2_internal.h"

/*
 * What one call may spend before it answers: 2,048 entries of L2 tables, so
 * that asking again for each piece that is read costs little, or many more of
 * the L1 table.
 */
enum { COST_MAX = 65536, COST_OF_ENTRY = 32, COST_OF_HOLE = 1 };

static int
missing(const struct qcow2_view *v, uint64_t guest_offset, uint64_t host_offset,
        struct err *e)
{
    bool vm = v->vm_bytes && guest_offset >= v->vm_base;
    uint64_t file_end = v->image->g.data_file ? v->data.bytes : v->file.bytes;

    return err_set(
        e, ERR_CORRUPT,
        "the data of %s offset %llu is missing: it is at host "
        "offset %llu, and the file ends at %llu",
        vm ? "machine state" : "disk",
        (unsigned long long)(vm ? guest_offset - v->vm_base : guest_offset),
        (unsigned long long)host_offset, (unsigned long long)file_end);
}

/* No table: unallocated as far as the next entry of the L1 table, or for ever
 * behind its end. */
static uint64_t
hole_length(const struct qcow2_view *v, uint64_t guest_offset)
{
    uint64_t span = qcow2_table_span(&v->image->g);

    if (guest_offset / span >= v->tables.l1_len)
        return UINT64_MAX - guest_offset;
    return span - guest_offset % span;
}

int
qcow2_view_piece(struct qcow2_view *v, uint64_t guest_offset, uint64_t end,
                 struct qcow2_piece *out, struct err *e)
{
    struct qcow2_piece p = {.kind = QCOW2_UNALLOCATED};
    const uint8_t *entry = NULL;
    int found = qcow2_tables_entry(&v->tables, guest_offset, &entry, e);

    if (found == -1 || (found && qcow2_entry_piece(&v->image->g, entry,
                                                   guest_offset, &p, e) == -1))
        return -1;
    if (!found)
        p.len = hole_length(v, guest_offset);
    p.len = u64_min(p.len, end - guest_offset);
    if (p.kind == QCOW2_DATA && !qcow2_file_has(&v->data, p.host_offset, p.len))
        return missing(v, guest_offset, p.host_offset, e);
    /* Its last sector may be cut short at the end of the file. */
    if (p.kind == QCOW2_COMPRESSED_DATA &&
        !qcow2_file_has(&v->file, p.host_offset, 1))
        return missing(v, guest_offset, p.host_offset, e);
    *out = p;
    return 0;
}

static bool
continues(const struct qcow2_piece *a, const struct qcow2_piece *b)
{
    return a->kind == b->kind && a->kind != QCOW2_COMPRESSED_DATA &&
           (a->kind != QCOW2_DATA || b->host_offset == a->host_offset + a->len);
}

static unsigned
step_cost(const struct qcow2_view *v, uint64_t guest_offset)
{
    return qcow2_tables_place(&v->tables, guest_offset) ? COST_OF_ENTRY
                                                        : COST_OF_HOLE;
}

int
qcow2_view_pieces(struct qcow2_view *v, uint64_t guest_offset, uint64_t end,
                  struct qcow2_piece *out, struct err *e)
{
    struct qcow2_piece all = {0}, next = {0};
    struct err later = {0};
    unsigned cost = 0;

    if (qcow2_view_piece(v, guest_offset, end, &all, e) == -1)
        return -1;
    while (cost < COST_MAX && guest_offset + all.len < end) {
        cost += step_cost(v, guest_offset + all.len);
        /* What is wrong there is told when somebody asks for it. */
        if (qcow2_view_piece(v, guest_offset + all.len, end, &next, &later) ==
                -1 ||
            !continues(&all, &next))
            break;
        all.len += next.len;
    }
    *out = all;
    return 0;
}

static int
check_inside(const struct qcow2_view *v, uint64_t offset, struct err *e)
{
    if (offset >= v->disk_bytes)
        return err_set(e, ERR_USAGE, "offset %llu is past the end of the disk",
                       (unsigned long long)offset);
    return 0;
}

int
qcow2_view_map(struct qcow2_view *v, uint64_t offset, struct qcow2_extent *out,
               struct err *e)
{
    struct qcow2_piece p = {0};

    if (check_inside(v, offset, e) == -1 ||
        qcow2_view_pieces(v, offset, v->disk_bytes, &p, e) == -1)
        return -1;
    *out = (struct qcow2_extent){
        .offset = offset,
        .len = p.len,
        .kind = p.kind,
        .host_offset = p.kind == QCOW2_DATA ? p.host_offset : 0,
    };
    return 0;
}

/* One step: is what both say of guest_offset the same, and how far? */
static int
compare(struct qcow2_view *a, struct qcow2_view *b, uint64_t guest_offset,
        bool *out_same, uint64_t *out_len, struct err *e)
{
    const struct qcow2_geometry *g = &a->image->g;
    const uint8_t *pa = NULL, *pb = NULL;

    /* The same table, or none in both. */
    if (qcow2_tables_place(&a->tables, guest_offset) ==
        qcow2_tables_place(&b->tables, guest_offset)) {
        *out_same = true;
        *out_len =
            u64_min(hole_length(a, guest_offset), hole_length(b, guest_offset));
        return 0;
    }
    if (qcow2_tables_entry(&a->tables, guest_offset, &pa, e) == -1 ||
        qcow2_tables_entry(&b->tables, guest_offset, &pb, e) == -1)
        return -1;
    *out_same = qcow2_entries_equal(g, pa, pb);
    *out_len = g->cluster_bytes - guest_offset % g->cluster_bytes;
    return 0;
}

/* Where the disk of the older view ends for a comparison: a last cluster that
 * is only in part its own counts as behind it. */
static uint64_t
comparable_end(const struct qcow2_view *older, const struct qcow2_view *newer)
{
    if (older->disk_bytes >= newer->disk_bytes)
        return newer->disk_bytes;
    return older->disk_bytes -
           older->disk_bytes % older->image->g.cluster_bytes;
}

int
qcow2_view_diff(struct qcow2_view *older, struct qcow2_view *newer,
                uint64_t offset, struct qcow2_change *out, struct err *e)
{
    uint64_t end = comparable_end(older, newer), at = offset, len = 0;
    unsigned cost = 0;
    bool first = false, same = false;

    if (older->image != newer->image)
        return err_set(e, ERR_USAGE,
                       "only snapshots of one image can be compared");
    if (check_inside(newer, offset, e) == -1)
        return -1;
    if (offset >= end) {
        *out = (struct qcow2_change){offset, newer->disk_bytes - offset, true};
        return 0;
    }
    while (cost < COST_MAX && at < end) {
        if (compare(older, newer, at, &same, &len, e) == -1)
            return -1;
        if (at > offset && same != first)
            break;
        cost +=
            len > older->image->g.cluster_bytes ? COST_OF_HOLE : COST_OF_ENTRY;
        first = same;
        at += u64_min(len, end - at);
    }
    *out = (struct qcow2_change){offset, at - offset, !first};
    return 0;
}
