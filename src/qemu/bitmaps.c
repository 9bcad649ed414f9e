/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/bitmaps.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct list {
    struct bitmap *p;
    size_t n, room;
};

static int
add(struct list *l, const char *node, const json_t *b, struct err *e)
{
    const char *name = json_string_value(json_object_get(b, "name"));
    json_int_t granularity =
        json_integer_value(json_object_get(b, "granularity"));

    if (!name || !name[0])
        return 0; /* of a job of QEMU's */
    if (l->n == BITMAPS_MAX)
        return err_set(e, ERR_LIMIT, "QEMU has more than %d dirty bitmaps",
                       BITMAPS_MAX);
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        l->p = xrealloc(l->p, l->room * sizeof(l->p[0]));
    }
    l->p[l->n++] = (struct bitmap){
        .node = xstrdup(node),
        .name = xstrdup(name),
        .granularity_bytes = granularity > 0 ? (uint64_t)granularity : 0,
        .recording = json_is_true(json_object_get(b, "recording")),
        .busy = json_is_true(json_object_get(b, "busy")),
        .persistent = json_is_true(json_object_get(b, "persistent")),
        .inconsistent = json_is_true(json_object_get(b, "inconsistent")),
    };
    return 0;
}

static int
add_all(struct list *l, const json_t *nodes, struct err *e)
{
    const json_t *node = NULL, *b = NULL;
    size_t i = 0, k = 0;

    if (!json_is_array(nodes))
        return err_set(e, ERR_QEMU,
                       "query-named-block-nodes: the reply is no list");
    json_array_foreach(nodes, i, node)
    {
        const char *name =
            json_string_value(json_object_get(node, "node-name"));
        const json_t *bitmaps = json_object_get(node, "dirty-bitmaps");
        if (!name)
            return err_set(e, ERR_QEMU,
                           "query-named-block-nodes: a node without a name");
        json_array_foreach(bitmaps, k, b)
        {
            if (add(l, name, b, e) == -1)
                return -1;
        }
    }
    return 0;
}

int
bitmaps_read(const json_t *nodes, struct bitmap **out, size_t *out_n,
             struct err *e)
{
    struct list l = {0};

    if (add_all(&l, nodes, e) == -1) {
        bitmaps_free(l.p, l.n);
        return -1;
    }
    *out = l.p;
    *out_n = l.n;
    return 0;
}

int
bitmaps_list(struct qmp *q, struct bitmap **out, size_t *out_n, struct err *e)
{
    CLEANUP(json_decrefp) json_t *reply = NULL;

    if (qmp_run(q, "query-named-block-nodes", json_pack("{s:b}", "flat", 1),
                &reply, e) == -1)
        return -1;
    return bitmaps_read(reply, out, out_n, e);
}

void
bitmaps_free(struct bitmap *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(b[i].node);
        free(b[i].name);
    }
    free(b);
}

const struct bitmap *
bitmaps_find(const struct bitmap *b, size_t n, const char *node,
             const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(b[i].node, node) == 0 && strcmp(b[i].name, name) == 0)
            return &b[i];
    return NULL;
}

static int
add_bitmap(struct qmp *q, const char *node, const char *name,
           uint64_t granularity_bytes, bool kept, struct err *e)
{
    return qmp_run(q, "block-dirty-bitmap-add",
                   json_pack("{s:s, s:s, s:I, s:b, s:b}", "node", node, "name",
                             name, "granularity", (json_int_t)granularity_bytes,
                             "persistent", kept, "disabled", 1),
                   NULL, e);
}

int
bitmap_add(struct qmp *q, const char *node, const char *name,
           uint64_t granularity_bytes, struct err *e)
{
    return add_bitmap(q, node, name, granularity_bytes, false, e);
}

int
bitmap_add_kept(struct qmp *q, const char *node, const char *name,
                uint64_t granularity_bytes, struct err *e)
{
    return add_bitmap(q, node, name, granularity_bytes, true, e);
}

int
bitmap_enable(struct qmp *q, const char *node, const char *name, struct err *e)
{
    return qmp_run(q, "block-dirty-bitmap-enable",
                   json_pack("{s:s, s:s}", "node", node, "name", name), NULL,
                   e);
}

int
bitmap_merge(struct qmp *q, const char *node, const char *name,
             const char *from_node, const char *from, struct err *e)
{
    return qmp_run(q, "block-dirty-bitmap-merge",
                   json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "node", node,
                             "target", name, "bitmaps", "node", from_node,
                             "name", from),
                   NULL, e);
}

int
bitmap_remove(struct qmp *q, const char *node, const char *name, struct err *e)
{
    return qmp_run(q, "block-dirty-bitmap-remove",
                   json_pack("{s:s, s:s}", "node", node, "name", name), NULL,
                   e);
}
