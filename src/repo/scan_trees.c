/* SPDX-License-Identifier: Apache-2.0 */
/* The volumes of all backups, for checker.h. */
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/fetch.h"
#include "repo/index.h"
#include "repo/repo_internal.h"
#include "repo/scan.h"
#include "repo/tree.h"

#define NS_PER_S INT64_C(1000000000)

/* ---- capabilities ---------------------------------------------------- */

/* Keep it if the object is in a pack of the batch. */
static void
collect_one(struct scan *s, const uint8_t gid[GID_BYTES],
            const uint8_t h[CAPABILITY_BYTES], uint32_t plain_len)
{
    CLEANUP(freep) struct location *at = NULL;
    size_t n = index_find_all(s->repo->index, gid, &at);

    for (size_t i = 0; i < n; i++) {
        const struct inventory_pack *p =
            inventory_find(&s->inventory, at[i].pack);
        size_t number = p ? (size_t)(p - s->inventory.packs) : 0;
        if (!p || !p->chosen || number < s->batch_from || number >= s->batch_to)
            continue;
        struct scan_cap *cap = gidmap_put(&s->caps, gid);
        memcpy(cap->h, h, CAPABILITY_BYTES);
        cap->plain_len = plain_len;
        return;
    }
}

static int
collect(struct scan *s, const uint8_t h[CAPABILITY_BYTES], uint8_t level,
        struct err *e)
{
    struct fetched_node *fetched = NULL;
    struct object_name name;
    struct err why = {0};
    int rc = 0;

    object_name_of(h, &name);
    if (!gidset_add(&s->visited, name.id))
        return 0;
    collect_one(s, name.id, h, 0);
    if (fetch_node(s->repo->fetch, h, level, &fetched, &why) == -1)
        return 0; /* scan_trees tells */
    const struct node *n = fetched_node(fetched);
    for (uint32_t i = 0; i < n->n_leaves; i++) {
        const struct node_entry *entry = node_leaf(n, i);
        object_name_of(entry->h, &name);
        collect_one(s, name.id, entry->h,
                    entry->leaf_blocks * NODE_BLOCK_BYTES);
    }
    for (uint32_t i = 0; level > 0 && i < n->n && rc == 0; i++)
        if (!node_is_hole(&n->entries[i]))
            rc = collect(s, n->entries[i].h, level - 1, e);
    fetch_node_put(s->repo->fetch, fetched);
    return rc == -1 ? -1 : scan_tell(s, "data", e);
}

static bool
has_a_tree(const struct volume_root *root)
{
    return root->size_bytes <= VOLUME_SIZE_MAX &&
           root->levels == tree_levels(root->size_bytes) &&
           !bytes_are_zero(root->h, sizeof(root->h));
}

int
scan_collect(struct scan *s, struct err *e)
{
    gidset_done(&s->visited);
    gidmap_done(&s->caps);
    for (size_t i = 0; i < s->n_backups; i++)
        for (size_t k = 0; k < s->backups[i].n_volumes; k++) {
            const struct volume_root *root = &s->backups[i].volumes[k].root;
            if (has_a_tree(root) && collect(s, root->h, root->levels, e) == -1)
                return -1;
        }
    gidset_done(&s->visited);
    return 0;
}

/* ---- what is lost ---------------------------------------------------- */

struct walk {
    struct scan *scan;
    struct scan_backup *backup;
    const struct manifest_volume *volume;
    uint64_t size;
    /* The extent that is being put together. */
    uint64_t from, to;
    char why[ERR_MSG_MAX];
};

static void
end_extent(struct walk *w)
{
    if (w->to == w->from)
        return;
    w->backup->damaged = true;
    w->scan->result->lost_bytes += w->to - w->from;
    scan_fault(w->scan, &(struct check_fault){.what = CHECK_EXTENT,
                                              .name = w->backup->ref,
                                              .backup = w->backup->id,
                                              .machine = w->backup->machine,
                                              .volume = w->volume->name,
                                              .offset = w->from,
                                              .len = w->to - w->from,
                                              .why = w->why});
    w->from = w->to = 0;
}

/* [from, from + len) of the volume can't be read: told with what touches it. */
static void
lose(struct walk *w, uint64_t from, uint64_t len, const char *why)
{
    uint64_t to = u64_min(from + len, w->size);

    if (from >= to)
        from =
            to > 0 ? to - 1 : 0; /* it is behind the end: say so all the same */
    if (w->to > w->from && w->to == from) {
        w->to = to;
        return;
    }
    end_extent(w);
    w->from = from;
    w->to = u64_max(to, from + 1);
    (void)memccpy(w->why, why, '\0', sizeof(w->why) - 1);
}

