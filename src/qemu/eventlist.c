/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu/eventlist.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void
eventlist_init(struct eventlist *l)
{
    *l = (struct eventlist){.last = &l->first};
}

/* Unlinks the event at `link`. */
static struct kept_event *
unlink_at(struct eventlist *l, struct kept_event **link)
{
    struct kept_event *k = *link;

    *link = k->next;
    if (!k->next)
        l->last = link;
    l->n--;
    l->bytes -= k->bytes;
    return k;
}

static void
forget_at(struct eventlist *l, struct kept_event **link)
{
    struct kept_event *k = unlink_at(l, link);

    qmp_event_done(&k->ev);
    free(k);
}

void
eventlist_clear(struct eventlist *l)
{
    while (l->first)
        forget_at(l, &l->first);
}

static int
compare_names(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* The name that most events have, and how many; borrowed. */
static const char *
most_frequent(const struct eventlist *l, size_t *out_n)
{
    CLEANUP(freep) const char **names = xcalloc(l->n, sizeof(*names));
    size_t n = 0, best = 0, best_n = 0;

    for (const struct kept_event *k = l->first; k; k = k->next)
        names[n++] = k->ev.name;
    qsort(names, n, sizeof(*names), compare_names);
    for (size_t i = 0, j = 0; i < n; i = j) {
        while (j < n && strcmp(names[i], names[j]) == 0)
            j++;
        if (j - i > best_n) {
            best = i;
            best_n = j - i;
        }
    }
    *out_n = best_n;
    return names[best];
}

static void
make_room(struct eventlist *l)
{
    size_t n = 0;
    CLEANUP(freep) char *name = xstrdup(most_frequent(l, &n));
    bool all_differ = n == 1; /* QEMU has no such number of kinds: nonsense */
    size_t forget = all_differ ? l->n / 2 + 1 : n / 2;

    for (struct kept_event **link = &l->first; *link && forget > 0;) {
        if (!all_differ && strcmp((*link)->ev.name, name) != 0) {
            link = &(*link)->next;
            continue;
        }
        forget_at(l, link);
        forget--;
    }
}

void
eventlist_add(struct eventlist *l, struct qmp_event *ev, size_t bytes)
{
    struct kept_event *k = xcalloc(1, sizeof(*k));

    assert(bytes <= EVENTLIST_EVENT_BYTES);
    while (l->n >= EVENTLIST_MAX || l->bytes + bytes > EVENTLIST_BYTES)
        make_room(l);
    k->ev = *ev;
    *ev = (struct qmp_event){0};
    k->bytes = bytes;
    *l->last = k;
    l->last = &k->next;
    l->n++;
    l->bytes += bytes;
}

bool
eventlist_take(struct eventlist *l, const char *name, struct qmp_event *out)
{
    for (struct kept_event **link = &l->first; *link; link = &(*link)->next) {
        if (name && strcmp((*link)->ev.name, name) != 0)
            continue;
        struct kept_event *k = unlink_at(l, link);
        *out = k->ev;
        free(k);
        return true;
    }
    return false;
}
