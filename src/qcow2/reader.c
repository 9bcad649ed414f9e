/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "qcow2/format.h"
#include "qcow2/qcow2_internal.h"
#include "qcow2/unpack.h"

enum { CATALOG_TRIES = 16 };

/* Does the header still name this snapshot table? */
static int
table_moved(struct qcow2_file *f, const struct qcow2_header *h, bool *out,
            struct err *e)
{
    uint8_t p[12];

    if (qcow2_file_read(f, QCOW2_AT_SNAPSHOTS, p, sizeof(p), "the header", e) ==
        -1)
        return -1;
    *out = get_be32(p) != h->n_snapshots ||
           get_be64(p + (QCOW2_AT_SNAPSHOTS_OFFSET - QCOW2_AT_SNAPSHOTS)) !=
               h->snapshots_offset;
    return 0;
}

/* Header and snapshot table, from one moment.  A table that QEMU has just
 * replaced may be overwritten, so its errors only count if it has not. */
static int
read_catalog(struct qcow2_file *f, struct qcow2_header *out_header,
             struct qcow2_snapshots *out_snapshots, struct err *e)
{
    for (unsigned i = 0; i < CATALOG_TRIES; i++) {
        struct qcow2_header h = {0};
        struct qcow2_snapshots s = {0};
        struct err table_error = {0};
        bool moved = false;

        if (qcow2_header_read(f, &h, e) == -1)
            return -1;
        int r = qcow2_snapshots_read(f, &h, &s, &table_error);
        if (table_moved(f, &h, &moved, e) == 0 && !moved && r == 0) {
            *out_header = h;
            *out_snapshots = s;
            return 0;
        }
        qcow2_header_done(&h);
        qcow2_snapshots_done(&s);
        if (e->code != ERR_OK)
            return -1;
        if (!moved) {
            *e = table_error;
            return -1;
        }
    }
    return err_set(e, ERR_CORRUPT,
                   "the snapshot table changes all the time; try again when "
                   "no snapshots are made or deleted");
}

int
qcow2_image_open(int fd, int data_fd, struct qcow2_image **out, struct err *e)
{
    struct qcow2_file f = {0};
    CLEANUP(qcow2_image_closep)
    struct qcow2_image *image = xcalloc(1, sizeof(*image));

    image->fd = fd;
    image->data_fd = data_fd;
    if (qcow2_file_open(fd, &f, e) == -1 ||
        read_catalog(&f, &image->header, &image->snapshots, e) == -1)
        return -1;
    image->g = qcow2_geometry_of(&image->header);
    *out = STEAL(image);
    return 0;
}

void
qcow2_image_close(struct qcow2_image *image)
{
    if (!image)
        return;
    qcow2_header_done(&image->header);
    qcow2_snapshots_done(&image->snapshots);
    free(image);
}

void
qcow2_image_closep(struct qcow2_image **image)
{
    qcow2_image_close(*image);
    *image = NULL;
}

const struct qcow2_header *
qcow2_image_header(const struct qcow2_image *image)
{
    return &image->header;
}

const struct qcow2_snapshots *
qcow2_image_snapshots(const struct qcow2_image *image)
{
    return &image->snapshots;
}

static int
read_raw(void *ctx, uint64_t offset, void *p, size_t len, struct err *e)
{
    const int *fd = ctx;

    return fd_pread(*fd, p, len, offset, "the backing file", e);
}

int
qcow2_source_of_raw(const int *fd, struct qcow2_source *out, struct err *e)
{
    struct qcow2_file f = {0};
    struct qcow2_source s = {.read = read_raw};

    if (qcow2_file_open(*fd, &f, e) == -1)
        return -1;
    memcpy(&s.ctx, &fd, sizeof(fd)); /* read_raw does not write there */
    s.size_bytes = f.bytes;
    *out = s;
    return 0;
}

static int
read_view(void *ctx, uint64_t offset, void *p, size_t len, struct err *e)
{
    if (qcow2_view_read(ctx, offset, p, len, e) == -1)
        return err_wrap(e, "the backing file");
    return 0;
}

struct qcow2_source
qcow2_source_of_view(struct qcow2_view *view)
{
    return (struct qcow2_source){
        .read = read_view,
        .ctx = view,
        .size_bytes = qcow2_view_bytes(view),
    };
}

static int
check_readable(const struct qcow2_image *image,
               const struct qcow2_snapshot *snapshot, struct err *e)
{
    if (image->header.crypt != QCOW2_PLAIN)
        return err_set(e, ERR_UNSUP,
                       "the image is encrypted (%s) and only QEMU has the key; "
                       "back the machine up by the method live or disk",
                       image->header.crypt == QCOW2_LUKS ? "LUKS" : "AES");
    if (image->g.data_file && snapshot)
        return err_set(e, ERR_UNSUP,
                       "an image with an external data file cannot have "
                       "internal snapshots");
    if (image->g.data_file && image->data_fd == -1)
        return err_set(e, ERR_UNSUP,
                       "the image keeps its data in an external file, which is "
                       "needed, too");
    return 0;
}

