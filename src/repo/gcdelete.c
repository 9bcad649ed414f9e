/* SPDX-License-Identifier: Apache-2.0 */
/* g2: carrying out what was condemned long enough ago. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "repo/gc.h"
#include "repo/index.h"
#include "repo/repo_internal.h"
#include "repo/rules.h"
#include "store/store.h"
#include "work/cancel.h"

/* Has the grace passed, by the storage's clock and by our own? */
static bool
is_due(const struct gc *g, const struct gc_list *l)
{
    int64_t grace = gc_seconds(g->repo->config.grace_s);

    return g->t0_ns - l->stored_ns >= grace &&
           g->wall_ns - l->list.time_ns >= grace;
}

/* Only for refs: so the check knows when the last one can have gone. */
static bool
window_is_over(const struct gc *g)
{
    return gc_elapsed_ns(g) > gc_seconds(g->repo->config.window_s);
}

/* 1 if it is gone, 0 if the storage does not let us: later, then. */
static int
remove_object(struct gc *g, const char *name, struct err *e)
{
    if (g->options->dry_run)
        return 1;
    if (cancel_check(g->cancel, e) == -1)
        return -1;
    if (store_remove(g->repo->store, name, e) == 0)
        return 1;
    if (e->code == ERR_NOENT) { /* another run was faster */
        err_clear(e);
        return 1;
    }
    if (e->code != ERR_DENIED)
        return -1;
    err_clear(e); /* locked against removal for now */
    g->result->denied++;
    return 0;
}

/* ---- packs ----------------------------------------------------------- */

/* In the tests of what happens without the rule: any other copy will do. */
static bool
any_copy(const struct gc *g, const uint8_t gid[GID_BYTES], uint32_t number)
{
    struct location at[INDEX_MAX_LOCATIONS];

    for (size_t i = 0; i < g->n_segments; i++) {
        size_t n = g->segments[i].gone
                       ? 0
                       : segment_find(&g->segments[i].segment, gid, at,
                                      INDEX_MAX_LOCATIONS);
        for (size_t k = 0; k < n; k++) {
            uint32_t other = gc_pack_number(g, at[k].pack);
            if (other != number && g->packs[other].listed)
                return true;
        }
    }
    return false;
}

/* Has each object of it that is alive a copy in a pack that nobody
 * condemned? */
static bool
can_go(const struct gc *g, uint32_t number)
{
    const struct gc_pack *p = &g->packs[number];

    if (RULE(second_copy))
        return !p->only_copy;
    if (p->live == 0)
        return true;
    const struct gc_segment *s = &g->segments[p->owner];
    for (uint32_t i = 0; i < s->segment.n_entries; i++) {
        if (!gc_is_live(s, i) ||
            s->packs[segment_pack_of(&s->segment, i)] != number)
            continue;
        if (!any_copy(g, segment_gid(&s->segment, i), number))
            return false;
    }
    return true;
}

/* 1: nothing more to do about it, 0: not yet. */
static int
do_pack(struct gc *g, const struct condemned_entry *entry, struct err *e)
{
    uint32_t number = gc_pack_number(g, entry->sum);
    struct gc_pack *p = &g->packs[number];
    char name[NAME_MAX_LEN];

    if (number == 0 || (!p->listed && !p->lost))
        return 1;
    if (!can_go(g, number)) {
        g->result->pardoned += !p->pardoned;
        p->pardoned = true;
        return 1;
    }
    name_pack(p->kind, p->name, name);
    int rc = remove_object(g, name, e);
    if (rc != 1)
        return rc;
    if (RULE(second_copy)) /* else it stays a copy for the others */
        p->listed = false;
    p->lost = false;
    g->result->deleted++;
    g->result->deleted_bytes += p->bytes;
    return 1;
}

/* ---- segments -------------------------------------------------------- */

static int
do_segment(struct gc *g, const struct condemned_entry *entry, struct err *e)
{
    struct gc_segment *s = gc_find_segment(g, entry->id);

    if (!s || s->gone)
        return 1;
    for (uint32_t k = 0; k < s->segment.n_packs; k++)
        if (g->packs[s->packs[k]].listed &&
            g->packs[s->packs[k]].named_well == 0) {
            s->pardoned = true;
            return 1;
        }
    int rc = remove_object(g, s->name, e);
    if (rc == 1)
        gc_segment_gone(g, s);
    return rc;
}

/* ---- lists ----------------------------------------------------------- */

/* A pack that is gone but that an index still names must stay condemned, so
 * that no writer relies on it. */
static bool
still_shields(const struct gc *g, const struct gc_list *l)
{
    for (size_t i = 0; i < l->list.n; i++) {
        uint32_t number = l->list.entries[i].kind <= CONDEMNED_META
                              ? gc_pack_number(g, l->list.entries[i].sum)
                              : 0;
        if (number != 0 && !g->packs[number].listed &&
            g->packs[number].named > 0)
            return true;
    }
    return false;
}

static int
remove_list(struct gc *g, struct gc_list *l, struct err *e)
{
    int rc = remove_object(g, l->name, e);

    if (rc == 1)
        l->gone = true;
    return rc;
}

/* A list that was carried out a grace ago. */
static int
do_list(struct gc *g, const struct condemned_entry *entry, struct err *e)
{
    for (size_t i = 0; i < g->n_lists; i++) {
        struct gc_list *l = &g->lists[i];
        if (l->gone || memcmp(l->list.id, entry->id, NAME_ID_BYTES) != 0)
            continue;
        return still_shields(g, l) ? 0 : remove_list(g, l, e);
    }
    return 1;
}

static int
do_entry(struct gc *g, const struct condemned_entry *entry, struct err *e)
{
    if (entry->kind <= CONDEMNED_META)
        return do_pack(g, entry, e);
    return entry->kind == CONDEMNED_INDEX ? do_segment(g, entry, e)
                                          : do_list(g, entry, e);
}

