/* SPDX-License-Identifier: Apache-2.0 */
/* check: is a view whole?  (reader.h) */
#include <limits.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/qcow2_internal.h"

/* Two bits a cluster of the file; memory is used only where bits are set. */
#define CLUSTERS_MAX (UINT64_C(1) << 30)

struct usage {
    uint32_t cluster_bits;
    uint64_t n;     /* clusters of the file */
    uint64_t bytes; /* of one map */
    uint8_t *maps;  /* taken by one; behind it: by compressed data */
};

static void
usage_done(struct usage *u)
{
    freep(&u->maps);
}

static int
usage_init(struct usage *u, const struct qcow2_view *v, struct err *e)
{
    uint64_t n = div_up(v->file.bytes, v->image->g.cluster_bytes);
    uint64_t bytes = n / CHAR_BIT + 1;
    void *p = NULL;

    if (n > CLUSTERS_MAX)
        return err_set(e, ERR_LIMIT,
                       "the image file is too large to be checked");
    if (mem_try(2 * bytes, "a map of the image", &p, e) == -1)
        return -1;
    *u = (struct usage){v->image->g.cluster_bits, n, bytes, p};
    return 0;
}

/* Takes the clusters of [host, host + len), len > 0; false if one was taken
 * already. What the file has grown by since is not looked at. */
static bool
take(struct usage *u, uint64_t host, uint64_t len, bool shared)
{
    uint64_t end = u64_min(((host + len - 1) >> u->cluster_bits) + 1, u->n);
    uint8_t *mine = u->maps + (shared ? u->bytes : 0);
    const uint8_t *other = u->maps + (shared ? 0 : u->bytes);
    bool ok = true;

    for (uint64_t i = host >> u->cluster_bits; i < end; i++) {
        uint8_t bit = (uint8_t)(1 << i % CHAR_BIT);
        if ((other[i / CHAR_BIT] & bit) ||
            (!shared && (mine[i / CHAR_BIT] & bit)))
            ok = false;
        mine[i / CHAR_BIT] |= bit;
    }
    return ok;
}

static int
take_tables(struct usage *u, const struct qcow2_view *v, struct err *e)
{
    const struct qcow2_tables *t = &v->tables;

    if (!take(u, 0, 1, false) ||
        (t->l1_len &&
         !take(u, v->l1_offset, t->l1_len * QCOW2_ENTRY_BYTES, false)))
        return err_set(e, ERR_CORRUPT, "the L1 table lies over the header");
    for (uint64_t i = 0; i < t->l1_len; i++)
        if (t->l1[i] && !take(u, t->l1[i], v->image->g.cluster_bytes, false))
            return err_set(e, ERR_CORRUPT,
                           "the L2 table at %llu lies over another table",
                           (unsigned long long)t->l1[i]);
    return 0;
}

/* Data of a cluster may come in several pieces, of which the first takes all
 * of it. */
static bool
take_piece(struct usage *u, const struct qcow2_view *v,
           const struct qcow2_piece *p, bool same_cluster)
{
    if (p->kind == QCOW2_COMPRESSED_DATA)
        return take(u, p->host_offset, p->host_len, true);
    if (p->kind != QCOW2_DATA || v->image->g.data_file || same_cluster)
        return true;
    return take(u, p->host_offset, p->len, false);
}

static void
count_piece(struct qcow2_check *c, const struct qcow2_piece *p)
{
    if (p->kind == QCOW2_DATA || p->kind == QCOW2_COMPRESSED_DATA)
        c->data_bytes += p->len;
    if (p->kind == QCOW2_COMPRESSED_DATA)
        c->compressed_clusters++;
}

static void
count_overlap(struct qcow2_check *c, uint64_t guest_offset)
{
    if (c->overlaps++ == 0)
        c->first_overlap = guest_offset;
}

/* All of [at, end). */
static int
check_range(struct usage *u, struct qcow2_view *v, uint64_t at, uint64_t end,
            struct qcow2_check *c, struct err *e)
{
    uint64_t taken = UINT64_MAX; /* the guest cluster that data was seen of */

    while (at < end) {
        struct qcow2_piece p = {0};
        uint64_t cluster = at >> u->cluster_bits;
        if (qcow2_view_piece(v, at, end, &p, e) == -1)
            return -1;
        if (p.kind == QCOW2_UNALLOCATED && at >= v->disk_bytes)
            return err_set(e, ERR_CORRUPT,
                           "the machine state has a hole at offset %llu",
                           (unsigned long long)(at - v->vm_base));
        if (!take_piece(u, v, &p, cluster == taken))
            count_overlap(c, at);
        if (at < v->disk_bytes)
            count_piece(c, &p);
        if (p.kind == QCOW2_DATA)
            taken = cluster;
        at += p.len;
    }
    return 0;
}

int
qcow2_view_check(struct qcow2_view *v, struct qcow2_check *out, struct err *e)
{
    CLEANUP(usage_done) struct usage u = {0};
    struct qcow2_check c = {0};

    if (usage_init(&u, v, e) == -1 || take_tables(&u, v, e) == -1)
        return -1;
    if (check_range(&u, v, 0, v->disk_bytes, &c, e) == -1 ||
        check_range(&u, v, v->vm_base, v->vm_base + v->vm_bytes, &c, e) == -1)
        return -1;
    *out = c;
    return 0;
}