/* Is the object where a reader will find it whole? */
static bool
is_there(struct scan *s, const uint8_t gid[GID_BYTES], uint8_t type,
         struct err *why)
{
    CLEANUP(freep) struct location *at = NULL;
    struct location lost;
    size_t n = index_find_all(s->repo->index, gid, &at);
    char hex[2 * GID_BYTES + 1], name[NAME_MAX_LEN] = "";

    for (size_t i = 0; i < n; i++) {
        const struct inventory_pack *p =
            inventory_find(&s->inventory, at[i].pack);
        uint8_t key[GID_BYTES];
        scan_bad_key(at[i].pack, gid, key);
        if (p && (p->state == PACK_SOUND || p->state == PACK_DAMAGED) &&
            p->kind == at[i].kind && at[i].pack_bytes == p->bytes &&
            at[i].type == type && !gidset_has(&s->bad, key))
            return true;
        name_pack(at[i].kind, at[i].pack, name);
    }
    hex_encode(gid, GID_BYTES, hex);
    if (n > 0)
        (void)err_set(why, ERR_CORRUPT, "object %s in %s can't be read", hex,
                      name);
    else if (index_find_lost(s->repo->index, gid, &lost) > 0) {
        name_pack(lost.kind, lost.pack, name);
        (void)err_set(why, ERR_CORRUPT,
                      "object %s is lost with %s; a backup of the same data "
                      "brings it back",
                      hex, name);
    } else if (gidset_has(&s->unindexed, gid))
        (void)err_set(why, ERR_CORRUPT,
                      "object %s is in a pack that no index names; \"vmkeep "
                      "repair\" brings it back",
                      hex);
    else
        (void)err_set(why, ERR_CORRUPT, "object %s is in no index", hex);
    return false;
}

/* In a pack without a table of its own, that is, where the index says? */
static bool
is_in_broken(struct scan *s, const uint8_t gid[GID_BYTES])
{
    CLEANUP(freep) struct location *at = NULL;
    size_t n = index_find_all(s->repo->index, gid, &at);

    for (size_t i = 0; i < n; i++) {
        const struct inventory_pack *p =
            inventory_find(&s->inventory, at[i].pack);
        if (p && p->state == PACK_BROKEN)
            return true;
    }
    return false;
}

/* Nothing but a look can tell. */
static bool
reads_all_the_same(struct scan *s, const struct object_name *leaf, uint64_t len)
{
    struct err ignored = {0};

    if (!is_in_broken(s, leaf->id))
        return false;
    CLEANUP(freep) uint8_t *out = xmalloc(len);
    struct fetch_leaf want = {.h = leaf->h, .out = out, .len = len};
    return fetch_leaves(s->repo->fetch, &want, 1, NULL, NULL, NULL, &ignored) ==
           0;
}

/* Is each of the slot's leaves there?  `why` has room for the text of each. */
static void
look_for_leaves(struct scan *s, const struct node *n, struct err **why)
{
    for (uint32_t i = 0; i < n->n_leaves; i++) {
        const struct node_entry *entry = node_leaf(n, i);
        struct object_name leaf;
        struct err lost = {0};
        object_name_of(entry->h, &leaf);
        if (is_there(s, leaf.id, OBJECT_LEAF, &lost) ||
            reads_all_the_same(s, &leaf,
                               (uint64_t)entry->leaf_blocks * NODE_BLOCK_BYTES))
            continue;
        why[i] = xmalloc(sizeof(*why[i]));
        *why[i] = lost;
    }
}

/* Lost are the blocks that the slot uses of leaves that are. */
static int
judge_slot(struct walk *w, const struct node *n, uint64_t base)
{
    CLEANUP(freep) struct err **why = xcalloc(n->n_leaves + 1, sizeof(why[0]));
    uint64_t at = base;
    int clean = 1;

    look_for_leaves(w->scan, n, why);
    for (uint32_t i = 0; i < n->n; i++) {
        const struct node_entry *entry = &n->entries[i];
        uint64_t len = (uint64_t)entry->blocks * NODE_BLOCK_BYTES;
        if (at + len > round_up(w->size, NODE_BLOCK_BYTES)) {
            lose(w, at, len, "the slot goes on behind the volume's end");
            clean = 0;
            break;
        }
        if (!node_is_hole(entry) && why[entry->leaf]) {
            lose(w, at, len, why[entry->leaf]->msg);
            clean = 0;
        }
        at += len;
    }
    for (uint32_t i = 0; i < n->n_leaves; i++)
        free(why[i]);
    return clean;
}

