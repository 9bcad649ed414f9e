/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/stats.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/fetch.h"
#include "repo/index.h"
#include "repo/manifest.h"
#include "repo/repo_internal.h"
#include "work/cancel.h"

enum { PROGRESS_NS = 100000000 };

/* ---- tally ----------------------------------------------------------- */

struct tally
tally_new(void)
{
    return (struct tally){.seen = gidmap_of(8)};
}

void
tally_done(struct tally *t)
{
    gidmap_done(&t->seen);
}

/* The end of an id: its beginning places it in the map. */
static bool
is_sampled(const struct tally *t, const uint8_t gid[GID_BYTES])
{
    return (get_le64(gid + 8) & ((UINT64_C(1) << t->skip_bits) - 1)) == 0;
}

static void
count(struct tally *t, const uint8_t gid[GID_BYTES], uint32_t plain_len,
      uint32_t stored_len)
{
    uint8_t *value = gidmap_put(&t->seen, gid);

    put_le32(value, plain_len);
    put_le32(value + 4, stored_len);
    t->objects++;
    t->plain_bytes += plain_len;
    t->stored_bytes += stored_len;
}

/* Go on with every other one. */
static void
thin_out(struct tally *t)
{
    struct gidmap before = t->seen;
    void *value = NULL;

    *t = (struct tally){.seen = gidmap_of(8), .skip_bits = t->skip_bits + 1};
    for (size_t i = 0; i < before.room; i++) {
        const uint8_t *gid = gidmap_at(&before, i, &value);
        if (gid && is_sampled(t, gid))
            count(t, gid, get_le32(value), get_le32((uint8_t *)value + 4));
    }
    gidmap_done(&before);
}

bool
tally_wants(const struct tally *t, const uint8_t gid[GID_BYTES])
{
    return is_sampled(t, gid) && !gidmap_get(&t->seen, gid);
}

void
tally_add(struct tally *t, const uint8_t gid[GID_BYTES], uint32_t plain_len,
          uint32_t stored_len)
{
    if (!tally_wants(t, gid))
        return;
    count(t, gid, plain_len, stored_len);
    if (t->objects > STATS_EXACT_OBJECTS)
        thin_out(t);
}

/* ---- trees ----------------------------------------------------------- */

/* What is counted together: a machine, or all. */
struct scope {
    struct stats stats;
    struct tally leaves;
    struct gidmap nodes; /* data bytes below each */
};

struct walk {
    struct repo *repo;
    const struct stats_options *options;
    struct cancel *cancel;
    struct progress progress;
    uint64_t shown_ns;
};

static void
scope_init(struct scope *s)
{
    *s = (struct scope){.leaves = tally_new(), .nodes = gidmap_of(8)};
}

static void
scope_done(struct scope *s)
{
    tally_done(&s->leaves);
    gidmap_done(&s->nodes);
}

static void
show(struct walk *w, uint64_t more)
{
    uint64_t now_ns = clock_mono_ns();

    w->progress.done_bytes += more;
    if (!w->options->progress || now_ns - w->shown_ns < PROGRESS_NS)
        return;
    w->shown_ns = now_ns;
    w->options->progress(w->options->progress_cookie, &w->progress);
}

static uint64_t
add_leaves(struct walk *w, struct scope *s, const struct node *n)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n->n; i++)
        if (!node_is_hole(&n->entries[i]))
            bytes += (uint64_t)n->entries[i].blocks * NODE_BLOCK_BYTES;
    for (uint32_t i = 0; i < n->n_leaves; i++) {
        const struct node_entry *entry = node_leaf(n, i);
        struct location at[INDEX_MAX_LOCATIONS];
        struct object_name name;
        object_name_of(entry->h, &name);
        if (!tally_wants(&s->leaves, name.id))
            continue;
        size_t found = index_find(w->repo->index, name.id, at);
        tally_add(&s->leaves, name.id, entry->leaf_blocks * NODE_BLOCK_BYTES,
                  found ? at[0].len : 0);
    }
    return bytes;
}

/* The data below a node; what was met before is not walked again. */
static int
add_node(struct walk *w, struct scope *s, const uint8_t h[CAPABILITY_BYTES],
         uint8_t level, uint64_t *out, struct err *e)
{
    struct fetched_node *fetched = NULL;
    struct object_name name;
    uint64_t bytes = 0;
    int rc = 0;

    object_name_of(h, &name);
    const uint8_t *known = gidmap_get(&s->nodes, name.id);
    if (known) {
        *out += get_le64(known);
        return 0;
    }
    if (cancel_check(w->cancel, e) == -1 ||
        fetch_node(w->repo->fetch, h, level, &fetched, e) == -1)
        return -1;
    const struct node *n = fetched_node(fetched);
    if (level == 0)
        bytes = add_leaves(w, s, n);
    for (uint32_t i = 0; level > 0 && i < n->n && rc == 0; i++)
        if (!node_is_hole(&n->entries[i]))
            rc = add_node(w, s, n->entries[i].h, level - 1, &bytes, e);
    fetch_node_put(w->repo->fetch, fetched);
    if (rc == -1)
        return -1;
    put_le64(gidmap_put(&s->nodes, name.id), bytes);
    *out += bytes;
    return 0;
}

