/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"

enum { CACHE_BYTES = 8 << 20 };

static int
compare_u64(const void *a, const void *b)
{
    const uint64_t *pa = a, *pb = b;

    return (*pa > *pb) - (*pa < *pb);
}

static int
bad_entry(struct err *e, uint64_t index, uint64_t entry, const char *why)
{
    return err_set(e, ERR_CORRUPT, "entry %llu of the L1 table (0x%016llx) %s",
                   (unsigned long long)index, (unsigned long long)entry, why);
}

/* From bytes to host offsets. */
static int
parse_l1(struct qcow2_tables *t, const uint8_t *p, struct err *e)
{
    for (uint64_t i = 0; i < t->l1_len; i++) {
        uint64_t entry = get_be64(p + i * QCOW2_ENTRY_BYTES);
        uint64_t host = entry & QCOW2_OFFSET_MASK;

        if (entry & QCOW2_L1_RESERVED)
            return bad_entry(e, i, entry, "has reserved bits set");
        if (host % t->g->cluster_bytes != 0)
            return bad_entry(e, i, entry,
                             "does not point to the start of a cluster");
        if (host != 0 && !qcow2_file_has(t->file, host, t->g->cluster_bytes))
            return bad_entry(e, i, entry,
                             "points to an L2 table that is missing: the image "
                             "file ends before it");
        t->l1[i] = host;
    }
    return 0;
}

static int
check_distinct(const struct qcow2_tables *t, struct err *e)
{
    CLEANUP(freep) uint64_t *sorted = xmalloc(t->l1_len * sizeof(*sorted));
    uint64_t n = 0;

    for (uint64_t i = 0; i < t->l1_len; i++)
        if (t->l1[i] != 0)
            sorted[n++] = t->l1[i];
    qsort(sorted, n, sizeof(*sorted), compare_u64);
    for (uint64_t i = 1; i < n; i++)
        if (sorted[i] == sorted[i - 1])
            return err_set(e, ERR_CORRUPT,
                           "two entries of the L1 table name the same L2 table "
                           "at %llu",
                           (unsigned long long)sorted[i]);
    return 0;
}

static int
load_l1(struct qcow2_tables *t, uint64_t offset, struct err *e)
{
    uint64_t bytes = t->l1_len * QCOW2_ENTRY_BYTES;
    CLEANUP(freep) uint8_t *p = NULL;
    void *m = NULL;

    if (bytes > QCOW2_L1_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "an L1 table of %llu entries is too large",
                       (unsigned long long)t->l1_len);
    if (offset % t->g->cluster_bytes != 0)
        return err_set(e, ERR_CORRUPT,
                       "the L1 table is not at the start of a cluster");
    if (!qcow2_file_has(t->file, offset, bytes))
        return err_set(e, ERR_CORRUPT,
                       "the L1 table at %llu is missing: the image file ends "
                       "at %llu",
                       (unsigned long long)offset,
                       (unsigned long long)t->file->bytes);
    if (mem_try(bytes, "an L1 table", &m, e) == -1)
        return -1;
    p = m;
    if (mem_try(bytes, "an L1 table", &m, e) == -1)
        return -1;
    t->l1 = m;
    if (qcow2_file_read(t->file, offset, p, bytes, "the L1 table", e) == -1 ||
        parse_l1(t, p, e) == -1)
        return -1;
    return check_distinct(t, e);
}

int
qcow2_tables_open(struct qcow2_tables *t, struct qcow2_file *file,
                  const struct qcow2_geometry *g, uint64_t l1_offset,
                  uint32_t l1_len, struct err *e)
{
    *t = (struct qcow2_tables){
        .file = file,
        .g = g,
        .l1_len = l1_len,
        .max_slots =
            u64_min(CACHE_BYTES / g->cluster_bytes, QCOW2_TABLES_SLOTS),
    };
    if (load_l1(t, l1_offset, e) == -1) {
        qcow2_tables_done(t);
        return -1;
    }
    return 0;
}

void
qcow2_tables_done(struct qcow2_tables *t)
{
    for (size_t i = 0; i < t->n_slots; i++)
        free(t->slots[i].table);
    free(t->l1);
    *t = (struct qcow2_tables){0};
}

uint64_t
qcow2_tables_place(const struct qcow2_tables *t, uint64_t guest_offset)
{
    uint64_t index = guest_offset / qcow2_table_span(t->g);

    return index < t->l1_len ? t->l1[index] : 0;
}

static struct qcow2_tables_slot *
find(struct qcow2_tables *t, uint64_t place)
{
    if (t->n_slots && t->slots[t->last].host_offset == place)
        return &t->slots[t->last];
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].host_offset == place)
            return &t->slots[i];
    return NULL;
}

static struct qcow2_tables_slot *
free_slot(struct qcow2_tables *t)
{
    if (t->n_slots < t->max_slots) {
        struct qcow2_tables_slot *s = &t->slots[t->n_slots++];
        *s = (struct qcow2_tables_slot){
            .table = xmalloc(t->g->cluster_bytes),
        };
        return s;
    }

    struct qcow2_tables_slot *oldest = &t->slots[0];
    for (size_t i = 1; i < t->n_slots; i++)
        if (t->slots[i].used < oldest->used)
            oldest = &t->slots[i];
    return oldest;
}

int
qcow2_tables_entry(struct qcow2_tables *t, uint64_t guest_offset,
                   const uint8_t **out, struct err *e)
{
    uint64_t place = qcow2_tables_place(t, guest_offset);

    if (place == 0)
        return 0;

    struct qcow2_tables_slot *s = find(t, place);
    if (!s) {
        s = free_slot(t);
        s->host_offset = 0; /* holds nothing, should the read fail */
        if (qcow2_file_read(t->file, place, s->table, t->g->cluster_bytes,
                            "an L2 table", e) == -1)
            return -1;
        s->host_offset = place;
    }
    s->used = ++t->tick;
    t->last = (size_t)(s - t->slots);

    uint64_t index = guest_offset / t->g->cluster_bytes % t->g->l2_entries;
    *out = s->table + index * t->g->entry_bytes;
    return 1;
}
