/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be copied (copy.h). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/copy_internal.h"
#include "repo/repo_internal.h"

static_assert((int)REPO_ID_LEN == (int)BACKUP_ID_LEN, "an origin has two ids");

void
copy_plan_done(struct copy_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].machine);
        free(p->items[i].uuid);
    }
    free(p->items);
    *p = (struct copy_plan){0};
}

void
copy_id(const struct repo *to, const struct manifest_origin *origin, char *out)
{
    uint8_t both[2 * NAME_ID_BYTES] = {0}, derived[64];

    (void)hex_decode(origin->repository, both, NAME_ID_BYTES);
    (void)hex_decode(origin->backup, both + NAME_ID_BYTES, NAME_ID_BYTES);
    keyring_derive(&to->keys, "copy id", both, sizeof(both), derived);
    hex_encode(derived, NAME_ID_BYTES, out);
}

/* ---- the source ------------------------------------------------------ */

struct gathering {
    struct repo *from;
    struct copy_plan *plan;
};

/* Where a backup of `r` was first made. */
static struct manifest_origin
origin_of(const struct repo *r, const struct manifest *m)
{
    struct manifest_origin o = m->origin;

    if (!o.backup[0]) {
        memcpy(o.repository, repo_id(r), sizeof(o.repository));
        memcpy(o.backup, m->id, sizeof(o.backup));
    }
    return o;
}

static struct copy_item *
add_item(struct gathering *g, const struct manifest *m)
{
    struct copy_plan *p = g->plan;

    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        p->items = xrealloc(p->items, p->room * sizeof(p->items[0]));
    }
    struct copy_item *item = &p->items[p->n++];
    *item = (struct copy_item){.origin = origin_of(g->from, m),
                               .time_ns = m->time_ns,
                               .machine = xstrdup(m->machine),
                               .uuid = xstrdup(m->uuid),
                               .ns = m->ns};
    memcpy(item->id, m->id, sizeof(item->id));
    memcpy(item->machine_tag, m->machine_tag, sizeof(item->machine_tag));
    for (size_t i = 0; i < m->n_volumes; i++) /* 4096 of 2 PiB each at most */
        item->size_bytes += m->volumes[i].root.size_bytes;
    return item;
}

static int
gather(void *cookie, const struct manifest *m, const struct backup_state *s,
       struct err *e)
{
    struct gathering *g = cookie;

    (void)e;
    if (s->retired_ns || s->late)
        return 0;
    if (m->sealed)
        g->plan->sealed++;
    else
        (void)add_item(g, m);
    return 0;
}

/* Some that can't be read do not keep the others from being copied. */
static int
gather_all(struct gathering *g, struct err *e)
{
    if (backup_survey(g->from, gather, g, e) == 0)
        return 0;
    if (e->code != ERR_CORRUPT)
        return -1;
    g->plan->source = *e;
    err_clear(e);
    return 0;
}

/* ---- the selection --------------------------------------------------- */

static struct copy_item *
find_item(const struct copy_plan *p, const char *id)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->items[i].id, id) == 0)
            return &p->items[i];
    return NULL;
}

/* By its id also one that is retired can be had. */
static int
choose_names(struct gathering *g, const struct copy_selection *s, struct err *e)
{
    for (size_t i = 0; i < s->n_names; i++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        if (backup_find(g->from, s->names[i], &m, e) == -1)
            return -1;
        struct copy_item *item = find_item(g->plan, m->id);
        if (!item)
            item = add_item(g, m);
        item->state = COPY_WANTED;
    }
    return 0;
}

static bool
is_machine(const struct copy_item *item, const char *name)
{
    return strcmp(item->machine, name) == 0 ||
           (item->uuid[0] && strcasecmp(item->uuid, name) == 0);
}

static bool
is_same_machine(const struct copy_item *a, const struct copy_item *b)
{
    return a->ns == b->ns &&
           memcmp(a->machine_tag, b->machine_tag, sizeof(a->machine_tag)) == 0;
}

/* How many of its machine are newer?  The items are in order. */
static uint64_t
newer_than(const struct copy_plan *p, size_t i)
{
    uint64_t n = 0;

    for (size_t k = i + 1; k < p->n; k++)
        n += is_same_machine(&p->items[k], &p->items[i]);
    return n;
}

static int
choose_by_machine(struct copy_plan *p, const struct copy_selection *s,
                  struct err *e)
{
    for (size_t k = 0; k < s->n_machines; k++) {
        size_t found = 0;
        for (size_t i = 0; i < p->n; i++)
            found += is_machine(&p->items[i], s->machines[k]);
        if (found == 0)
            return err_set(e, ERR_NOENT,
                           "there is no backup of a machine %s that can be "
                           "copied",
                           s->machines[k]);
    }
    for (size_t i = 0; i < p->n; i++) {
        bool wanted = s->n_machines == 0;
        for (size_t k = 0; k < s->n_machines; k++)
            wanted = wanted || is_machine(&p->items[i], s->machines[k]);
        if (wanted && (s->last == 0 || newer_than(p, i) < s->last))
            p->items[i].state = COPY_WANTED;
    }
    return 0;
}