static int
add_backup(struct walk *w, struct scope *s, const struct manifest *m,
           struct err *e)
{
    s->stats.backups++;
    for (size_t i = 0; i < m->n_volumes; i++) {
        const struct volume_root *root = &m->volumes[i].root;
        s->stats.logical_bytes += root->size_bytes;
        if (!bytes_are_zero(root->h, sizeof(root->h)) &&
            add_node(w, s, root->h, root->levels, &s->stats.data_bytes, e) ==
                -1)
            return err_wrap(e, "backup %.8s, %s", m->id, m->volumes[i].name);
        show(w, root->size_bytes);
    }
    return 0;
}

static void
finish(struct scope *s)
{
    unsigned bits = s->leaves.skip_bits;

    s->stats.objects = s->leaves.objects << bits;
    s->stats.unique_bytes = s->leaves.plain_bytes << bits;
    s->stats.stored_bytes = s->leaves.stored_bytes << bits;
    s->stats.is_estimate = bits > 0;
}

/* ---- machines -------------------------------------------------------- */

/* The backups that are wanted, those of a machine next to each other. */
struct picked {
    const struct stats_options *options;
    struct manifest **all;
    size_t n, room;
    bool *met; /* of options->machines */
};

static void
picked_done(struct picked *p)
{
    for (size_t i = 0; i < p->n; i++)
        manifest_free(p->all[i]);
    free(p->all);
    free(p->met);
}

static bool
is_wanted(struct picked *p, const struct manifest *m)
{
    const struct stats_options *o = p->options;
    bool wanted = o->n_machines == 0;

    for (size_t i = 0; i < o->n_machines; i++)
        if (strcmp(o->machines[i], m->machine) == 0 ||
            strcasecmp(o->machines[i], m->uuid) == 0)
            wanted = p->met[i] = true;
    return wanted;
}

/* Only what is needed here: details may be large. */
static int
pick(void *cookie, const struct manifest *m, struct err *e)
{
    struct picked *p = cookie;

    (void)e;
    if (m->sealed || !is_wanted(p, m)) /* nobody sees into it with this key */
        return 0;
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        p->all = xrealloc(p->all, p->room * sizeof(p->all[0]));
    }
    struct manifest *copy = manifest_new();
    memcpy(copy->id, m->id, sizeof(copy->id));
    free(copy->machine);
    copy->machine = xstrdup(m->machine);
    for (size_t i = 0; i < m->n_volumes; i++)
        manifest_add_volume(copy, m->volumes[i].name, &m->volumes[i].root);
    p->all[p->n++] = copy;
    return 0;
}

static int
by_machine(const void *a, const void *b)
{
    const struct manifest *const *x = a, *const *y = b;

    return strcmp((*x)->machine, (*y)->machine);
}

static bool
is_same_machine(const struct picked *p, size_t a, size_t b)
{
    return strcmp(p->all[a]->machine, p->all[b]->machine) == 0;
}

static int
pick_all(struct walk *w, struct picked *p, struct err *e)
{
    const struct stats_options *o = w->options;

    p->options = o;
    p->met = xcalloc(o->n_machines, sizeof(p->met[0]));
    if (backup_list(w->repo, pick, p, e) == -1)
        return -1;
    for (size_t i = 0; i < o->n_machines; i++)
        if (!p->met[i])
            return err_set(e, ERR_NOENT, "there is no backup of a machine %s",
                           o->machines[i]);
    if (p->n > 0)
        qsort(p->all, p->n, sizeof(p->all[0]), by_machine);
    unsigned times = p->n > 0 && is_same_machine(p, 0, p->n - 1) ? 1 : 2;
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < p->all[i]->n_volumes; k++)
            w->progress.total_bytes +=
                times * p->all[i]->volumes[k].root.size_bytes;
    return 0;
}

/* [from, to) are one machine's. */
static int
add_machine(struct walk *w, const struct picked *p, size_t from, size_t to,
            struct scope *one, struct err *e)
{
    int rc = 0;

    for (size_t i = from; i < to && rc == 0; i++)
        rc = add_backup(w, one, p->all[i], e);
    finish(one);
    if (rc == 0 && w->options->machine)
        rc = w->options->machine(w->options->cookie, p->all[from]->machine,
                                 &one->stats, e);
    return rc;
}

/* By itself, and among all. */
static int
add_one_of_many(struct walk *w, const struct picked *p, size_t from, size_t to,
                struct scope *all, struct err *e)
{
    struct scope one;

    scope_init(&one);
    int rc = add_machine(w, p, from, to, &one, e);
    scope_done(&one);
    for (size_t i = from; i < to && rc == 0; i++)
        rc = add_backup(w, all, p->all[i], e);
    return rc;
}

int
stats_repo(struct repo *r, const struct stats_options *o, struct cancel *cancel,
           struct stats *out, struct err *e)
{
    CLEANUP(picked_done) struct picked p = {0};
    struct walk w = {.repo = r,
                     .options = o,
                     .cancel = cancel,
                     .progress = {.phase = "count", .what = ""}};
    struct scope all;
    int rc = 0;

    if (index_refresh(r->index, e) == -1 || pick_all(&w, &p, e) == -1)
        return -1;
    scope_init(&all);
    for (size_t from = 0, to = 0; from < p.n && rc == 0; from = to) {
        while (to < p.n && is_same_machine(&p, from, to))
            to++;
        rc = to - from == p.n ? add_machine(&w, &p, from, to, &all, e)
                              : add_one_of_many(&w, &p, from, to, &all, e);
    }
    finish(&all);
    if (rc == 0)
        *out = all.stats;
    scope_done(&all);
    return rc;
}