/*
 * The L1 table must reach to the end of the disk (which the header's does), or
 * what it does not reach would read as zeros; and of the machine state.
 */
static int
place_vmstate(struct qcow2_view *v, uint32_t l1_len, struct err *e)
{
    uint64_t span = qcow2_table_span(&v->image->g);
    uint64_t reach = l1_len * span; /* at most 2^22 * 2^39 */

    if (v->disk_bytes > reach)
        return err_set(e, ERR_CORRUPT,
                       "an L1 table of %u entries is too small for a disk of "
                       "%llu bytes",
                       l1_len, (unsigned long long)v->disk_bytes);
    v->vm_base = round_up(v->disk_bytes, span);
    if (v->vm_bytes == 0 || range_inside(v->vm_base, v->vm_bytes, reach))
        return 0;
    return err_set(e, ERR_CORRUPT,
                   "a machine state of %llu bytes does not fit into an L1 "
                   "table of %u entries",
                   (unsigned long long)v->vm_bytes, l1_len);
}

static int
open_view(struct qcow2_view *v, struct err *e)
{
    const struct qcow2_header *h = &v->image->header;
    const struct qcow2_snapshot *s = v->snapshot;
    uint32_t l1_len = s ? s->l1_len : h->l1_len;

    v->l1_offset = s ? s->l1_offset : h->l1_offset;
    v->disk_bytes = s ? s->disk_bytes : h->size_bytes;
    v->vm_bytes = s ? s->vmstate_bytes : 0;
    if (qcow2_file_open(v->image->fd, &v->file, e) == -1)
        return -1;
    v->data = v->file;
    if (v->image->g.data_file &&
        qcow2_file_open(v->image->data_fd, &v->data, e) == -1)
        return -1;
    if (qcow2_tables_open(&v->tables, &v->file, &v->image->g, v->l1_offset,
                          l1_len, e) == -1)
        return -1;
    return place_vmstate(v, l1_len, e);
}

static int
wrap_snapshot(const struct qcow2_snapshot *s, struct err *e)
{
    CLEANUP(freep) char *name = text_quote(s->name, QCOW2_SNAPSHOT_NAME_MAX);

    return err_wrap(e, "the snapshot '%s'", name);
}

int
qcow2_view_open(const struct qcow2_image *image,
                const struct qcow2_snapshot *snapshot, struct qcow2_view **out,
                struct err *e)
{
    CLEANUP(qcow2_view_closep) struct qcow2_view *v = xcalloc(1, sizeof(*v));

    if (check_readable(image, snapshot, e) == -1)
        return -1;
    v->image = image;
    v->snapshot = snapshot;
    if (open_view(v, e) == -1)
        return snapshot ? wrap_snapshot(snapshot, e) : -1;
    *out = STEAL(v);
    return 0;
}

void
qcow2_view_close(struct qcow2_view *view)
{
    if (!view)
        return;
    qcow2_tables_done(&view->tables);
    qcow2_unpacker_free(view->unpacker);
    free(view->packed);
    free(view->unpacked);
    free(view);
}

void
qcow2_view_closep(struct qcow2_view **view)
{
    qcow2_view_close(*view);
    *view = NULL;
}

uint64_t
qcow2_view_bytes(const struct qcow2_view *view)
{
    return view->disk_bytes;
}

uint64_t
qcow2_view_vmstate_bytes(const struct qcow2_view *view)
{
    return view->vm_bytes;
}

uint64_t
qcow2_view_read_bytes(const struct qcow2_view *view)
{
    return view->file.read_bytes + view->data.read_bytes;
}

void
qcow2_view_set_backing(struct qcow2_view *view,
                       const struct qcow2_source *source)
{
    view->backing = *source;
}

static bool
state_is_named(const struct qcow2_view *v, const struct qcow2_header *h,
               const struct qcow2_snapshots *s)
{
    const struct qcow2_header *was = &v->image->header;
    uint64_t layout = ~(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);

    if (h->cluster_bits != was->cluster_bits ||
        ((h->incompatible ^ was->incompatible) & layout))
        return false;
    if (!v->snapshot)
        return h->l1_offset == was->l1_offset && h->l1_len == was->l1_len &&
               h->size_bytes == was->size_bytes;
    for (size_t i = 0; i < s->n; i++)
        if (qcow2_snapshot_equal(&s->list[i], v->snapshot))
            return true;
    return false;
}

int
qcow2_view_recheck(struct qcow2_view *view, struct err *e)
{
    struct qcow2_header h = {0};
    struct qcow2_snapshots s = {0};

    if (read_catalog(&view->file, &h, &s, e) == -1)
        return -1;
    bool there = state_is_named(view, &h, &s);
    qcow2_header_done(&h);
    qcow2_snapshots_done(&s);
    if (!there)
        return err_set(e, ERR_NOENT,
                       "%s was changed while it was read: what was read of it "
                       "is void",
                       view->snapshot ? "the snapshot" : "the image");
    return 0;
}
