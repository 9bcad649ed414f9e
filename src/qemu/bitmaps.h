/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bitmaps: the dirty bitmaps of a running QEMU: which blocks of a node were
 * written since the bitmap was added, enabled or cleared.
 *
 * Source: QEMU docs/interop/bitmaps.rst; QMP query-named-block-nodes.
 */
#ifndef QEMU_BITMAPS_H
#define QEMU_BITMAPS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qemu/qmp.h"

struct err;

enum { BITMAPS_MAX = 65536 }; /* of all nodes together */

struct bitmap {
    char *node; /* on which it is */
    char *name; /* unique on that node */
    uint64_t granularity_bytes;
    bool recording;    /* it notes what is written */
    bool busy;         /* an export or a job is using it */
    bool persistent;   /* to be kept in the image */
    bool inconsistent; /* QEMU was killed: worth nothing */
};

/* Those of all nodes that have a name; an array of *out_n that is the caller's,
 * to be freed with bitmaps_free. */
int bitmaps_list(struct qmp *q, struct bitmap **out, size_t *out_n,
                 struct err *e);
/* From a reply to query-named-block-nodes.  ERR_QEMU if it is none, ERR_LIMIT
 * past BITMAPS_MAX. */
int bitmaps_read(const json_t *nodes, struct bitmap **out, size_t *out_n,
                 struct err *e);
void bitmaps_free(struct bitmap *b, size_t n);

/* Borrowed; NULL if the node has none of that name. */
const struct bitmap *bitmaps_find(const struct bitmap *b, size_t n,
                                  const char *node, const char *name);

/* A new one, empty, that does not record yet and is not kept in the image.  It
 * has a bit for so many bytes: a power of two, 512 at least. */
int bitmap_add(struct qmp *q, const char *node, const char *name,
               uint64_t granularity_bytes, struct err *e);
/* The same, and QEMU keeps it in the image, which must be one that can (struct
 * disk: keeps_bitmaps), when it closes it. */
int bitmap_add_kept(struct qmp *q, const char *node, const char *name,
                    uint64_t granularity_bytes, struct err *e);
/* It records from now on. */
int bitmap_enable(struct qmp *q, const char *node, const char *name,
                  struct err *e);
/* What is set in another, of another node of the same size, is set in this one
 * too. */
int bitmap_merge(struct qmp *q, const char *node, const char *name,
                 const char *from_node, const char *from, struct err *e);
int bitmap_remove(struct qmp *q, const char *node, const char *name,
                  struct err *e);

#endif
