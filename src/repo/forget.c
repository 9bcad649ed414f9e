/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/forget.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "repo/notice.h"
#include "repo/repo_internal.h"
#include "store/store.h"
#include "work/cancel.h"

#define CLOCK_DOUBT_NS (300 * INT64_C(1000000000))

void
forget_plan_done(struct forget_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].machine);
        free(p->items[i].uuid);
    }
    free(p->items);
    *p = (struct forget_plan){0};
}

static bool
is_machine(const struct manifest *m, const char *name)
{
    return strcmp(m->machine, name) == 0 ||
           (m->uuid[0] && strcasecmp(m->uuid, name) == 0);
}

struct gathering {
    struct repo *repo;
    const char *const *machines;
    size_t n_machines;
    bool *seen;     /* one a machine */
    const char *id; /* only this backup, whatever its state; or NULL */
    struct forget_plan *plan;
};

static bool
is_wanted(struct gathering *g, const struct manifest *m,
          const struct backup_state *s)
{
    bool wanted = g->n_machines == 0;

    if (g->id)
        return strcmp(m->id, g->id) == 0 && !s->retired_ns;
    if (s->retired_ns || s->late)
        return false;
    for (size_t i = 0; i < g->n_machines; i++)
        if (is_machine(m, g->machines[i]))
            wanted = g->seen[i] = true;
    return wanted;
}

static int
gather(void *cookie, const struct manifest *m, const struct backup_state *s,
       struct err *e)
{
    struct gathering *g = cookie;
    struct forget_plan *p = g->plan;

    if (m->sealed && !g->id && !s->retired_ns) {
        (void)err_set(e, ERR_KEY,
                      "this key does not open backup %.8s, so it can't tell "
                      "what a policy keeps",
                      m->id);
        return err_hint(e, "use an admin's key");
    }
    if (!is_wanted(g, m, s))
        return 0;
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        p->items = xrealloc(p->items, p->room * sizeof(p->items[0]));
    }
    struct forget_item *item = &p->items[p->n++];
    *item = (struct forget_item){.ref = s->ref,
                                 .machine = xstrdup(m->machine),
                                 .uuid = xstrdup(m->uuid),
                                 .stored_ns = s->stored_ns};
    memcpy(item->id, m->id, sizeof(item->id));
    return 0;
}

/* By machine, the newest first. */
static int
by_machine(const void *a, const void *b)
{
    const struct forget_item *x = a, *y = b;
    int order = memcmp(x->ref.machine, y->ref.machine, NAME_TAG_BYTES);

    if (order == 0)
        order = (x->ref.ns > y->ref.ns) - (x->ref.ns < y->ref.ns);
    if (order == 0)
        order = (x->stored_ns < y->stored_ns) - (x->stored_ns > y->stored_ns);
    return order ? order : memcmp(x->ref.id, y->ref.id, NAME_ID_BYTES);
}

static void
apply(const struct retention_policy *policy, struct forget_plan *p)
{
    CLEANUP(freep) int64_t *times = xcalloc(p->n, sizeof(times[0]));
    CLEANUP(freep) unsigned *reasons = xcalloc(p->n, sizeof(reasons[0]));

    for (size_t i = 0; i < p->n; i++)
        times[i] = p->items[i].stored_ns;
    for (size_t i = 0, end = 0; i < p->n; i = end) {
        while (end < p->n && p->items[end].ref.ns == p->items[i].ref.ns &&
               memcmp(p->items[end].ref.machine, p->items[i].ref.machine,
                      NAME_TAG_BYTES) == 0)
            end++;
        retention_apply(policy, times + i, end - i, reasons + i);
    }
    for (size_t i = 0; i < p->n; i++)
        p->items[i].reasons = reasons[i];
}

static int
check_may(const struct repo *r, struct err *e)
{
    if (r->keys.has & KEY_MAINTENANCE)
        return 0;
    (void)err_set(e, ERR_KEY, "this key may not forget backups");
    return err_hint(e, "use an admin's key");
}

/* One from the future would be the newest of its machine for a long time, and
 * make others go that should stay. */
