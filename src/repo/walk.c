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

/* The nodes of one level that were found and not read yet. */
struct frontier {
    uint8_t (*gids)[GID_BYTES];
    size_t n, room;
};

/* A node and the place that it is to be read from. */
struct visit {
    uint8_t gid[GID_BYTES];
    struct location at;
};

struct walk {
    struct store *store;
    const struct keyring *keys;
    walk_locate_fn *locate;
    void *cookie;
    struct cancel *cancel;
    struct frontier levels[NODE_LEVEL_MAX + 1];
    walk_note_fn *note; /* or NULL */
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
        free(w->levels[i].gids);
    gidnum_done(&w->found);
    free(w);
}

void
walk_freep(struct walk **w)
{
    walk_free(*w);
}

void
walk_note_by(struct walk *w, walk_note_fn *note)
{
    w->note = note;
}

struct gidnum *
walk_found(struct walk *w)
{
    return &w->found;
}

/* A gid of zeros would be none: no hash is, so somebody made it up. */
static int
note(struct walk *w, const uint8_t gid[GID_BYTES], bool *out_new, struct err *e)
{
    if (bytes_are_zero(gid, GID_BYTES))
        return err_set(e, ERR_CORRUPT, "an object's id is zero");
    if (w->note)
        return w->note(w->cookie, gid, out_new, e);
    *out_new = gidnum_add(&w->found, gid, 0);
    return 0;
}

static void
push(struct frontier *f, const uint8_t gid[GID_BYTES])
{
    if (f->n == f->room) {
        f->room = f->room ? 2 * f->room : 64;
        f->gids = xrealloc(f->gids, f->room * GID_BYTES);
    }
    memcpy(f->gids[f->n++], gid, GID_BYTES);
}

int
walk_add_root(struct walk *w, uint8_t level, const uint8_t gid[GID_BYTES],
              struct err *e)
{
    bool is_new = false;

    if (level > NODE_LEVEL_MAX)
        return err_set(e, ERR_CORRUPT, "a root is of level %u", level);
    if (note(w, gid, &is_new, e) == -1)
        return -1;
    if (is_new)
        push(&w->levels[level], gid);
    return 0;
}

static int
add_children(struct walk *w, uint8_t level, const struct node_children *c,
             struct err *e)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const uint8_t *gid = c->gids + (size_t)i * GID_BYTES;
        bool is_new = false;
        if (note(w, gid, &is_new, e) == -1)
            return -1;
        if (is_new && level > 0)
            push(&w->levels[level - 1], gid);
    }
    return 0;
}

static int
open_node(struct walk *w, uint8_t level, const struct visit *v,
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
run_of(const struct visit *v, size_t n, uint32_t *out_len)
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
visit_pack(struct walk *w, uint8_t level, const struct visit *v, size_t n,
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
visit_elsewhere(struct walk *w, uint8_t level, const struct visit *failed,
                struct err *e)
{
    struct location at[INDEX_MAX_LOCATIONS];
    int n = w->locate(w->cookie, failed->gid, at, e);
    size_t unused = 0;

    for (int i = 0; i < n; i++) {
        struct visit v = *failed;
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
    const struct visit *x = a, *y = b;
    int order = memcmp(x->at.pack, y->at.pack, PACK_NAME_BYTES);

    if (order != 0)
        return order;
    return (x->at.offset > y->at.offset) - (x->at.offset < y->at.offset);
}

static int
walk_level(struct walk *w, uint8_t level, struct err *e)
{
    struct frontier *f = &w->levels[level];
    CLEANUP(freep) struct visit *v = xcalloc(f->n, sizeof(*v));
    struct location at[INDEX_MAX_LOCATIONS];

    for (size_t i = 0; i < f->n; i++) {
        memcpy(v[i].gid, f->gids[i], GID_BYTES);
        int n = w->locate(w->cookie, v[i].gid, at, e);
        if (n == -1)
            return -1;
        if (n == 0)
            return is_nowhere(v[i].gid, e);
        v[i].at = at[0];
    }
    qsort(v, f->n, sizeof(*v), by_place);
    for (size_t i = 0, end = 0; i < f->n; i = end) {
        if (cancel_check(w->cancel, e) == -1)
            return -1;
        for (end = i + 1; end < f->n && memcmp(v[i].at.pack, v[end].at.pack,
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
    f->n = 0;
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