static int
by_time(const void *a, const void *b)
{
    const struct copy_item *x = a, *y = b;

    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* ---- the target ------------------------------------------------------ */

/* An item by what a copy of it would be known by. */
struct mark {
    char key[BACKUP_ID_LEN + 1];
    struct copy_item *item;
};

struct marks {
    const struct repo *to;
    struct mark *by_origin, *by_id; /* owned; sorted */
    size_t n;
    bool named; /* the items were: those that are forgotten there too */
};

static void
marks_done(struct marks *m)
{
    free(m->by_origin);
    free(m->by_id);
}

static int
by_key(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static void
marks_make(struct marks *m, struct copy_plan *p)
{
    m->n = p->n;
    m->by_origin = xcalloc(p->n, sizeof(m->by_origin[0]));
    m->by_id = xcalloc(p->n, sizeof(m->by_id[0]));
    for (size_t i = 0; i < p->n; i++) {
        struct copy_item *item = &p->items[i];
        m->by_origin[i].item = m->by_id[i].item = item;
        memcpy(m->by_origin[i].key, item->origin.backup, BACKUP_ID_LEN + 1);
        copy_id(m->to, &item->origin, m->by_id[i].key);
    }
    qsort(m->by_origin, m->n, sizeof(m->by_origin[0]), by_key);
    qsort(m->by_id, m->n, sizeof(m->by_id[0]), by_key);
}

static void
note_copy(const struct marks *k, struct copy_item *item,
          const struct manifest *m, const struct backup_state *s)
{
    if (s->late)
        return;
    if (s->retired_ns) {
        if (item->state == COPY_WANTED && !k->named)
            item->state = COPY_FORGOTTEN;
        return;
    }
    memcpy(item->there, m->id, sizeof(item->there));
    if (item->state == COPY_WANTED || item->state == COPY_FORGOTTEN)
        item->state = COPY_THERE;
}

/* A backup of the target: is it a copy of one of the items?  One that our key
 * does not open is known by its id, in our own namespace. */
static int
look_at(void *cookie, const struct manifest *m, const struct backup_state *s,
        struct err *e)
{
    const struct marks *k = cookie;
    struct mark key = {0};

    (void)e;
    if (k->n == 0 || (m->sealed && m->ns != k->to->keys.ns))
        return 0;
    memcpy(key.key, m->sealed ? m->id : origin_of(k->to, m).backup,
           sizeof(key.key));
    const struct mark *all = m->sealed ? k->by_id : k->by_origin;
    const struct mark *at = bsearch(&key, all, k->n, sizeof(key), by_key);
    if (!at)
        return 0;
    while (at > all && strcmp(at[-1].key, key.key) == 0)
        at--;
    const struct manifest_origin origin = origin_of(k->to, m);
    for (; at < all + k->n && strcmp(at->key, key.key) == 0; at++)
        if (m->sealed ||
            strcmp(at->item->origin.repository, origin.repository) == 0)
            note_copy(k, at->item, m, s);
    return 0;
}

static int
look_at_target(struct repo *to, bool named, struct copy_plan *p, struct err *e)
{
    CLEANUP(marks_done) struct marks k = {.to = to, .named = named};

    marks_make(&k, p);
    if (backup_survey(to, look_at, &k, e) == 0)
        return 0;
    if (e->code != ERR_CORRUPT)
        return -1;
    p->target = *e;
    err_clear(e);
    return 0;
}

/* ---- all of it ------------------------------------------------------- */

static int
check_pair(const struct repo *from, const struct repo *to, struct err *e)
{
    const unsigned writes = KEY_DOMAIN | KEY_WRITER;

    if (strcmp(repo_id(from), repo_id(to)) == 0)
        return err_set(e, ERR_USAGE,
                       "source and target are the same repository (%.8s); "
                       "--to names another one, made by `vmkeep init`",
                       repo_id(from));
    if (!(from->keys.has & (KEY_RESTORE | KEY_NAMESPACE))) {
        (void)err_set(e, ERR_KEY,
                      "this key of the source may write backups, not read "
                      "them");
        return err_hint(e, "use one that may restore");
    }
    if ((to->keys.has & writes) == writes)
        return 0;
    (void)err_set(e, ERR_KEY, "this key of the target may not write backups");
    return err_hint(e, "use one of a host or an admin");
}

int
copy_plan_make(struct repo *from, struct repo *to,
               const struct copy_selection *s, struct copy_plan *out,
               struct err *e)
{
    struct gathering g = {from, out};

    *out = (struct copy_plan){0};
    if (check_pair(from, to, e) == -1 || gather_all(&g, e) == -1 ||
        (s->n_names > 0 && choose_names(&g, s, e) == -1))
        return -1;
    if (out->n > 0)
        qsort(out->items, out->n, sizeof(out->items[0]), by_time);
    if (s->n_names == 0 && choose_by_machine(out, s, e) == -1)
        return -1;
    if (out->n == 0 && out->sealed > 0)
        return err_set(e, ERR_KEY,
                       "this key of the source opens none of its %zu backups",
                       out->sealed);
    if (look_at_target(to, s->n_names > 0, out, e) == -1)
        return err_wrap(e, "the target");
    return 0;
}