static int
check_clocks(const struct forget_plan *p, struct err *e)
{
    int64_t latest = clock_wall_ns() + CLOCK_DOUBT_NS;

    for (size_t i = 0; i < p->n; i++) {
        if (p->items[i].stored_ns <= latest)
            continue;
        (void)err_set(e, ERR_STORE,
                      "the time is in doubt: backup %.8s was stored in the "
                      "future",
                      p->items[i].id);
        return err_hint(e, "set the clocks of this host and of the storage, "
                           "or forget backups by their ids");
    }
    return 0;
}

int
forget_by_policy(struct repo *r, const struct retention_policy *policy,
                 const char *const *machines, size_t n_machines,
                 struct forget_plan *out, struct err *e)
{
    CLEANUP(freep) bool *seen = xcalloc(n_machines + 1, sizeof(bool));
    struct gathering g = {.repo = r,
                          .machines = machines,
                          .n_machines = n_machines,
                          .seen = seen,
                          .plan = out};

    *out = (struct forget_plan){0};
    if (retention_is_empty(policy))
        return err_set(e, ERR_USAGE, "the policy keeps no backup at all");
    if (check_may(r, e) == -1)
        return -1;
    if (backup_survey(r, gather, &g, e) == -1)
        return -1;
    for (size_t i = 0; i < n_machines; i++)
        if (!seen[i]) {
            (void)err_set(e, ERR_NOENT, "there is no backup of a machine %s",
                          machines[i]);
            return err_hint(e, "\"vmkeep list\" shows those there are");
        }
    if (check_clocks(out, e) == -1)
        return -1;
    if (out->n > 0)
        qsort(out->items, out->n, sizeof(out->items[0]), by_machine);
    apply(policy, out);
    return 0;
}

int
forget_by_name(struct repo *r, const char *const *names, size_t n_names,
               struct forget_plan *out, struct err *e)
{
    *out = (struct forget_plan){0};
    if (check_may(r, e) == -1)
        return -1;
    for (size_t i = 0; i < n_names; i++) {
        CLEANUP(manifest_freep) struct manifest *m = NULL;
        struct gathering g = {.repo = r, .plan = out};
        struct err damage = {0};
        size_t before = out->n;
        if (backup_find(r, names[i], &m, e) == -1)
            return -1;
        g.id = m->id;
        /* That others can't be read is no reason to keep this one. */
        if (backup_survey(r, gather, &g, &damage) == -1 &&
            damage.code != ERR_CORRUPT) {
            *e = damage;
            return -1;
        }
        if (out->n == before)
            return err_set(e, ERR_USAGE, "backup %s is retired already",
                           names[i]);
    }
    return 0;
}

/* Another one has retired it, or else there is something in the way. */
static int
check_mark(struct repo *r, const struct forget_item *item, const char *name,
           struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(RETIRED_MAX_BYTES);
    struct ref_name ref = item->ref;

    if (store_get_all(r->store, name, &b, e) == 0 &&
        retired_unpack(b.p, b.len, name, &r->config, &ref, e) == 0)
        return 0;
    (void)err_wrap(e, "cannot retire backup %s: %s", item->id, name);
    return e->code == ERR_CORRUPT ? err_hint(e, "remove it and try again") : -1;
}

static int
retire(struct repo *r, const struct forget_item *item, struct err *e)
{
    CLEANUP(buf_done) struct buf b = buf_of(RETIRED_MAX_BYTES);
    char name[NAME_MAX_LEN];

    name_retired(&item->ref, name);
    if (retired_pack(&item->ref, clock_wall_ns(), &r->keys, &b, e) == -1)
        return -1;
    if (store_put(r->store, name, b.p, b.len, e) == 0)
        return 0;
    if (e->code != ERR_EXISTS)
        return err_wrap(e, "cannot retire backup %s", item->id);
    err_clear(e);
    return check_mark(r, item, name, e);
}

int
forget_carry_out(struct repo *r, const struct forget_plan *p,
                 struct cancel *cancel, size_t *out_n, struct err *e)
{
    *out_n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->items[i].reasons != 0)
            continue;
        if (cancel_check(cancel, e) == -1 || retire(r, &p->items[i], e) == -1)
            return -1;
        (*out_n)++;
    }
    return 0;
}