/* 1 if nothing of it is lost, 0, -1.  A subtree that has been found clean for
 * one volume is for all, but for what the end of a volume cuts. */
static int
judge(struct walk *w, const uint8_t h[CAPABILITY_BYTES], uint8_t level,
      uint64_t base, struct err *e)
{
    struct scan *s = w->scan;
    uint64_t span = tree_slots_below(level) * VOLUME_SLOT_BYTES;
    bool is_cut = base + span > w->size;
    struct fetched_node *fetched = NULL;
    struct object_name name;
    struct err why = {0};
    int clean = 1;

    object_name_of(h, &name);
    if (!is_cut && gidset_has(&s->clean, name.id))
        return 1;
    if (base >= w->size) {
        lose(w, base, span, "the tree goes on behind the volume's end");
        return 0;
    }
    bool there =
        is_there(s, name.id, OBJECT_NODE, &why) || is_in_broken(s, name.id);
    if (there)
        err_clear(&why);
    if (!there || fetch_node(s->repo->fetch, h, level, &fetched, &why) == -1) {
        scan_store_error(s, &why);
        lose(w, base, span, why.msg);
        return scan_tell(s, "trees", e);
    }
    s->result->nodes++;
    const struct node *n = fetched_node(fetched);
    if (level == 0)
        clean = judge_slot(w, n, base);
    for (uint32_t i = 0; level > 0 && i < n->n && clean != -1; i++) {
        if (node_is_hole(&n->entries[i]))
            continue;
        int rc = judge(w, n->entries[i].h, level - 1,
                       base + i * (span / NODE_FANOUT), e);
        clean = rc == 1 ? clean : rc;
    }
    fetch_node_put(s->repo->fetch, fetched);
    if (clean == 1)
        (void)gidset_add(&s->clean, name.id);
    return clean == -1 || scan_tell(s, "trees", e) == -1 ? -1 : clean;
}

static int
judge_volume(struct scan *s, struct scan_backup *b,
             const struct manifest_volume *v, struct err *e)
{
    struct walk w = {
        .scan = s, .backup = b, .volume = v, .size = v->root.size_bytes};
    int rc = 0;

    if (bytes_are_zero(v->root.h, sizeof(v->root.h)))
        return 0;
    if (!has_a_tree(&v->root))
        lose(&w, 0, w.size, "its size and its tree's height don't agree");
    else
        rc = judge(&w, v->root.h, v->root.levels, 0, e);
    end_extent(&w);
    return rc == -1 ? -1 : 0;
}

/* Of a backup that can't be opened here only the roots are known. */
static void
judge_roots(struct scan *s, struct scan_backup *b)
{
    for (size_t i = 0; i < b->n_roots; i++) {
        struct err why = {0};
        if (is_there(s, b->roots[i], OBJECT_NODE, &why))
            continue;
        b->damaged = true;
        scan_fault(s, &(struct check_fault){.what = CHECK_REF,
                                            .name = b->ref,
                                            .backup = b->id,
                                            .why = why.msg});
    }
}

/* Nobody is to rely on it any more, and maintenance may be removing, right now,
 * what it needs: that is no damage. */
static bool
is_given_up(const struct scan *s, const struct scan_backup *b)
{
    int64_t grace_ns = (int64_t)s->repo->config.grace_s * NS_PER_S;

    return b->late ||
           (b->retired_ns && clock_wall_ns() - b->retired_ns >= grace_ns);
}

int
scan_trees(struct scan *s, struct err *e)
{
    for (size_t i = 0; i < s->n_backups; i++) {
        struct scan_backup *b = &s->backups[i];
        bool before = b->damaged;
        if (is_given_up(s, b))
            continue;
        for (size_t k = 0; k < b->n_volumes; k++)
            if (judge_volume(s, b, &b->volumes[k], e) == -1)
                return -1;
        judge_roots(s, b);
        s->result->backups_damaged += b->damaged && !before;
    }
    return 0;
}