/* Kinds after each other: a list may go when its packs' segments have. */
static int
carry_out(struct gc *g, struct err *e)
{
    for (uint8_t kind = 0; kind <= CONDEMNED_DONE; kind++)
        for (size_t i = 0; i < g->n_lists; i++) {
            struct gc_list *l = &g->lists[i];
            /* What was carried out waits for its time to go, untouched. */
            if (l->gone || l->finished || !is_due(g, l))
                continue;
            if (kind == 0)
                l->handled = true;
            for (size_t k = 0; k < l->list.n; k++) {
                if (l->list.entries[k].kind != kind)
                    continue;
                int rc = do_entry(g, &l->list.entries[k], e);
                if (rc == -1)
                    return -1;
                if (rc == 0)
                    l->handled = false;
            }
        }
    return 0;
}

static bool
names_packs(const struct gc_list *l)
{
    for (size_t i = 0; i < l->list.n; i++)
        if (l->list.entries[i].kind <= CONDEMNED_META)
            return true;
    return false;
}

/*
 * What was condemned once stays so until it is gone: somebody who stands still
 * may be about to remove it.  So what was pardoned is named again by the list
 * of this run, before the old one goes.  False if there is no room for all.
 */
static bool
name_again(struct gc *g, const struct gc_list *l)
{
    if (g->next.n + l->list.n >= CONDEMNED_MAX_ENTRIES / 4)
        return false;
    for (size_t i = 0; i < l->list.n; i++) {
        const struct condemned_entry *entry = &l->list.entries[i];
        struct gc_pack *p = entry->kind <= CONDEMNED_META
                                ? &g->packs[gc_pack_number(g, entry->sum)]
                                : NULL;
        if (!p || !p->pardoned || p->going)
            continue;
        gc_add(g, entry);
        p->going = true;
    }
    return true;
}

/* A list of packs stays for a grace after it was carried out: who still sees
 * such a pack in a listing must also see that it is no copy to count on. */
static int
finish_lists(struct gc *g, struct err *e)
{
    for (size_t i = 0; i < g->n_lists; i++) {
        struct gc_list *l = &g->lists[i];
        struct condemned_entry done = {.kind = CONDEMNED_DONE,
                                       .time_ns = l->list.time_ns};
        if (l->gone || !l->handled || (RULE(relist) && !name_again(g, l)))
            continue;
        if (names_packs(l) && RULE(tombstone)) {
            memcpy(done.id, l->list.id, sizeof(done.id));
            gc_add(g, &done);
        } else if (remove_list(g, l, e) == -1) {
            return -1;
        }
    }
    return 0;
}

/* ---- refs, marks, markers -------------------------------------------- */

static int
remove_refs(struct gc *g, struct err *e)
{
    for (size_t i = 0; i < g->n_refs; i++) {
        const struct gc_ref *r = &g->refs[i];
        if (!r->retired_ns || g->t0_ns - r->retired_ns < gc_ref_ns(g))
            continue;
        int rc = window_is_over(g) ? 0 : remove_object(g, r->name, e);
        if (rc == -1)
            return -1;
        g->result->refs_deleted += (uint64_t)rc;
    }
    return 0;
}

/* A mark outlives its ref: for who still sees that in a listing. */
static int
remove_marks(struct gc *g, struct err *e)
{
    int64_t age = gc_ref_ns(g) + gc_seconds(g->repo->config.grace_s);

    for (size_t i = 0; i < g->n_retired; i++) {
        const struct gc_ref *mark = &g->retired[i];
        bool has_ref = false;
        if (g->t0_ns - mark->stored_ns < age)
            continue;
        for (size_t k = 0; k < g->n_refs && !has_ref; k++)
            has_ref =
                memcmp(g->refs[k].ref.id, mark->ref.id, NAME_ID_BYTES) == 0;
        if (!has_ref && remove_object(g, mark->name, e) == -1)
            return -1;
    }
    return 0;
}

static int
sweep_marker(void *cookie, const char *name, const struct store_stat *stat,
             struct err *e)
{
    struct gc *g = cookie;
    uint8_t id[NAME_ID_BYTES];
    int64_t time_ns = 0;
    uint32_t writer = 0;

    if (!name_parse_session(name, &writer, &time_ns, id) ||
        g->t0_ns - stat->mtime_ns < 2 * gc_seconds(g->repo->config.grace_s))
        return 0;
    return remove_object(g, name, e) == -1 ? -1 : 0;
}

int
gc_delete(struct gc *g, struct err *e)
{
    for (size_t i = 0; i < g->n_lists; i++) {
        const struct gc_list *l = &g->lists[i];
        if (l->gone || l->finished || is_due(g, l))
            continue;
        int64_t due = l->stored_ns + gc_seconds(g->repo->config.grace_s);
        for (size_t k = 0; k < l->list.n; k++) {
            const struct condemned_entry *entry = &l->list.entries[k];
            const struct gc_pack *p =
                entry->kind <= CONDEMNED_META
                    ? &g->packs[gc_pack_number(g, entry->sum)]
                    : NULL;
            if (!p || (!p->listed && !p->lost))
                continue;
            g->result->waiting++;
            g->result->waiting_bytes += p->bytes;
            if (!g->result->due_ns || due < g->result->due_ns)
                g->result->due_ns = due;
        }
    }
    /* Refs first: one whose packs are gone would look like damage. */
    if (remove_refs(g, e) == -1 || carry_out(g, e) == -1 ||
        finish_lists(g, e) == -1 || remove_marks(g, e) == -1)
        return -1;
    return store_list(g->repo->store, "sess/", sweep_marker, g, e);
}
