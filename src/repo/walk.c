/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/keyring.h"
#include "repo/node.h"
#include "repo/pack.h"
#include "repo/packfront.h"
#include "store/store.h"
#include "work/cancel.h"

enum { RUN_BYTES = 8 << 20, GAP_BYTES = 64 << 10 };

struct walk {
    struct store *store;
    const struct keyring *keys;
    walk_locate_fn *locate;
    void *cookie;
    struct cancel *cancel;
    /* The nodes of each that were found and not read yet. */
    struct gidlist levels[NODE_LEVEL_MAX + 1];
    walk_nodes_fn *mark_nodes; /* or NULL, */
    walk_leaf_fn *mark_leaf;   /* both */
    struct gidnum found;
};

struct walk *
walk_new(struct store *st, const struct keyring *k, walk_locate_fn *locate,
         void *cookie, struct cancel *cancel)
{
    struct walk *w = xcalloc(1, sizeof(*w));

    w->store = st;
    w->keys = k;
    w->locate = locate;
    w->cookie = cookie;
    w->cancel = cancel;
    return w;
}

void
walk_free(struct walk *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < ARRAY_LEN(w->levels); i++)
        gidlist_done(&w->levels[i]);
    gidnum_done(&w->found);
    free(w);
}

void
walk_freep(struct walk **w)
{
    walk_free(*w);
}

void
walk_mark_by(struct walk *w, walk_nodes_fn *nodes, walk_leaf_fn *leaf)
{
    w->mark_nodes = nodes;
    w->mark_leaf = leaf;
}

struct gidnum *
walk_found(struct walk *w)
{
    return &w->found;
}

enum { LEAF = -1 };

/* A gid of zeros would be none: no hash is, so somebody made it up. */
static int
found(struct walk *w, int level, const uint8_t gid[GID_BYTES], struct err *e)
{
    if (bytes_are_zero(gid, GID_BYTES))
        return err_set(e, ERR_CORRUPT, "an object's id is zero");
    if (level == LEAF && w->mark_leaf)
        return w->mark_leaf(w->cookie, gid, e);
    if (!w->mark_leaf && !gidnum_add(&w->found, gid, 0))
        return 0;
    if (level != LEAF)
        gidlist_add(&w->levels[level], gid);
    return 0;
}

int
walk_add_root(struct walk *w, uint8_t level, const uint8_t gid[GID_BYTES],
              struct err *e)
{
    if (level > NODE_LEVEL_MAX)
        return err_set(e, ERR_CORRUPT, "a root is of level %u", level);
    return found(w, level, gid, e);
}

static int
add_children(struct walk *w, uint8_t level, const struct node_children *c,
             struct err *e)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (found(w, level - 1, c->gids + (size_t)i * GID_BYTES, e) == -1)
            return -1;
    return 0;
}

static int
open_node(struct walk *w, uint8_t level, const struct walk_node *v,
          const struct pack_table *t, const uint8_t *sealed, struct err *e)
{
    CLEANUP(buf_done) struct buf children = buf_of(OBJECT_PLAIN_MAX);
    const struct pack_entry *entry = packfront_entry(t, v->at.offset);
    struct node_children c = {0};

    if (!entry || entry->len != v->at.len ||
        memcmp(entry->id, v->gid, GID_BYTES) != 0)
        return err_set(e, ERR_CORRUPT, "the index and the pack's table differ");
    if (object_open_children(w->keys, entry->id, sealed, v->at.len, &children,
                             e) == -1 ||
        node_children_unpack(children.p, children.len, &c, e) == -1)
        return -1;
    if (c.level != level)
        return err_set(e, ERR_CORRUPT, "it is a node of level %u, not %u",
                       c.level, level);
    return add_children(w, level, &c, e);
}

/* How many of the visits, all in one pack, one read serves. */
static size_t
run_of(const struct walk_node *v, size_t n, uint32_t *out_len)
{
    uint64_t end = v[0].at.offset + (uint64_t)v[0].at.len;
    size_t i = 1;

    for (; i < n; i++) {
        const struct location *at = &v[i].at;
        uint64_t its_end = at->offset + (uint64_t)at->len;
        if (at->offset > end + GAP_BYTES ||
            its_end - v[0].at.offset > RUN_BYTES)
            break;
        end = u64_max(end, its_end);
    }
    *out_len = (uint32_t)(end - v[0].at.offset);
    return i;
}

/* All visits are in the same pack, by offset.  The first that fails is
 * v[*out_at]. */
