/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "qcow2/format.h"
#include "qcow2/header.h"
#include "qcow2/imagefile.h"

/* A parsed entry and the lengths that its variable part has. */
struct entry {
    struct qcow2_snapshot s;
    uint32_t extra_len;
    uint16_t id_len, name_len;
    uint32_t vmstate_32;
};

static void
snapshot_done(struct qcow2_snapshot *s)
{
    free(s->id);
    free(s->name);
}

void
qcow2_snapshots_done(struct qcow2_snapshots *s)
{
    for (size_t i = 0; i < s->n; i++)
        snapshot_done(&s->list[i]);
    free(s->list);
    *s = (struct qcow2_snapshots){0};
}

static struct entry
parse_fixed(const uint8_t *p)
{
    struct cursor c = cursor_of(p, QCOW2_SNAPSHOT_FIXED_BYTES);
    struct entry en = {0};

    en.s.l1_offset = cursor_be64(&c);
    en.s.l1_len = cursor_be32(&c);
    en.id_len = cursor_be16(&c);
    en.name_len = cursor_be16(&c);
    en.s.date_sec = cursor_be32(&c);
    en.s.date_nsec = cursor_be32(&c);
    en.s.vm_clock_ns = cursor_be64(&c);
    en.vmstate_32 = cursor_be32(&c);
    en.extra_len = cursor_be32(&c);
    return en;
}

/* What extra data there is: images are from before each of these fields. */
static void
parse_extra(const uint8_t *p, uint64_t active_bytes, struct entry *en)
{
    struct qcow2_snapshot *s = &en->s;

    s->vmstate_bytes = en->extra_len >= 8 ? get_be64(p) : en->vmstate_32;
    s->disk_bytes = en->extra_len >= 16 ? get_be64(p + 8) : active_bytes;
    s->icount = en->extra_len >= 24 ? get_be64(p + 16) : QCOW2_NO_ICOUNT;
}

/* The entry at *offset, which moves past it. */
static int
read_entry(struct qcow2_file *f, const struct qcow2_header *h, uint64_t *offset,
           struct qcow2_snapshot *out, struct err *e)
{
    CLEANUP(freep) uint8_t *variable = NULL;
    uint8_t fixed[QCOW2_SNAPSHOT_FIXED_BYTES];

    if (qcow2_file_read(f, *offset, fixed, sizeof(fixed), "an entry", e) == -1)
        return -1;
    struct entry en = parse_fixed(fixed);
    if (en.extra_len > QCOW2_SNAPSHOT_EXTRA_MAX)
        return err_set(e, ERR_LIMIT, "%u bytes of extra data are too many",
                       en.extra_len);
    size_t len = (size_t)en.extra_len + en.id_len + en.name_len;
    variable = xmalloc(len); /* 132 KiB at most */
    if (qcow2_file_read(f, *offset + sizeof(fixed), variable, len, "an entry",
                        e) == -1)
        return -1;
    parse_extra(variable, h->size_bytes, &en);

    const char *id = (const char *)variable + en.extra_len;
    en.s.id = xstrndup(id, en.id_len);
    en.s.name = xstrndup(id + en.id_len, en.name_len);
    *out = en.s;
    *offset += round_up(sizeof(fixed) + len, 8);
    return 0;
}

static int
read_all(struct qcow2_file *f, const struct qcow2_header *h,
         struct qcow2_snapshots *s, struct err *e)
{
    uint64_t offset = h->snapshots_offset;

    for (; s->n < h->n_snapshots; s->n++) {
        if (offset - h->snapshots_offset > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
            return err_set(e, ERR_LIMIT, "the table is too large");
        if (read_entry(f, h, &offset, &s->list[s->n], e) == -1)
            return err_wrap(e, "snapshot %zu of %u", s->n + 1, h->n_snapshots);
    }
    return 0;
}

int
qcow2_snapshots_read(struct qcow2_file *f, const struct qcow2_header *h,
                     struct qcow2_snapshots *out, struct err *e)
{
    struct qcow2_snapshots s = {0};
    uint64_t least = (uint64_t)h->n_snapshots * QCOW2_SNAPSHOT_FIXED_BYTES;

    if (h->n_snapshots > QCOW2_SNAPSHOTS_MAX)
        return err_set(e, ERR_LIMIT, "%u snapshots are too many",
                       h->n_snapshots);
    if (h->snapshots_offset % (UINT64_C(1) << h->cluster_bits) != 0)
        return err_set(e, ERR_CORRUPT,
                       "the snapshot table is not at the start of a cluster");
    if (h->n_snapshots == 0) {
        *out = s;
        return 0;
    }
    if (!qcow2_file_has(f, h->snapshots_offset, least))
        return err_set(e, ERR_CORRUPT,
                       "the snapshot table at %llu is missing: the image file "
                       "ends at %llu",
                       (unsigned long long)h->snapshots_offset,
                       (unsigned long long)f->bytes);
    s.list = xcalloc(h->n_snapshots, sizeof(s.list[0]));
    if (read_all(f, h, &s, e) == -1) {
        qcow2_snapshots_done(&s);
        return err_wrap(e, "the snapshot table");
    }
    *out = s;
    return 0;
}

bool
qcow2_snapshot_equal(const struct qcow2_snapshot *a,
                     const struct qcow2_snapshot *b)
{
    return strcmp(a->id, b->id) == 0 && strcmp(a->name, b->name) == 0 &&
           a->date_sec == b->date_sec && a->date_nsec == b->date_nsec &&
           a->vm_clock_ns == b->vm_clock_ns &&
           a->vmstate_bytes == b->vmstate_bytes &&
           a->disk_bytes == b->disk_bytes && a->icount == b->icount &&
           a->l1_offset == b->l1_offset && a->l1_len == b->l1_len;
}

const struct qcow2_snapshot *
qcow2_snapshot_find(const struct qcow2_snapshots *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->list[i].name, name) == 0)
            return &s->list[i];
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->list[i].id, name) == 0)
            return &s->list[i];
    return NULL;
}