static int
visit_pack(struct walk *w, uint8_t level, const struct walk_node *v, size_t n,
           size_t *out_at, struct err *e)
{
    CLEANUP(pack_table_done) struct pack_table table = {0};
    CLEANUP(buf_done) struct buf run = buf_of(PACK_MAX_BYTES);
    char name[NAME_MAX_LEN];

    name_pack(v->at.kind, v->at.pack, name);
    *out_at = 0;
    if (packfront_read(w->store, name, v->at.pack_bytes, w->keys, &table, e) ==
        -1)
        return err_wrap(e, "%s", name);
    for (size_t i = 0; i < n;) {
        uint32_t len = 0;
        size_t many = run_of(v + i, n - i, &len);
        *out_at = i;
        buf_reset(&run);
        uint8_t *to = buf_extend(&run, len);
        if (buf_check(&run, "a part of a pack", e) == -1 ||
            store_get(w->store, name, v[i].at.offset, to, len, e) == -1)
            return err_wrap(e, "%s", name);
        for (size_t end = i + many, first = i; i < end; i++) {
            *out_at = i;
            if (open_node(w, level, &v[i], &table,
                          to + (v[i].at.offset - v[first].at.offset), e) == -1)
                return err_wrap(e, "%s", name);
        }
    }
    return 0;
}

static int
is_nowhere(const uint8_t gid[GID_BYTES], struct err *e)
{
    char hex[2 * GID_BYTES + 1];

    hex_encode(gid, GID_BYTES, hex);
    return err_set(e, ERR_CORRUPT, "object %s is in no pack", hex);
}

/* One node that its first place did not yield. */
static int
visit_elsewhere(struct walk *w, uint8_t level, const struct walk_node *failed,
                struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];
    int n = w->locate(w->cookie, failed->gid, at, e);
    size_t unused = 0;

    for (int i = 0; i < n; i++) {
        struct walk_node v = *failed;
        struct err why = {0};
        v.at = at[i];
        if (memcmp(at[i].pack, failed->at.pack, PACK_NAME_BYTES) != 0 &&
            visit_pack(w, level, &v, 1, &unused, &why) == 0) {
            err_clear(e);
            return 0;
        }
    }
    return -1; /* with the first failure */
}

static int
by_place(const void *a, const void *b)
{
    const struct walk_node *x = a, *y = b;
    int order = memcmp(x->at.pack, y->at.pack, PACK_NAME_BYTES);

    if (order != 0)
        return order;
    return (x->at.offset > y->at.offset) - (x->at.offset < y->at.offset);
}

static int
locate_nodes(struct walk *w, const struct gidlist *list, struct walk_node *out,
             struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];

    for (size_t i = 0; i < list->n; i++) {
        memcpy(out[i].gid, list->gids[i], GID_BYTES);
        out[i].is_new = true;
        int n = w->locate(w->cookie, out[i].gid, at, e);
        if (n == -1)
            return -1;
        if (n == 0)
            return is_nowhere(out[i].gid, e);
        out[i].at = at[0];
    }
    return 0;
}

/* The nodes of a level that are to be read, and where; *out is the caller's. */
static int
nodes_of(struct walk *w, int level, struct walk_node **out, size_t *out_n,
         struct err *e)
{
    struct gidlist *list = &w->levels[level];
    size_t n = 0;

    gidlist_sort(list);
    CLEANUP(freep) struct walk_node *v = xcalloc(list->n, sizeof(*v));
    if ((w->mark_nodes ? w->mark_nodes(w->cookie, list, v, e)
                       : locate_nodes(w, list, v, e)) == -1)
        return -1;
    for (size_t i = 0; i < list->n; i++)
        if (v[i].is_new)
            v[n++] = v[i];
    gidlist_done(list);
    *out = STEAL(v);
    *out_n = n;
    return 0;
}

static int
walk_level(struct walk *w, uint8_t level, struct err *e)
{
    CLEANUP(freep) struct walk_node *v = NULL;
    size_t n = 0;

    if (nodes_of(w, level, &v, &n, e) == -1)
        return -1;
    if (n > 0)
        qsort(v, n, sizeof(*v), by_place);
    for (size_t i = 0, end = 0; i < n; i = end) {
        if (cancel_check(w->cancel, e) == -1)
            return -1;
        for (end = i + 1; end < n && memcmp(v[i].at.pack, v[end].at.pack,
                                            PACK_NAME_BYTES) == 0;)
            end++;
        while (i < end) {
            size_t failed = 0;
            if (visit_pack(w, level, v + i, end - i, &failed, e) == 0)
                break;
            if (visit_elsewhere(w, level, v + i + failed, e) == -1)
                return -1;
            i += failed + 1;
        }
    }
    return 0;
}

int
walk_run(struct walk *w, struct err *e)
{
    for (int level = NODE_LEVEL_MAX; level >= 0; level--)
        if (w->levels[level].n > 0 && walk_level(w, (uint8_t)level, e) == -1)
            return err_wrap(e, "cannot read a node of level %d", level);
    return 0;
}
